"""The two phases of a training step, and the one of a prediction, compiled once for each data type.

Phase 1 (`propagate`) runs over blocks of samples: gather, forward through all layers, loss, deltas
back through all layers. Samples are independent, so no thread waits for another between layers.
Phase 2 (`update`) runs over blocks of weight tiles: the gradient over the whole minibatch, then the
optimiser's update while the tile is hot, by the thread that owns the block. Every number is
computed in an order that does not depend on the blocks, so neither the number of threads nor the
twin shows in the bits.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

from fastmlp._jit import inner, kernel, kernel_address
from fastmlp.dense import (
    dense_backward_data,
    dense_forward,
    tile_rows,
    tile_vectors,
    weight_gradient_tile,
)
from fastmlp.floating_point import flush_denormals, restore_denormals
from fastmlp.gather import gather_rows
from fastmlp.layout import LAYER, NETWORK
from fastmlp.losses import activate_outputs, output_and_loss
from fastmlp.microkernel import MR
from fastmlp.optimizers import update_row
from fastmlp.sources import SOURCE
from fastmlp.vectors import lane_count, load, panel_width, splat_of, store, sum_lanes


@kernel
def propagate(workspace, tiles, layers, network, source, targets, labels, sample_weight, order, begin, end):
    """Phase 1 for samples `begin` to `end` of the minibatch: activations, losses and deltas of all layers."""
    former = flush_denormals()
    shared = network[0]
    capacity = shared.capacity
    n_layers = shared.n_layers
    if shared.gather:
        gather_rows(workspace, layers[0].inputs, source[0], order, shared.start, begin, end, capacity)
        if shared.weighted:
            for row in range(begin, end):
                workspace[shared.weights + row] = sample_weight[order[shared.start + row]]
    for number in range(n_layers):
        dense_forward(workspace, tiles, layers[number], begin, end, capacity)
    output_and_loss(workspace, layers[n_layers - 1], shared, targets, labels, order, begin, end)
    for number in range(n_layers - 1, 0, -1):
        dense_backward_data(workspace, tiles, layers[number], layers[number - 1], begin, end, capacity, shared.zeros)
    restore_denormals(former)


@inner
def _bias_gradient(workspace, layer, out, panel, samples, vectors, capacity):
    """Sum the deltas of a panel over the samples of the minibatch.

    workspace[out...] (NR,). Overwritten. Four sums side by side hide the latency of an addition.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    for column in range(0, vectors * lanes, lanes):
        first = layer.deltas + panel * capacity * width + column
        a = splat_of(workspace, 0.0)
        b = a
        c = a
        d = a
        whole = samples // 4 * 4
        for row in range(0, whole, 4):
            place = first + row * width
            a = a + load(workspace, place)
            b = b + load(workspace, place + width)
            c = c + load(workspace, place + 2 * width)
            d = d + load(workspace, place + 3 * width)
        for row in range(whole, samples):
            a = a + load(workspace, first + row * width)
        store(workspace, out + column, (a + b) + (c + d))


@inner
def _transpose_tile(workspace, layer, weights, unit, panel, rows):
    """Copy a tile of W to its place in W transposed."""
    width = panel_width(workspace)
    first = panel * width
    place = layer.transposed + (unit // width * layer.fan_out + first) * width + unit % width
    for column in range(min(width, layer.fan_out - first)):
        for row in range(rows):
            workspace[place + column * width + row] = workspace[weights + row * width + column]


@inner
def _update_tile(workspace, tiles, layer, shared, tile, scratch):
    """Gradient and update of one weight tile: up to MR rows of W by one panel, or the panel's biases."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    panel = tile // layer.row_tiles
    unit = tile % layer.row_tiles * MR
    vectors = tile_vectors(layer.fan_out, panel * width, lanes)
    weights = layer.parameters + panel * (layer.fan_in + 1) * width
    gradients = weights + shared.n_parameters
    if tile % layer.row_tiles == layer.row_tiles - 1:
        place = weights + layer.fan_in * width
        _bias_gradient(workspace, layer, scratch, panel, shared.rows, vectors, shared.capacity)
        if shared.update:
            update_row(workspace, shared, scratch, place, vectors * lanes, 0.0)
        else:
            place += shared.n_parameters
            for column in range(place, place + vectors * lanes, lanes):
                total = load(workspace, column) + load(workspace, scratch + column - place)
                store(workspace, column, total)
        return
    last = min(unit + MR, layer.fan_in)
    first_unit = unit
    squares = splat_of(workspace, 0.0)
    while unit < last:
        rows = tile_rows(last - unit)
        if shared.update:
            weight_gradient_tile(
                workspace, tiles, layer, scratch, shared.zeros, 0, unit, panel, shared.rows, rows,
                vectors, shared.capacity,
            )  # fmt: skip
            for row in range(rows):
                place = weights + (unit + row) * width
                squares = squares + update_row(
                    workspace, shared, scratch + row * width, place, vectors * lanes, shared.alpha
                )
        else:
            place = gradients + unit * width
            weight_gradient_tile(
                workspace, tiles, layer, place, place, width, unit, panel, shared.rows, rows,
                vectors, shared.capacity,
            )  # fmt: skip
        unit += rows
    if shared.update:
        workspace[shared.squares + layer.first_tile + tile] = sum_lanes(squares)
        if layer.transposed:
            _transpose_tile(workspace, layer, weights + first_unit * width, first_unit, panel, last - first_unit)


@kernel
def update(workspace, tiles, layers, network, first_tile, last_tile, block):
    """Phase 2 for weight tiles `first_tile` to `last_tile`: gradients over the minibatch, and the updates."""
    former = flush_denormals()
    shared = network[0]
    scratch = shared.scratch + block * MR * panel_width(workspace)
    for number in range(shared.n_layers):
        layer = layers[number]
        width = panel_width(workspace)
        n_tiles = layer.row_tiles * ((layer.fan_out + width - 1) // width)
        begin = max(first_tile - layer.first_tile, 0)
        end = min(last_tile - layer.first_tile, n_tiles)
        for tile in range(begin, end):
            _update_tile(workspace, tiles, layer, shared, tile, scratch)
    restore_denormals(former)


@kernel
def infer(workspace, tiles, layers, network, source, order, out, begin, end):
    """Forward alone for samples `begin` to `end` of a chunk.

    out (n_rows, n_outputs): the chunk's rows are overwritten.
    """
    former = flush_denormals()
    shared = network[0]
    capacity = shared.capacity
    gather_rows(workspace, layers[0].inputs, source[0], order, shared.start, begin, end, capacity)
    for number in range(shared.n_layers):
        dense_forward(workspace, tiles, layers[number], begin, end, capacity)
    last = layers[shared.n_layers - 1]
    width = panel_width(workspace)
    for row in range(begin, end):
        activate_outputs(workspace, last, shared, row)
        for column in range(last.fan_out):
            place = last.outputs + (column // width * capacity + row) * width + column % width
            out[shared.start + row, column] = workspace[place]
    restore_denormals(former)


class _Signatures(NamedTuple):
    propagate: types.Type
    update: types.Type
    infer: types.Type


def _signatures(dtype: np.dtype) -> _Signatures:
    number = from_dtype(dtype)
    index = types.int64
    records = (number[::1], types.int64[::1], from_dtype(LAYER)[::1], from_dtype(NETWORK)[::1])
    source = from_dtype(SOURCE)[::1]
    data = (source, number[:, ::1], index[::1], number[::1], index[::1])
    return _Signatures(
        propagate=types.void(*records, *data, index, index),
        update=types.void(*records, index, index, index),
        infer=types.void(*records, source, index[::1], number[:, ::1], index, index),
    )


@functools.cache
def training_phases(dtype: np.dtype) -> tuple[Any, Any]:
    """Return the addresses of `propagate` and `update`, compiled or loaded from the cache at the first call."""
    signatures = _signatures(dtype)
    return kernel_address(propagate, signatures.propagate), kernel_address(update, signatures.update)


@functools.cache
def inference_phase(dtype: np.dtype) -> Any:
    """Return the address of `infer`, compiled or loaded from the cache at the first call."""
    return kernel_address(infer, _signatures(dtype).infer)
