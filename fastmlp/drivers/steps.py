"""The compiled drivers: many training steps, or an evaluation, in one call.

They call the phases (see ``wide.phases``) through their addresses, block after block, or have a team share them (see
``blocks`` and ``region``). All threads wait for each other twice in a training step, however deep the network is.
"""

from __future__ import annotations

import numpy as np

from fastmlp.drivers.blocks import PHASES, PROPAGATE, UPDATE, first_half, run_blocks
from fastmlp.drivers.team import dismiss, open_board
from fastmlp.kernels.losses import sum_losses
from fastmlp.kernels.records import MEMORY, RUN_OF_EPOCHS, SAMPLES
from fastmlp.kernels.shuffling import shuffle_order
from fastmlp.simd.arguments import INTEGER, INTEGERS
from fastmlp.simd.clock import ticks
from fastmlp.simd.jit import inner, kernel


@inner
def _l2_term(workspace, network):
    """Return half of alpha times the sum of squares of all parameters before the last update, each by its decay."""
    total = 0.0
    for tile in range(network.n_tiles):
        total += workspace[network.squares + tile]
    return 0.5 * network.alpha * total


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


@inner
def _weight_of(run, network, sample_weight, order, rows):
    """Return the sum of the weights of the next minibatch: without weights, its number of samples."""
    if not network.weighted:
        return float(rows)
    total = 0.0
    for row in range(run.position, run.position + rows):
        total += sample_weight[order[row]]
    return total


@inner
def _largest_weight_of(run, sample_weight, order, rows):
    """Return the size of the largest weight of the next minibatch."""
    largest = 0.0
    for row in range(run.position, run.position + rows):
        largest = max(largest, abs(sample_weight[order[row]]))
    return largest


@inner
def _begin_step(run, network, rows, weight_sum, learning_rate):
    """Write to the record what the phases need to know of this step."""
    network.rows = rows
    network.middle = first_half(rows, network.grain)
    network.start = run.position
    network.gather = not run.resident
    network.scale = 1.0 / weight_sum
    network.learning_rate = learning_rate
    network.rate = learning_rate
    if run.piece == 0:
        run.t += 1
    if network.corrects_bias:
        t = float(run.t)
        network.rate *= np.sqrt(1.0 - network.beta_2**t) / (1.0 - network.beta_1**t)


@inner
def _train(board, memory, samples, phases, run_of_epochs, n_blocks):
    """Run as many minibatches as the run's record allows, and at most one epoch per learning rate.

    Changed are the workspace, the records of network and run, the generator, the order of the samples, and the losses
    of epochs that end. phases.tile_bounds (n_pieces * n_blocks + 1,): a step that would take too long for one call
    comes in several pieces of each phase; then each call does one piece.
    """
    workspace, _, _, network_record = memory
    _, _, _, sample_weight, order = samples
    run_record, generator, learning_rates, epoch_losses = run_of_epochs
    network = network_record[0]
    run = run_record[0]
    n_pieces = (len(phases.tile_bounds) - 1) // n_blocks
    n_samples = len(order)
    run.steps = 0
    run.epochs = 0
    network.blocks_are_halves = n_blocks * n_pieces == 2
    started = ticks()
    while (
        run.epochs < len(learning_rates)
        and run.steps < run.most_steps
        and (n_blocks == 1 or run.steps == 0 or ticks() - started < run.most_ticks)
    ):
        if run.position == 0 and run.piece == 0 and run.shuffle:
            run.generator_position = shuffle_order(order, generator, run.generator_position)
        rows = min(run.batch_size, n_samples - run.position)
        weight_sum = _weight_of(run, network, sample_weight, order, rows)
        if weight_sum == 0 and _largest_weight_of(run, sample_weight, order, rows) > 0:
            run.weights_cancel = 1
            break
        # A minibatch without weight changes nothing and counts for nothing.
        if weight_sum != 0:
            _begin_step(run, network, rows, weight_sum, learning_rates[run.epochs])
            while run.piece < 2 * n_pieces:
                first = run.piece % n_pieces * n_blocks
                kind = PROPAGATE if run.piece < n_pieces else UPDATE
                run_blocks(board, memory, samples, phases, kind, first, n_blocks, n_pieces * n_blocks)
                run.piece += 1
                if n_pieces > 1 and run.piece < 2 * n_pieces:
                    return
            run.piece = 0
            run.resident = rows == n_samples and not run.shuffle
            loss = sum_losses(workspace, network)
            l2_term = _l2_term(workspace, network) if network.alpha != 0 else 0.0
            run.accumulated_loss += (loss + l2_term) / weight_sum * rows
        run.steps += 1
        run.position += rows
        if run.position == n_samples:
            loss = run.accumulated_loss / n_samples
            epoch_losses[run.epochs] = loss
            run.position = 0
            run.accumulated_loss = 0.0
            run.epochs += 1
            if _end_epoch(run, loss):
                break
    run.ticks = ticks() - started


@kernel(INTEGERS, MEMORY, SAMPLES, PHASES, RUN_OF_EPOCHS, INTEGER)
def train(board, memory, samples, phases, run_of_epochs, n_blocks):
    """Run a part of a run over epochs; see `_train`. board: the team's, empty on one thread."""
    open_board(board)
    _train(board, memory, samples, phases, run_of_epochs, n_blocks)
    dismiss(board)


@kernel(INTEGERS, MEMORY, SAMPLES, PHASES)
def evaluate(board, memory, samples, phases):
    """Add the gradient of one chunk of samples to that behind the parameters, and its losses to those in the record.

    The gradient is unfused: sums over samples, without L2 term and not divided.
    """
    open_board(board)
    network = memory.network_record[0]
    network.gather = 1
    network.blocks_are_halves = 0
    n_blocks = len(phases.tile_bounds) - 1
    first = np.intp(0)
    run_blocks(board, memory, samples, phases, PROPAGATE, first, n_blocks, n_blocks)
    network.loss_sum += sum_losses(memory.workspace, network)
    run_blocks(board, memory, samples, phases, UPDATE, first, n_blocks, n_blocks)
    dismiss(board)
