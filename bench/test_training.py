"""A training step, and an epoch through ``fit``: fastmlp and plain NumPy on every workload."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
from threadpoolctl import threadpool_limits

import fastmlp
from bench.contenders import FastMLP, NumPyReference
from bench.contenders.base import Contender, Parameters
from bench.networks import network_of, train_epochs
from bench.workloads import DEPTH_WORKLOADS, GATHER_WORKLOADS, STEP_WORKLOADS, WORKLOADS, Workload
from fastmlp.network.rows import as_rows

# Minibatches that are trained on, few enough for `wide`.
MINIBATCHES = 8
# What is timed passes over them so often: NumPy for so many steps, fastmlp for so long that a call costs nothing.
STEPS = 200
CALL_SECONDS = 0.05
LARGE_FLOPS = 50e6


@pytest.fixture(params=(*STEP_WORKLOADS, *DEPTH_WORKLOADS, *GATHER_WORKLOADS))
def workload(request: pytest.FixtureRequest) -> Workload:
    """Every workload."""
    return WORKLOADS[request.param]


class StepRun:
    """A network of each kind on the first few minibatches of a workload, in their own order.

    The compiled one multiplies all zeros of X, so that its share of the peak is one of work that is done, unless it is
    told to leave them out.
    """

    def __init__(self, workload: Workload, dtype: str, n_threads: int, leaves_zeros_out: bool = False) -> None:
        self.workload = workload
        self.minibatches = minibatches = min(MINIBATCHES, workload.steps_per_epoch)
        large = workload.flops_per_step() > LARGE_FLOPS
        self.passes = 1 if large else STEPS // minibatches
        self.order = np.arange(minibatches * workload.batch_size)
        self.X = np.ascontiguousarray(workload.data().X[self.order], dtype)
        self.targets = workload.targets(dtype)[self.order]
        rows = as_rows(self.X, np.dtype(dtype))
        self.network = network_of(workload, dtype, n_threads, rows if leaves_zeros_out else None)
        self.epochs = self.network.epochs(rows, self.targets, batch_size=workload.batch_size)
        self.reference = NumPyReference(workload, dtype, n_threads).network()

    def train_compiled(self, passes: int) -> None:
        """Pass over the minibatches, compiled."""
        train_epochs(self.epochs, passes, self.workload.learning_rate)

    def passes_in(self, seconds: float) -> int:
        """Return how many passes over the minibatches take about so long, compiled, and `passes` at least."""
        start = time.perf_counter()
        self.train_compiled(self.passes)
        return self.passes * max(1, round(seconds / (time.perf_counter() - start)))

    def train_reference(self, passes: int) -> None:
        """Pass over the minibatches in NumPy."""
        batch_size, rate = self.workload.batch_size, self.workload.learning_rate
        for _ in range(passes):
            self.reference.train_epoch(self.X, self.targets, None, batch_size, rate)

    def parameters(self) -> Parameters:
        """Return the compiled network's parameters."""
        dtype = self.network.dtype
        coefs = [np.empty(shape, dtype) for shape in self.workload.layers()]
        intercepts = [np.empty(fan_out, dtype) for _, fan_out in self.workload.layers()]
        self.network.get_parameters(coefs, intercepts)
        return coefs, intercepts


@pytest.mark.parametrize("engine", ["fastmlp", "sparse", "reference"])
def test_step(
    benchmark: Any,
    note: Callable[..., None],
    measure_peak: Callable[[int], Callable[[], None]],
    workload: Workload,
    dtype: str,
    n_threads: int,
    engine: str,
) -> None:
    """One step, from the gather to the update, many steps to a call from Python.

    "sparse" leaves zeros of X out. Its share of the peak counts them all the same.
    """
    run = StepRun(workload, dtype, n_threads, engine == "sparse")
    if engine == "sparse" and not run.network.leaves_zeros_out:
        pytest.skip(f"{workload.name}: too little of X is zero for anything to be left out")
    # BLAS spins for a while when it has worked on several threads, and would disturb what is timed.
    with threadpool_limits(n_threads if engine == "reference" else 1, "blas"):
        run.train_compiled(1)
        run.train_reference(1)
        tolerance = 1e-3 if dtype == "float32" else 1e-9
        for W, expected in zip(run.parameters()[0], run.reference.coefs, strict=True):
            np.testing.assert_allclose(W, expected, atol=tolerance * np.abs(expected).max())
        benchmark.group = f"step {workload.name} {dtype} {n_threads}"
        is_compiled = engine != "reference"
        work = run.train_compiled if is_compiled else run.train_reference
        passes = run.passes_in(CALL_SECONDS) if is_compiled else run.passes
        set_up = measure_peak(n_threads)
        benchmark.pedantic(work, (passes,), setup=set_up, rounds=workload.rounds * 3, warmup_rounds=2)
    steps = passes * run.minibatches
    note(dtype, n_threads, steps * workload.flops_per_step(), engine=engine, steps=steps, workload=workload.name)


@pytest.mark.parametrize("contender", [FastMLP, NumPyReference], ids=lambda c: c.name)
def test_epoch(
    benchmark: Any,
    note: Callable[..., None],
    measure_peak: Callable[[int], Callable[[], None]],
    workload: Workload,
    dtype: str,
    n_threads: int,
    contender: type[Contender],
) -> None:
    """An epoch with its shuffle, through ``fit``: small networks get many, as fits do."""
    with threadpool_limits(n_threads, "blas"):
        run = contender(workload, dtype, n_threads)
        parameters = run.fit(workload.check_epochs, shuffle=False)
        expected = NumPyReference(workload, dtype, n_threads).fit(workload.check_epochs, False)
        loss, expected_loss = workload.data_loss(*parameters), workload.data_loss(*expected)
        assert loss == pytest.approx(expected_loss, rel=run.tolerance[dtype])
        epochs = max(1, workload.epochs // 50)
        benchmark.group = f"epoch {workload.name} {dtype} {n_threads}"
        arguments, set_up = (epochs, not run.is_full_batch), measure_peak(n_threads)
        benchmark.pedantic(run.fit, arguments, setup=set_up, rounds=workload.rounds, warmup_rounds=1)
    steps = epochs * run.n_steps
    note(
        dtype, n_threads, steps * workload.flops_per_step(), engine=contender.name, steps=steps,
        workload=workload.name,
    )  # fmt: skip


each_module = pytest.mark.parametrize("module", [fastmlp, sklearn.neural_network], ids=["fastmlp", "scikit-learn"])


def minibatch(dtype: str) -> list[Any]:
    """Return 32 samples of 8 features and 2 targets."""
    random_state = np.random.RandomState(0)
    return [random_state.standard_normal((32, columns)).astype(dtype) for columns in (8, 2)]


@each_module
def test_partial_fit(benchmark: Any, note: Callable[..., None], dtype: str, module: Any) -> None:
    """One minibatch of a small network, all checks in: what a simulation pays that trains as it runs."""
    X, y = minibatch(dtype)
    models = [m.MLPRegressor(hidden_layer_sizes=(30,), random_state=0) for m in (module, sklearn.neural_network)]
    for model in models:
        for _ in range(5):
            model.partial_fit(X, y)
    np.testing.assert_allclose(models[0].predict(X), models[1].predict(X), rtol=1e-3, atol=1e-4)
    benchmark.group = f"partial_fit {dtype}"
    benchmark(models[0].partial_fit, X, y)
    note(dtype, 1, engine=module.__name__)


@each_module
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_of_one_epoch(benchmark: Any, note: Callable[..., None], dtype: str, module: Any) -> None:
    """What a fit costs once, however long it trains: the same minibatch, from initial weights."""
    X, y = minibatch(dtype)
    model = module.MLPRegressor(hidden_layer_sizes=(30,), random_state=0, max_iter=1)
    other = sklearn.neural_network.MLPRegressor(hidden_layer_sizes=(30,), random_state=0, max_iter=1)
    expected = other.fit(X, y).predict(X)
    np.testing.assert_allclose(model.fit(X, y).predict(X), expected, rtol=1e-3, atol=1e-4)
    benchmark.group = f"fit of one epoch {dtype}"
    benchmark(model.fit, X, y)
    note(dtype, 1, engine=module.__name__)
