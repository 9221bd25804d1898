"""The compiled drivers: many training steps, an evaluation, or a prediction in one call.

Each is one source with two twins, serial and parallel; both call the phases (see ``phases``)
through their addresses. A training step is two fork-joins, however deep the network is.
"""

from __future__ import annotations

import numba
import numpy as np

from fastmlp._jit import call_kernel, inner, twins
from fastmlp.losses import sum_losses
from fastmlp.optimizers import ADAM
from fastmlp.shuffling import shuffle_order

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


@inner
def _cut(rows, block, n_blocks, grain):
    """Return where a block of samples begins."""
    grains = (rows + grain - 1) // grain
    return min(rows, grains * block // n_blocks * grain)


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
    tiles,
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

    epoch_losses (n_epochs,): the losses of the epochs that ended. workspace, network, run_record,
    generator and order are changed.
    """
    shared = network[0]
    run = run_record[0]
    n_blocks = len(tile_bounds) - 1
    grain = shared.grain
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
                        workspace, tiles, layers, network, source, targets, labels, sample_weight, order,
                        _cut(rows, number, n_blocks, grain), _cut(rows, number + 1, n_blocks, grain),
                    ),
                )  # fmt: skip
            loss = sum_losses(workspace, shared)
            for block in numba.prange(n_blocks):
                number = np.intp(block)
                call_kernel(
                    update_address,
                    (
                        workspace, tiles, layers, network, tile_bounds[number], tile_bounds[number + 1],
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
    tiles,
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
    rows = shared.rows
    n_blocks = len(tile_bounds) - 1
    grain = shared.grain
    for block in numba.prange(n_blocks):
        number = np.intp(block)
        call_kernel(
            propagate_address,
            (
                workspace, tiles, layers, network, source, targets, labels, sample_weight, order,
                _cut(rows, number, n_blocks, grain), _cut(rows, number + 1, n_blocks, grain),
            ),
        )  # fmt: skip
    loss = sum_losses(workspace, shared)
    for block in numba.prange(n_blocks):
        number = np.intp(block)
        call_kernel(
            update_address,
            (
                workspace, tiles, layers, network, tile_bounds[number], tile_bounds[number + 1], number,
            ),
        )  # fmt: skip
    return loss


evaluate = twins(_evaluate)


def _infer_all(workspace, tiles, layers, network, source, order, out, n_blocks, infer_address):
    """Write the outputs of all rows into `out` (n_rows, n_outputs), a chunk of `capacity` rows at a time."""
    shared = network[0]
    grain = shared.grain
    for start in range(0, len(order), shared.capacity):
        rows = min(shared.capacity, len(order) - start)
        shared.start = start
        for block in numba.prange(n_blocks):
            number = np.intp(block)
            call_kernel(
                infer_address,
                (
                    workspace, tiles, layers, network, source, order, out,
                    _cut(rows, number, n_blocks, grain), _cut(rows, number + 1, n_blocks, grain),
                ),
            )  # fmt: skip


infer_all = twins(_infer_all)
