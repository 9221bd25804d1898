"""The micro-kernel's naive twin: the same products, one number at a time in plain Python."""

from __future__ import annotations

import numpy as np

from fastmlp.tiles import TILE


def _multiply(
    workspace: np.ndarray,
    out: int,
    start: int | None,
    start_stride: int,
    left_offsets: np.ndarray,
    right: int,
    rows: int,
    vectors: int,
    floor: float,
    activations: int,
) -> None:
    """Compute a tile whose A[row, k] lies at ``left_offsets[row, k]``; without a `start`, sums begin at zero."""
    panel_width = TILE.columns(workspace.dtype)
    columns = vectors * TILE.lanes(workspace.dtype)
    inner = left_offsets.shape[1]
    for row in range(rows):
        total = np.zeros(columns, workspace.dtype)
        if start is not None:
            place = start + row * start_stride
            total[:] = workspace[place : place + columns]
        for k in range(inner):
            b_row = right + k * panel_width
            total += workspace[left_offsets[row, k]] * workspace[b_row : b_row + columns]
        if activations >= 0:
            place = activations + row * panel_width
            total[workspace[place : place + columns] == 0] = 0
        else:
            total = np.maximum(total, floor).astype(workspace.dtype)
        workspace[out + row * panel_width : out + row * panel_width + columns] = total


def _lane_offsets(workspace: np.ndarray, left: int, rows: int, inner: int) -> np.ndarray:
    """Return where A[row, k] lies if the rows are lanes of one panel of A."""
    return left + np.arange(rows)[:, None] + np.arange(inner) * TILE.columns(workspace.dtype)


def multiply_rows(
    workspace: np.ndarray,
    tiles: np.ndarray,
    out: int,
    start: int | None,
    start_stride: int,
    left: int,
    panel_step: int,
    right: int,
    inner: int,
    rows: int,
    vectors: int,
    floor: float,
    activations: int,
) -> None:
    """Compute ``C = start + A B``; rows of the tile are rows of A's panels."""
    panel_width = TILE.columns(workspace.dtype)
    k = np.arange(inner)
    columns = k // panel_width * panel_step + k % panel_width
    offsets = left + np.arange(rows)[:, None] * panel_width + columns
    _multiply(workspace, out, start, start_stride, offsets, right, rows, vectors, floor, activations)


def multiply_lanes(
    workspace: np.ndarray,
    tiles: np.ndarray,
    out: int,
    left: int,
    right: int,
    inner: int,
    rows: int,
    vectors: int,
) -> None:
    """Compute ``C = A^T B``; rows of the tile are lanes of one panel of A."""
    offsets = _lane_offsets(workspace, left, rows, inner)
    _multiply(workspace, out, None, 0, offsets, right, rows, vectors, -np.inf, -1)


def multiply_rows_ahead(
    workspace: np.ndarray,
    tiles: np.ndarray,
    out: int,
    start: int | None,
    start_stride: int,
    left: int,
    panel_step: int,
    right: int,
    inner: int,
    floor: float,
    activations: int,
    ahead: int,
) -> None:
    """Compute ``C = start + A B`` for a whole tile; there is no cache to bring anything to."""
    multiply_rows(
        workspace, tiles, out, start, start_stride, left, panel_step, right, inner, TILE.rows, TILE.vectors, floor,
        activations,
    )  # fmt: skip


def multiply_lanes_ahead(
    workspace: np.ndarray,
    tiles: np.ndarray,
    out: int,
    left: int,
    right: int,
    inner: int,
    weights: int,
    first_moments: int,
    second_moments: int,
) -> None:
    """Compute ``C = A^T B`` for a whole tile; there is no cache to bring anything to."""
    multiply_lanes(workspace, tiles, out, left, right, inner, TILE.rows, TILE.vectors)


def multiply_rows_of_panels(
    workspace: np.ndarray,
    tiles: np.ndarray,
    out: int,
    out_step: int,
    left: int,
    right: int,
    right_step: int,
    inner: int,
    rows: int,
    vectors: int,
    n_panels: int,
    panel_step: int,
    activations: int,
    activations_step: int,
) -> None:
    """Compute ``C = A B`` for some panels of samples; rows of the tile are rows of A's panels."""
    for panel in range(n_panels):
        multiply_rows(
            workspace, tiles, out + panel * out_step, None, 0, left, panel_step, right + panel * right_step, inner,
            rows, vectors, -np.inf, activations + panel * activations_step if activations >= 0 else -1,
        )  # fmt: skip


def multiply_lanes_of_panels(
    workspace: np.ndarray,
    tiles: np.ndarray,
    out: int,
    out_step: int,
    left: int,
    right: int,
    right_step: int,
    inner: int,
    rows: int,
    vectors: int,
    n_panels: int,
    floor: float,
) -> None:
    """Compute ``C = A^T B`` for some panels of samples; rows of the tile are lanes of one panel of A."""
    for panel in range(n_panels):
        offsets = _lane_offsets(workspace, left, rows, inner)
        place, panel_right = out + panel * out_step, right + panel * right_step
        _multiply(workspace, place, None, 0, offsets, panel_right, rows, vectors, floor, -1)


def multiply_samples(
    workspace: np.ndarray,
    tiles: np.ndarray,
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
