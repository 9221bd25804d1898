"""The compiled training step: two phases a minibatch, many steps a call.

Phase 1 (`propagate`) runs over blocks of samples: gather, forward through all layers, loss, deltas back through all
layers. Samples are independent, so no thread waits for another between layers. Phase 2 (`update`) runs over blocks of
weight tiles: the gradient over the whole minibatch, then the optimiser's update while the tile is hot, by the thread
that owns the block. Every number is computed in an order that does not depend on the blocks, so neither the number of
threads nor the twin shows in the bits.

The phases are compiled once for each data type and called through their addresses by both twins of the driver.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import from_dtype, types

from fastmlp._jit import call_kernel, inner, kernel, kernel_address, twins
from fastmlp.dense import (
    dense_backward_data,
    dense_forward,
    tile_rows,
    tile_vectors,
    weight_gradient_tile,
)
from fastmlp.floating_point import flush_denormals, restore_denormals
from fastmlp.gather import gather_rows
from fastmlp.layout import LAYER, NETWORK, SOURCE
from fastmlp.losses import activate_outputs, output_and_loss, sum_losses
from fastmlp.microkernel import MR
from fastmlp.optimizers import ADAM, update_row
from fastmlp.shuffling import shuffle_order
from fastmlp.vectors import lane_count, load, panel_width, splat_of, store, sum_lanes

RUN = np.dtype(
    [
        (name, np.int64)
        for name in (
            "batch_size",
            "position",  # samples of the current epoch that are done
            "t",  # Adam's steps
            "steps",  # minibatches of the last call
            "shuffle",
            "generator_position",
            "resident",  # whether the panels hold the whole, unshuffled data set already
            "has_rule",
        )
    ]
    + [
        (name, np.float64)
        for name in (
            "accumulated_loss",
            "tol",
            "n_iter_no_change",
            "best_loss",
            "no_improvement_count",
        )
    ],
    align=True,
)
"""Where a run over epochs stands; the driver changes it."""

# A block of samples starts at a multiple of this.
_ROW_GRAIN = 4


@kernel
def propagate(
    workspace, layers, network, source, targets, labels, sample_weight, order, begin, end
):
    """Phase 1 for samples `begin` to `end` of the minibatch: activations, losses and deltas of all layers."""
    former = flush_denormals()
    shared = network[0]
    capacity = shared.capacity
    n_layers = shared.n_layers
    if shared.gather:
        gather_rows(
            workspace, layers[0].inputs, source[0], order, shared.start, begin, end, capacity
        )
        if shared.weighted:
            for row in range(begin, end):
                workspace[shared.weights + row] = sample_weight[order[shared.start + row]]
    for number in range(n_layers):
        dense_forward(workspace, layers[number], begin, end, capacity)
    output_and_loss(workspace, layers[n_layers - 1], shared, targets, labels, order, begin, end)
    for number in range(n_layers - 1, 0, -1):
        dense_backward_data(
            workspace, layers[number], layers[number - 1], begin, end, capacity, shared.zeros
        )
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
def _update_tile(workspace, layer, shared, tile, scratch):
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
                workspace, layer, scratch, shared.zeros, 0, unit, panel, shared.rows, rows,
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
                workspace, layer, place, place, width, unit, panel, shared.rows, rows,
                vectors, shared.capacity,
            )  # fmt: skip
        unit += rows
    if shared.update:
        workspace[shared.squares + layer.first_tile + tile] = sum_lanes(squares)
        if layer.transposed:
            _transpose_tile(
                workspace, layer, weights + first_unit * width, first_unit, panel, last - first_unit
            )


@kernel
def update(workspace, layers, network, first_tile, last_tile, block):
    """Phase 2 for weight tiles `first_tile` to `last_tile`: gradients over the minibatch, and the parameters' update."""
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
            _update_tile(workspace, layer, shared, tile, scratch)
    restore_denormals(former)


@inner
def _cut(rows, block, n_blocks):
    """Return where a block of samples begins."""
    grains = (rows + _ROW_GRAIN - 1) // _ROW_GRAIN
    return min(rows, grains * block // n_blocks * _ROW_GRAIN)


@inner
def _l2_term(workspace, shared):
    """Return half of alpha times the sum of squares of all weights (biases apart) before the last update."""
    total = 0.0
    for tile in range(shared.n_tiles):
        total += workspace[shared.squares + tile]
    return 0.5 * shared.alpha * total


@inner
def _end_epoch(run, loss):
    """Apply scikit-learn's stopping rule; return whether it fires."""
    if not run.has_rule:
        return False
    if loss > run.best_loss - run.tol:
        run.no_improvement_count += 1
    else:
        run.no_improvement_count = 0
    if loss < run.best_loss:
        run.best_loss = loss
    return run.no_improvement_count > run.n_iter_no_change


def _train(
    workspace,
    layers,
    network,
    source,
    targets,
    labels,
    sample_weight,
    order,
    run_record,
    generator,
    learning_rates,
    epoch_losses,
    tile_bounds,
    max_steps,
    propagate_address,
    update_address,
):
    """Run up to `max_steps` minibatches, and at most one epoch per learning rate; return how many epochs ended.

    epoch_losses (n_epochs,): the losses of the epochs that ended. workspace, network, run_record, generator and order
    are changed.
    """
    shared = network[0]
    run = run_record[0]
    n_blocks = len(tile_bounds) - 1
    n_samples = len(order)
    epochs = 0
    steps = 0
    run.steps = 0
    while epochs < len(learning_rates) and steps < max_steps:
        if run.position == 0 and run.shuffle:
            run.generator_position = shuffle_order(order, generator, run.generator_position)
        rows = min(run.batch_size, n_samples - run.position)
        shared.rows = rows
        shared.start = run.position
        shared.gather = not run.resident
        weight_sum = float(rows)
        if shared.weighted:
            weight_sum = 0.0
            for row in range(run.position, run.position + rows):
                weight_sum += sample_weight[order[row]]
        # A minibatch without weight changes nothing and counts for nothing.
        if weight_sum != 0:
            run.resident = rows == n_samples and not run.shuffle
            run.t += 1
            shared.scale = 1.0 / weight_sum
            shared.rate = learning_rates[epochs]
            if shared.optimizer == ADAM:
                t = float(run.t)
                shared.rate *= np.sqrt(1.0 - shared.beta_2**t) / (1.0 - shared.beta_1**t)
            for block in numba.prange(n_blocks):
                number = np.intp(block)
                call_kernel(
                    propagate_address,
                    (
                        workspace, layers, network, source, targets, labels, sample_weight, order,
                        _cut(rows, number, n_blocks), _cut(rows, number + 1, n_blocks),
                    ),
                )  # fmt: skip
            loss = sum_losses(workspace, shared)
            for block in numba.prange(n_blocks):
                number = np.intp(block)
                call_kernel(
                    update_address,
                    (
                        workspace, layers, network, tile_bounds[number], tile_bounds[number + 1],
                        number,
                    ),
                )  # fmt: skip
            l2_term = _l2_term(workspace, shared) if shared.alpha != 0 else 0.0
            run.accumulated_loss += (loss + l2_term) / weight_sum * rows
        steps += 1
        run.steps = steps
        run.position += rows
        if run.position == n_samples:
            loss = run.accumulated_loss / n_samples
            epoch_losses[epochs] = loss
            run.position = 0
            run.accumulated_loss = 0.0
            epochs += 1
            if _end_epoch(run, loss):
                break
    return epochs


train = twins(_train)


def _evaluate(
    workspace,
    layers,
    network,
    source,
    targets,
    labels,
    sample_weight,
    order,
    tile_bounds,
    propagate_address,
    update_address,
):
    """Add the gradient of one chunk of samples to the gradient block; return the chunk's weighted sum of losses.

    The gradient is unfused: sums over samples, without L2 term and not divided.
    """
    shared = network[0]
    shared.gather = 1
    n_blocks = len(tile_bounds) - 1
    for block in numba.prange(n_blocks):
        number = np.intp(block)
        call_kernel(
            propagate_address,
            (
                workspace, layers, network, source, targets, labels, sample_weight, order,
                _cut(shared.rows, number, n_blocks), _cut(shared.rows, number + 1, n_blocks),
            ),
        )  # fmt: skip
    loss = sum_losses(workspace, shared)
    for block in numba.prange(n_blocks):
        number = np.intp(block)
        call_kernel(
            update_address,
            (
                workspace, layers, network, tile_bounds[number], tile_bounds[number + 1], number,
            ),
        )  # fmt: skip
    return loss


evaluate = twins(_evaluate)


@kernel
def infer(workspace, layers, network, source, order, out, begin, end):
    """Forward alone for samples `begin` to `end` of a chunk.

    out (n_rows, n_outputs): the chunk's rows are overwritten.
    """
    former = flush_denormals()
    shared = network[0]
    capacity = shared.capacity
    gather_rows(workspace, layers[0].inputs, source[0], order, shared.start, begin, end, capacity)
    for number in range(shared.n_layers):
        dense_forward(workspace, layers[number], begin, end, capacity)
    last = layers[shared.n_layers - 1]
    width = panel_width(workspace)
    for row in range(begin, end):
        activate_outputs(workspace, last, shared, row)
        for column in range(last.fan_out):
            place = last.outputs + (column // width * capacity + row) * width + column % width
            out[shared.start + row, column] = workspace[place]
    restore_denormals(former)


def _infer_all(workspace, layers, network, source, order, out, n_blocks, infer_address):
    """Write the outputs of all rows into `out` (n_rows, n_outputs), a chunk of `capacity` rows at a time."""
    shared = network[0]
    for start in range(0, len(order), shared.capacity):
        rows = min(shared.capacity, len(order) - start)
        shared.start = start
        for block in numba.prange(n_blocks):
            number = np.intp(block)
            call_kernel(
                infer_address,
                (
                    workspace, layers, network, source, order, out,
                    _cut(rows, number, n_blocks), _cut(rows, number + 1, n_blocks),
                ),
            )  # fmt: skip


infer_all = twins(_infer_all)


class _Signatures(NamedTuple):
    propagate: types.Type
    update: types.Type
    infer: types.Type


def _signatures(dtype: np.dtype) -> _Signatures:
    number = from_dtype(dtype)
    index = types.int64
    records = (number[::1], from_dtype(LAYER)[::1], from_dtype(NETWORK)[::1])
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
    return kernel_address(propagate, signatures.propagate), kernel_address(
        update, signatures.update
    )


@functools.cache
def inference_phase(dtype: np.dtype) -> Any:
    """Return the address of `infer`, compiled or loaded from the cache at the first call."""
    return kernel_address(infer, _signatures(dtype).infer)
