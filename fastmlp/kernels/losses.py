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
branch in ``output_and_loss``; for narrow networks one function and one branch in ``narrow.losses``; for regressions one
line in ``validation.SMALLEST_TARGET``.
"""

from __future__ import annotations

from fastmlp.kernels.activations import exp, exp_nonpositive, exp_of_size, log, logistic, logistic_and_log_of
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import (
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
def _columns(fan_out, panel, width):
    """Return how many columns a panel holds."""
    return min(width, fan_out - panel * width)


@inner
def _n_panels(fan_out, width):
    return (fan_out + width - 1) // width


@inner
def squared_error(workspace, layer, network, row):
    """Write the deltas of one sample and return its loss."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    total = splat_of(workspace, 0.0)
    for panel in range(_n_panels(layer.fan_out, width)):
        first = (panel * network.capacity + row) * width
        for place in range(first, first + _columns(layer.fan_out, panel, width), lanes):
            difference = load(workspace, layer.outputs + place) - load(workspace, network.targets + place)
            store(workspace, layer.deltas + place, difference)
            total = total + difference * difference
    return sum_lanes(total) * 0.5 / layer.fan_out


@inner
def poisson_terms(z, y):
    """Return the output and the loss, for pre-activation z and target y."""
    mean = exp(z)
    positive = y > 0.0
    # y log(y / mean), and mean is exp(z); 0 where y is 0.
    return mean, select(positive, y * (log(select(positive, y, 1.0)) - z), 0.0) - y + mean


@inner
def binary_log_loss_terms(z, signed_e, y):
    """Return the output and the loss, for pre-activation z, ``exp_of_size(z)`` and target y, which is 0 or 1.

    The loss is log(1 + exp(-z)) for y = 1 and log(1 + exp(z)) for y = 0: what ``-|z|`` in the exponent leaves of it,
    and the size of z where z has the wrong sign. Clipping the probability clips the loss.
    """
    p, loss = logistic_and_log_of(signed_e)
    wrong = select(y > 0.5, -z, z)
    loss = loss + select(wrong > 0.0, wrong, 0.0)
    epsilon = _smallest_probability(z)
    largest = 15.942384719848633 if is_single(z) else 36.04365338911715
    loss = select(loss > largest, largest, loss)
    return p, select(loss < epsilon, epsilon, loss)


@inner
def elementwise_loss(workspace, layer, network, row):
    """Write the outputs and deltas of one sample and return its loss: Poisson deviance or binary log-loss."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    numbers = lane_numbers(workspace)
    total = splat_of(workspace, 0.0)
    for panel in range(_n_panels(layer.fan_out, width)):
        first = (panel * network.capacity + row) * width
        columns = _columns(layer.fan_out, panel, width)
        for column in range(0, columns, lanes):
            place = first + column
            valid = numbers < (columns - column)
            z = load(workspace, layer.outputs + place)
            y = load(workspace, network.targets + place)
            if network.loss == POISSON:
                output, loss = poisson_terms(z, y)
            else:
                output, loss = binary_log_loss_terms(z, exp_of_size(z), y)
            total = total + select(valid, loss, 0.0)
            store(workspace, layer.outputs + place, select(valid, output, 0.0))
            store(workspace, layer.deltas + place, select(valid, output - y, 0.0))
    return sum_lanes(total)


@inner
def softmax(workspace, layer, network, out, begin, end):
    """Turn the outputs of samples `begin` to `end` into probabilities, and write them to the panels at `out`.

    workspace[out...], sums: overwritten. Outputs of more than one vector take three passes, each over all samples:
    within one, many samples are in flight at once, where the largest, the exponentials, their sum and the quotient of a
    single sample would wait for each other. Of one vector, enough samples are in flight without that.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    numbers = lane_numbers(workspace)
    lowest = splat_of(workspace, -float("inf"))
    if layer.fan_out <= lanes:
        valid = numbers < layer.fan_out
        for place in range(begin * width, end * width, width):
            z = select(valid, load(workspace, layer.outputs + place), lowest)
            e = exp_nonpositive(z - splat_of(workspace, max_lanes(z)))
            store(workspace, out + place, e * splat_of(workspace, workspace.dtype.type(1) / sum_lanes(e)))
        return
    n_panels = _n_panels(layer.fan_out, width)
    for row in range(begin, end):
        largest = lowest
        for panel in range(n_panels):
            first = layer.outputs + (panel * network.capacity + row) * width
            columns = _columns(layer.fan_out, panel, width)
            for column in range(0, columns, lanes):
                z = select(numbers < (columns - column), load(workspace, first + column), lowest)
                # A NaN stays the largest.
                largest = select(largest > z, largest, z)
        workspace[network.sums + row] = max_lanes(largest)
    for row in range(begin, end):
        top = splat_of(workspace, workspace[network.sums + row])
        total = splat_of(workspace, 0.0)
        for panel in range(n_panels):
            first = (panel * network.capacity + row) * width
            columns = _columns(layer.fan_out, panel, width)
            for column in range(0, columns, lanes):
                z = load(workspace, layer.outputs + first + column)
                e = exp_nonpositive(select(numbers < (columns - column), z - top, lowest))
                total = total + e
                store(workspace, out + first + column, e)
        workspace[network.sums + row] = sum_lanes(total)
    for row in range(begin, end):
        scale = splat_of(workspace, workspace.dtype.type(1) / workspace[network.sums + row])
        for panel in range(n_panels):
            first = out + (panel * network.capacity + row) * width
            for place in range(first, first + _columns(layer.fan_out, panel, width), lanes):
                store(workspace, place, load(workspace, place) * scale)


@inner
def log_loss(workspace, layer, network, labels, order, begin, end):
    """Write the deltas of samples, and the probabilities of their classes where their losses will stand."""
    width = panel_width(workspace)
    softmax(workspace, layer, network, layer.deltas, begin, end)
    for row in range(begin, end):
        label = labels[order[network.start + row]]
        place = layer.deltas + (label // width * network.capacity + row) * width + label % width
        probability = workspace[place]
        workspace[place] = probability - workspace.dtype.type(1)
        workspace[network.losses + row] = probability


@inner
def activate_outputs(workspace, layer, network, begin, end):
    """Apply the output activation to samples `begin` to `end`, without targets."""
    if network.loss == LOG_LOSS:
        softmax(workspace, layer, network, layer.outputs, begin, end)
    elif network.loss != SQUARED_ERROR:
        width = panel_width(workspace)
        lanes = lane_count(workspace)
        for panel in range(_n_panels(layer.fan_out, width)):
            for row in range(begin, end):
                first = layer.outputs + (panel * network.capacity + row) * width
                for place in range(first, first + _columns(layer.fan_out, panel, width), lanes):
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
def _gather_targets(workspace, layer, network, targets, order, begin, end):
    """Copy the targets of samples `begin` to `end` into their panels."""
    width = panel_width(workspace)
    for row in range(begin, end):
        sample = order[network.start + row]
        for panel in range(_n_panels(layer.fan_out, width)):
            first = network.targets + (panel * network.capacity + row) * width
            for column in range(_columns(layer.fan_out, panel, width)):
                workspace[first + column] = targets[sample, panel * width + column]


@inner
def _weight_deltas(workspace, layer, network, begin, end):
    """Multiply the deltas of samples `begin` to `end` by the samples' weights."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    for row in range(begin, end):
        weight = splat_of(workspace, workspace[network.weights + row])
        for panel in range(_n_panels(layer.fan_out, width)):
            first = layer.deltas + (panel * network.capacity + row) * width
            for place in range(first, first + _columns(layer.fan_out, panel, width), lanes):
                store(workspace, place, load(workspace, place) * weight)


@inner
def output_and_loss(workspace, layer, network, targets, labels, order, begin, end):
    """Write the losses and deltas of samples `begin` to `end`, the latter weighted.

    layer.outputs: pre-activations; destroyed. layer.deltas, losses: overwritten. targets (n_rows, n_outputs), or labels
    (n_rows,) for softmax; the unused one has no rows.
    """
    if network.loss == LOG_LOSS:
        log_loss(workspace, layer, network, labels, order, begin, end)
    else:
        if network.gather:
            _gather_targets(workspace, layer, network, targets, order, begin, end)
        if network.loss == SQUARED_ERROR:
            for row in range(begin, end):
                workspace[network.losses + row] = squared_error(workspace, layer, network, row)
        else:
            for row in range(begin, end):
                workspace[network.losses + row] = elementwise_loss(workspace, layer, network, row)
    if network.weighted:
        _weight_deltas(workspace, layer, network, begin, end)
