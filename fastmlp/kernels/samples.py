"""Which sample a row of the workspace holds."""

from __future__ import annotations

from fastmlp.simd.jit import inner


@inner
def sample_of(order, start, row):
    """Return the number of the sample in a row of a minibatch or prediction block that starts at ``order[start]``."""
    return order[start + row]
