"""The optimisers: one vector of parameters at a time, fused onto the tile of the weight gradient.

The formulas are scikit-learn's (``sklearn.neural_network``): momentum and Nesterov's momentum as it
writes them; Adam (Kingma and Ba, 2014, section 2, last paragraph) with the bias correction folded
into the rate and epsilon outside the correction.

Adding an optimiser is one line in ``OPTIMIZERS``, its number of moments in ``N_MOMENTS``, and one
branch in ``update_row``.
"""

from __future__ import annotations

from fastmlp.kernels.division import quotient
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import (
    lane_count,
    load,
    multiply_add,
    panel_width,
    splat_of,
    square_root,
    store,
)

NONE, SGD, MOMENTUM, ADAM = range(4)
N_MOMENTS = {NONE: 0, SGD: 0, MOMENTUM: 1, ADAM: 2}


def optimizer_of(solver: str | None, momentum: float) -> int:
    """Return the kernels' number for a solver; momentum 0 is plain gradient descent, which keeps no velocities."""
    if solver == "adam":
        return ADAM
    if solver == "sgd":
        return MOMENTUM if momentum else SGD
    return NONE


@inner
def update_tile(workspace, network, gradient, weights, updated, rows, columns, alpha):
    """Update a tile of parameters; return, lane by lane, the sum of their squares before that.

    workspace[weights...] (rows, columns), rows NR apart: the parameters; their moments are overwritten.
    workspace[gradient...], likewise: the sum over samples of the loss's derivative, not yet divided, without L2 term.
    workspace[updated...], likewise: overwritten with the new parameters; it may be either of the two.
    """
    lanes = lane_count(workspace)
    width = panel_width(workspace)
    first_moments = weights + network.n_parameters
    second_moments = first_moments + network.n_parameters
    # Held in registers: the compiler cannot know that the stores below leave the record alone.
    squares = splat_of(workspace, 0.0)
    scale = splat_of(workspace, network.scale)
    alpha = splat_of(workspace, alpha)
    rate = splat_of(workspace, network.rate)
    if network.optimizer == ADAM:
        beta_1 = splat_of(workspace, network.beta_1)
        beta_2 = splat_of(workspace, network.beta_2)
        new_1 = splat_of(workspace, 1.0 - network.beta_1)
        new_2 = splat_of(workspace, 1.0 - network.beta_2)
        epsilon = splat_of(workspace, network.epsilon)
        for row in range(rows):
            for place in range(row * width, row * width + columns, lanes):
                w = load(workspace, weights + place)
                squares = multiply_add(w, w, squares)
                g = multiply_add(w, alpha, load(workspace, gradient + place)) * scale
                m = load(workspace, first_moments + place) * beta_1 + g * new_1
                v = load(workspace, second_moments + place) * beta_2 + g * g * new_2
                store(workspace, first_moments + place, m)
                store(workspace, second_moments + place, v)
                store(workspace, updated + place, w - quotient(m * rate, square_root(v) + epsilon))
    elif network.optimizer == MOMENTUM:
        momentum = splat_of(workspace, network.momentum)
        nesterovs_momentum = network.nesterovs_momentum
        for row in range(rows):
            for place in range(row * width, row * width + columns, lanes):
                w = load(workspace, weights + place)
                squares = multiply_add(w, w, squares)
                g = multiply_add(w, alpha, load(workspace, gradient + place)) * scale
                step = g * rate
                velocity = load(workspace, first_moments + place) * momentum - step
                store(workspace, first_moments + place, velocity)
                if nesterovs_momentum:
                    velocity = velocity * momentum - step
                store(workspace, updated + place, w + velocity)
    else:
        for row in range(rows):
            for place in range(row * width, row * width + columns, lanes):
                w = load(workspace, weights + place)
                squares = multiply_add(w, w, squares)
                g = multiply_add(w, alpha, load(workspace, gradient + place)) * scale
                store(workspace, updated + place, w - g * rate)
    return squares
