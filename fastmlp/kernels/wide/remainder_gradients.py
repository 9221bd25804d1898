r"""The weight gradient of a panel of few units, as the product of delta^T and A_l.

A row of such a panel of W is a part of one register: a layer has no more units, or these are left of them behind
whole panels. A tile of the product A_l^T delta_{l+1} (see ``microkernels.tile``) would load a number of A for every
register that it multiplies, and many lanes of those hold nothing. Here the units of the layer below fill the lanes
instead, NR of them in a tile, and the tile of W is as high::

                  samples                     units of l                 units of l
                +---------+                   +--------+                +----------+
       units of | delta^T |    x    samples   |  A_l   |    =  units of | gradient |   --->  transposed, it is
       l + 1    +---------+                   |        |       l + 1    +----------+         NR rows of W's panel
                                              +--------+

Each number is the same sum in the same order. Where it is one of halves (see ``wide.gradients``), these are kept as the
product gives them, tile after tile, and behind them those of the biases; their sum is transposed.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.tiles import add_tiles, clear_rows, tile_rows, tile_vectors, transposed_rows
from fastmlp.kernels.wide.gradients import bias_gradient
from fastmlp.microkernels.tile import N_COPIES, NO_PREFETCH
from fastmlp.microkernels.tile_calls import multiply_lanes
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import lane_count, panel_width, transpose_rows

NOTHING = (NO_PREFETCH,) * N_COPIES


@inner
def _product(workspace, tiles, layer, shared, out, unit, panel, begin, end):
    """Tile = delta_{l+1}^T A_l for the units of layer l from `unit` on, over samples `begin` to `end`.

    workspace[out...] (few_units + 1, NR). Overwritten, the last row with what counts for nothing.
    """
    width = panel_width(workspace)
    vectors = tile_vectors(layer.fan_in, unit, lane_count(workspace))
    deltas = layer.deltas + (panel * shared.capacity + begin) * width
    inputs = layer.inputs + (unit // width * shared.capacity + begin) * width
    row = 0
    while row < layer.few_units:
        # A row of padding more costs nothing where it saves a tile: seven rows are one of eight, not of four, two, one.
        rows = tile_rows(layer.few_units + 1 - row)
        multiply_lanes(
            workspace, tiles, out + row * width, deltas + row, inputs, end - begin, rows, vectors, NOTHING
        )  # fmt: skip
        row += rows


@inner
def transposed_half_gradient(workspace, tiles, layer, shared, begin, end):
    """Compute the gradient of a layer's last panel over samples `begin` to `end`, one half of the minibatch.

    workspace[layer.first_half...] or workspace[layer.second_half...]: behind the other panels a product for each tile,
    then the biases. Overwritten.
    """
    width = panel_width(workspace)
    panel = (layer.fan_out - 1) // width
    out = layer.second_half if end > shared.middle else layer.first_half
    out += panel * (layer.fan_in + 1) * width
    for unit in range(0, layer.fan_in, width):
        _product(workspace, tiles, layer, shared, out, unit, panel, begin, end)
        out += transposed_rows(workspace) * width
    bias_gradient(workspace, layer, shared, out, panel, begin, end, np.intp(1))


@inner
def transposed_gradient(workspace, tiles, layer, shared, scratch, unit, panel):
    """Compute the gradient of the tile of W from row `unit` on, over the whole minibatch; return where it lies.

    workspace[scratch...]: two products and a tile of W. Overwritten.
    """
    width = panel_width(workspace)
    size = transposed_rows(workspace) * width
    first, second, out = scratch, scratch + size, scratch + 2 * size
    if layer.first_half and shared.blocks_are_halves:
        place = panel * (layer.fan_in + 1) * width + unit // width * size
        first, second = layer.first_half + place, layer.second_half + place
    else:
        begin = np.intp(0)
        end = shared.middle if layer.first_half else shared.rows
        for part in range(2 if layer.first_half else 1):
            _product(workspace, tiles, layer, shared, scratch + part * size, unit, panel, begin, end)
            begin, end = end, shared.rows
    if layer.first_half:
        add_tiles(workspace, first, second, scratch, layer.few_units, width)
    clear_rows(workspace, scratch + layer.few_units * width, transposed_rows(workspace) - layer.few_units)
    transpose_rows(workspace, scratch, out, min(width, layer.fan_in - unit))
    return out
