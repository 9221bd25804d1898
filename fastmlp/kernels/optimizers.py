"""The optimisers: one vector of parameters at a time, fused onto the tile of the weight gradient.

The formulas are scikit-learn's (``sklearn.neural_network``): momentum and Nesterov's momentum as it
writes them; Adam (Kingma and Ba, 2014, section 2, last paragraph) with the bias correction folded
into the rate and epsilon outside the correction.

An optimiser is a function of one vector, a function of the constants that it keeps in registers, and a row of
``OPTIMIZERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastmlp.kernels.division import quotient
from fastmlp.simd.jit import inner, switch
from fastmlp.simd.vectors import (
    lane_count,
    load,
    multiply_add,
    panel_width,
    splat_of,
    square_root,
    store,
    sum_lanes,
)


@inner
def _sgd_constants(workspace, network, rate):
    return (splat_of(workspace, rate),)


@inner
def _sgd(w, g, m, v, constants):
    (rate,) = constants
    return w - g * rate, m, v


@inner
def _momentum_constants(workspace, network, rate):
    return (
        splat_of(workspace, rate),
        splat_of(workspace, network.momentum),
        network.nesterovs_momentum,
    )


@inner
def _momentum(w, g, m, v, constants):
    rate, momentum, nesterovs_momentum = constants
    step = g * rate
    velocity = m * momentum - step
    if nesterovs_momentum:
        return w + (velocity * momentum - step), velocity, v
    return w + velocity, velocity, v


@inner
def _adam_constants(workspace, network, rate):
    return (
        splat_of(workspace, rate),
        splat_of(workspace, network.beta_1),
        splat_of(workspace, network.beta_2),
        splat_of(workspace, 1.0 - network.beta_1),
        splat_of(workspace, 1.0 - network.beta_2),
        splat_of(workspace, network.epsilon),
    )


@inner
def _adam(w, g, m, v, constants):
    rate, beta_1, beta_2, new_1, new_2, epsilon = constants
    m = m * beta_1 + g * new_1
    v = v * beta_2 + g * g * new_2
    return w - quotient(m * rate, square_root(v) + epsilon), m, v


class Optimizer(NamedTuple):
    """One row of the table of optimisers.

    Attributes
    ----------
    code : int
        The number by which kernels know it.
    n_moments : int
        Numbers that it keeps for each parameter: 0, 1 or 2.
    corrects_bias : bool
        Whether the driver multiplies the rate by Adam's correction of the moments' bias.
    decouples_decay : bool
        Whether weights shrink by ``learning_rate * weight_decay`` before their update (Loshchilov and Hutter, 2019).
    constants : kernel or None
        Returns a tuple of what `update` needs besides, from the workspace, the network's record and the rate.
    update : kernel or None
        Returns the new ``w, m, v`` from a vector of parameters, the gradient of the loss with the L2 term, the two
        moments (those that it does not have hold anything, and are not kept), and the constants. None if gradients are
        only stored.
    """

    code: int
    n_moments: int
    corrects_bias: bool = False
    decouples_decay: bool = False
    constants: Callable[..., Any] | None = None
    update: Callable[..., Any] | None = None


OPTIMIZERS = {
    "none": Optimizer(0, 0),
    "sgd": Optimizer(1, 0, constants=_sgd_constants, update=_sgd),
    "momentum": Optimizer(2, 1, constants=_momentum_constants, update=_momentum),
    "adam": Optimizer(3, 2, corrects_bias=True, constants=_adam_constants, update=_adam),
    "adamw": Optimizer(4, 2, corrects_bias=True, decouples_decay=True, constants=_adam_constants, update=_adam),
}
"""The optimisers by their names; ``none`` is for L-BFGS and for networks that only predict."""


def optimizer_of(solver: str | None, momentum: float) -> Optimizer:
    """Return the row of a solver; momentum 0 is plain gradient descent, which keeps no velocities."""
    if solver is None or solver == "lbfgs":
        return OPTIMIZERS["none"]
    if solver == "sgd":
        return OPTIMIZERS["momentum" if momentum else "sgd"]
    return OPTIMIZERS[solver]


def _tile_update(optimizer: Optimizer) -> Callable[..., Any]:
    """Return the loop over the vectors of a tile, made for one optimiser."""
    n_moments, decouples_decay = optimizer.n_moments, optimizer.decouples_decay
    constants_of, update = optimizer.constants, optimizer.update
    assert constants_of is not None
    assert update is not None

    @inner
    def update_vectors(workspace, network, gradient, weights, updated, rows, columns, rate_factor, decay_factor):
        lanes = lane_count(workspace)
        width = panel_width(workspace)
        first_moments = weights + network.n_parameters
        second_moments = first_moments + network.n_parameters
        # Held in registers: the compiler cannot know that the stores below leave the record alone.
        squares = splat_of(workspace, 0.0)
        scale = splat_of(workspace, network.scale)
        alpha = splat_of(workspace, network.alpha * decay_factor)
        constants = constants_of(workspace, network, network.rate * rate_factor)
        decay = network.learning_rate * rate_factor * network.weight_decay * decay_factor
        kept = splat_of(workspace, 1.0 - decay)
        for row in range(rows):
            for place in range(row * width, row * width + columns, lanes):
                w = load(workspace, weights + place)
                squares = multiply_add(w, w, squares)
                g = multiply_add(w, alpha, load(workspace, gradient + place)) * scale
                m = load(workspace, first_moments + place) if n_moments > 0 else w
                v = load(workspace, second_moments + place) if n_moments > 1 else w
                if decouples_decay:
                    w = w * kept
                w, m, v = update(w, g, m, v, constants)
                if n_moments > 0:
                    store(workspace, first_moments + place, m)
                if n_moments > 1:
                    store(workspace, second_moments + place, v)
                store(workspace, updated + place, w)
        return squares

    return update_vectors


_update_vectors = switch({row.code: _tile_update(row) for row in OPTIMIZERS.values() if row.update is not None})


@inner
def update_tile(workspace, network, gradient, weights, updated, rows, columns, rate_factor, decay_factor):
    """Update a tile of parameters; return what they added to the L2 term: the sum of their squares by `decay_factor`.

    rate_factor, decay_factor: what the learning rate and alpha are multiplied by.
    workspace[weights...] (rows, columns), rows NR apart: the parameters; their moments are overwritten.
    workspace[gradient...], likewise: the sum over samples of the loss's derivative, not yet divided, without L2 term.
    workspace[updated...], likewise: overwritten with the new parameters; it may be either of the two.
    """
    squares = _update_vectors(
        network.optimizer, workspace, network, gradient, weights, updated, rows, columns, rate_factor, decay_factor
    )  # fmt: skip
    if decay_factor == 0:  # squares may be infinite
        return workspace.dtype.type(0)
    return sum_lanes(squares) * workspace.dtype.type(decay_factor)


@inner
def copies_of(network, weights):
    """Return where a tile of weights and its moments lie; where the optimiser has fewer, the same place again."""
    first_moments = weights + network.n_parameters if network.n_moments > 0 else weights
    second_moments = first_moments + network.n_parameters if network.n_moments > 1 else first_moments
    return weights, first_moments, second_moments
