"""The products of a dense layer with its weights, cut into register tiles, each finished while its tile is in cache.

Offsets are into the workspace; a layer's record says what lies where (see ``layout``). Each
function destroys what its first line names and nothing else.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.activations import RELU, activate, differentiate
from fastmlp.kernels.tiles import tile_rows, tile_vectors
from fastmlp.microkernels.tile import MR, NO_PREFETCH, PREFETCHING_TILES
from fastmlp.microkernels.tile_calls import gemm_nn
from fastmlp.simd.jit import inner
from fastmlp.simd.tile_table import BLOCK_BYTES, TILE
from fastmlp.simd.vectors import lane_count, line_count, panel_width

# A product goes over the samples in blocks of as many rows as this has numbers: 256 in float32, 128 in float64. Of a
# block's activations no more than BLOCK_BYTES are used at a time, while all panels of W pass by them: W is read from
# memory once for each block, one number after the other.
BLOCK_COLUMN_BYTES = 1024
BLOCK_COLUMN_VECTORS = BLOCK_COLUMN_BYTES // TILE.vector_bytes
PANEL_BYTES = TILE.vectors * TILE.vector_bytes


@inner
def inner_step(rows, inner_size, width):
    """Return how many terms of its sums a product takes at a time, so that what they take of A stays in cache.

    Between two visits the sums rest in their place in memory: neither their order nor a bit of them changes.
    """
    panels = (inner_size + width - 1) // width
    most = max(1, BLOCK_BYTES // (rows * PANEL_BYTES))
    n_blocks = (panels + most - 1) // most
    return (panels + n_blocks - 1) // n_blocks * width


@inner
def _product(
    workspace, functions, out, start, start_step, left, right, right_step, inner_size, columns, begin, end, capacity,
    floor, outputs, activation, prefetches,
):  # fmt: skip
    """Out = f(start + left right), or (left right) * f'(outputs), for samples `begin` to `end`.

    out, outputs (capacity, columns), left (capacity, inner_size), right (inner_size, columns): panels, those of right
    `right_step` apart. start: a row for each panel, `start_step` apart. outputs: -1 for the former of the two.
    prefetches: whether each panel of right is prefetched while the one before is multiplied.

    Callers write their constants as ``np.intp``: a literal has a type of its own, for which all this would be compiled
    again.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    no_floor = workspace.dtype.type(-float("inf"))
    line = line_count(workspace)
    block_rows = BLOCK_COLUMN_VECTORS * lanes
    for top in range(begin, end, block_rows):
        bottom = min(end, top + block_rows)
        step = inner_step(bottom - top, inner_size, width)
        for unit in range(0, inner_size, step):
            units = min(step, inner_size - unit)
            is_last = unit + units == inner_size
            for first in range(0, columns, width):
                panel = first // width
                vectors = tile_vectors(columns, first, lanes)
                panel_right = right + panel * right_step + unit * width
                prefetching_rows = PREFETCHING_TILES * MR if prefetches and first + width < columns else 0
                row = top
                while row < bottom:
                    rows = tile_rows(bottom - row)
                    place = (panel * capacity + row) * width
                    tile_start = start + panel * start_step if unit == 0 else out + place
                    stride = 0 if unit == 0 else width
                    tile_left = left + (unit // width * capacity + row) * width
                    lowest = floor if is_last else no_floor
                    mask = outputs + place if is_last and outputs >= 0 and activation == RELU else -1
                    prefetch = NO_PREFETCH
                    if row - top < prefetching_rows:
                        prefetch = panel_right + right_step + (row - top) // MR * line
                    gemm_nn(
                        workspace, functions, out + place, tile_start, stride, tile_left, capacity * width, panel_right,
                        units, rows, vectors, lowest, mask, prefetch,
                    )  # fmt: skip
                    if is_last and outputs >= 0:
                        differentiate(
                            workspace, out + place, width, outputs + place, width, rows, vectors * lanes, activation
                        )  # fmt: skip
                    elif is_last:
                        activate(workspace, out + place, width, rows, vectors * lanes, activation)
                    row += rows


@inner
def dense_forward(workspace, functions, layer, begin, end, capacity, prefetches):
    """A_{l+1} = f(A_l W + b) for samples `begin` to `end`.

    prefetches: whether each panel of W is prefetched while the one before is multiplied.

    outputs (capacity, fan_out), inputs (capacity, fan_in), parameters (fan_in + 1, fan_out), all
    panels.
    """
    width = panel_width(workspace)
    panel_size = (layer.fan_in + 1) * width
    floor = workspace.dtype.type(0.0 if layer.activation == RELU else -float("inf"))
    _product(
        workspace, functions, layer.outputs, layer.parameters + layer.fan_in * width, panel_size, layer.inputs,
        layer.parameters, panel_size, layer.fan_in, layer.fan_out, begin, end, capacity, floor, np.intp(-1),
        layer.activation, prefetches,
    )  # fmt: skip


@inner
def dense_backward_data(workspace, functions, layer, below, begin, end, capacity, zeros, prefetches):
    """delta_l = (delta_{l+1} W^T) * f'(A_l) for samples `begin` to `end`; `prefetches` as in forward.

    below.deltas (capacity, fan_in), layer.deltas (capacity, fan_out), transposed (fan_out, fan_in),
    all panels.
    """
    width = panel_width(workspace)
    no_floor = workspace.dtype.type(-float("inf"))
    _product(
        workspace, functions, below.deltas, zeros, np.intp(0), layer.deltas, layer.transposed, layer.fan_out * width,
        layer.fan_out, layer.fan_in, begin, end, capacity, no_floor, below.outputs, below.activation,
        prefetches,
    )  # fmt: skip
