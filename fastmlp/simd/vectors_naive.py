"""The operations of ``vectors`` on short NumPy arrays: what the kernels run on with the JIT disabled."""

from __future__ import annotations

import numpy as np

from fastmlp.simd.tile_table import ALIGNMENT, TILE


def load(array: np.ndarray, offset: int) -> np.ndarray:
    """Return a register's worth of numbers from `offset` on."""
    return array[offset : offset + TILE.lanes(array.dtype)].copy()


def store(array: np.ndarray, offset: int, value: np.ndarray) -> None:
    """Write a register to `offset` and on."""
    array[offset : offset + len(value)] = value


store_nontemporal = store


def prefetch(array: np.ndarray, offset: int) -> None:
    """Do nothing: no number changes."""


def fence_nontemporal_stores() -> None:
    """Do nothing: what was written has been written."""


def broadcast(scalar: float, like: np.ndarray) -> np.ndarray:
    """Return the scalar in all lanes of a register like `like`."""
    return np.full_like(like, scalar)


def splat_of(array: np.ndarray, scalar: float) -> np.ndarray:
    """Return the scalar in all lanes of a register for the numbers of `array`."""
    return np.full(TILE.lanes(array.dtype), scalar, dtype=array.dtype)


def select(mask: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """Return `yes` where the mask holds, else `no`."""
    like = yes if isinstance(yes, np.ndarray) else no
    return np.where(mask, yes, no).astype(like.dtype)


def square_root(x: np.ndarray) -> np.ndarray:
    """Return the square roots."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


def reciprocal(x: np.ndarray) -> np.ndarray:
    """Return 1 / x, to all bits where the processor's instruction is right to 14 bits."""
    with np.errstate(divide="ignore"):
        return 1 / x


def absolute(x: np.ndarray) -> np.ndarray:
    """Return the absolute values."""
    return np.abs(x)


def multiply_add(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return ``x * y + z`` (with two roundings)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x * y + z


def _integer(dtype: np.dtype) -> type[np.signedinteger]:
    return np.int32 if dtype.itemsize == 4 else np.int64


def _floating(dtype: np.dtype) -> type[np.floating]:
    return np.float32 if dtype.itemsize == 4 else np.float64


def as_bits(x: np.ndarray) -> np.ndarray:
    """Return the bit patterns as integers."""
    return x.view(_integer(x.dtype))


def from_bits(bits: np.ndarray) -> np.ndarray:
    """Return the floating-point numbers of the bit patterns."""
    return bits.view(_floating(bits.dtype))


def shift_left(bits: np.ndarray, count: int) -> np.ndarray:
    """Return the bits shifted left."""
    return bits << bits.dtype.type(count)


def shift_right(bits: np.ndarray, count: int) -> np.ndarray:
    """Return the bits shifted right, zeros coming in."""
    return (bits.view(f"u{bits.itemsize}") >> count).view(bits.dtype)


def _transpose(array: np.ndarray, source: int, target: int, rows: int, columns: int) -> None:
    width = TILE.columns(array.dtype)
    for column in range(-(-columns // 4) * 4):
        for row in range(rows):
            array[target + column * width + row] = array[source + row * width + column]


def transpose_tile(array: np.ndarray, source: int, target: int, columns: int) -> None:
    """Copy the first columns of a tile of MR rows at `source` to `target`, where its rows become lanes."""
    _transpose(array, source, target, TILE.rows, columns)


def transpose_rows(array: np.ndarray, source: int, target: int, columns: int) -> None:
    """Copy the first columns of a tile of a register's lanes, or MR, rows to `target`, where they become lanes."""
    _transpose(array, source, target, max(TILE.rows, TILE.lanes(array.dtype)), columns)


def is_single(x: np.ndarray) -> bool:
    """Return whether the numbers are float32."""
    return x.dtype == np.float32


def lane_count(array: np.ndarray) -> int:
    """Return the numbers in a register."""
    return TILE.lanes(array.dtype)


def panel_width(array: np.ndarray) -> int:
    """Return NR, the columns of a panel."""
    return TILE.columns(array.dtype)


def line_count(array: np.ndarray) -> int:
    """Return the numbers in a cache line."""
    return ALIGNMENT // array.itemsize


def lane_numbers(array: np.ndarray) -> np.ndarray:
    """Return 0, 1, 2, ... in the lanes of a register for the numbers of `array`."""
    return np.arange(TILE.lanes(array.dtype), dtype=array.dtype)


def sum_lanes(x: np.ndarray) -> np.floating:
    """Return the sum of the lanes, folded in halves."""
    while len(x) > 1:
        half = len(x) // 2
        x = x[:half] + x[half:]
    return x[0]


def max_lanes(x: np.ndarray) -> np.floating:
    """Return the largest lane."""
    return x.max()
