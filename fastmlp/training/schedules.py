"""The schedules of the learning rate: a function and a row of ``SCHEDULES`` each.

==========  ======================================================================
schedule    rate of an epoch
==========  ======================================================================
constant    learning_rate_init
invscaling  ``learning_rate_init / (t + 1)**power_t`` after t samples
adaptive    a fifth of what it was, each time that training no longer improves
==========  ======================================================================
"""

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """How far training has come."""

    n_samples_seen: int
    share: float
    """Of `max_iter` epochs, within 0 and 1."""


class Schedule(NamedTuple):
    """One row of the table of schedules.

    Attributes
    ----------
    divisor : callable or None
        From `Progress` and the parameter `power_t`: what ``learning_rate_init`` is divided by. None if the rate stays
        what it is.
    lowers_on_plateau : bool
        Whether a smaller rate is tried before training ends because it no longer improves.
    """

    divisor: Callable[[Progress, float], float] | None = None
    lowers_on_plateau: bool = False


def _inverse_scaling(progress: Progress, power_t: float) -> float:
    return (progress.n_samples_seen + 1) ** power_t


SCHEDULES = {
    "constant": Schedule(),
    "invscaling": Schedule(_inverse_scaling),
    "adaptive": Schedule(lowers_on_plateau=True),
}
"""The schedules, by the estimators' parameter `learning_rate`."""
