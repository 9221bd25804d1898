"""Matrices on their way into column panels and out of them (see ``layout``)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def _panels_of(matrix: np.ndarray, workspace: np.ndarray, place: int, rows: int, panel_width: int) -> Iterator[tuple]:
    """Give the whole panels of a matrix at once, then the one that it does not fill.

    Columns (len(matrix), n_panels, width) and all `rows` rows of their panels (rows, n_panels, NR) are views; with them
    comes which columns these are. So NumPy copies in the order in which the target lies in memory, which takes half as
    long as panel after panel.
    """
    n_columns = matrix.shape[1]
    whole = n_columns // panel_width * panel_width
    for first, last, width in ((0, whole, panel_width), (whole, n_columns, n_columns - whole)):
        if first < last:
            columns = matrix[:, first:last].reshape(len(matrix), -1, width)
            start, n_panels = place + first * rows, columns.shape[1]
            panels = workspace[start : start + n_panels * rows * panel_width].reshape(n_panels, rows, panel_width)
            yield columns, panels.transpose(1, 0, 2), slice(first, last)


def pack(matrix: np.ndarray, workspace: np.ndarray, place: int, panel_width: int) -> None:
    """Write a matrix, and zeros beyond its columns, into panels."""
    for columns, panels, _ in _panels_of(matrix, workspace, place, len(matrix), panel_width):
        width = columns.shape[2]
        panels[..., :width] = columns
        # A training that diverged may have left NaN there, which would find its way into the loss.
        panels[..., width:] = 0


def pack_parameters(W: np.ndarray, b: np.ndarray, workspace: np.ndarray, place: int, panel_width: int) -> None:
    """Write weights, biases in the row below, and zeros beyond their columns, into panels."""
    fan_in = len(W)
    for columns, panels, part in _panels_of(W, workspace, place, fan_in + 1, panel_width):
        width = columns.shape[2]
        panels[:fan_in, :, :width] = columns
        panels[fan_in, :, :width] = b[part].reshape(-1, width)
        panels[..., width:] = 0


def unpack_parameters(W: np.ndarray, b: np.ndarray, workspace: np.ndarray, place: int, panel_width: int) -> None:
    """Read weights, and biases from the row below, from panels."""
    fan_in = len(W)
    for columns, panels, part in _panels_of(W, workspace, place, fan_in + 1, panel_width):
        width = columns.shape[2]
        columns[:] = panels[:fan_in, :, :width]
        b[part].reshape(-1, width)[:] = panels[fan_in, :, :width]
