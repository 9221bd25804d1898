"""Losses and the first deltas of a narrow network, whose samples fill the lanes (see ``narrow.products``).

The formulas are those of ``kernels.losses``; here a vector holds one output of many samples. Adding a loss takes one
function of its terms here too, and one branch in ``narrow_loss``.
"""

from __future__ import annotations

from fastmlp.kernels.activations import exp_nonpositive, exp_of_size
from fastmlp.kernels.losses import LOG_LOSS, POISSON, SQUARED_ERROR, binary_log_loss_terms, poisson_terms
from fastmlp.kernels.narrow.products import rows_of
from fastmlp.simd.jit import inner
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

    ``terms(z, e, y)`` gives the output and the loss, which is multiplied by `scale`, for pre-activation z, target y,
    and e, which stands where the delta will.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    # In a register: the compiler cannot know that the stores below leave the records alone.
    step = layer.fan_out * width
    outputs, deltas, targets, losses = _places(workspace, layer, network, first)
    for _ in range(panels):
        for column in range(0, columns, lanes):
            total = splat_of(workspace, 0.0)
            for place in range(column, column + step, width):
                y = load(workspace, targets + place)
                output, loss = terms(load(workspace, outputs + place), load(workspace, deltas + place), y)
                store(workspace, deltas + place, output - y)
                total = multiply_add(loss, scale, total)
            store(workspace, losses + column, total)
        outputs += step + width  # the row of ones stands between them
        deltas += step
        targets += step
        losses += width


@inner
def _squared_error_terms(z, e, y):
    difference = z - y
    return z, difference * difference


@inner
def _poisson_terms(z, e, y):
    return poisson_terms(z, y)


@inner
def _exponentials(workspace, layer, network, first, panels, columns):
    """Write ``exp_of_size`` of the outputs of some panels' samples to where the deltas will be.

    It is half of the way to the binary log-loss: see ``activations``.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    outputs, deltas, _, _ = _places(workspace, layer, network, first)
    step = layer.fan_out * width
    stride, rows, numbers = rows_of(workspace, step, layer.fan_out, panels, columns)
    outputs_stride, _, _ = rows_of(workspace, step + width, layer.fan_out, panels, columns)
    for row in range(rows):
        for number in range(0, numbers, lanes):
            e = exp_of_size(load(workspace, outputs + row * outputs_stride + number))
            store(workspace, deltas + row * stride + number, e)


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
    if network.loss == LOG_LOSS:
        _narrow_log_loss(workspace, layer, network, first, panels, columns)
    # Loss by loss, so that the constants of exp and log stay in registers within each loop.
    elif network.loss == SQUARED_ERROR:
        share = 0.5 / layer.fan_out
        _each_output(_squared_error_terms, share, workspace, layer, network, first, panels, columns)
    elif network.loss == POISSON:
        _each_output(_poisson_terms, 1.0, workspace, layer, network, first, panels, columns)
    else:
        _exponentials(workspace, layer, network, first, panels, columns)
        _each_output(binary_log_loss_terms, 1.0, workspace, layer, network, first, panels, columns)
    if network.weighted or samples < columns:
        for panel in range(first, first + panels):
            _weight_or_clear(workspace, layer, network, panel, samples, columns)
