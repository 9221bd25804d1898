"""Blocks, tolerances and learning rates for tests of layers."""

import numpy as np
from numba import config

from fastmlp.simd.tile_table import TILE

# The pool may be larger than the processor: see test_threads_and_bounds.
POOL = config.NUMBA_NUM_THREADS

MR = TILE.rows

# Small, so that no network with many inputs and a minibatch of one sample runs away. Poisson's gradients grow
# exponentially with the outputs.
LEARNING_RATE = 0.002

POISSON_LEARNING_RATE = 0.0002


def tolerance(dtype):
    return 2e-5 if dtype is np.float32 else 1e-13


def cuts(network, n_samples, n_blocks):
    """Return where so many blocks of samples begin; in a narrow network that is the beginning of a panel."""
    grain = network.record[0].grain if network.narrow else 1
    inside = np.linspace(0, n_samples, n_blocks + 1)[:-1].astype(int) // grain * grain
    return np.unique([*inside, n_samples])


def learning_rate(problem):
    return POISSON_LEARNING_RATE if problem.loss == "poisson" else LEARNING_RATE
