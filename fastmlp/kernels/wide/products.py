"""The products of a dense layer with its weights, cut into register tiles, each finished while its tile is in cache.

Offsets are into the workspace; a layer's record says what lies where (see ``layout``). Each
function destroys what its first line names and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastmlp.kernels.epilogues import finish_deltas, finish_forward, floor_of, mask_of
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
def term_step(rows, n_terms, width):
    """Return how many terms of its sums a product takes at a time, so that what they take of A stays in cache.

    Between two visits the sums rest in their place in memory: neither their order nor a bit of them changes.
    """
    panels = (n_terms + width - 1) // width
    most = max(1, BLOCK_BYTES // (rows * PANEL_BYTES))
    n_blocks = (panels + most - 1) // most
    return (panels + n_blocks - 1) // n_blocks * width


class Operands(NamedTuple):
    """The matrices of a product, all panels.

    out (capacity, columns), left (capacity, n_terms), right (n_terms, columns), its panels `right_step` apart. start: a
    row for each panel, `start_step` apart. outputs: as out, or -1.
    """

    out: int
    start: int
    start_step: int | np.intp
    left: int
    right: int
    right_step: int
    n_terms: int
    columns: int
    outputs: int | np.intp


@inner
def _product(workspace, functions, operands, layer, begin, end, capacity, prefetches):
    """Out = f(start + left right), or (left right) * f'(outputs), for samples `begin` to `end`.

    operands: those of the former have no outputs. layer: the one whose units the columns are. prefetches: whether each
    panel of right is prefetched while the one before is multiplied.

    Callers write their constants as ``np.intp``: a literal has a type of its own, for which all this would be compiled
    again.
    """
    out, start, start_step, left, right, right_step, n_terms, columns, outputs = operands
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    no_floor = workspace.dtype.type(-float("inf"))
    floor = floor_of(workspace, layer) if outputs < 0 else no_floor
    line = line_count(workspace)
    block_rows = BLOCK_COLUMN_VECTORS * lanes
    for top in range(begin, end, block_rows):
        bottom = min(end, top + block_rows)
        step = term_step(bottom - top, n_terms, width)
        for term in range(0, n_terms, step):
            terms = min(step, n_terms - term)
            is_last = term + terms == n_terms
            for first in range(0, columns, width):
                panel = first // width
                vectors = tile_vectors(columns, first, lanes)
                panel_right = right + panel * right_step + term * width
                prefetching_rows = PREFETCHING_TILES * MR if prefetches and first + width < columns else 0
                row = top
                while row < bottom:
                    rows = tile_rows(bottom - row)
                    place = (panel * capacity + row) * width
                    tile_start = start + panel * start_step if term == 0 else out + place
                    stride = 0 if term == 0 else width
                    tile_left = left + (term // width * capacity + row) * width
                    lowest = floor if is_last else no_floor
                    mask = mask_of(layer, outputs + place) if is_last and outputs >= 0 else -1
                    prefetch = NO_PREFETCH
                    if row - top < prefetching_rows:
                        prefetch = panel_right + right_step + (row - top) // MR * line
                    gemm_nn(
                        workspace, functions, out + place, tile_start, stride, tile_left, capacity * width, panel_right,
                        terms, rows, vectors, lowest, mask, prefetch,
                    )  # fmt: skip
                    if is_last and outputs >= 0:
                        finish_deltas(
                            workspace, layer, out + place, width, outputs + place, width, rows, vectors * lanes
                        )
                    elif is_last:
                        finish_forward(workspace, layer, out + place, width, rows, vectors * lanes)
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
    operands = Operands(
        layer.outputs, layer.parameters + layer.fan_in * width, panel_size, layer.inputs, layer.parameters, panel_size,
        layer.fan_in, layer.fan_out, np.intp(-1),
    )  # fmt: skip
    _product(workspace, functions, operands, layer, begin, end, capacity, prefetches)


@inner
def dense_backward_data(workspace, functions, layer, below, begin, end, capacity, zeros, prefetches):
    """delta_l = (delta_{l+1} W^T) * f'(A_l) for samples `begin` to `end`; `prefetches` as in forward.

    below.deltas (capacity, fan_in), layer.deltas (capacity, fan_out), transposed (fan_out, fan_in),
    all panels.
    """
    width = panel_width(workspace)
    operands = Operands(
        below.deltas, zeros, np.intp(0), layer.deltas, layer.transposed, layer.fan_out * width, layer.fan_out,
        layer.fan_in, below.outputs,
    )  # fmt: skip
    _product(workspace, functions, operands, below, begin, end, capacity, prefetches)
