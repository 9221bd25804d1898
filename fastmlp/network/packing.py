"""Arrays on their way into column panels and out of them (see ``layout``)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from fastmlp.network.parameter_blocks import ParameterBlock


class Panels:
    """Where an array lies in column panels: views, made once, through which it is written and read.

    The array's last axis are the columns, all others the rows. Its columns come in two parts, those of whole panels and
    those of the panel that they do not fill. So NumPy copies in the order in which the target lies in memory, which
    takes half as long as panel after panel.

    Parameters
    ----------
    copies : ndarray of shape (n_copies, n_numbers)
        The memory, or several copies of it that have the panels at the same place.
    shape : tuple of int
        The array's.
    place : int
        Where the panels start.
    panel_rows, panel_width : int
        Rows and columns of the panels.
    first_row : int
        The first row that is the array's.
    """

    def __init__(
        self,
        copies: np.ndarray,
        shape: tuple[int, ...],
        place: int,
        panel_rows: int,
        panel_width: int,
        first_row: int = 0,
    ) -> None:
        *rows, n_columns = shape
        own_rows = slice(first_row, first_row + prod(rows))
        whole = n_columns // panel_width * panel_width
        self._parts = []
        for first, last, width in ((0, whole, panel_width), (whole, n_columns, n_columns - whole)):
            if first < last:
                n_panels = (last - first) // width
                start = place + first * panel_rows
                panels = copies[:, start : start + n_panels * panel_rows * panel_width]
                panels = panels.reshape(-1, n_panels, panel_rows, panel_width)[:, :, own_rows].transpose(0, 2, 1, 3)
                self._parts.append((slice(first, last), panels[..., :width], panels[..., width:]))

    def write(self, array: np.ndarray, copy: int = 0) -> None:
        """Copy the array in, and zeros beyond its columns."""
        for columns, numbers, padding in self._parts:
            target = numbers[copy]
            target[:] = array[..., columns].reshape(target.shape)
            # A training that diverged may have left NaN there, which would find its way into the loss.
            padding[copy] = 0

    def read(self, array: np.ndarray, copy: int = 0) -> None:
        """Overwrite the array, of one or two dimensions, with what the panels hold."""
        for columns, numbers, _ in self._parts:
            source = numbers[copy]
            array[..., columns].reshape(source.shape)[:] = source


class PackedParameters:
    """The parameters of a network and the copies behind them, in its workspace.

    Parameters
    ----------
    blocks : sequence of ParameterBlock
        The network's.
    workspace : ndarray
        Likewise.
    n_parameters : int
        Numbers from one copy to the next.
    n_copies : int
        Copies behind the parameters themselves: the moments, or a gradient.
    """

    def __init__(
        self, blocks: Sequence[ParameterBlock], workspace: np.ndarray, n_parameters: int, n_copies: int
    ) -> None:
        self._shapes = [block.shape for block in blocks]
        copies = workspace[: (1 + n_copies) * n_parameters].reshape(1 + n_copies, n_parameters)
        self._panels = [
            Panels(copies, block.shape, block.place, block.panel_rows, block.panel_width, block.first_row)
            for block in blocks
        ]
        self._transposed = [
            (
                number,
                Panels(workspace[np.newaxis], block.shape[::-1], block.transposed, block.shape[1], block.panel_width),
            )
            for number, block in enumerate(blocks)
            if block.transposed
        ]

    def write(self, arrays: Sequence, copy: int = 0) -> None:
        """Copy one array for each block in, casting it; copy 0 are the parameters."""
        for panels, array in zip(self._panels, arrays, strict=True):
            panels.write(np.asarray(array), copy)
        if copy == 0:
            for number, panels in self._transposed:
                panels.write(np.asarray(arrays[number]).T)

    def read(self, arrays: Sequence[np.ndarray], copy: int = 0) -> None:
        """Overwrite one array for each block."""
        for panels, array in zip(self._panels, arrays, strict=True):
            panels.read(array, copy)

    def copied(self, dtype: np.dtype, copy: int = 0) -> list[np.ndarray]:
        """Return a new array for each block."""
        arrays = [np.empty(shape, dtype) for shape in self._shapes]
        self.read(arrays, copy)
        return arrays
