"""The products of a first layer that goes over the entries of a sparse X (see ``entries``), and its update.

W lies row after row, each filled up to whole registers. Few networks have such a layer. What phases call here are
kernels of their own, whose addresses stand in the record of what all layers share: they are compiled when the first
such network is made.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.epilogues import finish_sums
from fastmlp.kernels.optimizers import update_tile
from fastmlp.kernels.records import A_LAYER, A_NETWORK, A_SOURCE
from fastmlp.kernels.samples import sample_of
from fastmlp.kernels.tiles import add_tiles, tile_vectors
from fastmlp.kernels.wide.entries import (
    NO_ENTRY,
    copy_entries,
    entries_of_row,
    entries_of_sample,
    gather_entries,
    link_entries,
)
from fastmlp.kernels.wide.gradients import bias_gradient
from fastmlp.simd.arguments import INTEGER, INTEGERS, NUMBERS
from fastmlp.simd.integers import load_index
from fastmlp.simd.jit import calls_of, inner, kernel
from fastmlp.simd.tile_table import ENTRY_TILE_ROWS
from fastmlp.simd.vectors import lane_count, load, multiply_add, panel_width, splat_of, store


@inner
def _panel_place(capacity, row, column, width):
    """Return where a number of activations or deltas lies, in panels of `capacity` rows."""
    return (column // width * capacity + row) * width + column % width


@inner
def _four_vectors(workspace, layer, capacity, row, first, last, column, is_begin):
    """Add to the sums of four registers of a sample, from `column` on, the terms of entries `first` to `last`."""
    lanes = lane_count(workspace)
    width = panel_width(workspace)
    place_a = layer.outputs + _panel_place(capacity, row, column, width)
    place_b = layer.outputs + _panel_place(capacity, row, column + lanes, width)
    place_c = layer.outputs + _panel_place(capacity, row, column + 2 * lanes, width)
    place_d = layer.outputs + _panel_place(capacity, row, column + 3 * lanes, width)
    weights = layer.parameters + column
    bias = weights + layer.fan_in * layer.row_size
    a = load(workspace, bias if is_begin else place_a)
    b = load(workspace, bias + lanes if is_begin else place_b)
    c = load(workspace, bias + 2 * lanes if is_begin else place_c)
    d = load(workspace, bias + 3 * lanes if is_begin else place_d)
    for entry in range(first, last):
        value = splat_of(workspace, workspace[layer.entry_values + entry])
        place = weights + load_index(workspace, layer.entry_columns + entry) * layer.row_size
        a = multiply_add(value, load(workspace, place), a)
        b = multiply_add(value, load(workspace, place + lanes), b)
        c = multiply_add(value, load(workspace, place + 2 * lanes), c)
        d = multiply_add(value, load(workspace, place + 3 * lanes), d)
    store(workspace, place_a, a)
    store(workspace, place_b, b)
    store(workspace, place_c, c)
    store(workspace, place_d, d)


@inner
def _one_vector(workspace, layer, capacity, row, first, last, column, is_begin):
    """Add the terms of entries to the sums of one register, in the same way."""
    out = layer.outputs + _panel_place(capacity, row, column, panel_width(workspace))
    weights = layer.parameters + column
    total = load(workspace, weights + layer.fan_in * layer.row_size if is_begin else out)
    for entry in range(first, last):
        value = splat_of(workspace, workspace[layer.entry_values + entry])
        place = weights + load_index(workspace, layer.entry_columns + entry) * layer.row_size
        total = multiply_add(value, load(workspace, place), total)
    store(workspace, out, total)


@inner
def _add_entries(workspace, layer, capacity, row, first, last, is_begin):
    """Add the terms of entries `first` to `last` to a sample's sums, which begin with the biases if `is_begin`.

    workspace[layer.outputs...]: a row of the panels is overwritten.
    """
    lanes = lane_count(workspace)
    whole = layer.row_size // (4 * lanes) * (4 * lanes)
    for column in range(0, whole, 4 * lanes):
        _four_vectors(workspace, layer, capacity, row, first, last, column, is_begin)
    for column in range(whole, layer.row_size, lanes):
        _one_vector(workspace, layer, capacity, row, first, last, column, is_begin)


@inner
def _activate(workspace, layer, capacity, begin, end):
    """Apply the activation to the sums of samples `begin` to `end`."""
    lanes = lane_count(workspace)
    width = panel_width(workspace)
    for first in range(0, layer.fan_out, width):
        columns = tile_vectors(layer.fan_out, first, lanes) * lanes
        out = layer.outputs + _panel_place(capacity, begin, first, width)
        finish_sums(workspace, layer, out, width, end - begin, columns)


@kernel(NUMBERS, A_LAYER, A_NETWORK, A_SOURCE, INTEGERS, INTEGER, INTEGER)
def entry_forward(workspace, layer, network, source, order, begin, end):
    """A_1 = f(X W + b) for samples `begin` to `end` of the minibatch, whose entries are copied first.

    layer.outputs (capacity, fan_out), panels: these rows are overwritten.
    """
    if network.gather:
        gather_entries(workspace, layer, source, order, network.start, begin, end)
    for row in range(begin, end):
        first, last = entries_of_sample(workspace, layer, row)
        _add_entries(workspace, layer, network.capacity, row, first, last, True)
    _activate(workspace, layer, network.capacity, begin, end)


@kernel(NUMBERS, A_LAYER, A_NETWORK, A_SOURCE, INTEGERS, INTEGER, INTEGER, INTEGER)
def entry_inference(workspace, layer, network, source, order, start, begin, end):
    """A_1 = f(X W + b) for samples ``order[start + begin : start + end]``, in rows `begin` to `end` of the workspace.

    These may have more entries than a minibatch that this network is made for: as many are copied at a time as the
    lists have places for so many rows.
    """
    places = layer.most_entries // network.capacity
    place = begin * places
    most = (end - begin) * places
    for row in range(begin, end):
        first, last = entries_of_row(source, sample_of(order, start, row))
        is_begin = True
        while is_begin or first < last:
            count = min(most, last - first)
            copy_entries(workspace, layer, source, first, first + count, place)
            _add_entries(workspace, layer, network.capacity, row, place, place + count, is_begin)
            first += count
            is_begin = False
    _activate(workspace, layer, network.capacity, begin, end)


@inner
def _add_gradient(workspace, layer, capacity, out, unit, entry):
    """Add to rows of the gradient, from row `unit` on, the terms of an entry and of those that are linked to it.

    workspace[out...]: these rows, layer.row_size numbers each.
    """
    lanes = lane_count(workspace)
    width = panel_width(workspace)
    while entry != NO_ENTRY:
        value = splat_of(workspace, workspace[layer.entry_values + entry])
        row = out + (load_index(workspace, layer.entry_columns + entry) - unit) * layer.row_size
        deltas = layer.deltas + load_index(workspace, layer.entry_samples + entry) * width
        for first in range(0, layer.row_size, width):
            for column in range(0, min(width, layer.row_size - first), lanes):
                place = row + first + column
                store(workspace, place, multiply_add(value, load(workspace, deltas + column), load(workspace, place)))
            deltas += capacity * width
        entry = load_index(workspace, layer.entry_links + entry)


@inner
def _clear(workspace, place, count):
    for number in range(place, place + count, lane_count(workspace)):
        store(workspace, number, splat_of(workspace, 0.0))


@inner
def _update_biases(workspace, layer, network, scratch):
    """Gradient and update of all biases; return what they add to the L2 term.

    workspace[scratch...] (NR,): overwritten.
    """
    lanes = lane_count(workspace)
    width = panel_width(workspace)
    rows = np.intp(1)
    term = workspace.dtype.type(0)
    for first in range(0, layer.fan_out, width):
        vectors = tile_vectors(layer.fan_out, first, lanes)
        bias_gradient(workspace, layer, network, scratch, first // width, np.intp(0), network.rows, vectors)
        place = layer.parameters + layer.fan_in * layer.row_size + first
        if network.update:
            term += update_tile(
                workspace, network, scratch, place, place, rows, vectors * lanes, layer.bias_rate_factor,
                layer.bias_decay_factor,
            )  # fmt: skip
        else:
            place += network.n_parameters
            add_tiles(workspace, scratch, place, place, rows, vectors * lanes)
    return term


@kernel(NUMBERS, A_LAYER, A_NETWORK, INTEGER, INTEGER, INTEGER)
def entry_update(workspace, layer, network, first_tile, last_tile, scratch):
    """Phase 2 for tiles `first_tile` to `last_tile` of the first layer, of which the last are the biases.

    workspace[scratch...]: a block's own. Overwritten. Without an update the gradient is added to what stands behind the
    parameters, where most tiles have none.
    """
    n_tiles = layer.row_tiles - 1
    size = ENTRY_TILE_ROWS * layer.row_size
    out = scratch + layer.entry_gradient
    link_entries(workspace, layer, network.rows, first_tile, min(last_tile, n_tiles))
    _clear(workspace, out, size)
    for tile in range(first_tile, min(last_tile, n_tiles)):
        entry = load_index(workspace, layer.tile_entries + tile)
        unit = tile * ENTRY_TILE_ROWS
        weights = layer.parameters + unit * layer.row_size
        if network.update:
            _add_gradient(workspace, layer, network.capacity, out, unit, entry)
            # The rows follow each other without a gap: to an optimiser they are one.
            columns = min(ENTRY_TILE_ROWS, layer.fan_in - unit) * layer.row_size
            workspace[network.squares + layer.first_tile + tile] = update_tile(
                workspace, network, out, weights, weights, np.intp(1), columns, layer.rate_factor, layer.decay_factor
            )
            if entry != NO_ENTRY:
                _clear(workspace, out, size)
        else:
            _add_gradient(workspace, layer, network.capacity, weights + network.n_parameters, unit, entry)
    if last_tile > n_tiles:
        workspace[network.squares + layer.first_tile + n_tiles] = _update_biases(workspace, layer, network, scratch)


call_entry_forward = calls_of(entry_forward)
call_entry_inference = calls_of(entry_inference)
call_entry_update = calls_of(entry_update)
