r"""The gradient of a tile of weights and biases of a narrow network (see ``narrow.products``).

A tile has NR rows of W at most, and one panel of its columns. The row behind the last weights is that of the biases.
Where a layer's inputs are there as A^T alone, a gradient is a table of inner products over the samples, each of which
is folded at its end. Of X there may be the rows as well, as they came (``layer.rows``). Then the tile is the product of
delta^T and X, with units of the layer above as its rows and features in its lanes, and nothing is to be folded::

                 samples                       features                     features
               +---------+                    +--------+-+                +--------+-+
      units of | delta^T |     x     samples  |   X    |1|     =    units |gradient| |    --->  transposed, it is
      layer 1  +---------+                    |        |1|          of 1  |        | |          the tile of W and b
                                              +--------+-+                +--------+-+

The lane behind the last feature holds ones, and gets the gradient of the biases. Where features fill the last vector,
there is no such lane, and the deltas are summed by themselves.

Gradients of small matrices are the sums of two, over the halves of the minibatch, as in ``wide.gradients``: of the
first layer each half is kept as the product above gives it, and their sum is transposed.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.tiles import add_tiles, clear_rows, evenly, tile_vectors, transposed_rows
from fastmlp.microkernels.dot_products import DOT_COLUMNS, DOT_ROWS, gemm_nt
from fastmlp.microkernels.narrow_tiles import MOST_ROWS, batched_gemm_nn
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import lane_count, panel_width, transpose_rows


@inner
def _row_capacity(workspace, capacity):
    """Return the rows of X's panels: whole panels of samples."""
    width = panel_width(workspace)
    return (capacity + width - 1) // width * width


@inner
def write_rows(workspace, layer, first, samples, capacity):
    """Copy one panel of samples, from sample `first` on, from the columns of A_0^T to the rows of X.

    workspace[layer.rows...]: so many rows, and up to three more of the panel's samples, are overwritten. In the rest of
    a register they get what stands below the last feature: the ones, then numbers that count for nothing.
    """
    width = panel_width(workspace)
    source = layer.inputs + first // width * (layer.fan_in + 1) * width
    for feature in range(0, layer.fan_in, transposed_rows(workspace)):
        target = layer.rows + (feature // width * _row_capacity(workspace, capacity) + first) * width + feature % width
        transpose_rows(workspace, source + feature * width, target, samples)


@inner
def _inner_products(workspace, functions, layer, out, unit, height, panel, first, samples):
    """Tile = rows `unit` to ``unit + height`` of A_l delta_{l+1}, over samples from `first` on, which starts a panel.

    Row fan_in of A_l is the ones: it gives the gradient of the biases.

    workspace[out...] (height, NR). Overwritten, with zeros behind the last column.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    columns = min(width, layer.fan_out - panel * width)
    n_vectors = (samples + lanes - 1) // lanes
    a_step = (layer.fan_in + 1) * width
    b_step = layer.fan_out * width
    a = layer.inputs + first // width * a_step + unit * width
    b = layer.deltas + first // width * b_step + panel * width * width
    clear_rows(workspace, out, height)
    row = 0
    while row < height:
        rows = min(height - row, DOT_ROWS)
        n_tiles = (height - row) // rows
        column = 0
        while column < columns:
            wide = evenly(columns - column, DOT_COLUMNS)
            gemm_nt(
                workspace, functions, out + row * width + column, a + row * width, a_step, b + column * width, b_step,
                n_vectors, n_tiles, rows, wide,
            )  # fmt: skip
            column += wide
        row += n_tiles * rows


@inner
def _outer_products(workspace, functions, layer, out, feature, panel, first, samples, capacity):
    """Tile = delta_1^T X for one panel of units and features from `feature` on, over samples from `first` on.

    workspace[out...] (NR, NR). Overwritten, with zeros in the rest of a register of units. The column behind the last
    feature, if it is in the same register, is that of the biases.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    deltas = layer.deltas + (first // width * layer.fan_out + panel * width) * width
    X = layer.rows + (feature // width * _row_capacity(workspace, capacity) + first) * width
    vectors = tile_vectors(layer.fan_in, feature, lanes)
    units = min(width, layer.fan_out - panel * width)
    unit = 0
    while unit < units and vectors > 0:
        rows = evenly(units - unit, MOST_ROWS[vectors])
        batched_gemm_nn(
            workspace, functions, out + unit * width, 0, deltas + unit * width, X, 0, samples, rows, vectors, 1,
            layer.fan_out * width, -1, 0,
        )  # fmt: skip
        unit += rows
    clear_rows(workspace, out + units * width, (units + lanes - 1) // lanes * lanes - units)


@inner
def _sums(workspace, functions, layer, out, panel, first, samples):
    """Column = the sums of the deltas of one panel of units, over samples from `first` on.

    They are inner products with the row of ones. workspace[out...] (NR, NR), column 0. Overwritten.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    ones_step = (layer.fan_in + 1) * width
    deltas_step = layer.fan_out * width
    ones = layer.inputs + first // width * ones_step + layer.fan_in * width
    deltas = layer.deltas + first // width * deltas_step + panel * width * width
    n_vectors = (samples + lanes - 1) // lanes
    units = min(width, layer.fan_out - panel * width)
    unit = 0
    while unit < units:
        rows = min(units - unit, DOT_ROWS)
        n_tiles = (units - unit) // rows
        gemm_nt(
            workspace, functions, out + unit * width, deltas + unit * width, deltas_step, ones, ones_step, n_vectors,
            n_tiles, rows, 1,
        )  # fmt: skip
        unit += n_tiles * rows


@inner
def _raw_tile(workspace, functions, layer, network, out, unit, panel, first, samples):
    """Compute the gradient of a tile, from row `unit` of W on, over samples from `first` on.

    workspace[out...] (NR, NR). Overwritten with the tile, or, if the rows of X are there, with the tile transposed.
    """
    width = panel_width(workspace)
    height = min(width, layer.fan_in + 1 - unit)
    if layer.rows:
        _outer_products(workspace, functions, layer, out, unit, panel, first, samples, network.capacity)
        if unit + height > layer.fan_in and layer.fan_in % lane_count(workspace) == 0:
            _sums(workspace, functions, layer, out + height - 1, panel, first, samples)
    else:
        _inner_products(workspace, functions, layer, out, unit, height, panel, first, samples)


@inner
def narrow_half_gradient(workspace, functions, layer, network, begin, end):
    """Compute a layer's gradient over samples `begin` to `end`, one half of the minibatch, tile after tile.

    workspace[layer.first_half...] or workspace[layer.second_half...]: a raw tile for each. Overwritten.
    """
    width = panel_width(workspace)
    out = layer.second_half if end > network.middle else layer.first_half
    for panel in range((layer.fan_out + width - 1) // width):
        for unit in range(0, layer.fan_in + 1, width):
            _raw_tile(workspace, functions, layer, network, out, unit, panel, begin, end - begin)
            out += width * width


@inner
def narrow_gradient(workspace, functions, layer, network, scratch, tile, unit, panel):
    """Compute the gradient of a layer's tile of this number, over the minibatch; return where it lies.

    workspace[scratch...]: three raw tiles. Overwritten.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    size = width * width
    first, second = scratch, scratch + size
    if layer.first_half and network.blocks_are_halves:
        first, second = layer.first_half + tile * size, layer.second_half + tile * size
    else:
        begin = np.intp(0)
        end = network.middle if layer.first_half else network.rows
        for part in range(2 if layer.first_half else 1):
            _raw_tile(workspace, functions, layer, network, scratch + part * size, unit, panel, begin, end - begin)
            begin, end = end, network.rows
    columns = tile_vectors(layer.fan_out, panel * width, lanes) * lanes
    if layer.first_half:
        rows = columns if layer.rows else min(width, layer.fan_in + 1 - unit)
        add_tiles(workspace, first, second, scratch, rows, width)
    if not layer.rows:
        return scratch
    out = scratch + 2 * size
    for row in range(0, columns, transposed_rows(workspace)):
        transpose_rows(workspace, scratch + row * width, out + row, min(width, layer.fan_in + 1 - unit))
    return out
