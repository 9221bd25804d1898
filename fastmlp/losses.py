"""Output activation, loss and the first deltas in one pass over a block of samples.

The loss is scikit-learn's number: for several outputs the squared error is the mean over outputs,
log-losses clip probabilities at the dtype's epsilon. The delta is the derivative of the *sum* over
outputs of the loss with respect to the pre-activation: for each of these pairs of output activation
and loss simply ``output - target``.

==================  ========  =======================================================  ===============================
loss                output    loss of a sample                                         source
==================  ========  =======================================================  ===============================
squared_error       identity  mean over outputs of (o - y)^2 / 2
poisson             exp       sum of y log(y / o) - y + o                              half the Poisson deviance
binary_log_loss     logistic  sum of -y log o - (1 - y) log(1 - o)                     also for multilabel
log_loss            softmax   -log o[class]
==================  ========  =======================================================  ===============================

Adding a loss is one function here, one line in ``LOSSES`` and ``OUTPUT_ACTIVATIONS``, and one
branch in ``output_and_loss``.
"""

from __future__ import annotations

from fastmlp._jit import inner
from fastmlp.activations import exp, log, logistic
from fastmlp.vectors import (
    is_single,
    lane_count,
    lane_numbers,
    load,
    max_lanes,
    panel_width,
    select,
    splat_of,
    store,
    sum_lanes,
)

SQUARED_ERROR, POISSON, BINARY_LOG_LOSS, LOG_LOSS = range(4)
LOSSES = {
    "squared_error": SQUARED_ERROR,
    "poisson": POISSON,
    "binary_log_loss": BINARY_LOG_LOSS,
    "log_loss": LOG_LOSS,
}
OUTPUT_ACTIVATIONS = {
    "squared_error": "identity",
    "poisson": "exp",
    "binary_log_loss": "logistic",
    "log_loss": "softmax",
}


@inner
def _smallest_probability(x):
    """Return the machine epsilon, at which probabilities are clipped."""
    if is_single(x):
        return 1.1920928955078125e-07
    return 2.220446049250313e-16


@inner
def _clip_probability(p):
    epsilon = _smallest_probability(p)
    p = select(p > 1.0 - epsilon, 1.0 - epsilon, p)
    return select(p < epsilon, epsilon, p)


@inner
def _place(base, row, column, capacity, width):
    return base + (column // width * capacity + row) * width + column % width


@inner
def squared_error(workspace, layer, network, row):
    """Write the deltas of one sample and return its loss."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    total = splat_of(workspace, 0.0)
    for column in range(0, layer.fan_out, lanes):
        place = _place(0, row, column, network.capacity, width)
        difference = load(workspace, layer.outputs + place) - load(workspace, network.targets + place)
        store(workspace, layer.deltas + place, difference)
        total = total + difference * difference
    return sum_lanes(total) * 0.5 / layer.fan_out


@inner
def poisson(workspace, layer, network, row):
    """Write the outputs and deltas of one sample and return its loss."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    total = splat_of(workspace, 0.0)
    numbers = lane_numbers(workspace)
    for column in range(0, layer.fan_out, lanes):
        place = _place(0, row, column, network.capacity, width)
        valid = numbers < (layer.fan_out - column)
        z = load(workspace, layer.outputs + place)
        y = load(workspace, network.targets + place)
        mean = exp(z)
        # y log(y / mean) with mean = exp(z); 0 where y is 0.
        positive = y > 0.0
        term = select(positive, y * (log(select(positive, y, 1.0)) - z), 0.0) - y + mean
        total = total + select(valid, term, 0.0)
        store(workspace, layer.outputs + place, select(valid, mean, 0.0))
        store(workspace, layer.deltas + place, select(valid, mean - y, 0.0))
    return sum_lanes(total)


@inner
def binary_log_loss(workspace, layer, network, row):
    """Write the outputs and deltas of one sample and return its loss."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    total = splat_of(workspace, 0.0)
    numbers = lane_numbers(workspace)
    for column in range(0, layer.fan_out, lanes):
        place = _place(0, row, column, network.capacity, width)
        valid = numbers < (layer.fan_out - column)
        p = logistic(load(workspace, layer.outputs + place))
        y = load(workspace, network.targets + place)
        clipped = _clip_probability(p)
        term = y * log(clipped) + (1.0 - y) * log(1.0 - clipped)
        total = total - select(valid, term, 0.0)
        store(workspace, layer.outputs + place, select(valid, p, 0.0))
        store(workspace, layer.deltas + place, select(valid, p - y, 0.0))
    return sum_lanes(total)


@inner
def softmax(workspace, layer, network, row):
    """Turn the outputs of one sample into probabilities."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    numbers = lane_numbers(workspace)
    lowest = splat_of(workspace, -float("inf"))
    largest = lowest
    for column in range(0, layer.fan_out, lanes):
        z = load(workspace, _place(layer.outputs, row, column, network.capacity, width))
        z = select(numbers < (layer.fan_out - column), z, lowest)
        # A NaN stays the largest.
        largest = select(largest > z, largest, z)
    top = max_lanes(largest)
    total = splat_of(workspace, 0.0)
    for column in range(0, layer.fan_out, lanes):
        place = _place(layer.outputs, row, column, network.capacity, width)
        z = select(numbers < (layer.fan_out - column), load(workspace, place) - top, lowest)
        e = exp(z)
        total = total + e
        store(workspace, place, e)
    scale = 1.0 / sum_lanes(total)
    for column in range(0, layer.fan_out, lanes):
        place = _place(layer.outputs, row, column, network.capacity, width)
        store(workspace, place, load(workspace, place) * scale)


@inner
def log_loss(workspace, layer, network, row, label):
    """Write the outputs and deltas of one sample, and its class's probability where its loss will stand."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    softmax(workspace, layer, network, row)
    for column in range(0, layer.fan_out, lanes):
        place = _place(0, row, column, network.capacity, width)
        store(workspace, layer.deltas + place, load(workspace, layer.outputs + place))
    place = _place(0, row, label, network.capacity, width)
    probability = workspace[layer.outputs + place]
    workspace[layer.deltas + place] = probability - workspace.dtype.type(1)
    workspace[network.losses + row] = probability


@inner
def activate_outputs(workspace, layer, network, row):
    """Apply the output activation to one sample, without a target."""
    if network.loss == LOG_LOSS:
        softmax(workspace, layer, network, row)
    elif network.loss != SQUARED_ERROR:
        width = panel_width(workspace)
        for column in range(0, layer.fan_out, lane_count(workspace)):
            place = _place(layer.outputs, row, column, network.capacity, width)
            z = load(workspace, place)
            store(workspace, place, exp(z) if network.loss == POISSON else logistic(z))


@inner
def sum_losses(workspace, network):
    """Return the weighted sum of the minibatch's losses.

    The sum runs lane by lane over all samples, whatever the blocks they were computed in.
    """
    lanes = lane_count(workspace)
    numbers = lane_numbers(workspace)
    total = splat_of(workspace, 0.0)
    for row in range(0, network.rows, lanes):
        loss = load(workspace, network.losses + row)
        valid = numbers < (network.rows - row)
        if network.loss == LOG_LOSS:
            loss = -log(_clip_probability(select(valid, loss, 1.0)))
        if network.weighted:
            loss = loss * load(workspace, network.weights + row)
        total = total + select(valid, loss, 0.0)
    return sum_lanes(total)


@inner
def output_and_loss(workspace, layer, network, targets, labels, order, begin, end):
    """Finish the outputs of samples `begin` to `end`; write their losses and deltas, weighted.

    layer.outputs: pre-activations, overwritten by the outputs. layer.deltas, losses: overwritten.
    targets (n_rows, n_outputs), or labels (n_rows,) for softmax; the unused one has no rows.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    if network.loss == LOG_LOSS:
        for row in range(begin, end):
            log_loss(workspace, layer, network, row, labels[order[network.start + row]])
    else:
        if network.gather:
            for row in range(begin, end):
                sample = order[network.start + row]
                for column in range(layer.fan_out):
                    place = _place(network.targets, row, column, network.capacity, width)
                    workspace[place] = targets[sample, column]
        if network.loss == SQUARED_ERROR:
            for row in range(begin, end):
                workspace[network.losses + row] = squared_error(workspace, layer, network, row)
        elif network.loss == POISSON:
            for row in range(begin, end):
                workspace[network.losses + row] = poisson(workspace, layer, network, row)
        else:
            for row in range(begin, end):
                workspace[network.losses + row] = binary_log_loss(workspace, layer, network, row)
    if network.weighted:
        for row in range(begin, end):
            weight = workspace[network.weights + row]
            for column in range(0, layer.fan_out, lanes):
                place = _place(layer.deltas, row, column, network.capacity, width)
                store(workspace, place, load(workspace, place) * weight)
