"""Steps after the first allocate nothing, and memory stays flat however long a training is."""

import sys
import tracemalloc
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from tests.helpers.problems import DTYPES, advance, make_problem
from tests.helpers.subprocesses import run_python
from tests.helpers.traced_memory import held_bytes, tracing

SHAPES = {"wide": [300, 200, 10], "narrow": [5, 4, 3]}


@pytest.fixture
def numba_statistics():
    """Switch Numba's counting of allocations on; it is off otherwise, as it costs time."""

    @numba.njit
    def allocate(size):
        return np.empty(size).sum()

    was_enabled = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    allocate(10)
    assert rtsys.get_allocation_stats().alloc > before.alloc  # it does count
    yield rtsys.get_allocation_stats
    if not was_enabled:
        _nrt_python.memsys_disable_stats()


def running_epochs(layer_units, dtype, **options):
    """Return a run that has taken its first steps."""
    problem = make_problem(layer_units, "tanh", "log_loss", dtype, n_samples=100, weighted=True)
    network = problem.network(solver="adam", batch_size=20, alpha=0.01)
    assert network.narrow == (layer_units == SHAPES["narrow"])
    epochs = problem.epochs(network, batch_size=20, random_state=np.random.RandomState(0), **options)
    advance(epochs, 3, 0.001)
    return epochs


@pytest.mark.needs_jit
@pytest.mark.parametrize("n_blocks", [1, 2], ids=["serial", "parallel"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_allocates_nothing_in_compiled_code(shape, dtype, n_blocks, numba_statistics):
    problem = make_problem(SHAPES[shape], "tanh", "log_loss", dtype, n_samples=100, weighted=True)
    network = problem.network(solver="adam", batch_size=20, alpha=0.01, n_threads=n_blocks)
    epochs = problem.epochs(network, batch_size=20, random_state=np.random.RandomState(0), n_blocks=network.n_threads)
    advance(epochs, 3, 0.001)
    # What a call costs, in a parallel region or not, must not grow with the steps that it runs.
    allocations = []
    for n_steps in (5, 50, 500):
        epochs._steps_per_call = n_steps
        before = numba_statistics()
        epochs.advance(np.full(200, 0.001))
        after = numba_statistics()
        allocations.append((after.alloc - before.alloc, after.mi_alloc - before.mi_alloc))
        assert after.alloc - before.alloc == after.free - before.free
        assert after.mi_alloc - before.mi_alloc == after.mi_free - before.mi_free
    assert len(set(allocations)) == 1
    if n_blocks == 1:
        assert allocations[0][0] == 0


def advance_often(epochs, n_calls, n_steps):
    rates = np.full(50, 0.001)
    for _ in range(n_calls):
        epochs._steps_per_call = n_steps
        epochs.advance(rates)


@pytest.mark.needs_jit
@pytest.mark.parametrize("shape", SHAPES)
def test_calls_keep_nothing(shape):
    epochs = running_epochs(SHAPES[shape], np.float32)
    with tracing():
        advance_often(epochs, 10, 5)
        before = held_bytes()
        n_calls = 200
        advance_often(epochs, n_calls, 5)
        kept = held_bytes() - before
    # No object of Python is smaller than the head that each of them has.
    assert kept < n_calls * sys.getsizeof(object())


@pytest.mark.needs_jit
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_call_needs_does_not_grow_with_its_steps(shape):
    epochs = running_epochs(SHAPES[shape], np.float32)
    needs = []
    with tracing():
        advance_often(epochs, 10, 5)
        for n_steps in (5, 50, 250):
            before = held_bytes()
            tracemalloc.reset_peak()
            advance_often(epochs, 1, n_steps)
            needs.append(tracemalloc.get_traced_memory()[1] - before)
    # Room for fifty losses and the generator's state comes and goes.
    assert max(needs) < 30_000
    assert max(needs) - min(needs) < 1000


@pytest.mark.needs_jit
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of a process is read from /proc")
def test_memory_is_flat_over_a_thousand_epochs():
    output, _ = run_python(
        """
        import os
        from pathlib import Path
        import numpy as np
        from tests.helpers.problems import advance, make_problem

        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        grown = []
        for layer_units in ([30, 50, 10], [5, 4, 3]):
            problem = make_problem(layer_units, "tanh", "log_loss", np.float32, n_samples=100, weighted=True)
            network = problem.network(solver="adam", batch_size=20)
            epochs = problem.epochs(network, batch_size=20, random_state=np.random.RandomState(0))
            outputs = np.empty((100, layer_units[-1]), np.float32)
            for _ in range(20):  # and a call is short: so that there are many of them
                epochs._steps_per_call = 5
                advance(epochs, 1, 1e-4)
                network.predict(problem.rows, outputs)
            before = resident()
            for _ in range(1000):
                epochs._steps_per_call = 5
                advance(epochs, 1, 1e-4)
                network.predict(problem.rows, outputs)
            grown.append(resident() - before)
        print(max(grown))
        """
    )
    assert int(output) < 500_000


@pytest.mark.needs_jit
def test_samples_are_neither_copied_nor_kept():
    X = np.random.RandomState(0).standard_normal((20_000, 50)).astype(np.float32)
    problem = make_problem([50, 20, 3], "relu", "log_loss", np.float32, n_samples=1)
    problem.X, problem.targets = X, np.zeros(len(X), np.int64)
    network = problem.network(solver="adam", batch_size=100)
    tracemalloc.start()
    try:
        epochs = problem.epochs(network, batch_size=100)
        advance(epochs, 1, 0.001)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    order = 8 * len(X)
    assert peak < order + 50_000 < X.nbytes / 2
