"""A first layer that goes over the entries of a sparse X: what it keeps, and that it computes the same numbers."""

import itertools

import numpy as np
import pytest
from numba import config
from scipy import sparse

from fastmlp.kernels.wide.entries import NO_ENTRY, gather_entries, link_entries
from fastmlp.network.rows import as_rows
from fastmlp.simd.conversion import SOURCE_KINDS
from fastmlp.simd.integers_naive import as_indices
from fastmlp.simd.jit import as_records, uncached
from fastmlp.simd.tile_table import ENTRY_TILE_ROWS, TILE
from tests.helpers.panels import GuardedNetwork
from tests.helpers.phases import propagate_blocks, update_blocks
from tests.helpers.problems import (
    ACTIVATIONS,
    DTYPES,
    SOLVERS,
    advance,
    make_problem,
    parameters_of,
    relative_difference,
)

BLOCKS = [n_threads for n_threads in (1, 2, 3) if n_threads <= config.NUMBA_NUM_THREADS]
WIDTHS = {dtype: TILE.columns(dtype) for dtype in DTYPES}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}
INDICES = [np.int32, np.int64]


@uncached
def call_gather(workspace, layers, source, order, start, begin, end):
    gather_entries(workspace, layers[0], source[0], order, start, begin, end)


@uncached
def call_link(workspace, layers, rows, first_tile, last_tile):
    link_entries(workspace, layers[0], rows, first_tile, last_tile)


def with_parts(X):
    """Return a CSR matrix of X whose rows are in no order, with entries in two parts and explicit zeros."""
    generator = np.random.RandomState(0)
    row, column = np.nonzero(X)
    values = X[row, column]
    part = generator.uniform(size=len(values)) < 0.2
    zero_row, zero_column = (generator.randint(0, size, 9) for size in X.shape)
    row = np.concatenate([row, row[part], zero_row])
    column = np.concatenate([column, column[part], zero_column])
    halves = values / 2
    values = np.concatenate([np.where(part, halves, values), halves[part], np.zeros(9, X.dtype)])
    order = generator.permutation(len(row))
    order = order[np.argsort(row[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(X)))])
    return sparse.csr_array((values[order], column[order], starts), X.shape)


def sparse_problem(units, *arguments, density=0.08, **options):
    """Return a problem twice, with a dense X and with a sparse one."""
    dense, problem = (make_problem(units, *arguments, density=density, **options) for _ in range(2))
    problem.X = with_parts(dense.X)
    return dense, problem


def network_of(problem, **options):
    return problem.network(GuardedNetwork, keeps_entries_of=problem.rows, narrow=False, **options)


def field(network, name, count):
    place = int(network.layers[0][name])
    return as_indices(network.workspace)[place : place + count]


# --- what is kept


@pytest.mark.parametrize("index_dtype", INDICES)
@pytest.mark.parametrize("kind", SOURCE_KINDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_entries_are_copied_as_they_stand(dtype, kind, index_dtype):
    values = np.random.RandomState(0).randint(0, 100, (9, 23)) * (np.random.RandomState(1).uniform(size=(9, 23)) < 0.3)
    values[4] = 0
    X = sparse.csr_array(values.astype(kind))
    X.indptr, X.indices = X.indptr.astype(index_dtype), X.indices.astype(index_dtype)
    problem = make_problem([23, 3], dtype=dtype, n_samples=9)
    problem.X = X
    network = network_of(problem)
    order = np.array([8, 3, 4, 0, 7, 5])
    for begin, end in ((3, 5), (0, 3), (5, 6)):  # as independent blocks
        call_gather(network.workspace, as_records(network.layers), problem.rows.source, order, 0, begin, end)
    expected = X[order]
    np.testing.assert_array_equal(field(network, "entry_begins", 6), expected.indptr[:-1])
    np.testing.assert_array_equal(field(network, "entry_ends", 6), expected.indptr[1:])
    np.testing.assert_array_equal(field(network, "entry_columns", expected.nnz), expected.indices)
    np.testing.assert_array_equal(field(network, "entry_samples", expected.nnz), expected.nonzero()[0])
    place = int(network.layers[0].entry_values)
    np.testing.assert_array_equal(network.workspace[place : place + expected.nnz], expected.data.astype(dtype))


@pytest.mark.parametrize("fan_in", [1, ENTRY_TILE_ROWS - 1, 3 * ENTRY_TILE_ROWS, 3 * ENTRY_TILE_ROWS + 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_entries_of_a_tile_are_linked_in_the_order_of_the_samples(dtype, fan_in):
    _, problem = sparse_problem([fan_in, 3], dtype=dtype, n_samples=21, density=0.2)
    network = network_of(problem)
    layers, n_tiles = as_records(network.layers), -(-fan_in // ENTRY_TILE_ROWS)
    call_gather(network.workspace, layers, problem.rows.source, np.arange(21), 0, 0, 21)
    for first, last in itertools.pairwise([0, n_tiles // 2, n_tiles]):
        call_link(network.workspace, layers, 21, first, last)
    for tile, entry in enumerate(field(network, "tile_entries", n_tiles).tolist()):
        found = []
        while entry != NO_ENTRY:
            found.append(entry)
            entry = int(field(network, "entry_links", entry + 1)[entry])
        np.testing.assert_array_equal(found, np.flatnonzero(problem.X.indices // ENTRY_TILE_ROWS == tile))


# --- what is computed


def units_of(dtype):
    """Units around the edges of registers, of four of them, of panels and of tiles."""
    lanes, width = TILE.lanes(dtype), WIDTHS[dtype]
    for fan_in, fan_out in (
        (1, 1), (ENTRY_TILE_ROWS, lanes), (2 * ENTRY_TILE_ROWS + 3, lanes + 1), (40, width), (20, 4 * lanes + 1),
        (30, 2 * width + 5),
    ):  # fmt: skip
        yield [fan_in, fan_out, 3]
        yield [fan_in, fan_out]
        yield [fan_in, fan_out, 2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_those_of_a_dense_x(dtype):
    for units, activation in zip(units_of(dtype), itertools.cycle(ACTIVATIONS), strict=False):
        dense, problem = sparse_problem(units, activation, "squared_error", dtype, weighted=True)
        network, reference = network_of(problem, solver="adam", alpha=0.1), dense.network(alpha=0.1)
        losses, expected = (
            advance(own.epochs(trained, batch_size=20), 2, 0.01)
            for own, trained in ((problem, network), (dense, reference))
        )
        np.testing.assert_allclose(losses, expected, rtol=10 * TOLERANCE[dtype])
        # Adam divides gradients by their size: of a sum that nearly cancels, rounding shows.
        assert relative_difference(parameters_of(network), parameters_of(reference)) < 100 * TOLERANCE[dtype]


@pytest.mark.parametrize("batch_size", [37, 10, 3], ids=["full", "minibatches", "less than a block"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_are_the_same_for_any_number_of_blocks(dtype, solver, batch_size):
    units = [2 * ENTRY_TILE_ROWS + 3, WIDTHS[dtype] + 5, 4]
    dense, problem = sparse_problem(units, "relu", "log_loss", dtype, weighted=True)
    results = []
    for n_threads in BLOCKS:
        network = network_of(problem, batch_size=batch_size, n_threads=n_threads, **SOLVERS[solver])
        losses = advance(problem.epochs(network, batch_size=batch_size, n_blocks=n_threads), 2, 0.01)
        outputs = np.empty((problem.n_samples, 4), dtype)
        network.predict(problem.rows, outputs, n_blocks=n_threads)
        results.append([losses, outputs, *parameters_of(network)])
    for result in results:
        assert [array.tobytes() for array in result] == [array.tobytes() for array in results[0]]
    network = dense.network(batch_size=batch_size, **SOLVERS[solver])
    expected = advance(dense.epochs(network, batch_size=batch_size), 2, 0.01)
    np.testing.assert_allclose(results[0][0], expected, rtol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("n_pieces", [2, 3])
def test_a_step_in_pieces_ends_with_the_same_bits(n_pieces, monkeypatch):
    _, problem = sparse_problem([5 * ENTRY_TILE_ROWS + 3, 30, 3], dtype=np.float32)
    results = []
    for pieces in (1, n_pieces):
        monkeypatch.setattr("fastmlp.network.epochs.pieces_of_step", lambda seconds, pieces=pieces: pieces)
        network = network_of(problem)
        advance(problem.epochs(network, n_blocks=1), 2, 0.01)
        results.append(parameters_of(network))
    for array, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("units", [[53, 30, 3], [53, 7]], ids=str)
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "binary_log_loss", "log_loss"])
def test_loss_and_gradient_over_chunks(loss, units):
    dense, problem = sparse_problem(units, "tanh", loss, np.float64, n_samples=60, weighted=True)
    results = []
    for n_threads in BLOCKS:
        network = network_of(problem, solver="lbfgs", batch_size=25, alpha=0.1, n_threads=n_threads)
        gradient = np.empty_like(problem.flat_parameters())
        arguments = (problem.targets, problem.sample_weight, problem.flat_parameters(), gradient)
        results.append((network.loss_and_gradient(problem.rows, *arguments), gradient))
    network, expected = dense.network(solver="lbfgs", batch_size=60, alpha=0.1), np.empty_like(gradient)
    loss = network.loss_and_gradient(dense.rows, *arguments[:-1], expected)
    assert relative_difference([gradient], [expected]) < 1e-13
    assert results[0][0] == pytest.approx(loss, rel=1e-13)
    for other, bits in results:
        assert other == pytest.approx(results[0][0], rel=1e-15)
        np.testing.assert_array_equal(bits, results[0][1])


@pytest.mark.parametrize("n_threads", BLOCKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_any_number_of_entries_can_be_predicted(dtype, n_threads):
    dense, problem = sparse_problem([40, WIDTHS[dtype] + 3, 3], "tanh", dtype=dtype, density=0.03)
    network = network_of(problem, batch_size=20, n_threads=n_threads)
    dense.X[::3] = np.random.RandomState(2).standard_normal(dense.X[::3].shape)
    problem.X = with_parts(dense.X)
    results = []
    for own, trained in ((problem, network), (dense, dense.network())):
        results.append(np.empty((own.n_samples, 3), dtype))
        trained.predict(own.rows, results[-1])
    assert relative_difference(results[:1], results[1:]) < 10 * TOLERANCE[dtype]


def test_what_is_not_finite_stays_so():
    _, problem = sparse_problem([40, 20, 3], "relu", dtype=np.float32)
    problem.X.data[0] = np.nan
    network, outputs = network_of(problem), np.empty((problem.n_samples, 3), np.float32)
    network.predict(problem.rows, outputs)
    assert np.isnan(outputs[0]).all()
    assert np.isfinite(outputs[1:]).all()


# --- what is read and written


def bits_of(network):
    return network.workspace.view(f"u{network.dtype.itemsize}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_phase_changes_what_its_block_owns(dtype):
    _, problem = sparse_problem([3 * ENTRY_TILE_ROWS + 3, WIDTHS[dtype] + 3], "relu", dtype=dtype, n_samples=11)
    network = network_of(problem, solver="adam")
    layer, record, starts = network.layers[0], network.record[0], problem.X.indptr
    width = network.padded(layer.fan_out)
    for begin, end in ((0, 4), (4, 5), (5, 11)):
        before = bits_of(network).copy()
        propagate_blocks(network, problem, [begin, end])
        owned = [network.samples_matrix(name, 0, width)[begin:end].ravel() for name in ("outputs", "deltas", "targets")]
        owned += [place + np.arange(begin, end) for place in (layer.entry_begins, layer.entry_ends, record.losses)]
        entries = np.arange(starts[begin], starts[end])
        owned += [place + entries for place in (layer.entry_columns, layer.entry_values, layer.entry_samples)]
        assert set(np.flatnonzero(bits_of(network) != before)) <= set(np.concatenate(owned).tolist())
    for tile in range(layer.row_tiles):
        before = bits_of(network).copy()
        update_blocks(network, problem, [tile, tile + 1], 0.01)
        first = tile * ENTRY_TILE_ROWS
        last = layer.fan_in + 1 if tile == layer.row_tiles - 1 else min(first + ENTRY_TILE_ROWS, layer.fan_in)
        first = layer.fan_in if tile == layer.row_tiles - 1 else first
        numbers = layer.parameters + np.arange(first * layer.row_size, last * layer.row_size)
        owned = [numbers + copy * record.n_parameters for copy in range(3)]
        owned.append(np.arange(record.scratch, record.scratch + record.scratch_size))
        links = layer.entry_links + np.flatnonzero(problem.X.indices // ENTRY_TILE_ROWS == tile)
        owned += [links, [layer.tile_entries + tile, record.squares + tile]]
        changed = set(np.flatnonzero(bits_of(network) != before))
        assert changed <= set(np.concatenate(owned).tolist())
        assert changed & set(numbers.tolist())


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_an_earlier_minibatch_left_is_never_read(dtype):
    _, problem = sparse_problem([3 * ENTRY_TILE_ROWS + 3, WIDTHS[dtype] + 3, 2], dtype=dtype)
    results = []
    for spoils in (False, True):
        network = network_of(problem, batch_size=10)
        if spoils:
            layer, record = network.layers[0], network.record[0]
            for name in ("entry_values", "entry_columns", "entry_samples", "entry_links"):
                network.workspace[layer[name] : layer[name] + layer.most_entries] = np.nan
            for place, size in (
                (layer.entry_begins, 10), (layer.entry_ends, 10), (layer.tile_entries, layer.row_tiles - 1),
                (record.scratch, record.scratch_size), (layer.outputs, 10 * network.padded(layer.fan_out)),
            ):  # fmt: skip
                network.workspace[place : place + size] = np.nan
        losses = advance(problem.epochs(network, batch_size=10), 2, 0.01)
        results.append([losses, *parameters_of(network)])
    for array, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_rows_that_are_not_kept_are_refused():
    dense, problem = sparse_problem([40, 5, 2], density=0.05)
    lbfgs = network_of(problem, solver="lbfgs")
    network = network_of(problem, batch_size=10)
    outputs, flat = np.empty((problem.n_samples, 2)), problem.flat_parameters()
    full = make_problem([40, 5, 2])
    full.X = with_parts(full.X)
    for other, message in ((dense, "dense"), (full, "entries")):
        with pytest.raises(ValueError, match=message):
            other.epochs(network, batch_size=10)
        with pytest.raises(ValueError, match=message):
            lbfgs.loss_and_gradient(other.rows, other.targets, None, flat, np.empty_like(flat))
    with pytest.raises(ValueError, match="dense"):
        network.predict(dense.rows, outputs)
    # The fullest row again and again has more entries than any ten rows.
    fullest = np.full(10, np.argmax(np.diff(problem.X.indptr)))
    with pytest.raises(ValueError, match="entries"):
        problem.epochs(network, batch_size=10, order=fullest)
    assert as_rows(problem.X, np.float64).most_entries(10) == np.sort(np.diff(problem.X.indptr))[-10:].sum()
