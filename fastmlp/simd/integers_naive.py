"""The operations of ``simd.integers`` on NumPy arrays: what the kernels run on with the JIT disabled."""

from __future__ import annotations

import numpy as np

from fastmlp.simd.tile_table import SPARSE_TILE_ROWS, TILE


def _integer(array: np.ndarray) -> type[np.signedinteger]:
    return np.int32 if array.itemsize == 4 else np.int64


def as_indices(array: np.ndarray) -> np.ndarray:
    """Return the array as integers that are as wide as its numbers."""
    return array.view(_integer(array))


def load_index(array: np.ndarray, offset: int) -> int:
    """Return the integer that stands in the place of a number."""
    return int(as_indices(array)[offset])


def store_index(array: np.ndarray, offset: int, value: int) -> None:
    """Write an integer to the place of a number."""
    as_indices(array)[offset] = value


def mark_count(array: np.ndarray) -> int:
    """Return the numbers that share a mark."""
    return max(SPARSE_TILE_ROWS, TILE.lanes(array.dtype))


def nonzero_bits(array: np.ndarray, offset: int) -> int:
    """Return a number whose bits say which numbers of a mark are not zero, the first in the lowest bit."""
    return sum(1 << number for number in range(mark_count(array)) if array[offset + number] != 0)


def lane_indices(array: np.ndarray) -> np.ndarray:
    """Return 0, 1, 2, ... in the lanes of a register of integers as wide as the numbers of `array`."""
    return np.arange(TILE.lanes(array.dtype), dtype=_integer(array))


def lanes_of_bits(array: np.ndarray, bits: int) -> np.ndarray:
    """Return which lanes of a register are chosen by the bits of a number, the first by the lowest."""
    return (bits >> np.arange(TILE.lanes(array.dtype))) & 1 != 0


def store_chosen(array: np.ndarray, offset: int, value: np.ndarray, chosen: np.ndarray) -> int:
    """Write the lanes that are chosen, side by side, to `offset` and on; return how many they are."""
    kept = value[chosen]
    as_indices(array)[offset : offset + len(kept)] = kept
    return len(kept)
