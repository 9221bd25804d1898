"""Terms of zeros are left out of the first layer's products: which they are, and that no number shows it."""

import itertools

import numpy as np
import pytest
from numba import config

from fastmlp.kernels.wide.gather import gather_rows
from fastmlp.kernels.wide.halves import FIRST_HALF, SECOND_HALF, WHOLE
from fastmlp.kernels.wide.nonzero_lists import (
    list_features,
    list_samples,
    mark_nonzeros,
    nonzero_features,
    nonzero_samples,
)
from fastmlp.network.rows import as_rows
from fastmlp.simd.integers_naive import as_indices
from fastmlp.simd.jit import as_records, uncached
from fastmlp.simd.tile_table import SPARSE_TILE_ROWS, TILE
from tests.helpers.panels import GuardedNetwork
from tests.helpers.problems import DTYPES, SOLVERS, advance, make_problem, parameters_of

ROWS = SPARSE_TILE_ROWS
BLOCKS = [n_threads for n_threads in (1, 2, 3) if n_threads <= config.NUMBA_NUM_THREADS]
LANES = {dtype: TILE.lanes(dtype) for dtype in DTYPES}
WIDTHS = {dtype: TILE.columns(dtype) for dtype in DTYPES}


@uncached
def call_lists(workspace, layers, network_record, source, order, begin, end):
    capacity = network_record[0].capacity
    gather_rows(workspace, layers[0].inputs, source[0], order, 0, begin, end, capacity)
    mark_nonzeros(workspace, layers[0], begin, end, capacity)
    list_features(workspace, layers[0], begin, end, capacity)


@uncached
def call_nonzero_features(workspace, layers, row, found):
    found[0], found[1], found[2] = nonzero_features(workspace, layers[0], row)


@uncached
def call_list_samples(workspace, layers, network_record, unit, begin, middle, end):
    list_samples(workspace, layers[0], network_record[0].scratch, unit, begin, middle, end)


@uncached
def call_nonzero_samples(workspace, layers, network_record, unit, part, found):
    found[0], found[1] = nonzero_samples(workspace, layers[0], network_record[0].scratch, unit, part)


class Lists:
    """What a network has listed of a problem's samples."""

    def __init__(self, fan_in, n_samples, dtype, density, cuts=(), capacity=None, stale=None):
        self.problem = problem = make_problem([fan_in, 5], dtype=dtype, n_samples=n_samples, density=density)
        self.network = problem.network(
            GuardedNetwork, narrow=False, leaves_zeros_out=True, batch_size=capacity or n_samples
        )
        self.layers, self.record = as_records(self.network.layers), as_records(self.network.record)
        if stale is not None:
            self.write(as_rows(stale, dtype), [0, len(stale)])
        self.write(problem.rows, [0, *cuts, n_samples])

    def write(self, rows, cuts):
        self.network.record[0].rows = rows.n_rows
        order = np.arange(rows.n_rows)
        for begin, end in itertools.pairwise(cuts):
            call_lists(self.network.workspace, self.layers, self.record, rows.source, order, begin, end)

    def entries(self, place, count):
        return as_indices(self.network.workspace)[place : place + count]

    def features(self, row):
        """Return where the nonzero features of a tile of samples lie in a panel of A and in one of B."""
        found = np.zeros(3, np.int64)
        call_nonzero_features(self.network.workspace, self.layers, row, found)
        left, right, count = found.tolist()
        return self.entries(left, count), self.entries(right, count)

    def list_samples(self, unit, begin, middle, end):
        call_list_samples(self.network.workspace, self.layers, self.record, unit, begin, middle, end)

    def samples(self, unit, part=WHOLE):
        """Return where the nonzero samples of a tile of features lie in a panel."""
        found = np.zeros(2, np.int64)
        call_nonzero_samples(self.network.workspace, self.layers, self.record, unit, part, found)
        return self.entries(*found.tolist())


def shapes(dtype):
    """Shapes around the edges of marks, panels and tiles."""
    lanes, width = LANES[dtype], WIDTHS[dtype]
    features = sorted({1, 3, ROWS, ROWS + 1, lanes - 1, lanes, lanes + 1, width, width + 1, 2 * width + lanes + 3})
    samples = sorted({1, ROWS - 1, ROWS, ROWS + 1, lanes, lanes + 1, 2 * lanes + ROWS + 1})
    return itertools.product([n for n in features if n > 0], samples)


@pytest.mark.parametrize("density", [0, 0.1, 0.6, 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_lists_hold_what_is_not_zero(dtype, density):
    width = WIDTHS[dtype]
    for fan_in, n_samples in shapes(dtype):
        lists = Lists(fan_in, n_samples, dtype, density)
        is_nonzero = lists.problem.X != 0
        capacity = n_samples
        for row in range(0, n_samples - ROWS + 1, ROWS):
            features = np.flatnonzero(is_nonzero[row : row + ROWS].any(axis=0))
            left, right = lists.features(row)
            np.testing.assert_array_equal(left, features // width * capacity * width + features % width)
            np.testing.assert_array_equal(right, features * width)
        for unit in range(0, fan_in, ROWS):
            samples = np.flatnonzero(is_nonzero[:, unit : unit + ROWS].any(axis=1))
            middle = n_samples // 2
            lists.list_samples(unit, 0, middle, n_samples)
            np.testing.assert_array_equal(lists.samples(unit), samples * width)
            np.testing.assert_array_equal(lists.samples(unit, FIRST_HALF), samples[samples < middle] * width)
            np.testing.assert_array_equal(lists.samples(unit, SECOND_HALF), samples[samples >= middle] * width)
            lists.list_samples(unit, middle, n_samples, n_samples)  # one half alone
            np.testing.assert_array_equal(lists.samples(unit), samples[samples >= middle] * width)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lists_of_blocks_that_begin_anywhere(dtype):
    n_samples, fan_in = 4 * ROWS + 3, WIDTHS[dtype] + 5
    cuts = [ROWS + 1, 2 * ROWS + 3]
    lists = Lists(fan_in, n_samples, dtype, 0.2, cuts)
    is_nonzero = lists.problem.X != 0
    for begin, end in itertools.pairwise([0, *cuts, n_samples]):
        for row in range(begin, end - ROWS + 1, ROWS):
            features = np.flatnonzero(is_nonzero[row : row + ROWS].any(axis=0))
            np.testing.assert_array_equal(lists.features(row)[1], features * WIDTHS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_an_earlier_minibatch_has_left_is_in_no_list(dtype):
    n_samples, capacity = LANES[dtype] + 1, 3 * LANES[dtype]
    lists = Lists(ROWS + 1, n_samples, dtype, 0.5, capacity=capacity, stale=np.ones((capacity, ROWS + 1)))
    for unit in (0, ROWS):
        samples = np.flatnonzero((lists.problem.X[:, unit : unit + ROWS] != 0).any(axis=1))
        lists.list_samples(unit, 0, n_samples, n_samples)
        np.testing.assert_array_equal(lists.samples(unit), samples * WIDTHS[dtype])


def test_what_counts_as_zero():
    X = np.array([[0.0, -0.0, np.nan, np.inf], [1e-30, 5e-324, 1.0, -1.0], [0, 0, 0, 0], [0, 0, 0, 0]])
    lists = Lists(4, 4, np.float64, 1)
    lists.write(as_rows(X, np.float64), [0, 4])
    features = lists.features(0)[0].tolist()
    # Whether the smallest number counts as zero is the processor's business: phases flush such to zero.
    assert set(features) | {1} == {0, 1, 2, 3}
    lists.list_samples(0, 0, 4, 4)
    assert lists.samples(0).tolist() == [0, WIDTHS[np.float64]]


@pytest.mark.parametrize("batch_size", [37, 10, 3], ids=["full", "minibatches", "less than a tile"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("in_halves", [False, True], ids=["whole", "in halves"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_number_shows_what_was_left_out(dtype, in_halves, solver, batch_size):
    units = [2 * WIDTHS[dtype] + 5, WIDTHS[dtype] + TILE.rows, 4]
    problem = make_problem(units, "relu", "log_loss", dtype, weighted=True, density=0.1)
    results = []
    for leaves_zeros_out, n_threads in ((False, 1), *((True, n_threads) for n_threads in BLOCKS)):
        network = problem.network(
            GuardedNetwork, narrow=False, in_halves=in_halves, leaves_zeros_out=leaves_zeros_out, batch_size=batch_size,
            n_threads=n_threads, **SOLVERS[solver],
        )  # fmt: skip
        assert (network.layers[0].marks > 0) == leaves_zeros_out
        epochs = problem.epochs(network, batch_size=batch_size, n_blocks=n_threads)
        losses = advance(epochs, 3, 0.01)
        outputs = np.empty((problem.n_samples, 4), dtype)
        network.predict(problem.rows, outputs, n_blocks=n_threads)
        results.append([losses, outputs, *parameters_of(network)])
    dense, *sparse = results
    for result in sparse:
        for array, expected in zip(result, dense, strict=True):
            np.testing.assert_array_equal(array, expected)
        # Not even the sign of a zero depends on the number of threads: blocks are cut where tiles are.
        assert [array.tobytes() for array in result] == [array.tobytes() for array in sparse[0]]


@pytest.mark.parametrize("n_pieces", [2, 3])
@pytest.mark.parametrize("in_halves", [False, True], ids=["whole", "in halves"])
def test_a_step_in_pieces_writes_its_lists_where_there_is_room(in_halves, n_pieces, monkeypatch):
    """On one thread halves may be pieces of a step, and there is one block's scratch."""
    monkeypatch.setattr("tests.helpers.panels._GUARD_ROWS", 200)  # where another block's would be
    dtype = np.float32
    problem = make_problem([WIDTHS[dtype] + 5, WIDTHS[dtype] + 3, 3], dtype=dtype, density=0.1)
    results = []
    for leaves_zeros_out, pieces in ((False, 1), (True, n_pieces)):
        monkeypatch.setattr("fastmlp.network.epochs.pieces_of_step", lambda seconds, pieces=pieces: pieces)
        network = problem.network(
            GuardedNetwork, narrow=False, in_halves=in_halves, leaves_zeros_out=leaves_zeros_out, n_threads=1
        )
        advance(problem.epochs(network, n_blocks=1), 2, 0.01)
        network.assert_guards_untouched()
        results.append(parameters_of(network))
    for array, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_lists_of_a_full_batch_are_written_anew_where_another_number_of_threads_goes_over_it(dtype):
    units = [WIDTHS[dtype] + 5, 2 * WIDTHS[dtype], 3]
    problem = make_problem(units, "tanh", "squared_error", dtype, n_samples=9 * ROWS, density=0.1)
    results = []
    for ways in ([1, 1, 1, 1], [1, BLOCKS[-1], 1, BLOCKS[-1]]):
        network = problem.network(GuardedNetwork, narrow=False, leaves_zeros_out=True, n_threads=BLOCKS[-1])
        epochs = problem.epochs(network, n_blocks=1)
        for n_blocks in ways:
            epochs._n_blocks, epochs._tile_bounds = n_blocks, network.tile_bounds(n_blocks)
            advance(epochs, 1, 0.01)
        results.append(parameters_of(network))
    for array, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(array, expected)
