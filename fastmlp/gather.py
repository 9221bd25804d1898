"""The gather: rows of X, in any order and of any data type, dense or sparse, become panels of the first layer.

X is read where it lies, through its address and strides: nothing is converted or copied up front, a
read-only or memory-mapped X costs no second compilation, and the kernels do not multiply by the
type of X.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp._jit import as_records, inner
from fastmlp.density import listed_part
from fastmlp.sources import SOURCE, SOURCE_KINDS, copy_row, index_at, scalar_converted
from fastmlp.vectors import panel_width


class Rows:
    """What the gather kernel needs to know of X; it keeps X alive.

    Attributes
    ----------
    n_rows, n_features : int
        Shape of X.
    source : ndarray of SOURCE
        One record, read by the kernels.
    """

    def __init__(self, X: Any, arrays: tuple[np.ndarray, ...], source: np.ndarray) -> None:
        self.n_rows, self.n_features = X.shape
        self.source = source
        self._X, self._keep_alive = X, arrays

    def listed_part(self, fan_out: int, lanes: int) -> float:
        """Return which part of the first layer's terms is left where those of zeros are left out: see ``density``."""
        return listed_part(self._X, fan_out, lanes)


def _readable(X: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
    if X.dtype in SOURCE_KINDS and X.dtype.isnative:
        return X
    return X.astype(dtype)


def as_rows(X: Any, dtype: np.dtype | type) -> Rows:
    """Return X in the form that the kernels read.

    Parameters
    ----------
    X : ndarray or CSR or CSC sparse matrix of shape (n_rows, n_features)
        Not copied, whatever its strides, if its data type is one of ``SOURCE_KINDS``; CSC is
        converted to CSR.
    dtype : dtype
        The network's; what the kernels cannot read (float16, foreign byte order) is converted to
        it.
    """
    source = np.zeros(1, dtype=SOURCE)
    record = source[0]
    record["columns"] = X.shape[1]
    arrays: tuple[np.ndarray, ...]
    if isinstance(X, np.ndarray):
        values = _readable(X, dtype)
        arrays = (values,)
        record["row_stride"], record["column_stride"] = values.strides
    else:
        X = X.tocsr()
        # SciPy lets these be strided views; the kernels read them one number after the other.
        values, row_starts, column_numbers = map(np.ascontiguousarray, (_readable(X.data, dtype), X.indptr, X.indices))
        arrays = (values, row_starts, column_numbers)
        record["is_sparse"] = 1
        record["row_starts"] = row_starts.ctypes.data
        record["column_numbers"] = column_numbers.ctypes.data
        record["row_starts_wide"] = row_starts.dtype.itemsize == 8
        record["column_numbers_wide"] = column_numbers.dtype.itemsize == 8
    record["address"] = values.ctypes.data
    record["kind"] = SOURCE_KINDS[values.dtype]
    record["item_bytes"] = values.dtype.itemsize
    return Rows(X, arrays, as_records(source))


@inner
def gather_rows(workspace, inputs, source, order, start, begin, end, capacity):
    """Copy samples ``order[start + begin : start + end]`` into rows `begin` to `end` of the panels at `inputs`.

    workspace[inputs...] : panels of `capacity` rows. Overwritten.
    """
    width = panel_width(workspace)
    if source.is_sparse:
        _gather_sparse(workspace, inputs, source, order, start, begin, end, capacity)
    elif source.column_stride == source.item_bytes:
        for row in range(begin, end):
            address = source.address + order[start + row] * source.row_stride
            place = inputs + row * width
            for first in range(0, source.columns, width):
                columns = min(width, source.columns - first)
                copy_row(workspace, place, address + first * source.item_bytes, source.kind, columns)
                place += capacity * width
    else:
        for row in range(begin, end):
            address = source.address + order[start + row] * source.row_stride
            for column in range(source.columns):
                place = inputs + (column // width * capacity + row) * width
                item = address + column * source.column_stride
                workspace[place + column % width] = scalar_converted(workspace, item, source.kind)


@inner
def _gather_sparse(workspace, inputs, source, order, start, begin, end, capacity):
    width = panel_width(workspace)
    for row in range(begin, end):
        for first in range(0, source.columns, width):
            place = inputs + (first // width * capacity + row) * width
            workspace[place : place + width] = 0
        add_sparse_row(workspace, inputs + row * width, width, capacity * width, source, order[start + row])


@inner
def add_sparse_row(workspace, place, panel_columns, panel_step, source, sample):
    """Add the entries of one row of a CSR matrix to what stands in the workspace.

    Column j is added at ``place + j // panel_columns * panel_step + j % panel_columns``.
    """
    wide = source.row_starts_wide != 0
    index_bytes = 8 if wide else 4
    item = index_at(source.row_starts + sample * index_bytes, wide)
    last = index_at(source.row_starts + (sample + 1) * index_bytes, wide)
    wide = source.column_numbers_wide != 0
    index_bytes = 8 if wide else 4
    while item < last:
        column = index_at(source.column_numbers + item * index_bytes, wide)
        target = place + column // panel_columns * panel_step + column % panel_columns
        # Added, not assigned: a CSR matrix may hold an entry in several parts.
        workspace[target] += scalar_converted(workspace, source.address + item * source.item_bytes, source.kind)
        item += 1
