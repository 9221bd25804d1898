"""How much work a step is, for each of its samples: what decides threads, chunks and pieces."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

# What a unit of a narrow network costs for each sample besides its products (activation, loss, ends of short loops),
# in floating-point operations that take as long (measured on planar and on 8-8-8-8-10 units).
_NARROW_WORK_PER_UNIT = 55

# What an entry of a sparse X takes in both products for each unit, and the update for each weight of the first layer.
# There it is most of the work; elsewhere it counts for little.
_ENTRY_WORK, _UPDATE_WORK = 16, 64


def work_per_sample(
    layer_units: Sequence[int],
    *,
    term_density: float = 1.0,
    n_entries: float = 0.0,
    narrow: bool = False,
    update_rows: int = 0,
) -> int:
    """Return the floating-point operations of a step for each sample, or what takes as long.

    Parameters
    ----------
    layer_units : sequence of int
        Units of each layer, from the features to the outputs.
    term_density : float
        Part of the terms that is left in the first layer's products, where zeros of X are left out (see ``zeros``).
    n_entries : float
        Entries of a row on average, where the first layer goes over those alone (see ``entries``), else 0.
    narrow : bool
        Whether samples fill the lanes.
    update_rows : int
        Samples that share an update of the first layer, where it counts, else 0.
    """
    weights = sum(a * b for a, b in itertools.pairwise(layer_units))
    first = layer_units[0] * layer_units[1]
    # Forward, backward data and weight gradient; the first layer has no backward data.
    work = 6 * weights - 2 * first - round((1 - term_density) * 4 * first)
    if n_entries:
        work += round(_ENTRY_WORK * n_entries * layer_units[1]) - 4 * first
    if update_rows:
        work += _UPDATE_WORK * first // update_rows
    return work + (_NARROW_WORK_PER_UNIT * sum(layer_units[1:]) if narrow else 0)
