r"""The zeros of X: which terms of the first layer's products are left out.

An image has a background, of a table's columns that say which of many one is 1, and a text has few of all words. A term
of a product whose number of A is zero adds nothing. It is left out where that saves a turn of the micro-kernel: where
all numbers that a register tile takes of A for one k are zero. These are one feature of four samples in forward, and
four features of one sample in the weight gradient. After the gather a *mark* is made for each group of features of a
sample, as many as a register has lanes: an integer whose bits say which are not zero. From the marks come both lists
(four features to a mark in the drawing)::

                     features                               marks
                     0 1 2 3   4 5 6 7                      0 to 3  4 to 7
                   +---------+---------+                  +-------+-------+
         sample 0  | . a . . | . . . . |                  | .1..  | ....  |   features of samples 0 to 3:
         sample 1  | . a . a | . . . . |     ------>      | .1.1  | ....  |     1, 3, 5      (any bit of a column)
         sample 2  | . . . . | . a . . |                  | ....  | .1..  |   samples of features 0 to 3:
         sample 3  | . . . a | . . . . |                  | ...1  | ....  |     0, 1, 3      (marks that are not 0)
                   +---------+---------+                  +-------+-------+

Marks and lists are integers in the workspace, as wide as its numbers. A sum that leaves zeros out is the same to the
last bit, but for the sign of a zero; only what is not finite in W or delta no longer makes a NaN of them. Which
networks leave zeros out is decided in ``network.sparsity``.
"""

from __future__ import annotations

from fastmlp.kernels.wide.halves import FIRST_HALF, SECOND_HALF
from fastmlp.simd.integers import (
    lane_indices,
    lanes_of_bits,
    load_index,
    mark_count,
    nonzero_bits,
    store_chosen,
    store_index,
)
from fastmlp.simd.jit import inner
from fastmlp.simd.tile_table import SPARSE_TILE_ROWS
from fastmlp.simd.vectors import as_bits, lane_count, load, panel_width


@inner
def mark_nonzeros(workspace, layer, begin, end, capacity):
    """Mark which features of samples `begin` to `end` are not zero. workspace[layer.marks...]: overwritten."""
    width = panel_width(workspace)
    step = mark_count(workspace)
    for unit in range(0, layer.fan_in, step):
        place = layer.inputs + unit // width * capacity * width + unit % width
        marks = layer.marks + unit // step * layer.mark_rows
        for row in range(begin, end):
            store_index(workspace, marks + row, nonzero_bits(workspace, place + row * width))


@inner
def _feature_lists(workspace, layer, row):
    """Return where the lists of a tile of samples, from `row` on, begin: for A, behind their length, and for B."""
    step = mark_count(workspace)
    left = layer.feature_lists + row // SPARSE_TILE_ROWS * layer.feature_list_size + 1
    return left, left + (layer.fan_in + step - 1) // step * step + lane_count(workspace)


@inner
def list_features(workspace, layer, begin, end, capacity):
    """List the features that are not zero in some sample of a tile, for the tiles of samples `begin` to `end`.

    workspace[layer.feature_lists...]: overwritten.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    step = mark_count(workspace)
    lane = lane_indices(workspace)
    for row in range(begin, end - SPARSE_TILE_ROWS + 1, SPARSE_TILE_ROWS):
        left, right = _feature_lists(workspace, layer, row)
        count = 0
        for unit in range(0, layer.fan_in, step):
            marks = layer.marks + unit // step * layer.mark_rows + row
            bits = 0
            for sample in range(SPARSE_TILE_ROWS):
                bits |= load_index(workspace, marks + sample)
            place = unit // width * capacity * width + unit % width
            for first in range(0, step, lanes):
                chosen = lanes_of_bits(workspace, bits >> first)
                store_chosen(workspace, left + count, lane + (place + first), chosen)
                count += store_chosen(workspace, right + count, lane * width + (unit + first) * width, chosen)
        store_index(workspace, left - 1, count)


@inner
def nonzero_features(workspace, layer, row):
    """Return where the features of a tile of samples, from `row` on, are listed, for A and for B, and how many."""
    left, right = _feature_lists(workspace, layer, row)
    return left, right, load_index(workspace, left - 1)


@inner
def _sample_list(layer, scratch, unit):
    """Return where the list of a tile of features, from `unit` on, is; its first two numbers are counts."""
    return scratch + layer.sample_lists + unit // SPARSE_TILE_ROWS % layer.n_sample_lists * layer.sample_list_size


@inner
def list_samples(workspace, layer, scratch, unit, begin, middle, end):
    """List which samples, from `begin` to `end`, are not zero in some feature of a tile, from `unit` on.

    workspace[scratch...]: a block's own. The list is overwritten: how many samples there are before `middle` and in
    all, and where these begin in a panel.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    step = mark_count(workspace)
    lane = lane_indices(workspace)
    place = _sample_list(layer, scratch, unit)
    marks = layer.marks + unit // step * layer.mark_rows
    bits = ((1 << SPARSE_TILE_ROWS) - 1) << unit % step
    count = 0
    for half in range(2):
        bottom = end if half else middle
        for row in range(begin, bottom, lanes):
            is_marked = (as_bits(load(workspace, marks + row)) & bits) != 0
            is_sample = lane < bottom - row  # behind the last lie marks of others
            count += store_chosen(workspace, place + 2 + count, lane * width + row * width, is_marked & is_sample)
        store_index(workspace, place + half, count)
        begin = middle


@inner
def nonzero_samples(workspace, layer, scratch, unit, part):
    """Return where the samples of a tile of features are listed, and how many: all, or those of one half."""
    place = _sample_list(layer, scratch, unit)
    first = load_index(workspace, place) if part == SECOND_HALF else 0
    last = load_index(workspace, place) if part == FIRST_HALF else load_index(workspace, place + 1)
    return place + 2 + first, last - first
