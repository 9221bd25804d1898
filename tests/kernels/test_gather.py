"""The gather: rows of any X become panels, read where they lie."""

import ctypes
import mmap
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from fastmlp.kernels.losses import LOSSES
from fastmlp.kernels.narrow.gather import narrow_gather, narrow_gather_targets
from fastmlp.kernels.records import LAYER, NETWORK
from fastmlp.kernels.wide.gather import gather_rows
from fastmlp.network.rows import as_rows
from fastmlp.simd.conversion import SOURCE_KINDS
from fastmlp.simd.jit import JIT_DISABLED, as_records, uncached
from fastmlp.simd.tile_table import TILE
from tests.helpers.problems import DTYPES

CAPACITY = 11
KINDS = [*SOURCE_KINDS, np.dtype(np.float16), np.dtype(">f4"), np.dtype(">i8")]


@uncached
def call_gather(workspace, inputs, source, order, start, begin, end, capacity):
    gather_rows(workspace, inputs, source[0], order, start, begin, end, capacity)


def gather(rows, order, dtype, start=0, begin=0, end=None):
    """Return the gathered rows; check that nothing else was written and that what is left of a vector is zeros."""
    width, lanes = TILE.columns(dtype), TILE.lanes(dtype)
    end = min(CAPACITY, len(order) - start) if end is None else end
    n_panels = -(-rows.n_features // width)
    inputs = 3
    # NaN around, zeros in the panels: they hold zeros before the first minibatch.
    workspace = np.full(inputs + n_panels * CAPACITY * width + 5, np.nan, dtype)
    workspace[inputs:-5] = 0
    call_gather(workspace, inputs, rows.source, np.asarray(order, np.int64), start, begin, end, CAPACITY)
    assert np.isnan(workspace[:inputs]).all()
    assert np.isnan(workspace[-5:]).all()
    matrix = workspace[inputs:-5].reshape(n_panels, CAPACITY, width).transpose(1, 0, 2).reshape(CAPACITY, -1)
    assert not matrix[:, rows.n_features :].any()
    assert not matrix[:begin].any()
    assert not matrix[end:].any()
    assert lanes <= width
    return matrix[begin:end, : rows.n_features]


@uncached
def call_narrow_gather(workspace, layers, source, order, start, first, end):
    narrow_gather(workspace, layers[0], source[0], order, start, first, end)


def gather_narrow(rows, order, dtype, start=0, panel=1, samples=None):
    """Return the rows that were gathered into columns of one panel; check that nothing else was written.

    The rest of a register beyond the last sample holds finite numbers.
    """
    width, lanes, fan_in = TILE.columns(dtype), TILE.lanes(dtype), rows.n_features
    samples = min(width, len(order) - start - panel * width) if samples is None else samples
    layers = np.zeros(1, LAYER)
    layers["inputs"], layers["fan_in"] = 3, fan_in
    # NaN in the panels before it and behind it, and in the row of ones.
    workspace = np.full(3 + (panel + 2) * (fan_in + 1) * width, np.nan, dtype)
    place = 3 + panel * (fan_in + 1) * width
    columns = workspace[place : place + fan_in * width].reshape(fan_in, width)
    columns[:] = 7
    first = panel * width
    call_narrow_gather(workspace, as_records(layers), rows.source, order, start, first, first + samples)
    assert np.isnan(workspace[:place]).all()
    assert np.isnan(workspace[place + fan_in * width :]).all()
    used = -(-samples // lanes) * lanes
    assert np.isfinite(columns[:, :used]).all()
    assert rows.source["is_sparse"][0] or (columns[:, used:] == 7).all()
    return columns[:, :samples].T


@uncached
def call_narrow_targets(workspace, layers, network_record, targets, labels, sample_weight, order, first, end):
    narrow_gather_targets(workspace, layers[0], network_record[0], targets, labels, sample_weight, order, first, end)


def numbers(dtype, shape, seed=0):
    """Draw numbers that fill the whole range of a data type."""
    generator = np.random.RandomState(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return generator.randint(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        # Every byte at random; the largest and the smallest number too.
        values = np.frombuffer(generator.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape).copy()
        values.flat[0], values.flat[-1] = np.iinfo(dtype).min, np.iinfo(dtype).max
        return values
    return (100 * generator.standard_normal(shape)).astype(dtype)


def strided(X):
    """Every way in which the same numbers may lie in memory."""
    twice = np.empty((2 * X.shape[0], 2 * X.shape[1]), X.dtype)
    twice[::2, ::2] = X
    unaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(X.dtype).reshape(X.shape)
    unaligned[...] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    one_row = np.broadcast_to(X[:1], X.shape)
    return {
        "C": X,
        "Fortran": np.asfortranarray(X),
        "rows backwards": X[::-1].copy()[::-1],
        "columns backwards": X[:, ::-1].copy()[:, ::-1],
        "every second column": twice[::2, ::2],
        "every second row": np.repeat(X, 2, axis=0)[::2],
        "unaligned": unaligned,
        "read-only": read_only,
        "broadcast": one_row,
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_data_type_and_every_stride(kind, dtype):
    width = TILE.columns(dtype)
    for columns in (1, TILE.lanes(dtype) + 1, width + 1):
        X = numbers(kind, (CAPACITY + 4, columns))
        order = np.random.RandomState(1).permutation(len(X))
        for name, view in strided(X).items():
            with np.errstate(over="ignore"):
                expected = view[order].astype(dtype)[2 : 2 + CAPACITY]
            result = gather(as_rows(view, dtype), order, dtype, start=2)
            np.testing.assert_array_equal(result, expected, err_msg=f"{name}, {columns} columns")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", SOURCE_KINDS, ids=str)
def test_every_data_type_and_every_stride_in_columns(kind, dtype):
    width, lanes = TILE.columns(dtype), TILE.lanes(dtype)
    for columns in (1, 2, 3, 4, 7):
        X = numbers(kind, (2 * width + 2, columns))
        order = np.random.RandomState(1).permutation(len(X))
        for name, view in strided(X).items():
            for samples in (1, lanes, lanes + 1, width):
                with np.errstate(over="ignore"):
                    expected = view[order].astype(dtype)[2 + width :][:samples]
                result = gather_narrow(as_rows(view, dtype), order, dtype, start=2, samples=samples)
                np.testing.assert_array_equal(result, expected, err_msg=f"{name}, {columns} columns, {samples}")


@pytest.fixture
def page_before_a_forbidden_one():
    """Give a page of memory; who reads behind its end ends the process."""
    pages = np.frombuffer(mmap.mmap(-1, 2 * mmap.PAGESIZE), np.uint8)

    def protect(protection):
        place = ctypes.c_void_p(pages.ctypes.data + mmap.PAGESIZE)
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        assert mprotect(place, ctypes.c_size_t(mmap.PAGESIZE), protection) == 0, os.strerror(ctypes.get_errno())

    protect(0)
    yield pages[: mmap.PAGESIZE]
    protect(mmap.PROT_READ | mmap.PROT_WRITE)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX memory protection")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 6, 7])
def test_nothing_beyond_the_last_row_is_read(page_before_a_forbidden_one, columns, dtype):
    numbers_there = page_before_a_forbidden_one.view(dtype)
    n_rows = numbers_there.size // columns
    X = numbers_there[-n_rows * columns :].reshape(n_rows, columns)
    X[:] = numbers(dtype, X.shape)
    rows, order = as_rows(X, dtype), np.arange(n_rows - 1, -1, -1)
    np.testing.assert_array_equal(gather(rows, order, dtype), X[::-1][:CAPACITY])
    np.testing.assert_array_equal(gather_narrow(rows, order, dtype, panel=0), X[::-1][: TILE.columns(dtype)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_targets_and_weights_in_columns(loss, dtype):
    width, generator = TILE.columns(dtype), np.random.RandomState(0)
    n_samples, fan_out = 2 * width - 3, 6
    order = generator.permutation(n_samples)
    values = generator.standard_normal((n_samples, fan_out)).astype(dtype)
    labels = generator.randint(0, fan_out, n_samples)
    sample_weight = generator.uniform(size=n_samples).astype(dtype)
    layers, network = np.zeros(1, LAYER), np.zeros(1, NETWORK)
    layers["fan_out"] = fan_out
    network["targets"], network["weights"], network["weighted"] = 0, 2 * fan_out * width, 1
    network["has_labels"] = LOSSES[loss].has_labels
    workspace = np.full(2 * fan_out * width + 2 * width, np.nan, dtype)
    if loss == "log_loss":
        given_targets, given_labels = np.empty((0, 0), dtype), labels
    else:
        given_targets, given_labels = values, np.empty(0, np.int64)
    for first in (0, width):
        call_narrow_targets(
            workspace, as_records(layers), as_records(network), given_targets, given_labels, sample_weight, order,
            first, min(first + width, n_samples),
        )  # fmt: skip
    np.testing.assert_array_equal(workspace[2 * fan_out * width :][:n_samples], sample_weight[order])
    if loss == "log_loss":
        np.testing.assert_array_equal(workspace[:n_samples], labels[order])
    else:
        columns = workspace[: 2 * fan_out * width].reshape(2, fan_out, width).transpose(0, 2, 1).reshape(-1, fan_out)
        np.testing.assert_array_equal(columns[:n_samples], values[order])


@pytest.mark.parametrize("kind", SOURCE_KINDS, ids=str)
def test_what_can_be_read_in_place_is_not_copied(kind):
    X = np.asfortranarray(numbers(kind, (5, 7)))
    rows = as_rows(X, np.float32)
    assert rows.source["address"][0] == X.ctypes.data
    assert (rows.n_rows, rows.n_features) == X.shape


def test_a_memory_mapped_file_is_read_where_it_lies(tmp_path):
    X = numbers(np.float32, (9, 50))
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    rows = as_rows(mapped, np.float32)
    assert rows.source["address"][0] == mapped.ctypes.data
    np.testing.assert_array_equal(gather(rows, np.arange(9)[::-1], np.float32), X[::-1])


def test_what_is_read_stays_alive():
    rows = as_rows(numbers(np.float64, (9, 3)).T.copy().T, np.float64)
    clutter = [np.full((9, 3), float(i)) for i in range(20)]
    np.testing.assert_array_equal(gather(rows, np.arange(9), np.float64), numbers(np.float64, (9, 3)))
    assert len(clutter) == 20


def with_duplicates(X):
    """Return a CSR matrix that holds every entry in two parts."""
    csr = sparse.csr_matrix(X)
    return sparse.csr_matrix(
        (np.repeat(csr.data / 2, 2), np.repeat(csr.indices, 2), 2 * csr.indptr), shape=csr.shape
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.uint8, np.bool_, np.float16], ids=str)
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse(container, kind, dtype):
    X = numbers(np.int8, (CAPACITY, TILE.columns(dtype) + 2)).astype(kind)
    X[np.random.RandomState(0).uniform(size=X.shape) < 0.7] = 0
    X[3] = 0  # a row without entries
    if kind == np.float16:
        # SciPy does not convert to this type, but lets it in.
        matrix = container(X.astype(np.float32))
        matrix.data = matrix.data.astype(kind)
    else:
        matrix = container(X)
    order = np.random.RandomState(1).permutation(CAPACITY)
    expected = X[order].astype(dtype)
    np.testing.assert_array_equal(gather(as_rows(matrix, dtype), order, dtype), expected)
    columns = gather_narrow(as_rows(matrix, dtype), order, dtype, panel=0, samples=min(CAPACITY, TILE.columns(dtype)))
    np.testing.assert_array_equal(columns, expected[: len(columns)])


@pytest.mark.parametrize("row_starts", [np.int32, np.int64])
@pytest.mark.parametrize("column_numbers", [np.int32, np.int64])
def test_both_widths_of_sparse_indices(row_starts, column_numbers):
    X = numbers(np.float32, (CAPACITY, 5))
    matrix = sparse.csr_matrix(X)
    matrix.indptr = matrix.indptr.astype(row_starts)
    matrix.indices = matrix.indices.astype(column_numbers)
    np.testing.assert_array_equal(gather(as_rows(matrix, np.float32), np.arange(CAPACITY), np.float32), X)


def test_an_entry_in_several_parts_is_their_sum():
    X = numbers(np.float32, (CAPACITY, 5))
    np.testing.assert_array_equal(
        gather(as_rows(with_duplicates(X), np.float32), np.arange(CAPACITY), np.float32), X
    )  # fmt: skip


def test_sparse_parts_that_are_views():
    X = numbers(np.float64, (CAPACITY, 5))
    matrix = sparse.csr_matrix(X)
    for name in ("data", "indices", "indptr"):
        setattr(matrix, name, np.repeat(getattr(matrix, name), 2)[::2])
    np.testing.assert_array_equal(gather(as_rows(matrix, np.float64), np.arange(CAPACITY), np.float64), X)


def test_blocks_of_rows_are_gathered_apart():
    X = numbers(np.float32, (CAPACITY, 60))
    order = np.random.RandomState(1).permutation(CAPACITY)
    for begin, end in ((0, 4), (4, 8), (8, 11), (5, 5)):
        result = gather(as_rows(X, np.float32), order, np.float32, begin=begin, end=end)
        np.testing.assert_array_equal(result, X[order][begin:end])


def test_the_rows_of_a_sparse_minibatch_are_cleared_first():
    dtype, width = np.float32, TILE.columns(np.float32)
    workspace = np.full(CAPACITY * width, 7, dtype)
    rows = as_rows(sparse.csr_matrix(np.eye(CAPACITY, 3)), dtype)
    call_gather(workspace, 0, rows.source, np.arange(CAPACITY), 0, 0, 6, CAPACITY)
    matrix = workspace.reshape(CAPACITY, width)
    np.testing.assert_array_equal(matrix[:6, :3], np.eye(6, 3))
    assert not matrix[:6, 3:].any()
    assert (matrix[6:] == 7).all()


@settings(max_examples=20 if JIT_DISABLED else 200, deadline=None, derandomize=True, database=None)
@given(
    n_rows=st.integers(1, CAPACITY),
    n_columns=st.integers(1, 2 * TILE.columns(np.float32) + 1),
    kind=st.sampled_from(list(SOURCE_KINDS)),
    dtype=st.sampled_from(DTYPES),
    way=st.sampled_from(list(strided(np.zeros((1, 1))))),
    seed=st.integers(0, 1000),
)
def test_any_shape(n_rows, n_columns, kind, dtype, way, seed):
    X = numbers(kind, (n_rows, n_columns), seed)
    view = strided(X)[way]
    order = np.random.RandomState(seed).randint(0, n_rows, n_rows)  # rows may come twice, or not at all
    with np.errstate(over="ignore"):
        expected = view[order].astype(dtype)
    np.testing.assert_array_equal(gather(as_rows(view, dtype), order, dtype), expected)
