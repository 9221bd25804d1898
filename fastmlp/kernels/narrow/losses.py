"""Losses and the first deltas of a narrow network, whose samples fill the lanes (see ``narrow.products``).

The formulas are those of ``kernels.losses``; here a vector holds one output of many samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastmlp.kernels.losses import LOSSES_OF_OUTPUTS, Loss
from fastmlp.kernels.narrow.products import rows_of
from fastmlp.kernels.vector_maths import exp_nonpositive
from fastmlp.simd.jit import inner, switch
from fastmlp.simd.vectors import (
    lane_count,
    lane_numbers,
    load,
    multiply_add,
    panel_width,
    select,
    splat_of,
    store,
)


@inner
def _narrow_softmax(workspace, outputs, deltas, fan_out, label):
    """Write probabilities less the one-hot target for one vector of samples; return the labels' probabilities."""
    width = panel_width(workspace)
    top = load(workspace, outputs)
    for unit in range(1, fan_out):
        z = load(workspace, outputs + unit * width)
        top = select(top > z, top, z)
    total = splat_of(workspace, 0.0)
    for unit in range(fan_out):
        e = exp_nonpositive(load(workspace, outputs + unit * width) - top)
        total = total + e
        store(workspace, deltas + unit * width, e)
    scale = 1.0 / total
    probability = splat_of(workspace, 0.0)
    for unit in range(fan_out):
        p = load(workspace, deltas + unit * width) * scale
        is_label = label == float(unit)
        probability = select(is_label, p, probability)
        store(workspace, deltas + unit * width, select(is_label, p - 1.0, p))
    return probability


@inner
def _places(workspace, layer, network, panel):
    """Return where outputs, deltas, targets and losses of a panel of samples begin."""
    width = panel_width(workspace)
    step = layer.fan_out * width
    outputs = layer.outputs + panel * (step + width)
    return outputs, layer.deltas + panel * step, network.targets + panel * step, network.losses + panel * width


@inner
def _narrow_log_loss(workspace, layer, network, first, panels, columns):
    """Write the deltas of some panels' samples, and the probabilities of their labels as losses."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    for panel in range(first, first + panels):
        outputs, deltas, _, losses = _places(workspace, layer, network, panel)
        for column in range(0, columns, lanes):
            label = load(workspace, network.targets + panel * width + column)
            probability = _narrow_softmax(workspace, outputs + column, deltas + column, layer.fan_out, label)
            store(workspace, losses + column, probability)


@inner
def _each_output(terms, scale, workspace, layer, network, first, panels, columns):
    """Write the deltas of some panels' samples, and their losses.

    terms: those of a `Loss`; e stands where the delta will. The loss is multiplied by `scale`.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    # In a register: the compiler cannot know that the stores below leave the records alone.
    step = layer.fan_out * width
    one, parameter = splat_of(workspace, 1.0), splat_of(workspace, network.loss_parameter)
    outputs, deltas, targets, losses = _places(workspace, layer, network, first)
    for _ in range(panels):
        for column in range(0, columns, lanes):
            total = splat_of(workspace, 0.0)
            for place in range(column, column + step, width):
                y = load(workspace, targets + place)
                z, e = load(workspace, outputs + place), load(workspace, deltas + place)
                _, delta, left, right = terms(z, e, y, one, parameter)
                store(workspace, deltas + place, delta)
                total = multiply_add(left * right, scale, total)
            store(workspace, losses + column, total)
        outputs += step + width  # the row of ones stands between them
        deltas += step
        targets += step
        losses += width


@inner
def _prepare(function, workspace, layer, network, first, panels, columns):
    """Write a function of the outputs of some panels' samples to where the deltas will be."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    outputs, deltas, _, _ = _places(workspace, layer, network, first)
    step = layer.fan_out * width
    stride, rows, numbers = rows_of(workspace, step, layer.fan_out, panels, columns)
    outputs_stride, _, _ = rows_of(workspace, step + width, layer.fan_out, panels, columns)
    for row in range(rows):
        for number in range(0, numbers, lanes):
            z = load(workspace, outputs + row * outputs_stride + number)
            store(workspace, deltas + row * stride + number, function(z))


def _loss_of_outputs(row: Loss) -> Callable[..., Any]:
    """Return the loops over some panels, made for one loss: the constants of exp and log stay in registers."""
    terms, prepare = row.terms, row.prepare

    @inner
    def write_deltas_and_losses(workspace, layer, network, first, panels, columns):
        if prepare is not None:
            _prepare(prepare, workspace, layer, network, first, panels, columns)
        scale = network.loss_factor / network.loss_divisor
        _each_output(terms, scale, workspace, layer, network, first, panels, columns)

    return write_deltas_and_losses


_loss_of = switch({row.code: _loss_of_outputs(row) for row in LOSSES_OF_OUTPUTS})


@inner
def _weight_or_clear(workspace, layer, network, panel, samples, columns):
    """Multiply the deltas of a panel by its samples' weights, and set those behind the last sample to zero."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    numbers = lane_numbers(workspace)
    _, deltas, _, _ = _places(workspace, layer, network, panel)
    for column in range(0, columns, lanes):
        valid = numbers < (samples - column)
        factor = splat_of(workspace, 1.0)
        if network.weighted:
            factor = load(workspace, network.weights + panel * width + column)
        for unit in range(0, layer.fan_out * width, width):
            delta = load(workspace, deltas + unit + column) * factor
            store(workspace, deltas + unit + column, select(valid, delta, 0.0))


@inner
def narrow_loss(workspace, layer, network, first, panels, samples, vectors):
    """Write losses and deltas of some panels from panel `first` on, each of `samples` samples.

    The deltas are weighted, with zeros behind the last sample.

    layer.outputs: pre-activations. layer.deltas, losses: overwritten.
    """
    columns = vectors * lane_count(workspace)
    if network.has_labels:
        _narrow_log_loss(workspace, layer, network, first, panels, columns)
    else:
        _loss_of(network.loss, workspace, layer, network, first, panels, columns)
    if network.weighted or samples < columns:
        for panel in range(first, first + panels):
            _weight_or_clear(workspace, layer, network, panel, samples, columns)
