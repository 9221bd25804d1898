"""The samples as kernels read them: where X lies, its strides and its data type.

X is read where it lies: nothing is converted or copied up front, a read-only or memory-mapped X costs no second
compilation, and the kernels do not multiply by the type of X.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.kernels.records import SOURCE
from fastmlp.network.sparsity import kept_entries, term_density
from fastmlp.simd.conversion import SOURCE_KINDS
from fastmlp.simd.jit import as_records


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

    def term_density(self, fan_out: int, lanes: int) -> float:
        """Return which part of the first layer's terms is left without those of zeros: see ``network.sparsity``."""
        return term_density(self._X, fan_out, lanes)

    def kept_entries(self, n_rows: int, dtype: np.dtype) -> float:
        """Return the entries of a row on average where a fit keeps nothing else of X (``network.sparsity``), else 0.

        n_rows: those of a minibatch.
        """
        n_kept = kept_entries(self._X)
        # Numbers of columns and of entries are written to the places of numbers.
        limit = 2 ** (8 * dtype.itemsize - 1)
        return n_kept if n_kept and max(self.n_features, self.most_entries(n_rows)) < limit else 0.0

    def most_entries(self, n_rows: int, order: np.ndarray | None = None) -> int:
        """Return the most entries that so many rows of a sparse X have, of all or of those that `order` numbers."""
        row_starts = self._X.indptr
        counts = np.diff(row_starts) if order is None else row_starts[order + 1] - row_starts[order]
        if n_rows < len(counts):
            counts.partition(len(counts) - n_rows)
            counts = counts[len(counts) - n_rows :]
        return int(counts.sum(dtype=np.int64))

    def check_entries(self, room: int, n_rows: int, order: np.ndarray | None) -> None:
        """Refuse a dense X, and one of which so many rows may have more entries than there is room for."""
        if not self.source["is_sparse"][0]:
            raise ValueError("rows are dense, and this network is for a sparse X: make one for these rows.")
        n_entries = self.most_entries(n_rows, order) if n_rows else 0
        if n_entries > room:
            raise ValueError(
                f"{n_rows} rows have up to {n_entries} entries, and this network keeps {room}: make one for these rows."
            )


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
