"""The micro-kernel alone, on the products of real layers and around the edges of a tile.

Operands lie in column panels, aligned and resident, as in training. The reference is BLAS, through
``numpy.matmul`` on one thread, on operands in the order which suits it best.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from bench.workloads import Array
from fastmlp.kernels.tiles import tile_rows, tile_vectors
from fastmlp.microkernels.function_table import function_table
from fastmlp.microkernels.tile import MR, N_COPIES, NO_PREFETCH
from fastmlp.microkernels.tile_calls import gemm_nn, gemm_tn
from fastmlp.network.packing import Panels
from fastmlp.simd.jit import uncached
from fastmlp.simd.tile_table import TILE, aligned_zeros

NR = TILE.columns(np.float32)
NOTHING = (NO_PREFETCH,) * N_COPIES  # for a weight gradient to prefetch

# rows of the tile, vector columns, inner dimension
FORWARD = {
    "digits 200x64x100": (200, 100, 64),
    "covertype 256x128x128": (256, 128, 128),
    "mnist 200x784x300": (200, 300, 784),
    "wide 512x1024x2048": (512, 2048, 1024),
    "one tile, 100 k": (MR, NR, 100),
    "one tile, 784 k": (MR, NR, 784),
    "one tile": (MR, NR, 256),
    "one row less": (MR - 1, NR, 256),
    "one row more": (MR + 1, NR, 256),
    "one column less": (MR, NR - 1, 256),
    "one column more": (MR, NR + 1, 256),
    "one row": (1, NR, 256),
    "ten columns": (200, 10, 100),
}
GRADIENT = {
    "digits 64x200x100": (64, 100, 200),
    "covertype 128x256x128": (128, 128, 256),
    "mnist 784x200x300": (784, 300, 200),
    "wide 1024x512x2048": (1024, 2048, 512),
    "one tile, 100 k": (MR, NR, 100),
    "one tile, 784 k": (MR, NR, 784),
    "one tile": (MR, NR, 256),
    "ten columns": (100, 10, 200),
    "eight units": (128, 8, 256),
    "eight units, the other way round": (8, 128, 256),
}
MEGAFLOPS_PER_CALL = 20


@uncached
def forward(workspace: Any, functions: Any, sizes: Any, places: Any, repeats: Any) -> None:
    """C = A B, again and again; rows of the tile are rows of A's panels."""
    # A (m, k), B (k, n), C (m, n), panels; C is overwritten
    m, n, k, width, lanes = sizes
    left, right, out, zeros = places
    for _ in range(repeats):
        for panel in range((n + width - 1) // width):
            vectors = tile_vectors(n, panel * width, lanes)
            row = 0
            while row < m:
                rows = tile_rows(m - row)
                gemm_nn(
                    workspace, functions, out + (panel * m + row) * width, zeros, 0, left + row * width, m * width,
                    right + panel * k * width, k, rows, vectors, workspace.dtype.type(-np.inf), -1, NO_PREFETCH,
                )  # fmt: skip
                row += rows


@uncached
def gradient(workspace: Any, functions: Any, sizes: Any, places: Any, repeats: Any) -> None:
    """C = A^T B, again and again; rows of the tile are lanes of A's panels."""
    # A (k, m), B (k, n), C (m, n), panels; C is overwritten
    m, n, k, width, lanes = sizes
    left, right, out, _ = places
    for _ in range(repeats):
        for panel in range((n + width - 1) // width):
            vectors = tile_vectors(n, panel * width, lanes)
            row = 0
            while row < m:
                rows = tile_rows(m - row)
                gemm_tn(
                    workspace, functions, out + (panel * m + row) * width,
                    left + row // width * k * width + row % width, right + panel * k * width, k, rows, vectors, NOTHING,
                )  # fmt: skip
                row += rows


class Product:
    """Operands of one product, as panels and as plain arrays."""

    def __init__(self, kind: str, shape: tuple[int, int, int], dtype: str) -> None:
        m, n, k = shape
        self.width, self.lanes = TILE.columns(np.dtype(dtype)), TILE.lanes(np.dtype(dtype))
        random_state = np.random.RandomState(0)
        left_shape = (m, k) if kind == "forward" else (k, m)
        self.left = random_state.standard_normal(left_shape).astype(dtype)
        self.right = random_state.standard_normal((k, n)).astype(dtype)
        self.kind, self.shape = kind, shape
        matrices = (left_shape, (k, n), (m, n))
        numbers = [-(-columns // self.width) * rows * self.width for rows, columns in matrices]
        places = np.cumsum([0, *numbers])
        self.workspace = aligned_zeros(int(places[-1]) + self.width, np.dtype(dtype))
        self.places = tuple(int(place) for place in places)
        for matrix, place in zip((self.left, self.right), self.places, strict=False):
            Panels(self.workspace[np.newaxis], matrix.shape, place, len(matrix), self.width).write(matrix)
        self.functions = function_table(np.dtype(dtype), False)

    def compiled(self, repeats: int) -> None:
        """Multiply with the micro-kernel."""
        kernel = forward if self.kind == "forward" else gradient
        sizes = (*self.shape, self.width, self.lanes)
        kernel(self.workspace, self.functions, sizes, self.places, repeats)

    def blas(self, repeats: int) -> None:
        """Multiply with NumPy's BLAS."""
        left = self.left if self.kind == "forward" else self.left.T
        out = np.empty(self.shape[:2], self.left.dtype)
        for _ in range(repeats):
            np.matmul(left, self.right, out=out)

    def result(self) -> Array:
        """Return what the micro-kernel wrote."""
        rows, columns = self.shape[:2]
        row, column = np.ogrid[:rows, :columns]
        return self.workspace[self.places[2] + (column // self.width * rows + row) * self.width + column % self.width]


@pytest.mark.parametrize("engine", ["fastmlp", "reference"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("forward", name) for name in FORWARD] + [("gradient", name) for name in GRADIENT],
)
def test_product(
    benchmark: Any,
    note: Callable[..., None],
    measure_peak: Callable[[int], Callable[[], None]],
    kind: str,
    name: str,
    dtype: str,
    engine: str,
) -> None:
    """One product, repeated within a compiled call."""
    shape = (FORWARD if kind == "forward" else GRADIENT)[name]
    product = Product(kind, shape, dtype)
    product.compiled(1)
    left = product.left if kind == "forward" else product.left.T
    expected = left.astype(np.float64) @ product.right
    tolerance = 50 * np.sqrt(shape[2]) * np.finfo(dtype).eps
    np.testing.assert_allclose(product.result(), expected, rtol=0, atol=tolerance * np.abs(expected).max())

    flops = 2 * shape[0] * shape[1] * shape[2]
    repeats = max(1, int(MEGAFLOPS_PER_CALL * 1e6 / flops))
    benchmark.group = f"{kind} {name} {dtype}"
    with threadpool_limits(1, "blas"):
        work = product.compiled if engine == "fastmlp" else product.blas
        benchmark.pedantic(work, (repeats,), setup=measure_peak(1), rounds=15, warmup_rounds=2)
    note(dtype, 1, repeats * flops, engine=engine, steps=repeats)
