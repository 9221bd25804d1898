"""The hidden activations: a function, its slope and a row of ``ACTIVATIONS`` each.

==========  ===================  ==========================
activation  value a              slope da/dz
==========  ===================  ==========================
identity    z                    1
relu        max(z, 0)            1 where a > 0, else 0
tanh        tanh(z)              1 - a^2
logistic    1 / (1 + exp(-z))    a (1 - a)
gelu        z Phi(z)             Phi(z) + z phi(z)
==========  ===================  ==========================

with Phi and phi the distribution function and the density of the normal distribution (Hendrycks and Gimpel, "Gaussian
error linear units", 2016).

Where the slope can be had from the value, nothing is kept for it. Else the forward pass stores it, in panels like those
of the values. What applies a row to the tiles of a product is in ``epilogues``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastmlp.kernels.vector_maths import (
    exp_of_size,
    half_exp_minus_one,
    logistic,
    logistic_of,
    tail_and_density,
    tanh,
    tanh_of,
)
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import absolute, is_single, multiply_add, select


class Activation(NamedTuple):
    """One row of the table of activations. Its functions take and return vectors.

    Attributes
    ----------
    code : int
        The number by which kernels know it.
    value : kernel or None
        From pre-activation to value. None for the identity.
    two_passes : tuple of kernel
        Two functions that give the value one after the other; empty if there are none. Where a processor cannot look
        far ahead, two loops of half the work each are faster (see ``epilogues``).
    slope : kernel or None
        From value to slope. None if it is 1, or stored.
    value_and_slope : kernel or None
        From pre-activation to both, for a slope that cannot be had from the value: the forward pass stores it.
    is_floor : bool
        Whether the value is the larger of pre-activation and 0: the micro-kernels take that, and its slope, along.
    """

    code: int
    value: Callable[..., Any] | None = None
    two_passes: tuple[Callable[..., Any], ...] = ()
    slope: Callable[..., Any] | None = None
    value_and_slope: Callable[..., Any] | None = None
    is_floor: bool = False


@inner
def _relu(z):
    return select(z < 0.0, 0.0, z)  # in this form a NaN stays


@inner
def _tanh_slope(a):
    return 1.0 - a * a


@inner
def _logistic_slope(a):
    return a * (1.0 - a)


@inner
def _gelu_and_slope(z):
    """Return ``z Phi(z) = max(z, 0) - |z| Phi(-|z|)``, and its derivative."""
    largest = 14.0 if is_single(z) else 39.0  # beyond, the tail is 0 to the last bit
    size = absolute(z)
    size = select(size > largest, largest, size)
    tail, density = tail_and_density(size)
    step = multiply_add(size, density, -tail)
    return multiply_add(-size, tail, _relu(z)), select(z < 0.0, -step, 1.0 + step)


@inner
def _gelu(z):
    value, _ = _gelu_and_slope(z)
    return value


ACTIVATIONS = {
    "identity": Activation(0),
    "relu": Activation(1, _relu, is_floor=True),
    "tanh": Activation(2, tanh, (half_exp_minus_one, tanh_of), _tanh_slope),
    "logistic": Activation(3, logistic, (exp_of_size, logistic_of), _logistic_slope),
    "gelu": Activation(4, _gelu, value_and_slope=_gelu_and_slope),
}
"""The hidden activations by their names."""
