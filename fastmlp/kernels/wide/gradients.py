r"""The gradient of a tile of weights or biases: a sum over the samples of the minibatch.

Most gradients are computed and used in phase 2. Those of small matrices are the sums of two, over the first half of the
minibatch and over the second. Two threads compute these in phase 1, each from the activations and deltas of its own
samples, which its own cache holds; phase 2 then only adds and updates::

                     thread 0                      thread 1

        phase 1      forward, backward,            forward, backward,
                     gradient over its samples     gradient over its samples
                              |       \             /       |
                              |          \       /          |
                              |             \ /             |
                              |             / \             |
                              |          /       \          |
        phase 2      one half of the tiles:        the other tiles:
                     sum of both, update           sum of both, update

Else each would fetch half of what it reads in phase 2 from the other's cache, which may take as long as all its
arithmetic. A matrix that is large beside the minibatch has gradients larger than what they are computed from: it stays
with phase 2, as do all with one thread, or with more than two. A sum of halves is computed as such wherever that is, so
it does not show in the bits.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.tiles import add_tiles, tile_rows, tile_vectors, transposed_rows
from fastmlp.kernels.wide.products import weight_gradient_tile
from fastmlp.kernels.wide.sparse_products import call_listed_gradient
from fastmlp.microkernels.tile import MR, NO_PREFETCH
from fastmlp.simd.jit import inner, passage
from fastmlp.simd.vectors import lane_count, load, panel_width, splat_of, store


@passage  # else it is called twice for each tile of halves, with some thirty words on the stack
def weight_gradient(workspace, tiles, layer, shared, out, unit, panel, begin, end, vectors, weights):
    """Tile = A_l^T delta_{l+1} from row `unit` on, over samples `begin` to `end`.

    workspace[out...] (up to MR, NR). Overwritten. weights: what a whole tile prefetches, or `NO_PREFETCH`.
    """
    height = min(MR, layer.fan_in - unit)
    row = 0
    while row < height:
        rows = tile_rows(height - row)
        weight_gradient_tile(
            workspace, tiles, layer, shared, out + row * panel_width(workspace), unit + row, panel, begin, end, rows,
            vectors, weights,
        )  # fmt: skip
        row += rows


@inner
def bias_gradient(workspace, layer, shared, out, panel, begin, end, vectors):
    """Sum the deltas of a panel over samples `begin` to `end`.

    workspace[out...] (NR,). Overwritten. Four sums side by side hide the latency of an addition.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    for column in range(0, vectors * lanes, lanes):
        first = layer.deltas + panel * shared.capacity * width + column
        a = splat_of(workspace, 0.0)
        b = a
        c = a
        d = a
        whole = begin + (end - begin) // 4 * 4
        for row in range(begin, whole, 4):
            place = first + row * width
            a = a + load(workspace, place)
            b = b + load(workspace, place + width)
            c = c + load(workspace, place + 2 * width)
            d = d + load(workspace, place + 3 * width)
        for row in range(whole, end):
            a = a + load(workspace, first + row * width)
        store(workspace, out + column, (a + b) + (c + d))


@inner
def low_panels(layer, width):
    """Return the number of a layer's panels that are not of few units; panels have `width` columns."""
    return (layer.fan_out + width - 1) // width - (layer.few_units > 0)


@inner
def half_gradient(workspace, tiles, layer, shared, first_unit, begin, end):
    """Compute a layer's gradient, from row `first_unit` on, over samples `begin` to `end`, one half of the minibatch.

    workspace[layer.first_half...] or workspace[layer.second_half...] (fan_in + 1, fan_out), panels. Overwritten, but
    for a panel of few units (see ``wide.remainder_gradients``).
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    out = layer.second_half if end > shared.middle else layer.first_half
    for panel in range(low_panels(layer, width)):
        vectors = tile_vectors(layer.fan_out, panel * width, lanes)
        for unit in range(first_unit, layer.fan_in, MR):
            weight_gradient(
                workspace, tiles, layer, shared, out + unit * width, unit, panel, begin, end, vectors, NO_PREFETCH
            )  # fmt: skip
        out += layer.fan_in * width
        bias_gradient(workspace, layer, shared, out, panel, begin, end, vectors)
        out += width


@inner
def is_high(workspace, layer, panel):
    """Return whether a panel has few units, and tiles NR rows high: see ``wide.remainder_gradients``."""
    return layer.few_units > 0 and (panel + 1) * panel_width(workspace) >= layer.fan_out


@inner
def has_list(layer, unit):
    """Return whether the tile from row `unit` on goes over a list: a whole one of a layer that leaves zeros out."""
    return layer.marks > 0 and layer.fan_in - unit >= MR


@inner
def sum_weight_halves(workspace, tiles, layer, shared, scratch, unit, panel, vectors, is_first):
    """Tile = the gradient from row `unit` on, of the whole minibatch, as the sum of its halves.

    workspace[scratch...] (2 MR, NR). Overwritten, the first rows with the sum. is_first: whether this block has come to
    no tile of these rows before.
    """
    width = panel_width(workspace)
    first, second = scratch, scratch + MR * width
    if shared.blocks_are_halves:
        place = (panel * (layer.fan_in + 1) + unit) * width
        first, second = layer.first_half + place, layer.second_half + place
    elif has_list(layer, unit):
        call_listed_gradient(
            shared.listed_gradient,
            (workspace, tiles, layer, shared, scratch, unit, panel, is_first, np.intp(NO_PREFETCH)),
        )
    else:
        begin, end = np.intp(0), shared.middle
        for out in (first, second):
            weight_gradient(workspace, tiles, layer, shared, out, unit, panel, begin, end, vectors, NO_PREFETCH)
            begin, end = end, shared.rows
    add_tiles(workspace, first, second, scratch, min(MR, layer.fan_in - unit), vectors * lane_count(workspace))


@inner
def sum_bias_halves(workspace, layer, shared, scratch, panel, vectors):
    """Row = the gradient of the biases of a panel, of the whole minibatch, as the sum of its halves.

    workspace[scratch...] (2, NR). Overwritten, the first row with the sum.
    """
    width = panel_width(workspace)
    first, second = scratch, scratch + width
    if shared.blocks_are_halves:
        place = panel * (layer.fan_in + 1) * width
        if is_high(workspace, layer, panel):  # behind the products of all tiles of weights
            place += (layer.high_tiles - 1) * transposed_rows(workspace) * width
        else:
            place += layer.fan_in * width
        first, second = layer.first_half + place, layer.second_half + place
    else:
        begin, end = np.intp(0), shared.middle
        for out in (first, second):
            bias_gradient(workspace, layer, shared, out, panel, begin, end, vectors)
            begin, end = end, shared.rows
    add_tiles(workspace, first, second, scratch, np.intp(1), vectors * lane_count(workspace))
