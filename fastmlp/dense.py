"""The three products of a dense layer, cut into register tiles, each finished while its tile is in cache.

Offsets are into the workspace; a layer's record says what lies where (see ``layout``). Each
function destroys what its first line names and nothing else.
"""

from __future__ import annotations

from fastmlp._jit import inner
from fastmlp.activations import LOGISTIC, RELU, TANH, activate_tile, differentiate_tile
from fastmlp.microkernel import MR, VECTORS, multiply_lanes, multiply_rows
from fastmlp.tiles import TILE
from fastmlp.vectors import lane_count, panel_width

# A product goes over the samples in blocks of so many rows. Of a block's activations no more than these bytes are used
# at a time, while all panels of W pass by them: they stay in the second-level cache, of 1 MiB or more, and W is read
# from memory once for each block, one number after the other.
BLOCK_ROWS = 256
BLOCK_BYTES = 640 * 1024
PANEL_BYTES = TILE.vectors * TILE.vector_bytes


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
def inner_step(rows, inner, width):
    """Return how many terms of its sums a product takes at a time, so that what they take of A stays in cache.

    Between two visits the sums rest in their place in memory: neither their order nor a bit of them changes.
    """
    panels = (inner + width - 1) // width
    most = max(1, BLOCK_BYTES // (rows * PANEL_BYTES))
    n_blocks = (panels + most - 1) // most
    return (panels + n_blocks - 1) // n_blocks * width


@inner
def dense_forward(workspace, tiles, layer, begin, end, capacity):
    """A_{l+1} = f(A_l W + b) for samples `begin` to `end`.

    outputs (capacity, fan_out), inputs (capacity, fan_in), parameters (fan_in + 1, fan_out), all
    panels.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    no_floor = workspace.dtype.type(-float("inf"))
    floor = workspace.dtype.type(0.0 if layer.activation == RELU else -float("inf"))
    finish = layer.activation == TANH or layer.activation == LOGISTIC
    for top in range(begin, end, BLOCK_ROWS):
        bottom = min(end, top + BLOCK_ROWS)
        step = inner_step(bottom - top, layer.fan_in, width)
        for unit in range(0, layer.fan_in, step):
            units = min(step, layer.fan_in - unit)
            is_last = unit + units == layer.fan_in
            for first in range(0, layer.fan_out, width):
                panel = first // width
                vectors = tile_vectors(layer.fan_out, first, lanes)
                weights = layer.parameters + panel * (layer.fan_in + 1) * width
                bias = weights + layer.fan_in * width
                row = top
                while row < bottom:
                    rows = tile_rows(bottom - row)
                    out = layer.outputs + (panel * capacity + row) * width
                    multiply_rows(
                        workspace, tiles, out, bias if unit == 0 else out, 0 if unit == 0 else width,
                        layer.inputs + (unit // width * capacity + row) * width, capacity * width,
                        weights + unit * width, units, rows, vectors, floor if is_last else no_floor, -1,
                    )  # fmt: skip
                    if finish and is_last:
                        activate_tile(workspace, out, rows, vectors * lanes, layer.activation)
                    row += rows


@inner
def dense_backward_data(workspace, tiles, layer, below, begin, end, capacity, zeros):
    """delta_l = (delta_{l+1} W^T) * f'(A_l) for samples `begin` to `end`.

    below.deltas (capacity, fan_in), layer.deltas (capacity, fan_out), transposed (fan_out, fan_in),
    all panels.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    no_floor = workspace.dtype.type(-float("inf"))
    for top in range(begin, end, BLOCK_ROWS):
        bottom = min(end, top + BLOCK_ROWS)
        step = inner_step(bottom - top, layer.fan_out, width)
        for unit in range(0, layer.fan_out, step):
            units = min(step, layer.fan_out - unit)
            is_last = unit + units == layer.fan_out
            for first in range(0, layer.fan_in, width):
                panel = first // width
                vectors = tile_vectors(layer.fan_in, first, lanes)
                weights = layer.transposed + panel * layer.fan_out * width
                row = top
                while row < bottom:
                    rows = tile_rows(bottom - row)
                    place = (panel * capacity + row) * width
                    out = below.deltas + place
                    activations = below.outputs + place
                    multiply_rows(
                        workspace, tiles, out, zeros if unit == 0 else out, 0 if unit == 0 else width,
                        layer.deltas + (unit // width * capacity + row) * width, capacity * width,
                        weights + unit * width, units, rows, vectors, no_floor,
                        activations if is_last and below.activation == RELU else -1,
                    )  # fmt: skip
                    if is_last:
                        differentiate_tile(workspace, out, activations, rows, vectors * lanes, below.activation)
                    row += rows


@inner
def weight_gradient_tile(
    workspace, tiles, layer, out, start, start_stride, unit, panel, samples, rows, vectors, capacity
):
    """Tile = start + A_l^T delta_{l+1}, rows `unit` to ``unit + rows``, over all samples of the minibatch.

    workspace[out...] (rows, NR). Overwritten.
    """
    width = panel_width(workspace)
    no_floor = workspace.dtype.type(-float("inf"))
    left = layer.inputs + unit // width * capacity * width + unit % width
    right = layer.deltas + panel * capacity * width
    multiply_lanes(
        workspace,
        tiles,
        out,
        start,
        start_stride,
        left,
        0,
        right,
        samples,
        rows,
        vectors,
        no_floor,
        -1,
    )
