"""Sparse input: matrices whose indices lead out of their arrays are refused.

SciPy looks at the lengths of the arrays that it is given, but at no index. Its products, and the compiled gather, would
read and write memory that does not belong to the matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

# The types of indices that there are, and their bits read as unsigned.
_INDEX_DTYPES: dict[Any, Any] = {np.dtype(np.int32): np.dtype(np.uint32), np.dtype(np.int64): np.dtype(np.uint64)}


def well_formed(array: Any, name: str) -> Any:
    """Return what was given, unless it is a malformed sparse matrix, which is refused.

    Parameters
    ----------
    array : object
        Whatever the user gave. A format that keeps no arrays of indices (LIL, DOK, DIA) comes back as CSR.
    name : str
        What to call it in the error.

    Raises
    ------
    ValueError
        If an index is outside the matrix, or a row or column outside the arrays.
    """
    if not sparse.issparse(array):
        return array
    if array.format not in ("csr", "csc", "bsr", "coo"):
        array = array.tocsr()
    problem = _problem_of_coordinates(array) if array.format == "coo" else _problem_of_compressed(array)
    if problem:
        raise ValueError(
            f"Input {name} is a malformed {array.format.upper()} matrix: {problem}. Build it again from its rows, "
            "columns and values, as with scipy.sparse.coo_array((values, (rows, columns)), shape)."
        )
    return array


def _problem_of_coordinates(array: Any) -> str:
    for numbers, limit in zip(array.coords, array.shape, strict=True):
        if len(numbers) != len(array.data):
            return f"it has {len(array.data)} values and {len(numbers)} indices"
        problem = _problem_of_indices(numbers, limit, "indices")
        if problem:
            return problem
    return ""


def _problem_of_compressed(array: Any) -> str:
    starts, numbers, n_values = array.indptr, array.indices, len(array.data)
    lengths = array.shape if array.ndim == 2 else (1, *array.shape)
    if array.format == "csc":
        lengths = lengths[::-1]
    elif array.format == "bsr":
        lengths = [length // block for length, block in zip(lengths, array.blocksize, strict=True)]
    n_starts, limit = lengths[0] + 1, lengths[1]
    if starts.shape != (n_starts,) or starts.dtype not in _INDEX_DTYPES:
        return f"indptr is {starts.dtype} of shape {starts.shape}, and must be int32 or int64 of shape ({n_starts},)"
    if numbers.shape != (n_values,):
        return f"it has {n_values} values, and indices of shape {numbers.shape}"
    if starts[0] != 0 or starts[-1] > n_values:
        return f"indptr goes from {starts[0]} to {starts[-1]}, and there are {n_values} values"
    if (starts[1:] < starts[:-1]).any():
        place = int(np.argmax(starts[1:] < starts[:-1]))
        return f"indptr decreases from {starts[place]} to {starts[place + 1]} at {place + 1}"
    return _problem_of_indices(numbers[: starts[-1]], limit, "indices")


def _problem_of_indices(numbers: np.ndarray, limit: int, name: str) -> str:
    if numbers.dtype not in _INDEX_DTYPES:
        return f"its {name} are {numbers.dtype}, and must be int32 or int64"
    # Read as unsigned, a negative number is larger than any valid one: one pass finds both.
    unsigned = numbers.view(_INDEX_DTYPES[numbers.dtype])
    if unsigned.size and int(unsigned.max()) >= limit:
        place = int(unsigned.argmax())
        return f"{name} holds {numbers[place]} at {place}, and must lie from 0 to {limit - 1}"
    return ""
