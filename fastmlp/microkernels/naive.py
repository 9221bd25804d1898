"""The micro-kernels, naively: the same products, one number at a time in plain Python."""

from __future__ import annotations

import numpy as np

from fastmlp.simd.integers_naive import as_indices
from fastmlp.simd.tile_table import SPARSE_TILE_ROWS, TILE


def _multiply(
    workspace: np.ndarray,
    out: int,
    start: int | None,
    start_stride: int,
    left_offsets: np.ndarray,
    right_offsets: np.ndarray,
    rows: int,
    vectors: int,
    floor: float,
    activations: int,
) -> None:
    """Compute a tile whose A[row, k] lies at ``left_offsets[row, k]``, and the k-th row of B at ``right_offsets[k]``.

    Without a `start`, sums begin at zero.
    """
    panel_width = TILE.columns(workspace.dtype)
    columns = vectors * TILE.lanes(workspace.dtype)
    for row in range(rows):
        total = np.zeros(columns, workspace.dtype)
        if start is not None:
            place = start + row * start_stride
            total[:] = workspace[place : place + columns]
        for k, b_row in enumerate(right_offsets):
            total += workspace[left_offsets[row, k]] * workspace[b_row : b_row + columns]
        if activations >= 0:
            place = activations + row * panel_width
            total[workspace[place : place + columns] == 0] = 0
        else:
            total = np.maximum(total, floor).astype(workspace.dtype)
        workspace[out + row * panel_width : out + row * panel_width + columns] = total


def _offsets_in_transposed(workspace: np.ndarray, left: int, rows: int, inner_size: int) -> np.ndarray:
    """Return where A[row, k] lies if the rows are lanes of one panel of A."""
    return left + np.arange(rows)[:, None] + np.arange(inner_size) * TILE.columns(workspace.dtype)


def _rows_of_panel(workspace: np.ndarray, right: int, inner_size: int) -> np.ndarray:
    """Return where the rows of a panel of B begin."""
    return right + np.arange(inner_size) * TILE.columns(workspace.dtype)


def gemm_nn(
    workspace: np.ndarray,
    functions: np.ndarray,
    out: int,
    start: int | None,
    start_stride: int,
    left: int,
    panel_step: int,
    right: int,
    inner_size: int,
    rows: int,
    vectors: int,
    floor: float,
    activations: int,
    prefetch: int,
) -> None:
    """Compute ``C = start + A B``; rows of the tile are rows of A's panels. There is no cache to prefetch into."""
    panel_width = TILE.columns(workspace.dtype)
    k = np.arange(inner_size)
    columns = k // panel_width * panel_step + k % panel_width
    offsets = left + np.arange(rows)[:, None] * panel_width + columns
    _multiply(workspace, out, start, start_stride, offsets, right + k * panel_width, rows, vectors, floor, activations)


def gemm_tn(
    workspace: np.ndarray,
    functions: np.ndarray,
    out: int,
    left: int,
    right: int,
    inner_size: int,
    rows: int,
    vectors: int,
    prefetch: tuple[int, ...],
) -> None:
    """Compute ``C = A^T B``; rows of the tile are lanes of one panel of A."""
    offsets, right_rows = (
        _offsets_in_transposed(workspace, left, rows, inner_size),
        _rows_of_panel(workspace, right, inner_size),
    )
    _multiply(workspace, out, None, 0, offsets, right_rows, rows, vectors, -np.inf, -1)


def sparse_gemm_nn(
    workspace: np.ndarray,
    functions: np.ndarray,
    out: int,
    left: int,
    right: int,
    left_places: int,
    right_places: int,
    count: int,
    vectors: int,
    start: int,
    start_stride: int,
    floor: float,
    prefetch: int,
) -> None:
    """Compute ``C = start + A B`` over the k of a list; rows of the tile are rows of A's panels."""
    rows = left + np.arange(SPARSE_TILE_ROWS)[:, None] * TILE.columns(workspace.dtype)
    _multiply_sparse(workspace, out, start, start_stride, rows, right, left_places, right_places, count, vectors, floor)


def sparse_gemm_tn(
    workspace: np.ndarray,
    functions: np.ndarray,
    out: int,
    left: int,
    right: int,
    left_places: int,
    right_places: int,
    count: int,
    vectors: int,
    prefetch: tuple[int, ...],
) -> None:
    """Compute ``C = A^T B`` over the k of a list; rows of the tile are lanes of one panel of A."""
    rows = left + np.arange(SPARSE_TILE_ROWS)[:, None]
    _multiply_sparse(workspace, out, None, 0, rows, right, left_places, right_places, count, vectors, -np.inf)


def _multiply_sparse(
    workspace: np.ndarray,
    out: int,
    start: int | None,
    start_stride: int,
    left_rows: np.ndarray,
    right: int,
    left_places: int,
    right_places: int,
    count: int,
    vectors: int,
    floor: float,
) -> None:
    """Compute a tile whose A[row, k] lies at ``left_rows[row]`` and as much behind it as the list for A says."""
    indices = as_indices(workspace)
    left = left_rows + indices[left_places : left_places + count]
    right_rows = right + indices[right_places : right_places + count]
    _multiply(workspace, out, start, start_stride, left, right_rows, SPARSE_TILE_ROWS, vectors, floor, -1)


def batched_gemm_nn(
    workspace: np.ndarray,
    functions: np.ndarray,
    out: int,
    out_step: int,
    left: int,
    right: int,
    right_step: int,
    inner_size: int,
    rows: int,
    vectors: int,
    n_panels: int,
    panel_step: int,
    activations: int,
    activations_step: int,
) -> None:
    """Compute ``C = A B`` for some panels of samples; rows of the tile are rows of A's panels."""
    for panel in range(n_panels):
        gemm_nn(
            workspace, functions, out + panel * out_step, None, 0, left, panel_step, right + panel * right_step,
            inner_size, rows, vectors, -np.inf, activations + panel * activations_step if activations >= 0 else -1, -1,
        )  # fmt: skip


def batched_gemm_tn(
    workspace: np.ndarray,
    functions: np.ndarray,
    out: int,
    out_step: int,
    left: int,
    right: int,
    right_step: int,
    inner_size: int,
    rows: int,
    vectors: int,
    n_panels: int,
    floor: float,
) -> None:
    """Compute ``C = A^T B`` for some panels of samples; rows of the tile are lanes of one panel of A."""
    for panel in range(n_panels):
        offsets = _offsets_in_transposed(workspace, left, rows, inner_size)
        right_rows = _rows_of_panel(workspace, right + panel * right_step, inner_size)
        _multiply(workspace, out + panel * out_step, None, 0, offsets, right_rows, rows, vectors, floor, -1)


def gemm_nt(
    workspace: np.ndarray,
    functions: np.ndarray,
    out: int,
    a: int,
    a_step: int,
    b: int,
    b_step: int,
    n_vectors: int,
    n_tiles: int,
    rows: int,
    columns: int,
) -> None:
    """Write ``out[i, j] = sum over samples of a[i] b[j]`` for tiles of the second micro-kernel, below each other."""
    panel_width = TILE.columns(workspace.dtype)
    samples = np.arange(n_vectors * TILE.lanes(workspace.dtype))
    panels, lanes = samples // panel_width, samples % panel_width
    for row in range(n_tiles * rows):
        for column in range(columns):
            left = workspace[a + row * panel_width + panels * a_step + lanes]
            right = workspace[b + column * panel_width + panels * b_step + lanes]
            workspace[out + row * panel_width + column] = left @ right
