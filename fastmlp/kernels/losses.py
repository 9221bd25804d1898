r"""Output activation, loss and the first deltas in one pass over a block of samples.

The loss is scikit-learn's number: for several outputs the squared error is the mean over outputs,
log-losses clip probabilities at the dtype's epsilon. The delta is the derivative of the *sum* over
outputs of the loss with respect to the pre-activation.

==================  ========  =======================================================  ===============================
loss                output    loss of a sample                                         source
==================  ========  =======================================================  ===============================
squared_error       identity  mean over outputs of (o - y)^2 / 2
huber               identity  mean over outputs of d^2 / 2 where \|d\| <= delta, else   d = o - y
                              delta (\|d\| - delta / 2)
poisson             exp       sum of y log(y / o) - y + o                              half the Poisson deviance
binary_log_loss     logistic  sum of -y log o - (1 - y) log(1 - o)                     also for multilabel
log_loss            softmax   -log o[class]
==================  ========  =======================================================  ===============================

A loss of single outputs is a function of its terms here and a row of ``LOSSES``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastmlp.kernels.samples import sample_of
from fastmlp.kernels.vector_maths import exp, exp_nonpositive, exp_of_size, log, logistic, logistic_and_log_of
from fastmlp.simd.jit import inner, switch
from fastmlp.simd.vectors import (
    is_single,
    lane_count,
    lane_numbers,
    load,
    max_lanes,
    multiply_add,
    panel_width,
    select,
    splat_of,
    store,
    sum_lanes,
)

OUTPUT_ACTIVATIONS = {"identity": 0, "exp": 1, "logistic": 2, "softmax": 3}
"""The output activations, and the numbers by which kernels know them."""

_IDENTITY, _SOFTMAX = OUTPUT_ACTIVATIONS["identity"], OUTPUT_ACTIVATIONS["softmax"]


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
def squared_error_terms(z, e, y, one, parameter):
    """Return output, delta, and two factors whose product is the loss, for pre-activation z and target y."""
    difference = z - y
    return z, difference, difference, difference


@inner
def huber_terms(z, e, y, one, delta):
    """Return output, delta, and two factors whose product is twice the loss (Huber, 1964), for pre-activation z.

    The delta d is cut off at `delta`, and the loss is ``d (2 (z - y) - d) / 2``.
    """
    difference = z - y
    d = select(difference > delta, delta, difference)
    d = select(d < -delta, -delta, d)
    return z, d, d, difference + (difference - d)


@inner
def poisson_terms(z, e, y, one, parameter):
    """Return output, delta, and two factors whose product is the loss, for pre-activation z and target y."""
    mean = exp(z)
    positive = y > 0.0
    # y log(y / mean), and mean is exp(z); 0 where y is 0.
    loss = select(positive, y * (log(select(positive, y, 1.0)) - z), 0.0) - y + mean
    return mean, mean - y, loss, one


@inner
def binary_log_loss_terms(z, signed_e, y, one, parameter):
    """Return output, delta, loss and 1, for pre-activation z, ``exp_of_size(z)`` and target y, which is 0 or 1.

    The loss is log(1 + exp(-z)) for y = 1 and log(1 + exp(z)) for y = 0: what ``-|z|`` in the exponent leaves of it,
    and the size of z where z has the wrong sign. Clipping the probability clips the loss.
    """
    p, loss = logistic_and_log_of(signed_e)
    wrong = select(y > 0.5, -z, z)
    loss = loss + select(wrong > 0.0, wrong, 0.0)
    epsilon = _smallest_probability(z)
    largest = 15.942384719848633 if is_single(z) else 36.04365338911715
    loss = select(loss > largest, largest, loss)
    return p, p - y, select(loss < epsilon, epsilon, loss), one


class Loss(NamedTuple):
    """One row of the table of losses.

    Attributes
    ----------
    code : int
        The number by which kernels know it.
    output_activation : str
        The output activation that belongs to it.
    terms : kernel or None
        For one output of a sample, from pre-activation, what `prepare` made of it, target, one and the loss's
        parameter: the output, the delta, and two factors whose product is the loss, so that a sum of squares is one
        multiply-add. None for the log-loss of labels, whose outputs depend on each other.
    prepare : kernel or None
        The part of the way to `terms` that is gone in a loop of its own where samples fill the vectors.
    factor : float
        What the sum of the losses is multiplied by.
    is_mean : bool
        Whether the number reported is the mean over the outputs, not their sum.
    has_labels : bool
        Whether targets are numbers of classes.
    parameter : float
        The parameter that `terms` take, where nobody sets another.
    """

    code: int
    output_activation: str
    terms: Callable[..., Any] | None = None
    prepare: Callable[..., Any] | None = None
    factor: float = 1.0
    is_mean: bool = False
    has_labels: bool = False
    parameter: float = 0.0


LOSSES = {
    "squared_error": Loss(0, "identity", squared_error_terms, factor=0.5, is_mean=True),
    "huber": Loss(4, "identity", huber_terms, factor=0.5, is_mean=True, parameter=1.0),
    "poisson": Loss(1, "exp", poisson_terms),
    "binary_log_loss": Loss(2, "logistic", binary_log_loss_terms, prepare=exp_of_size),
    "log_loss": Loss(3, "softmax", has_labels=True),
}
"""The losses by their names."""

LOSSES_OF_OUTPUTS = [row for row in LOSSES.values() if row.terms is not None]
"""Those whose outputs do not depend on each other."""


def _prepared_terms(row: Loss) -> Callable[..., Any]:
    terms, prepare = row.terms, row.prepare
    assert terms is not None

    @inner
    def terms_of(z, y, one, parameter):
        return terms(z, z if prepare is None else prepare(z), y, one, parameter)

    return terms_of


_terms = switch({row.code: _prepared_terms(row) for row in LOSSES_OF_OUTPUTS})


@inner
def elementwise_loss(workspace, layer, network, row):
    """Write the outputs and deltas of one sample and return its loss, where outputs do not depend on each other."""
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    numbers = lane_numbers(workspace)
    total, one = splat_of(workspace, 0.0), splat_of(workspace, 1.0)
    parameter = splat_of(workspace, network.loss_parameter)
    for panel in range(_n_panels(layer.fan_out, width)):
        first = (panel * network.capacity + row) * width
        columns = _columns(layer.fan_out, panel, width)
        for column in range(0, columns, lanes):
            place = first + column
            valid = numbers < (columns - column)
            z = load(workspace, layer.outputs + place)
            y = load(workspace, network.targets + place)
            output, delta, left, right = _terms(network.loss, z, y, one, parameter)
            total = multiply_add(select(valid, left, 0.0), right, total)
            store(workspace, layer.outputs + place, select(valid, output, 0.0))
            store(workspace, layer.deltas + place, select(valid, delta, 0.0))
    return sum_lanes(total) * network.loss_factor / network.loss_divisor


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
        label = labels[sample_of(order, network.start, row)]
        place = layer.deltas + (label // width * network.capacity + row) * width + label % width
        probability = workspace[place]
        workspace[place] = probability - workspace.dtype.type(1)
        workspace[network.losses + row] = probability


_activated = switch({OUTPUT_ACTIVATIONS["exp"]: exp, OUTPUT_ACTIVATIONS["logistic"]: logistic})


@inner
def activate_outputs(workspace, layer, network, begin, end):
    """Apply the output activation to samples `begin` to `end`, without targets."""
    if network.output_activation == _SOFTMAX:
        softmax(workspace, layer, network, layer.outputs, begin, end)
    elif network.output_activation != _IDENTITY:
        width = panel_width(workspace)
        lanes = lane_count(workspace)
        for panel in range(_n_panels(layer.fan_out, width)):
            for row in range(begin, end):
                first = layer.outputs + (panel * network.capacity + row) * width
                for place in range(first, first + _columns(layer.fan_out, panel, width), lanes):
                    store(workspace, place, _activated(network.output_activation, load(workspace, place)))


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
        if network.has_labels:
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
        sample = sample_of(order, network.start, row)
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
    if network.has_labels:
        log_loss(workspace, layer, network, labels, order, begin, end)
    else:
        if network.gather:
            _gather_targets(workspace, layer, network, targets, order, begin, end)
        for row in range(begin, end):
            workspace[network.losses + row] = elementwise_loss(workspace, layer, network, row)
    if network.weighted:
        _weight_deltas(workspace, layer, network, begin, end)
