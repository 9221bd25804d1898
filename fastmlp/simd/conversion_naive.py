"""The naive versions of ``simd.conversion``: reading X through its address with ctypes."""

from __future__ import annotations

import ctypes

import numpy as np

from fastmlp.simd.tile_table import TILE

_SOURCE_DTYPES = ["f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


def _read(address: int, name: str, count: int) -> np.ndarray:
    dtype: np.dtype = np.dtype(name)
    size = count * dtype.itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(address))).view(dtype)


def copy_row(array: np.ndarray, place: int, address: int, kind: int, count: int) -> None:
    """Copy up to NR numbers of any source type from an address to ``array[place]``, and zeros to fill a register."""
    lanes = TILE.lanes(array.dtype)
    array[place : place + -(-count // lanes) * lanes] = 0
    array[place : place + count] = _read(address, _SOURCE_DTYPES[kind], count)


def scalar_converted(array: np.ndarray, address: int, kind: int) -> np.floating:
    """Return one number of any source type from an address, as array's type."""
    return _read(address, _SOURCE_DTYPES[kind], 1).astype(array.dtype)[0]


def index_at(address: int, is_wide: bool) -> int:
    """Return the int64 (or int32, if not `is_wide`) at an address."""
    return int(_read(address, "i8" if is_wide else "i4", 1)[0])


def row_addresses(
    array: np.ndarray, address: int, row_stride: int, order: np.ndarray, first: int, samples: int
) -> tuple[int, ...]:
    """Return the addresses of rows ``order[first]`` and on, as many as `array` has lanes; behind `samples` the last."""
    numbers = (first + min(lane, samples - 1) for lane in range(TILE.lanes(array.dtype)))
    return tuple(int(address + order[number] * row_stride) for number in numbers)


def copy_transposed(
    array: np.ndarray, place: int, step: int, addresses: tuple[int, ...], offset: int, is_double: bool, columns: int
) -> None:
    """Copy a block of `columns` columns to ``array[place]``, the next column `step` behind."""
    for lane, address in enumerate(addresses):
        array[place + lane : place + lane + columns * step : step] = _read(
            address + offset, "f8" if is_double else "f4", columns
        )
