"""Every layer's kernels against plain NumPy, over shapes around the edges of tiles, panels and blocks."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from fastmlp.kernels.wide.products import BLOCK_COLUMN_BYTES, PANEL_BYTES
from fastmlp.reference import LOSSES as REFERENCE_LOSSES
from fastmlp.simd.jit import JIT_DISABLED
from fastmlp.simd.tile_table import BLOCK_BYTES, TILE
from tests.helpers.layers import LEARNING_RATE, MR, POOL, cuts, learning_rate, tolerance
from tests.helpers.panels import ORIENTATIONS, GuardedNetwork
from tests.helpers.phases import cut_into_halves, infer_blocks, naive_layers, propagate_blocks, update_blocks
from tests.helpers.problems import (
    ACTIVATIONS,
    DTYPES,
    LOSSES,
    SOLVERS,
    advance,
    make_problem,
    parameters_of,
    relative_difference,
)

BLOCKS = sorted({1, 2, 3, 8} & set(range(POOL + 1)))

widths = sorted({TILE.columns(dtype) for dtype in DTYPES})

UNITS = sorted(
    {1, 2, MR - 1, MR, MR + 1, *(width + more for width in widths for more in (-1, 0, 1)), 2 * max(widths) + 3}
)

BATCHES = sorted({1, 2, MR - 1, MR, MR + 1, 2 * MR + 3, 4 * MR})

problems = st.builds(
    make_problem,
    st.lists(st.sampled_from(UNITS), min_size=2, max_size=4),
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(LOSSES),
    st.sampled_from(DTYPES),
    n_samples=st.sampled_from(BATCHES),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
    density=st.sampled_from([1, 0.5, 0.05]),
)

orientations = st.sampled_from(list(ORIENTATIONS.values()))

many = settings(
    max_examples=10 if JIT_DISABLED else int(os.environ.get("FASTMLP_TEST_EXAMPLES", 100)),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a shape that fails says enough: shrinking it takes minutes
)


@many
@given(problem=problems, n_blocks=st.integers(1, 4), narrow=orientations, leaves_zeros_out=st.booleans())
def test_phase_1_activations_losses_and_deltas(problem, n_blocks, narrow, leaves_zeros_out):
    network = problem.network(GuardedNetwork, solver="sgd", narrow=narrow, leaves_zeros_out=leaves_zeros_out)
    propagate_blocks(network, problem, cuts(network, problem.n_samples, n_blocks))
    activations, deltas = naive_layers(problem)
    n_layers = len(network.layers)
    limit = tolerance(problem.dtype)
    results, expected = [], []
    for number in range(n_layers):
        results.append(network.read(network.samples_matrix("inputs", number)))
        expected.append(activations[number])
        results.append(network.read(network.samples_matrix("deltas", number)))
        expected.append(deltas[number])
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=limit, atol=limit * max(1, np.abs(value).max()))


@many
@given(
    problem=problems,
    solver=st.sampled_from(list(SOLVERS)),
    n_blocks=st.integers(1, 4),
    narrow=orientations,
    halves=st.sampled_from(["no", "phase 1", "phase 2"]),
    leaves_zeros_out=st.booleans(),
)
def test_phase_2_gradients_and_updates(problem, solver, n_blocks, narrow, halves, leaves_zeros_out):
    options = {**SOLVERS[solver], "alpha": 0.1, "leaves_zeros_out": leaves_zeros_out}
    network = problem.network(
        GuardedNetwork, narrow=narrow, in_halves=halves != "no", n_threads=min(n_blocks, POOL), **options
    )
    reference = problem.reference(**SOLVERS[solver], alpha=0.1)
    tile_cuts = network.tile_bounds(min(n_blocks, POOL))
    sample_cuts = cut_into_halves(network, problem.n_samples) if halves == "phase 1" else [0, problem.n_samples]
    for _ in range(2):
        propagate_blocks(network, problem, sample_cuts)
        update_blocks(network, problem, tile_cuts, learning_rate(problem))
        reference.step(problem.X, problem.targets, learning_rate(problem), problem.sample_weight)
    # Adam divides by the size of the gradient: where that is rounding, so is the step.
    limit = 100 * tolerance(problem.dtype)
    assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) < limit
    if narrow:
        return  # it keeps no transposed weights
    for number in range(1, len(network.layers)):
        transposed = network.read(network.transposed_matrix(number))
        np.testing.assert_array_equal(transposed, parameters_of(network)[number].T)


@many
@given(problem=problems, narrow=orientations)
def test_halves_of_gradients_in_phase_1(problem, narrow):
    network = problem.network(GuardedNetwork, solver="sgd", narrow=narrow, in_halves=True)
    halves = cut_into_halves(network, problem.n_samples)
    propagate_blocks(network, problem, halves)
    activations, deltas = naive_layers(problem)
    limit = 10 * tolerance(problem.dtype)
    for number, layer in enumerate(network.layers):
        inputs = np.c_[activations[number], np.ones(problem.n_samples)]  # the biases are the last row
        for place, (begin, end) in zip((layer.first_half, layer.second_half), itertools.pairwise(halves), strict=True):
            result = network.read(network.half_gradient(number, int(place)))
            expected = inputs[begin:end].T @ deltas[number][begin:end]
            np.testing.assert_allclose(result, expected, rtol=limit, atol=limit * max(1, np.abs(expected).max()))


def test_gradients_in_halves_are_for_small_matrices_and_steps_worth_sharing():
    def in_halves(layer_units, n_samples, **options):
        problem = make_problem(layer_units, "relu", "log_loss", np.float32, n_samples=n_samples)
        network = problem.network(GuardedNetwork, **{"solver": "adam", **options})
        assert ((network.layers.first_half > 0) == (network.layers.second_half > 0)).all()
        return (network.layers.first_half > 0).tolist()

    assert in_halves([64, 100, 10], 200) == [True, True]
    assert in_halves([784, 300, 100, 10], 200) == [False, False, True]
    assert in_halves([64, 100, 10], 15) == [False, False]  # nobody shares so short a step
    assert in_halves([2, 4, 2], 4000) == [True, True]  # narrow
    assert in_halves([2, 4, 2], 400) == [False, False]
    assert in_halves([64, 100, 10], 200, solver="lbfgs") == [False, False]
    assert in_halves([64, 100, 10], 200, solver=None) == [False, False]
    for n_threads in range(1, POOL + 1):  # or the bits would depend on it
        assert in_halves([64, 100, 10], 200, n_threads=n_threads) == [True, True]


@many
@given(problem=problems, n_blocks=st.integers(1, 4), leaves_zeros_out=st.booleans())
def test_prediction(problem, n_blocks, leaves_zeros_out):
    network = problem.network(GuardedNetwork, solver=None, leaves_zeros_out=leaves_zeros_out)
    outputs = infer_blocks(network, problem, cuts(network, problem.n_samples, n_blocks))
    expected = problem.reference().predict(problem.X)
    limit = tolerance(problem.dtype)
    np.testing.assert_allclose(outputs, expected, rtol=limit, atol=limit)


@many
@given(problem=problems, seed=st.integers(0, 1000), narrow=orientations)
def test_prediction_of_some_rows_in_any_order(problem, seed, narrow):
    network = problem.network(GuardedNetwork, narrow=narrow, solver="adam", batch_size=3)
    everything = np.empty((problem.n_samples, problem.layer_units[-1]), problem.dtype)
    network.predict(problem.rows, everything)
    order = np.random.RandomState(seed).randint(0, problem.n_samples, problem.n_samples // 2)
    outputs = np.empty((len(order), problem.layer_units[-1]), problem.dtype)
    network.predict(problem.rows, outputs, order=order)
    np.testing.assert_array_equal(outputs, everything[order])


@many
@given(
    problem=problems,
    solver=st.sampled_from(list(SOLVERS)),
    n_blocks=st.sampled_from(BLOCKS),
    ragged=st.booleans(),
    narrow=orientations,
    in_halves=st.booleans(),
    leaves_zeros_out=st.booleans(),
)
def test_both_twins_over_epochs_with_a_ragged_tail(
    problem, solver, n_blocks, ragged, narrow, in_halves, leaves_zeros_out
):
    batch_size = max(1, problem.n_samples // 2 - 1) if ragged else problem.n_samples
    options = {**SOLVERS[solver], "alpha": 0.01}
    network = problem.network(
        GuardedNetwork, narrow=narrow, in_halves=in_halves, n_threads=n_blocks, batch_size=batch_size,
        leaves_zeros_out=leaves_zeros_out, **options,
    )  # fmt: skip
    epochs = problem.epochs(network, n_blocks=n_blocks, batch_size=batch_size)
    reference = problem.reference(**options)
    losses = advance(epochs, 2, learning_rate(problem))
    # Steps over single samples may lead to exponentials beyond all numbers, in the reference and here.
    with np.errstate(over="ignore", invalid="ignore"):
        expected = [
            reference.train_epoch(
                problem.X, problem.targets, None, batch_size, learning_rate(problem), problem.sample_weight
            )
            for _ in range(2)
        ]  # fmt: skip
        expected_outputs = reference.predict(problem.X)
    assume(np.isfinite(expected).all() and np.isfinite(expected_outputs).all())
    limit = 100 * tolerance(problem.dtype)
    np.testing.assert_allclose(losses, expected, rtol=limit, atol=limit)
    assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) < 10 * limit
    outputs = np.empty((problem.n_samples, problem.layer_units[-1]), problem.dtype)
    network.predict(problem.rows, outputs, n_blocks=n_blocks)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=10 * limit, atol=10 * limit)


@many
@given(problem=problems, n_blocks=st.sampled_from(BLOCKS), leaves_zeros_out=st.booleans())
def test_loss_and_gradient_over_chunks(problem, n_blocks, leaves_zeros_out):
    """The unfused form: the gradient of all the samples in one flat vector, a chunk of the workspace at a time."""
    capacity = max(1, problem.n_samples // 2 - 1)
    network = problem.network(
        GuardedNetwork, solver="lbfgs", batch_size=capacity, alpha=0.01, n_threads=n_blocks,
        leaves_zeros_out=leaves_zeros_out,
    )  # fmt: skip
    network.n_blocks = lambda *arguments: n_blocks
    gradient = np.full_like(problem.flat_parameters(), np.nan)
    loss = network.loss_and_gradient(
        problem.rows, problem.targets, problem.sample_weight, problem.flat_parameters(), gradient
    )
    reference = problem.reference(alpha=0.01)
    expected_loss, *gradients = reference.gradient(problem.X, problem.targets, problem.sample_weight)
    limit = 10 * tolerance(problem.dtype)
    expected = np.concatenate([np.ravel(array) for array in itertools.chain(*gradients)])
    np.testing.assert_allclose(gradient, expected, rtol=limit, atol=limit * max(1, np.abs(expected).max()))
    if not REFERENCE_LOSSES[problem.loss].is_mean:  # there the two differ by a factor where there are several outputs
        np.testing.assert_allclose(loss, expected_loss, rtol=limit)


@pytest.mark.parametrize("narrow", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_with_every_loss(activation, loss, dtype, narrow):
    problem = make_problem([5, MR + 1, 3, 2], activation, loss, dtype, n_samples=MR + 3, weighted=True)
    network = problem.network(GuardedNetwork, narrow=narrow, solver="sgd", momentum=0.5)
    reference = problem.reference(momentum=0.5)
    losses = advance(problem.epochs(network), 3, LEARNING_RATE)
    expected = [
        reference.train_epoch(problem.X, problem.targets, None, problem.n_samples, LEARNING_RATE, problem.sample_weight)
        for _ in range(3)
    ]
    np.testing.assert_allclose(losses, expected, rtol=10 * tolerance(dtype))
    assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) < 10 * tolerance(dtype)


@pytest.mark.needs_jit
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_layers_whose_activations_do_not_fit_into_a_cache(activation, dtype):
    """Their sums are computed in several visits, over blocks of samples."""
    layer_units, n_samples = [900, 800, 700, 10], 300
    block_rows = BLOCK_COLUMN_BYTES // np.dtype(dtype).itemsize
    n_panels = BLOCK_BYTES // (block_rows * PANEL_BYTES)
    assert n_samples > block_rows
    assert min(layer_units[:-1]) > n_panels * TILE.columns(dtype)
    problem = make_problem(layer_units, activation, "log_loss", dtype, n_samples=n_samples)
    reference = problem.reference(**SOLVERS["plain"])
    expected = [reference.step(problem.X, problem.targets, LEARNING_RATE, None) for _ in range(2)]
    limit = 100 * tolerance(dtype)
    for n_blocks in BLOCKS[:2]:
        network = problem.network(**SOLVERS["plain"], n_threads=n_blocks)
        losses = advance(problem.epochs(network, n_blocks=n_blocks), 2, LEARNING_RATE)
        np.testing.assert_allclose(losses, expected, rtol=limit)
        assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) < limit


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_without_weight_change_nothing(dtype):
    problem = make_problem([3, 4, 2], dtype=dtype, n_samples=9)
    problem.sample_weight = np.zeros(9, dtype)
    network = problem.network(GuardedNetwork, solver="adam")
    before = network.workspace.copy()
    assert advance(problem.epochs(network, batch_size=4), 2, LEARNING_RATE).tolist() == [0, 0]
    assert network.t == 0
    np.testing.assert_array_equal(network.workspace, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_blocks", BLOCKS)
def test_denormals_are_as_before_after_a_call(dtype, n_blocks):
    problem = make_problem([3, 4, 2], dtype=dtype, n_samples=9)
    network = problem.network(GuardedNetwork, solver="adam", n_threads=n_blocks)
    advance(problem.epochs(network, n_blocks=n_blocks), 1, LEARNING_RATE)
    smallest = np.array([np.finfo(dtype).smallest_subnormal])
    assert (smallest * dtype(1) > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_shuffled_epochs_until_the_loss_stops_improving(dtype):
    problem = make_problem([4, 5, 3], "tanh", "log_loss", dtype, n_samples=21)
    network = problem.network(GuardedNetwork, solver="adam", batch_size=8)
    reference = problem.reference(solver="adam")
    random_state, order, generator = np.random.RandomState(7), np.arange(21), np.random.RandomState(7)
    epochs = problem.epochs(
        network, batch_size=8, random_state=random_state, tol=0.2, n_iter_no_change=2, best_loss=1e9
    )  # fmt: skip
    losses, expected = [], []
    while not epochs.should_stop:
        losses.extend(epochs.advance(np.full(50, 0.01)))
        assert not epochs.mid_epoch or len(losses) < 50
    # The rule, in plain Python: three epochs in a row, none better than the best by 0.2.
    best, count = 1e9, 0
    while count <= 2:
        generator.shuffle(order)
        expected.append(reference.train_epoch(problem.X, problem.targets, order, 8, 0.01))
        count = count + 1 if expected[-1] > best - 0.2 else 0
        best = min(best, expected[-1])
    np.testing.assert_allclose(losses, expected, rtol=10 * tolerance(dtype))
    assert epochs.no_improvement_count == count
    assert epochs.best_loss == min(losses)
    assert random_state.randint(2**31) == generator.randint(2**31)
    assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) < 100 * tolerance(dtype)
