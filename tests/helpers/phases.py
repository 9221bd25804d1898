"""The phases of a step called one by one, over blocks of the tests' choosing, and what they should compute."""

import itertools

import numpy as np

from fastmlp.kernels.narrow import phases as narrow_phases
from fastmlp.kernels.records import Memory, Samples
from fastmlp.kernels.wide import phases


def places_of_tiles(layer, width, narrow=False):
    """Return panel and first row of each of a layer's weight tiles; panels have `width` columns.

    In a narrow network the last row is that of the biases, else the biases are a tile, and their row is fan_in.
    """
    n_panels = -(-int(layer.fan_out) // width)
    if narrow:
        return [(panel, row * width) for panel in range(n_panels) for row in range(layer.row_tiles)]
    n_panels -= layer.remainder_units > 0
    # Python cannot call what is compiled for kernels only.
    place = getattr(phases.tile_place, "py_func", phases.tile_place)
    return [place(layer, tile, n_panels, width) for tile in range(layer.row_tiles * n_panels + layer.remainder_tiles)]


def cut_into_halves(network, n_samples):
    """Return where the halves of a minibatch begin and end."""
    grain = int(network.record[0].grain)
    return [0, -(-n_samples // grain) // 2 * grain, n_samples]


def _memory(network):
    return Memory(network.workspace, network.function_table(), network.layers, network.record)


def _samples(network, problem, order):
    targets, weights = network.prepared_targets(problem.targets), network.prepared_weights(problem.sample_weight)
    return Samples(problem.rows.source, *targets, weights, order)


def propagate_blocks(network, problem, cuts, order=None):
    """Run phase 1 over a minibatch of all the problem's samples, block after block.

    Where these are its halves, as `cut_into_halves` returns them, they are told so.
    """
    phase = narrow_phases.propagate_narrow if network.narrow else phases.propagate
    record = network.record[0]
    order = np.arange(problem.n_samples) if order is None else order
    record.rows, record.start, record.gather = problem.n_samples, 0, 1
    record.weighted = problem.sample_weight is not None
    halves = cut_into_halves(network, problem.n_samples)
    record.middle, record.blocks_are_halves = halves[1], list(cuts) == halves
    samples = _samples(network, problem, order)
    for block, (begin, end) in enumerate(itertools.pairwise(map(int, cuts))):
        phase(_memory(network), samples, begin, end, block)


def update_blocks(network, problem, tile_cuts, learning_rate):
    """Run phase 2 over all weight tiles, block after block."""
    phase = narrow_phases.update_narrow if network.narrow else phases.update
    record = network.record[0]
    record.update = 1
    record.scale = 1 / (problem.n_samples if problem.sample_weight is None else problem.sample_weight.sum())
    record.learning_rate = record.rate = learning_rate
    network.t += 1
    if record.corrects_bias:
        record.rate *= np.sqrt(1 - record.beta_2**network.t) / (1 - record.beta_1**network.t)
    samples = _samples(network, problem, np.arange(problem.n_samples))
    for block, (first, last) in enumerate(itertools.pairwise(map(int, tile_cuts))):
        phase(_memory(network), samples, first, last, block)


def infer_blocks(network, problem, cuts):
    """Run the forward pass alone, block after block, and return the outputs."""
    outputs = np.full((problem.n_samples, problem.layer_units[-1]), np.nan, problem.dtype)
    order = np.arange(problem.n_samples)
    for begin, end in itertools.pairwise(map(int, cuts)):
        phases.infer(_memory(network), problem.rows.source, order, outputs, begin, begin, end)
    return outputs


def naive_layers(problem):
    """Return the activations of every layer and dL/dz of every layer but the first, in plain NumPy."""
    reference = problem.reference()
    activations = reference.forward(problem.X)
    outputs = activations[-1].copy()
    deltas = reference.backward(activations, problem.targets, problem.sample_weight)
    activations[-1] = outputs
    return activations, deltas
