"""The optimisers: one vector of parameters at a time, fused onto the tile of the weight gradient.

The formulas are scikit-learn's (``sklearn.neural_network``): momentum and Nesterov's momentum as it
writes them; Adam (Kingma and Ba, 2014, section 2, last paragraph) with the bias correction folded
into the rate and epsilon outside the correction.

Adding an optimiser is one line in ``OPTIMIZERS``, its number of moments in ``N_MOMENTS``, and one
branch in ``update_row``.
"""

from __future__ import annotations

from fastmlp._jit import inner
from fastmlp.vectors import lane_count, load, multiply_add, splat_of, square_root, store

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
def update_row(workspace, network, gradient, weights, columns, alpha):
    """Update one row of a tile of parameters; return the sum of squares of its lanes before that.

    workspace[weights...] and its moments (columns,): overwritten. workspace[gradient...]: the sum
    over samples of the loss's derivative, without L2 term and not yet divided.
    """
    lanes = lane_count(workspace)
    first_moments = weights + network.n_parameters
    second_moments = first_moments + network.n_parameters
    squares = splat_of(workspace, 0.0)
    for column in range(0, columns, lanes):
        w = load(workspace, weights + column)
        squares = multiply_add(w, w, squares)
        g = multiply_add(w, alpha, load(workspace, gradient + column)) * network.scale
        if network.optimizer == ADAM:
            m = load(workspace, first_moments + column) * network.beta_1 + g * (1.0 - network.beta_1)
            v = load(workspace, second_moments + column) * network.beta_2 + g * g * (1.0 - network.beta_2)
            store(workspace, first_moments + column, m)
            store(workspace, second_moments + column, v)
            w = w - m * network.rate / (square_root(v) + network.epsilon)
        elif network.optimizer == MOMENTUM:
            step = g * network.rate
            velocity = load(workspace, first_moments + column) * network.momentum - step
            store(workspace, first_moments + column, velocity)
            if network.nesterovs_momentum:
                velocity = velocity * network.momentum - step
            w = w + velocity
        else:
            w = w - g * network.rate
        store(workspace, weights + column, w)
    return squares
