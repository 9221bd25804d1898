"""The naive twins of ``sources``: reading X through its address with ctypes."""

from __future__ import annotations

import ctypes

import numpy as np

from fastmlp.tiles import TILE

_SOURCE_DTYPES = ["f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


def _read(address: int, name: str, count: int) -> np.ndarray:
    dtype: np.dtype = np.dtype(name)
    size = count * dtype.itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(address))).view(dtype)


def copy_row(array: np.ndarray, place: int, address: int, kind: int, count: int) -> None:
    """Copy up to NR numbers of any source type from an address to ``array[place]``, and zeros up to NR."""
    width = TILE.columns(array.dtype)
    array[place : place + width] = 0
    array[place : place + count] = _read(address, _SOURCE_DTYPES[kind], count)


def number_at(array: np.ndarray, address: int) -> np.floating:
    """Return one number of array's type from an address."""
    number: np.floating = _read(address, array.dtype.str, 1)[0]
    return number


def scalar_converted(array: np.ndarray, address: int, kind: int) -> np.floating:
    """Return one number of any source type from an address, as array's type."""
    return _read(address, _SOURCE_DTYPES[kind], 1).astype(array.dtype)[0]


def index_at(address: int, is_wide: bool) -> int:
    """Return the int64 (or int32, if not `is_wide`) at an address."""
    return int(_read(address, "i8" if is_wide else "i4", 1)[0])
