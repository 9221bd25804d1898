"""What all kernels do with register tiles: how a matrix is cut into them, and adding, clearing and prefetching them."""

from __future__ import annotations

from fastmlp.microkernels.tile import MR, VECTORS
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import lane_count, load, panel_width, prefetch_to_write, splat_of, store


@inner
def tile_vectors(columns, first, lanes):
    """Return how many vectors of the panel that starts at column `first` hold anything."""
    return min(VECTORS, (columns - first + lanes - 1) // lanes)


@inner
def tile_rows(remaining):
    """Return the height of the next tile: MR, or the largest power of two that is left."""
    if remaining >= MR:
        return MR
    rows = 1
    while 2 * rows <= remaining and 2 * rows < MR:
        rows *= 2
    return rows


@inner
def evenly(remaining, most):
    """Return how many of so many rows or columns come next, at most so many at a time: the last two turns share."""
    if remaining >= 2 * most:
        return most
    return (remaining + 1) // 2 if remaining > most else remaining


@inner
def add_tiles(workspace, first, second, out, rows, columns):
    """Tile = first + second. workspace[out...] (rows, columns), rows NR apart: overwritten."""
    width = panel_width(workspace)
    for row in range(rows):
        for place in range(row * width, row * width + columns, lane_count(workspace)):
            store(workspace, out + place, load(workspace, first + place) + load(workspace, second + place))


@inner
def clear_rows(workspace, place, rows):
    """Set rows of a tile to zero. workspace[place...] (rows, NR): overwritten."""
    for number in range(place, place + rows * panel_width(workspace), lane_count(workspace)):
        store(workspace, number, splat_of(workspace, 0.0))


@inner
def transposed_rows(workspace):
    """Return the rows of a tile that is to be transposed: then each of its columns fills a register."""
    return max(MR, lane_count(workspace))


@inner
def prefetch_lines(workspace, place, rows, columns, step):
    """Prefetch a part of a panel, (rows, columns) from `place` on, for this core alone.

    From one column to the next that `step` divides lies no end of a cache line.
    """
    width = panel_width(workspace)
    for column in range(place, place + columns, step):
        for number in range(column, column + rows * width, width):
            prefetch_to_write(workspace, number)
