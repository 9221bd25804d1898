"""Every layer's kernels against plain NumPy, over shapes around the edges of tiles, panels and blocks."""

import itertools
import os
from unittest import mock

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from numba import config

from fastmlp.kernels.epilogues import _apply
from fastmlp.kernels.vector_maths import (
    exp_of_size,
    half_exp_minus_one,
    logistic,
    logistic_of,
    tanh_from_exp,
    tanh_of,
)
from fastmlp.kernels.wide.products import BLOCK_COLUMN_BYTES, PANEL_BYTES
from fastmlp.microkernels.tile import PREFETCHING_TILES
from fastmlp.network.layout import Layout
from fastmlp.reference import LOSSES as REFERENCE_LOSSES
from fastmlp.simd.jit import JIT_DISABLED, uncached
from fastmlp.simd.tile_table import BLOCK_BYTES, TILE
from tests.helpers.panels import ORIENTATIONS, GuardedLayout, GuardedNetwork, guards_checked
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
from tests.helpers.subprocesses import run_python

# The pool may be larger than the processor: see test_threads_and_bounds.
POOL = config.NUMBA_NUM_THREADS
BLOCKS = sorted({1, 2, 3, 8} & set(range(POOL + 1)))
MR = TILE.rows
# Small, so that no network with many inputs and a minibatch of one sample runs away. Poisson's gradients grow
# exponentially with the outputs.
LEARNING_RATE = 0.002
POISSON_LEARNING_RATE = 0.0002

widths = sorted({TILE.columns(dtype) for dtype in DTYPES})
UNITS = sorted(
    {1, 2, MR - 1, MR, MR + 1, *(width + more for width in widths for more in (-1, 0, 1)), 2 * max(widths) + 3}
)
BATCHES = sorted({1, 2, MR - 1, MR, MR + 1, 2 * MR + 3, 4 * MR})


@pytest.fixture(autouse=True)
def guard_bands():
    with guards_checked():
        yield


def tolerance(dtype):
    return 2e-5 if dtype is np.float32 else 1e-13


def cuts(network, n_samples, n_blocks):
    """Return where so many blocks of samples begin; in a narrow network that is the beginning of a panel."""
    grain = network.record[0].grain if network.narrow else 1
    inside = np.linspace(0, n_samples, n_blocks + 1)[:-1].astype(int) // grain * grain
    return np.unique([*inside, n_samples])


def learning_rate(problem):
    return POISSON_LEARNING_RATE if problem.loss == "poisson" else LEARNING_RATE


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


@pytest.mark.parametrize("narrow", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("in_halves", [False, True], ids=["whole", "in halves"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_where_blocks_are_cut_does_not_show_in_the_bits(dtype, in_halves, narrow):
    width = TILE.columns(dtype)
    n_samples = 3 * width + 5
    problem = make_problem([width + 5, 2 * width + 1, 2 * MR + 3, 4], "tanh", "log_loss", dtype, n_samples=n_samples)
    if narrow:
        ways = [[0, n_samples], [0, width, n_samples], [0, width, 2 * width, 3 * width, n_samples]]
    else:
        ways = [[0, n_samples], [0, 1, n_samples], [0, MR, 2 * MR + 1, n_samples], range(n_samples + 1)]
    bits = set()
    options = {"narrow": narrow, "in_halves": in_halves, "solver": "adam", "n_threads": POOL}
    if in_halves:
        ways.append(cut_into_halves(problem.network(GuardedNetwork, **options), n_samples))
    for sample_cuts in ways:
        network = problem.network(GuardedNetwork, **options)
        n_tiles = network.record[0].n_tiles
        for tile_cuts in (np.array([0, n_tiles]), network.tile_bounds(POOL)):
            network.t = 0
            network.record[0].on_several_threads = len(tile_cuts) > 2
            network.set_parameters(problem.coefs, problem.intercepts)
            network.set_moments(*(2 * [[np.zeros_like(a) for a in problem.coefs + problem.intercepts]]))
            propagate_blocks(network, problem, sample_cuts)
            update_blocks(network, problem, tile_cuts, LEARNING_RATE)
            bits.add(b"".join(array.tobytes() for array in parameters_of(network)))
    assert len(bits) == 1


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prefetching_parameters_does_not_show_in_the_bits(dtype, optimizer):
    width = TILE.columns(dtype)
    problem = make_problem([width + MR + 3, 2 * width + 1, 4], dtype=dtype, n_samples=2 * width + 3)
    options = {"adam": {"solver": "adam"}, "momentum": {"solver": "sgd"}, "sgd": {"solver": "sgd", "momentum": 0}}
    bits = set()
    for prefetch_parameters in (0, 1):
        network = problem.network(GuardedNetwork, narrow=False, **options[optimizer])
        assert network.record[0].prefetch_parameters == 0  # so small a network stays in cache
        network.record[0].prefetch_parameters = prefetch_parameters
        before = parameters_of(network)
        propagate_blocks(network, problem, [0, problem.n_samples])
        update_blocks(network, problem, [0, network.record[0].n_tiles], LEARNING_RATE)
        network.assert_guards_untouched()
        assert all((array != old).any() for array, old in zip(parameters_of(network), before, strict=True))
        bits.add(b"".join(array.tobytes() for array in parameters_of(network)))
    assert len(bits) == 1


class NoRemainders(GuardedLayout):
    """A layout in which no gradient is computed the other way round."""

    remainder_fill = 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("in_halves", [False, True], ids=["whole", "in halves"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_which_way_round_a_gradient_is_computed_does_not_show_in_the_bits(solver, in_halves, dtype):
    width, lanes = TILE.columns(dtype), TILE.lanes(dtype)
    most = int(Layout.remainder_fill * lanes)
    for n_units in [*range(1, lanes + 1), *range(width + 1, width + lanes + 1)]:
        problem = make_problem([2 * width + 5, n_units, width - 1, 1], "relu", dtype=dtype, n_samples=width + 3)
        ways = []
        for layout in (GuardedLayout, NoRemainders):
            # Halves are those of the layout's own class, whatever the sizes.
            kind = type("Tried", (layout,), {"halves_below": 0} if in_halves else {})
            with (
                mock.patch("tests.helpers.panels.GuardedLayout", kind),
                mock.patch("tests.helpers.panels.HalvedLayout", kind),
            ):
                network = problem.network(GuardedNetwork, narrow=False, in_halves=in_halves, solver=solver)
            remainders = network.layers.remainder_units.tolist()
            remainder_units = n_units % width
            assert remainders == (
                [0, 0, 0] if layout is NoRemainders else [remainder_units * (remainder_units <= most), 0, 1]
            )
            if solver == "lbfgs":
                result = np.empty_like(problem.flat_parameters())
                network.loss_and_gradient(problem.rows, problem.targets, None, problem.flat_parameters(), result)
            else:
                n_samples = problem.n_samples
                cut = cut_into_halves(network, n_samples) if in_halves else [0, n_samples]
                propagate_blocks(network, problem, cut)
                update_blocks(network, problem, network.tile_bounds(1), LEARNING_RATE)
                result = np.concatenate([array.ravel() for array in parameters_of(network)])
            network.assert_guards_untouched()
            ways.append(result)
        np.testing.assert_array_equal(*ways)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prefetching_panels_does_not_show_in_the_bits(dtype, activation):
    width = TILE.columns(dtype)
    layer_units = [width + MR + 3, 3 * width + 1, 2 * width, 4]
    problem = make_problem(layer_units, activation, dtype=dtype, n_samples=PREFETCHING_TILES * MR + MR + 3)
    bits = set()
    for prefetch in (0, 1):
        network = problem.network(GuardedNetwork, narrow=False, solver="adam")
        assert not network.layers.prefetch_panels.any()  # so small a matrix stays in cache
        network.layers.prefetch_panels = prefetch
        propagate_blocks(network, problem, [0, problem.n_samples])
        update_blocks(network, problem, [0, network.record[0].n_tiles], LEARNING_RATE)
        network.assert_guards_untouched()
        bits.add(b"".join(array.tobytes() for array in parameters_of(network)))
    assert len(bits) == 1


def test_each_line_of_a_large_matrix_is_prefetched_once_while_the_panel_before_is_multiplied():
    """Machine code that prefetches the wrong lines computes the same; so here Python looks at what it would be told."""
    code = """
        import numpy as np
        from fastmlp.kernels.wide import products
        from fastmlp.microkernels.tile import PREFETCHING_TILES, MR
        from fastmlp.simd.tile_table import ALIGNMENT, TILE
        from tests.helpers.panels import GuardedNetwork
        from tests.helpers.phases import propagate_blocks
        from tests.helpers.problems import make_problem

        for dtype in (np.float32, np.float64):
            width, line = TILE.columns(dtype), ALIGNMENT // np.dtype(dtype).itemsize
            fan_in, n_panels, n_samples = 4 * width + 8, 3, PREFETCHING_TILES * MR + 3
            problem = make_problem([fan_in, n_panels * width], "relu", "squared_error", dtype, n_samples=n_samples)
            network = problem.network(GuardedNetwork, narrow=False)
            (layer,) = network.layers
            layer.prefetch_panels = 1
            multiply, prefetched = products.gemm_nn, {}

            def watched(*arguments):
                right, inner_size, rows, prefetch = arguments[7], arguments[8], arguments[9], arguments[13]
                if prefetch >= 0 and rows == MR:
                    lines = [(prefetch + k * width) // line for k in range(0, inner_size // 4 * 4, 4)]
                    prefetched.setdefault((right - layer.parameters) // ((fan_in + 1) * width), []).extend(lines)
                return multiply(*arguments)

            products.gemm_nn = watched
            propagate_blocks(network, problem, [0, n_samples])
            products.gemm_nn = multiply
            assert sorted(prefetched) == list(range(n_panels - 1))
            for panel, lines in prefetched.items():
                first = layer.parameters + (panel + 1) * (fan_in + 1) * width
                assert sorted(lines) == list(range(first // line, (first + fan_in * width) // line))
            print(len(prefetched))
    """
    out, _ = run_python(code, NUMBA_DISABLE_JIT=1, FASTMLP_TILE="avx512")
    assert out.split() == ["2", "2"]


@pytest.mark.parametrize("tile", ["avx512", "avx2"])
@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_which_lines_of_the_weights_are_prefetched_where_other_cores_have_them(narrow, tile):
    """In phase 1 all of a narrow network's, to read; in phase 2 those that this block of tiles will write."""
    code = f"""
        import numpy as np
        from fastmlp.kernels import tiles
        from fastmlp.kernels.narrow import phases as narrow_phases
        from fastmlp.simd.tile_table import ALIGNMENT, TILE
        from tests.helpers.panels import GuardedNetwork
        from tests.helpers.phases import propagate_blocks, update_blocks
        from tests.helpers.problems import make_problem

        narrow = {narrow}
        read, written = set(), set()
        tiles.prefetch_to_write = lambda array, place: written.add(place // line)
        narrow_phases.prefetch_to_read = lambda array, place: read.add(place // line)

        for dtype in (np.float32, np.float64):
            width, line = TILE.columns(dtype), ALIGNMENT // np.dtype(dtype).itemsize
            units = [width + 5, 2 * width, width, 3]
            problem = make_problem(units, "identity", "squared_error", dtype, n_samples=2)
            network = problem.network(GuardedNetwork, narrow=narrow, solver="adam")
            record = network.record[0]
            bounds = network.tile_bounds(2)
            for record.on_several_threads, record.prefetch_parameters in ((0, 0), (1, 1), (1, 0)):
                read.clear()
                written.clear()
                propagate_blocks(network, problem, [0, 2])
                weights = [network.parameter_matrix(i, 0, fan_out) for i, fan_out in enumerate(units[1:])]
                if not narrow:  # there no biases, which are prefetched with the rows of W at most
                    weights = [m[:-1] for m in weights] + [network.transposed_matrix(i) for i in (1, 2)]
                places = np.concatenate([m.ravel() for m in weights])
                assert not written
                assert set((places // line).tolist()) <= read if narrow and record.on_several_threads else not read
                n_read = len(read)
                prefetched_by = []
                for block in (0, 1):
                    written.clear()
                    before = network.workspace.copy()
                    update_blocks(network, problem, bounds[block : block + 2], 0.01)
                    changed = places[network.workspace[places] != before[places]]
                    own = set((changed // line).tolist())
                    assert len(own) > 40
                    prefetched_by.append(written.copy())
                    if not record.on_several_threads:
                        assert not written
                    elif narrow or not record.prefetch_parameters:
                        assert own <= written
                    else:  # those that are not of whole tiles: the last rows of W, and a remainder panel
                        assert 0 < len(own & written) < len(own) / 2
                assert len(read) == n_read
                # One line, at most, where a block ends within one: of W, and of each row of W transposed.
                assert len(prefetched_by[0] & prefetched_by[1]) <= 1 + max(units)
            print(len(own))
    """
    out, _ = run_python(code, NUMBA_DISABLE_JIT=1, FASTMLP_TILE=tile)
    assert len(out.split()) == 2


@uncached
def activate_both_ways(in_two_passes, in_one, out, stride, rows, columns, is_tanh):
    if is_tanh:
        _apply(half_exp_minus_one, in_two_passes, out, stride, rows, columns)
        _apply(tanh_of, in_two_passes, out, stride, rows, columns)
        _apply(tanh_from_exp, in_one, out, stride, rows, columns)
    else:
        _apply(exp_of_size, in_two_passes, out, stride, rows, columns)
        _apply(logistic_of, in_two_passes, out, stride, rows, columns)
        _apply(logistic, in_one, out, stride, rows, columns)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tanh", "logistic"])
def test_activations_in_two_passes_and_in_one_have_the_same_bits(dtype, name):
    width, out = TILE.columns(dtype), 3
    rows, columns = MR - 1, TILE.lanes(dtype) * (TILE.vectors - 1)
    z = np.random.RandomState(0).standard_normal(2 * out + MR * width).astype(dtype) * 8
    in_two_passes, in_one = z.copy(), z.copy()
    activate_both_ways(in_two_passes, in_one, out, width, rows, columns, name == "tanh")
    np.testing.assert_array_equal(in_two_passes, in_one)
    tile = np.s_[out : out + MR * width]
    expected = z.copy()
    inputs = expected[tile].reshape(MR, width)[:rows, :columns]
    inputs[:] = np.tanh(inputs) if name == "tanh" else 1 / (1 + np.exp(-inputs))
    np.testing.assert_allclose(in_one, expected, rtol=4 * np.finfo(dtype).eps)
    # What isn't of these rows and columns has not been written.
    is_outside = np.ones(len(z), bool)
    is_outside[tile].reshape(MR, width)[:rows, :columns] = False
    np.testing.assert_array_equal(in_one[is_outside], z[is_outside])


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
