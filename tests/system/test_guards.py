"""Out-of-bounds and races: a phase reads and writes what its block owns, and nothing else."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from fastmlp.simd.tile_table import TILE
from tests.helpers.panels import ORIENTATIONS, GuardedNetwork, guards_checked
from tests.helpers.phases import infer_blocks, places_of_tiles, propagate_blocks, update_blocks
from tests.helpers.problems import DTYPES, advance, make_problem, parameters_of, relative_difference
from tests.helpers.subprocesses import ROOT, environment_with, run_python

SHAPES = [[3, 5, 2], [1, 1], [TILE.columns(np.float32) + 1, 2 * TILE.columns(np.float32) + 3, TILE.rows + 1, 4]]
each_orientation = pytest.mark.parametrize("narrow", ORIENTATIONS.values(), ids=ORIENTATIONS)


@pytest.fixture(autouse=True)
def guard_bands():
    with guards_checked():
        yield


def changed_places(network, before):
    """Return where the workspace differs from a copy, bit for bit."""
    bits = np.dtype(f"u{network.dtype.itemsize}")
    return set(np.flatnonzero(network.workspace.view(bits) != before.view(bits)))


def flat_set(*offsets):
    return set(np.concatenate([np.ravel(places) for places in offsets]).tolist())


def samples_owned(network, problem, begin, end, names):
    """Return all places that belong to some samples, padding of the panels' rows included."""
    width = network._layout.panel_width
    owned = []
    for number, layer in enumerate(network.layers):
        for name in names:
            if name == "targets" and number < len(network.layers) - 1:
                continue
            if network.narrow:
                # A panel of samples belongs to one block with all its rows, the row of ones too.
                units = layer.fan_in if name == "inputs" else layer.fan_out
                rows = units + (name in ("inputs", "outputs"))
                place = network.record[0].targets if name == "targets" else layer[name]
                owned.append(np.arange(place + begin // width * rows * width, place + -(-end // width) * rows * width))
            else:
                units = layer.fan_in if name == "inputs" else layer.fan_out
                owned.append(network.samples_matrix(name, number, network.padded(units))[begin:end])
    if network.layers[0].rows:
        owned.append(
            network.samples_matrix("rows", 0, network.padded(network.layers[0].fan_in))[begin : -(-end // 4) * 4]
        )
    return owned


def blocks_of(network, n_samples):
    width = network._layout.panel_width
    grain = width if network.narrow else 3
    return [*range(0, n_samples, grain), n_samples]


def test_a_guard_that_is_overwritten_is_noticed():
    network = make_problem([3, 5, 2]).network(GuardedNetwork)
    places = network._layout.guards
    for place in (places[0], places[-1], places[len(places) // 2]):
        kept = network.workspace[place]
        network.workspace[place] = np.nan  # another NaN
        with pytest.raises(AssertionError):
            network.assert_guards_untouched()
        network.workspace[place] = kept
    network.assert_guards_untouched()
    assert len(places) > 10 * 9 * TILE.columns(np.float64)


@each_orientation
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "binary_log_loss", "log_loss"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer_units", SHAPES, ids=str)
def test_phase_1_changes_the_rows_of_its_samples(layer_units, dtype, loss, narrow):
    n_samples = 2 * TILE.columns(dtype) + 5
    problem = make_problem(layer_units, "logistic", loss, dtype, n_samples=n_samples, weighted=True)
    network = problem.network(GuardedNetwork, narrow=narrow, solver="adam")
    cuts = blocks_of(network, n_samples)
    for begin, end in itertools.pairwise(cuts):
        before = network.workspace.copy()
        propagate_blocks(network, problem, [begin, end])
        owned = samples_owned(network, problem, begin, end, ["inputs", "outputs", "deltas", "targets"])
        vector_end = -(-end // TILE.lanes(dtype)) * TILE.lanes(dtype) if narrow else end
        places = [network.record[0].losses, network.record[0].weights]
        if loss == "log_loss":
            # Of narrow networks the labels, one for each sample; of the others what softmax sums up.
            places.append(network.record[0].targets if narrow else network.record[0].sums)
        owned += [np.arange(place + begin, place + vector_end) for place in places]
        assert changed_places(network, before) <= flat_set(*owned)


@each_orientation
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer_units", SHAPES, ids=str)
@pytest.mark.parametrize("shared", [0, 1], ids=["alone", "shared"])
def test_phase_2_changes_the_tiles_of_its_block(shared, layer_units, dtype, solver, narrow):
    problem = make_problem(layer_units, "tanh", "squared_error", dtype, n_samples=7)
    network = problem.network(GuardedNetwork, narrow=narrow, solver=solver)
    propagate_blocks(network, problem, [0, 7])
    record, width = network.record[0], network._layout.panel_width
    record.on_several_threads = shared
    n_copies = 3 if solver == "adam" else 2
    for number, layer in enumerate(network.layers):
        for tile, (panel, begin) in enumerate(places_of_tiles(layer, width, narrow)):
            before = network.workspace.copy()
            first = layer.first_tile + tile
            update_blocks(network, problem, [first, first + 1], 0.01)
            if begin == layer.fan_in and not narrow:
                rows = [begin]  # the biases
            else:
                is_remainder = layer.remainder_units and panel == (layer.fan_out - 1) // width
                height = width if is_remainder else network._layout.tile_rows
                rows = np.arange(begin, min(begin + height, layer.fan_in + network.narrow))
            columns = np.arange(panel * width, (panel + 1) * width)
            owned = [
                network.parameter_matrix(number, copy, network.padded(layer.fan_out))[np.ix_(rows, columns)]
                for copy in range(n_copies)
            ]
            owned.append(np.arange(record.scratch, record.scratch + record.scratch_size))
            owned.append([record.squares + first])
            if layer.transposed and rows[0] < layer.fan_in:
                own_columns = columns[columns < layer.fan_out]
                owned.append(network.transposed_matrix(number)[np.ix_(own_columns, rows)])
            changed = changed_places(network, before)
            assert changed <= flat_set(*owned)
            assert changed & flat_set(owned[0])


@pytest.mark.parametrize("loss", ["poisson", "log_loss"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer_units", SHAPES, ids=str)
def test_prediction_changes_the_rows_of_its_samples(layer_units, dtype, loss):
    problem = make_problem(layer_units, "logistic", loss, dtype, n_samples=11)
    network = problem.network(GuardedNetwork, solver=None)
    sums = network.record[0].sums
    for begin, end in ((0, 3), (3, 4), (4, 11)):
        before = network.workspace.copy()
        outputs = infer_blocks(network, problem, [begin, end])
        owned = samples_owned(network, problem, begin, end, ["inputs", "outputs"])
        owned.append(np.arange(sums + begin, sums + end))
        assert changed_places(network, before) <= flat_set(*owned)
        assert np.isfinite(outputs[begin:end]).all()
        assert np.isnan(outputs[:begin]).all()
        assert np.isnan(outputs[end:]).all()


@each_orientation
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "binary_log_loss", "log_loss"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer_units", SHAPES, ids=str)
def test_what_an_earlier_minibatch_left_is_never_read(layer_units, dtype, loss, narrow):
    """Every number that a step has to write first is NaN, and so is every row beyond a short minibatch."""
    problem = make_problem(layer_units, "tanh", loss, dtype, n_samples=5)
    capacity = 3 * TILE.columns(dtype) + 1
    network = problem.network(GuardedNetwork, narrow=narrow, solver="sgd", batch_size=capacity)
    record = network.record[0]
    for number in range(len(network.layers)):
        for name in ("inputs", "outputs", "deltas"):
            network.workspace[network.samples_matrix(name, number)] = np.nan
    if network.layers[0].rows:
        network.workspace[network.samples_matrix("rows", 0)] = np.nan
    last = len(network.layers) - 1
    network.workspace[network.samples_matrix("targets", last)] = np.nan
    for place, size in (
        (record.losses, capacity),
        (record.weights, capacity),
        (record.sums, capacity),
        (record.scratch, record.scratch_size),
    ):
        network.workspace[place : place + size] = np.nan
    for layer in network.layers:
        # Tiles of nothing but biases have no squares: their places hold zeros for good.
        places = places_of_tiles(layer, network.padded(1), narrow)
        weight_tiles = [tile for tile, (_, row) in enumerate(places) if narrow or row < layer.fan_in]
        network.workspace[record.squares + layer.first_tile + np.array(weight_tiles)] = np.nan
    reference = problem.reference()
    losses = advance(problem.epochs(network), 2, 0.01)
    expected = [reference.step(problem.X, problem.targets, 0.01) for _ in range(2)]
    tolerance = 1e-4 if dtype is np.float32 else 1e-10
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    assert relative_difference(parameters_of(network), reference.coefs + reference.intercepts) < tolerance


@each_orientation
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer_units", SHAPES, ids=str)
def test_padding_stays_zero(layer_units, dtype, narrow):
    problem = make_problem(layer_units, "logistic", "squared_error", dtype, n_samples=9)
    network = problem.network(GuardedNetwork, narrow=narrow, solver="adam")
    advance(problem.epochs(network, batch_size=4), 3, 0.01)
    for number, layer in enumerate(network.layers):
        padded = network.padded(layer.fan_out)
        for copy in range(3):
            assert not network.read(network.parameter_matrix(number, copy, padded))[:, layer.fan_out :].any()
        if narrow:
            continue
        assert not network.read(network.samples_matrix("deltas", number, padded))[:, layer.fan_out :].any()
        if layer.transposed:
            columns = network.padded(layer.fan_in)
            assert not network.read(network.transposed_matrix(number, columns))[:, layer.fan_in :].any()
    if not narrow:
        padded = network.padded(layer_units[0])
        assert not network.read(network.samples_matrix("inputs", 0, padded))[:, layer_units[0] :].any()


def test_more_blocks_than_there_is_scratch_for_are_refused():
    problem = make_problem([3, 5, 2])
    network = problem.network(GuardedNetwork, n_threads=1)
    for n_blocks in (0, 2):
        with pytest.raises(ValueError, match="n_blocks"):
            problem.epochs(network, n_blocks=n_blocks)
        with pytest.raises(ValueError, match="n_blocks"):
            network.predict(problem.rows, np.empty((problem.n_samples, 2)), n_blocks=n_blocks)


@pytest.mark.needs_jit
@pytest.mark.parametrize("variables", [{"NUMBA_NUM_THREADS": "1"}, {"NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}])
def test_warming_up_with_a_single_thread(variables):
    run_python(
        """
        import numpy as np
        from unittest import mock
        from tests.helpers.panels import ORIENTATIONS, GuardedNetwork, guards_checked

        with guards_checked(), mock.patch("fastmlp.network.network.Network", GuardedNetwork):
            from fastmlp.network.warmup import warmup
            warmup(np.float32)
        """,
        **variables,
    )


@pytest.mark.needs_jit
def test_bounds_are_checked_where_numba_offers_it():
    run_python(
        """
        import numpy as np
        from tests.helpers.problems import make_problem

        problem = make_problem([30, 50, 10], "relu", "log_loss", np.float32, n_samples=9)
        problem.targets[3] = 10**9  # no such class
        try:
            problem.epochs(problem.network(solver="sgd")).advance(np.ones(1))
        except IndexError:
            pass
        else:
            raise SystemExit("bounds are not checked")
        """,
        NUMBA_BOUNDSCHECK="1",
    )


@pytest.mark.needs_jit
def test_the_kernel_tests_pass_with_bounds_checked_and_eight_threads():
    completed = subprocess.run(
        [
            # What starts processes is left out: in these nothing is checked.
            sys.executable, "-m", "pytest", "-q", "-m", "not slow", "--tb=short", "-p", "no:cacheprovider",
            "tests/kernels", "--ignore=tests/kernels/test_vector_maths.py",
            "tests/microkernels", "tests/drivers", "tests/simd/test_vectors.py",
        ],
        cwd=ROOT,
        env=environment_with(NUMBA_BOUNDSCHECK="1", NUMBA_NUM_THREADS="8", FASTMLP_TEST_EXAMPLES="30"),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stdout[-5000:] + completed.stderr[-2000:]
