"""Whether steps are faster on several threads than on one: what runs find out while they go on."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass
class Experience:
    """What runs of one shape have found out in this process, each for those that come after it.

    Python threads that train the same shape at once share it without a lock. Each field is replaced as a whole, and
    what one of them overwrites costs a trial at most.

    Attributes
    ----------
    serial, shared : float or None
        Seconds of a step on one thread, and on all; None before the first trial.
    shared_calls : int
        Calls on all threads.
    calls : int
        Calls since the slower of the two was last tried.
    interval : int
        After so many it is tried again.
    """

    FIRST_INTERVAL = 2

    serial: float | None = None
    shared: float | None = None
    shared_calls: int = 0
    calls: int = 0
    interval: int = FIRST_INTERVAL

    @property
    def serial_is_faster(self) -> bool:
        """Whether a step on one thread is known to be faster."""
        return self.serial is not None and self.shared is not None and self.serial < self.shared


@functools.lru_cache(maxsize=256)
def experience_of(shape: Hashable) -> Experience:
    """Return what is known of a shape: all that the time of a step depends on, the number of threads among it."""
    return Experience()


class Sharing:
    """On how many threads the calls of one run go, watched while it goes on.

    The cost model decides first, and short steps are tried on one thread too: the faster is kept. Long steps are tried
    on one thread only where they are not clearly faster on several than the model expects of one: a thread that waits
    for one which is not running, because other processes compete for the processors, makes a shared step tens of times
    slower. Such steps get a second chance before that, as the pool of threads had to be started for them, and memory
    was touched for the first time. What was slower is tried again, soon if it has only just become so, then now and
    then; not so one thread while long steps are clearly faster on several.

    A trial is two short calls, of which the first counts for nothing: it wakes threads and fills their caches. Of other
    calls the better one of two counts: in the first of a fit memory is touched for the first time, and in any of them
    another process may have had a turn.

    Parameters
    ----------
    n_threads : int
        Threads that the cost model chose.
    expected : float
        Seconds of a step on one thread by the cost model.
    known : Experience
        What earlier runs have found out; this one adds to it.
    """

    # Of the time that the model expects of one thread. It may in truth take little more: the model is for small layers.
    _CLEARLY_FASTER = 0.6

    # Of the time that was measured on one thread.
    _STILL_FASTER = 0.8

    # A trial of a step that is expected to take longer would show in the time of a fit.
    _LONG_STEP = 1e-3

    # The interval between two trials doubles up to so many calls.
    _LAST_INTERVAL = 16

    def __init__(self, n_threads: int, expected: float, known: Experience) -> None:
        self._most, self._expected, self._known = n_threads, expected, known
        # Shared steps that take no longer need no trial of one thread.
        self._fast = self._CLEARLY_FASTER * expected if expected > self._LONG_STEP else 0.0
        # Threads of the trial that is under way, or None, and whether its first call has been made.
        self._trial: int | None = None
        self._is_warm = False
        # Threads and seconds of this run's last call that counted.
        self._last: tuple[int, float] | None = None

    @property
    def seconds(self) -> float:
        """Seconds of a step, as far as is known."""
        return min((s for s in (self._known.serial, self._known.shared) if s is not None), default=self._expected)

    def choose(self) -> tuple[int, bool]:
        """Return the threads for the next call, and whether it is part of a trial, to be kept short."""
        if self._most == 1:
            return 1, False
        if self._trial is None:
            n_threads, is_trial = self._choose()
            if not is_trial:
                return n_threads, False
            self._trial = n_threads
        return self._trial, True

    def _choose(self) -> tuple[int, bool]:
        known, most = self._known, self._most
        serial, shared = known.serial, known.shared
        if shared is None:
            return most, True
        if serial is None:
            if shared <= self._fast:
                return most, False
            has_second_chance = self._fast > 0 and known.shared_calls < 2
            return (most if has_second_chance else 1), True
        if self._expected > self._LONG_STEP and shared <= self._STILL_FASTER * serial:
            return most, False
        known.calls += 1
        if known.calls < known.interval:
            return (1 if known.serial_is_faster else most), False
        known.calls = 0
        known.interval = min(2 * known.interval, self._LAST_INTERVAL)
        return (most if known.serial_is_faster else 1), True

    def record(self, n_threads: int, seconds: float) -> None:
        """Take note of the seconds of a step."""
        is_trial = self._trial is not None
        if is_trial and not self._is_warm:
            self._is_warm = True
            return
        known, last = self._known, self._last
        self._trial, self._is_warm, self._last = None, False, (n_threads, seconds)
        if not is_trial:
            former = known.serial if n_threads == 1 else known.shared
            if last is not None and last[0] == n_threads:
                former = last[1]
            if former is not None:
                seconds = min(seconds, former)
        serial_was_faster = known.serial_is_faster
        if n_threads == 1:
            known.serial = seconds
        else:
            known.shared = seconds
            known.shared_calls += 1
        if known.serial_is_faster != serial_was_faster:
            known.calls, known.interval = 0, known.FIRST_INTERVAL
