r"""The weight gradient of a remainder panel, as the product of delta^T and A_l.

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

from fastmlp.kernels.tiles import clear_rows, tile_rows, tile_vectors, transposed_rows
from fastmlp.kernels.wide.halves import samples_of
from fastmlp.microkernels.tile import N_COPIES, NO_PREFETCH
from fastmlp.microkernels.tile_calls import gemm_tn
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import lane_count, panel_width, transpose_rows

_NO_PREFETCH = (NO_PREFETCH,) * N_COPIES


@inner
def regular_panels(layer, width):
    """Return the number of a layer's panels but for a remainder panel; panels have `width` columns."""
    return (layer.fan_out + width - 1) // width - (layer.remainder_units > 0)


@inner
def is_remainder(workspace, layer, panel):
    """Return whether a panel is a remainder panel, whose tiles are NR rows high."""
    return layer.remainder_units > 0 and (panel + 1) * panel_width(workspace) >= layer.fan_out


@inner
def remainder_product(workspace, functions, layer, network, scratch, out, unit, panel, part, prefetch):
    """Tile = delta_{l+1}^T A_l for the units of layer l from `unit` on, over a part of the minibatch.

    workspace[out...] (remainder_units + 1, NR). Overwritten, the last row with what counts for nothing.
    """
    width = panel_width(workspace)
    begin, end = samples_of(network, part)
    vectors = tile_vectors(layer.fan_in, unit, lane_count(workspace))
    deltas = layer.deltas + (panel * network.capacity + begin) * width
    inputs = layer.inputs + (unit // width * network.capacity + begin) * width
    row = 0
    while row < layer.remainder_units:
        # A row of padding more costs nothing where it saves a tile: seven rows are one of eight, not of four, two, one.
        rows = tile_rows(layer.remainder_units + 1 - row)
        gemm_tn(
            workspace, functions, out + row * width, deltas + row, inputs, end - begin, rows, vectors, _NO_PREFETCH
        )  # fmt: skip
        row += rows


@inner
def transposed_product(workspace, layer, scratch, unit):
    """Make a tile of W, from row `unit` on, of the product at workspace[scratch...]; return where it lies.

    workspace[scratch...]: two products and a tile of W. The first and the last are overwritten.
    """
    width = panel_width(workspace)
    rows = transposed_rows(workspace)
    out = scratch + 2 * rows * width
    clear_rows(workspace, scratch + layer.remainder_units * width, rows - layer.remainder_units)
    transpose_rows(workspace, scratch, out, min(width, layer.fan_in - unit))
    return out
