"""The table of register tiles: how many numbers of which matrix live in registers at once.

A tile is ``rows`` x ``vectors`` SIMD registers of accumulators. It must leave room for ``vectors``
registers of the right-hand matrix and one broadcast value, and ``rows`` must divide the panel
width, so that the rows of a weight gradient tile (units of the layer below) never straddle two
panels.

=========  ==============  =========  ================================================
tile       registers       lanes      accumulators + right operand + broadcast
=========  ==============  =========  ================================================
avx512     32 of 512 bit   16 / 8     8 * 3 + 3 + 1 = 28; prefetches, coming panels of large weight matrices too
zen        32 of 512 bit   16 / 8     the same, but not for panels; threads write new weights with non-temporal stores
avx2       16 of 256 bit   8 / 4      4 * 3 + 3 + 1 = 16
neon       32 of 128 bit   4 / 2      4 * 4 + 4 + 1 = 21
generic    16 of 128 bit   4 / 2      4 * 2 + 2 + 1 = 11 (and one for the product, as there is no FMA)
=========  ==============  =========  ================================================
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from fastmlp.simd import processor
from fastmlp.simd.numba_modules import llvm, numba_setting
from fastmlp.simd.target import IS_ARM

ALIGNMENT = 64
"""Bytes on which every panel starts: a cache line, and the widest vector."""

SPARSE_TILE_ROWS = 4
"""Rows of the tiles that go over lists (see ``microkernels.sparse_tiles``)."""

ENTRY_TILE_ROWS = 16
"""Rows of W whose gradient and update are a tile where the first layer goes over entries (see ``entries``)."""


@dataclass(frozen=True)
class Tile:
    """One row of the table.

    Attributes
    ----------
    name : str
        The instruction set that the tile is made for.
    vector_bytes : int
        Size of one SIMD register.
    rows : int
        MR, rows of the micro-tile.
    vectors : int
        Vectors in one row of the micro-tile.
    registers : int
        SIMD registers that there are.
    dot_rows, dot_columns : int
        Inner products that the second micro-kernel keeps in registers, one vector each (see
        ``microkernels.dot_products``).
    cache_bytes : int
        Second-level cache that such a processor has at least.
    prefetches : bool
        Whether the loop of multiply-adds prefetches what comes next from beyond the second-level cache (see
        ``microkernels.tile``).
    prefetches_panels : bool
        Whether a product with a weight matrix from beyond that cache, or parts of which another core has written,
        prefetches each of its panels while it multiplies by the one before.
    stores_nontemporal : bool
        Whether weights that several threads read are written with non-temporal stores (see ``wide.phases``). A register
        must then be a whole cache line.
    """

    name: str
    vector_bytes: int
    rows: int
    vectors: int
    registers: int
    dot_rows: int
    dot_columns: int
    cache_bytes: int = 1 << 20
    prefetches: bool = False
    prefetches_panels: bool = False
    stores_nontemporal: bool = False

    def lanes(self, dtype: type[np.floating] | np.dtype) -> int:
        """Return how many numbers of `dtype` one register holds."""
        return self.vector_bytes // np.dtype(dtype).itemsize

    def columns(self, dtype: type[np.floating] | np.dtype) -> int:
        """Return NR, the width of a panel and of the micro-tile."""
        return self.vectors * self.lanes(dtype)

    def most_rows(self, vectors: int) -> int:
        """Return the most rows of a narrow network's tiles of so many vectors: as the registers allow, up to nine.

        Beside the sums they hold a row of B and one number of A. Nine rows of one vector already keep the processor
        busy while a sum waits for the one before, and each height is one more function to compile.
        """
        return min(9, (self.registers - 1) // vectors - 1)

    @property
    def in_two_passes(self) -> bool:
        """Whether tanh and the logistic function go over a tile in two loops of half the way (see ``activations``)."""
        return self.vector_bytes < 64


_AVX512 = Tile(
    "avx512", vector_bytes=64, rows=8, vectors=3, registers=32, dot_rows=4, dot_columns=5, prefetches=True,
    prefetches_panels=True,
)  # fmt: skip

TILES = {
    tile.name: tile
    for tile in (
        _AVX512,
        replace(_AVX512, name="zen", prefetches_panels=False, stores_nontemporal=True),
        Tile("avx2", vector_bytes=32, rows=4, vectors=3, registers=16, dot_rows=4, dot_columns=3, cache_bytes=1 << 19),
        Tile("neon", vector_bytes=16, rows=4, vectors=4, registers=32, dot_rows=4, dot_columns=4),
        Tile("generic", vector_bytes=16, rows=4, vectors=2, registers=16, dot_rows=2, dot_columns=4),
    )
}


def _is_restricted() -> bool:
    """Return whether Numba has been told which processor to compile for."""
    return bool(numba_setting("CPU_NAME")) or numba_setting("CPU_FEATURES") is not None


def _levels() -> set[str]:
    """Return the x86-64 levels that Numba compiles for: it may have been told to use less than there is."""
    named = numba_setting("CPU_FEATURES")
    if named is not None:
        names = {name[1:] for name in named.split(",") if name.startswith("+")}
    elif numba_setting("CPU_NAME") == "generic":
        names = set()
    else:
        names = {name for name, present in llvm.get_host_cpu_features().items() if present}
    return {level for level, needs in (("X86_V4", {"avx512f"}), ("X86_V3", {"avx2", "fma"})) if needs <= names}


def _is_zen() -> bool:
    # LLVM's names for AMD's processors since Zen are znver1, znver2 and so on.
    name = numba_setting("CPU_NAME")
    return name.startswith("znver") if name else processor.is_amd()


def _choose() -> Tile:
    """Return the tile for this process: ``FASTMLP_TILE`` if it is set, else the widest that the processor has."""
    wanted = os.environ.get("FASTMLP_TILE")
    if wanted:
        if wanted not in TILES:
            raise ValueError(f"FASTMLP_TILE is {wanted!r}; it must be one of {', '.join(TILES)}, or unset.")
        return TILES[wanted]
    if IS_ARM:
        return TILES["neon"]
    # Numba is asked only where it may know better: that is an import of a quarter of a second.
    levels = _levels() if _is_restricted() or not processor.features() else processor.features()
    if "X86_V4" in levels:
        return TILES["zen" if _is_zen() else "avx512"]
    if "X86_V3" in levels:
        return TILES["avx2"]
    return TILES["generic"]


TILE = _choose()
"""The tile of this process."""

BLOCK_BYTES = TILE.cache_bytes * 5 // 8
"""How much of the activations a product uses at a time: it stays in the second-level cache."""

RESIDENT_BYTES = TILE.cache_bytes
"""Parameters and moments of more bytes than these come from beyond the second-level cache, and are prefetched.

So are the panels of a weight matrix that alone has more.
"""


def aligned_zeros(size: int, dtype: np.dtype | type) -> np.ndarray:
    """Return `size` zeros that start on a cache line."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, dtype=np.uint8)
    shift = -raw.ctypes.data % ALIGNMENT
    return raw[shift : shift + size * dtype.itemsize].view(dtype)
