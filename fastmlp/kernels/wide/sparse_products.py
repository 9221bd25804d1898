"""The products of a first layer that leaves zeros of X out (see ``wide.nonzero_lists``).

Few networks do so. What phases call here are kernels of their own, whose addresses stand in the record of what all
layers share: they are compiled when the first such network is made.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.epilogues import finish_forward, floor_of
from fastmlp.kernels.optimizers import copies_of
from fastmlp.kernels.records import A_LAYER, A_NETWORK
from fastmlp.kernels.tiles import tile_rows, tile_vectors
from fastmlp.kernels.wide.nonzero_lists import (
    list_features,
    list_samples,
    mark_nonzeros,
    nonzero_features,
    nonzero_samples,
)
from fastmlp.kernels.wide.products import BLOCK_COLUMN_VECTORS, PANEL_BYTES
from fastmlp.microkernels.sparse_tiles import sparse_gemm_nn, sparse_gemm_tn
from fastmlp.microkernels.tile import MR, NO_PREFETCH
from fastmlp.microkernels.tile_calls import gemm_nn
from fastmlp.simd.arguments import INTEGER, INTEGERS, NUMBERS
from fastmlp.simd.jit import calls_of, kernel
from fastmlp.simd.tile_table import ALIGNMENT, SPARSE_TILE_ROWS
from fastmlp.simd.vectors import lane_count, line_count, panel_width

# Cache lines of a row of a panel: tiles below each other prefetch one each.
LINES = max(1, PANEL_BYTES // ALIGNMENT)


@kernel(NUMBERS, INTEGERS, A_LAYER, A_NETWORK, *[INTEGER] * 4)
def sparse_forward(workspace, functions, layer, network, begin, end, is_new, prefetches):
    """A_1 = f(X W + b) for samples `begin` to `end`; marks and lists are written first.

    layer.outputs (capacity, fan_out), layer.inputs (capacity, fan_in), parameters (fan_in + 1, fan_out), all panels.
    is_new: whether these samples were gathered since they were marked. prefetches: whether each panel of W is
    prefetched while the one before is multiplied. As `dense_forward`, but that all terms of a sum are taken at once:
    those that are left use little of X.
    """
    capacity = network.capacity
    if is_new:
        mark_nonzeros(workspace, layer, begin, end, capacity)
    # Anew for a full batch that stays: its blocks may be others, and so its tiles.
    list_features(workspace, layer, begin, end, capacity)
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    line = line_count(workspace)
    floor = floor_of(workspace, layer)
    panel_size = (layer.fan_in + 1) * width
    block_rows = BLOCK_COLUMN_VECTORS * lanes
    for top in range(begin, end, block_rows):
        bottom = min(end, top + block_rows)
        for first in range(0, layer.fan_out, width):
            panel = first // width
            vectors = tile_vectors(layer.fan_out, first, lanes)
            right = layer.parameters + panel * panel_size
            bias = right + layer.fan_in * width
            row = top
            while row < bottom:
                rows = min(SPARSE_TILE_ROWS, tile_rows(bottom - row))
                out = layer.outputs + (panel * capacity + row) * width
                left = layer.inputs + row * width
                if rows == SPARSE_TILE_ROWS:
                    left_places, right_places, count = nonzero_features(workspace, layer, row)
                    prefetch = NO_PREFETCH
                    if prefetches and first + width < layer.fan_out:
                        prefetch = right + panel_size + row // SPARSE_TILE_ROWS % LINES * line
                    sparse_gemm_nn(
                        workspace, functions, out, left, right, left_places, right_places, count, vectors, bias,
                        np.intp(0), floor, prefetch,
                    )  # fmt: skip
                else:
                    gemm_nn(
                        workspace, functions, out, bias, np.intp(0), left, capacity * width, right, layer.fan_in, rows,
                        vectors, floor, np.intp(-1), NO_PREFETCH,
                    )  # fmt: skip
                finish_forward(workspace, layer, out, width, rows, vectors * lanes)
                row += rows


@kernel(NUMBERS, A_LAYER, A_NETWORK, *[INTEGER] * 4)
def write_sample_lists(workspace, layer, network, scratch, unit, begin, end):
    """List which samples, from `begin` to `end`, are not zero in the features of a whole tile of W, from `unit` on.

    workspace[scratch...]: a block's own. The lists of these features are overwritten.
    """
    for row in range(unit, unit + MR, SPARSE_TILE_ROWS):
        list_samples(workspace, layer, scratch, row, begin, min(network.middle, end), end)


@kernel(NUMBERS, INTEGERS, A_LAYER, A_NETWORK, *[INTEGER] * 6)
def sparse_gradient(workspace, functions, layer, network, scratch, out, unit, panel, part, prefetch):
    """Tile = X^T delta_1, a whole one from row `unit` on, over the nonzero samples of a part of the minibatch.

    workspace[out...] (MR, NR). Overwritten. workspace[scratch...]: a block's own, with the lists of these samples.
    prefetch: the place of weights that are prefetched with their moments, or `NO_PREFETCH`.
    """
    width = panel_width(workspace)
    vectors = tile_vectors(layer.fan_out, panel * width, lane_count(workspace))
    left = layer.inputs + unit // width * network.capacity * width + unit % width
    right = layer.deltas + panel * network.capacity * width
    for row in range(0, MR, SPARSE_TILE_ROWS):
        samples, count = nonzero_samples(workspace, layer, scratch, unit + row, part)
        down = row * width
        copies = copies_of(network, NO_PREFETCH if prefetch == NO_PREFETCH else prefetch + down)
        sparse_gemm_tn(
            workspace, functions, out + down, left + row, right, samples, samples, count, vectors, copies
        )  # fmt: skip


call_sparse_forward = calls_of(sparse_forward)
call_sparse_gradient = calls_of(sparse_gradient)
call_write_sample_lists = calls_of(write_sample_lists)
