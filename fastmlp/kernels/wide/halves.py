"""The parts of a minibatch whose samples a gradient is summed over: all, or one half (see ``wide.gradients``)."""

from __future__ import annotations

from fastmlp.simd.jit import inner

WHOLE, FIRST_HALF, SECOND_HALF = range(3)


@inner
def samples_of(network, part):
    """Return where the samples of a part begin and end."""
    begin = network.middle if part == SECOND_HALF else 0
    return begin, network.middle if part == FIRST_HALF else network.rows
