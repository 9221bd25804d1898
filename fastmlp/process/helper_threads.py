"""Threads that help with a compiled call if they come in time, and that nobody waits for if they do not.

A helper is a thread of Python's that sleeps until it is offered something to do. What it does must be a compiled
call that releases the GIL, and whose work is handed out in parts: whoever comes first takes the next one. So a helper
that another process keeps from running costs nothing but its share of the work.
"""

from __future__ import annotations

import _thread
import queue
import threading
import time
from collections.abc import Callable

from fastmlp.process.processors import on_all_processors

# Seconds for which a helper takes no offers after it was held up; twice as many each further time, up to the last.
_FIRST_REST, _LAST_REST = 0.05, 2.0


class Helper:
    """A thread that does one thing after another; it starts when it is first offered something.

    One thread at a time may make offers (see `threads.helped_call`).
    """

    def __init__(self) -> None:
        # An interrupt in the midst of a `threading.Semaphore`, which is Python's own code, would leave it locked.
        self._offers: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._work: Callable[[], object] | None = None
        self._is_idle = True
        self._has_started = False
        # Taken by the thread: an interrupt may leave two of them started.
        self._is_running = _thread.allocate_lock()
        self._next_rest = _FIRST_REST
        self._rests_until = 0.0

    def offer(self, work: Callable[[], object]) -> bool:
        """Have the thread do something as soon as it runs; return whether it takes offers now.

        It takes none while it is busy, has yet to wake up for the last one, or rests.
        """
        if not self._is_idle or time.monotonic() < self._rests_until:
            return False
        self._is_idle = False
        self.assign(work)
        return True

    def assign(self, work: Callable[[], object]) -> None:
        """Have the thread do something as soon as it runs, and is done with what it does now; the last word counts."""
        self._work = work
        if self._offers.empty():
            self._offers.put(None)
        if not self._has_started:
            self._start()

    def _start(self) -> None:
        """Start the thread; where there can be none, it stays busy for good, with nothing."""
        try:
            with on_all_processors():  # a thread begins with the processors of the one that starts it
                # Not `threading.Thread`: its `start` waits for the thread to begin, for ever if memory is short.
                _thread.start_new_thread(self._run, ())
        except (RuntimeError, MemoryError):
            self.withdraw()
        # Not before: an interrupt on the way there would leave it without a thread for good.
        self._has_started = True

    def withdraw(self) -> None:
        """Take back what the thread has not begun, so that nothing is kept alive for it."""
        self._work = None

    def rest(self, was_held_up: bool) -> None:
        """Have the thread rest for a while if it was held up, for other processes compete for the processors."""
        if was_held_up:
            self._rests_until = time.monotonic() + self._next_rest
            self._next_rest = min(2 * self._next_rest, _LAST_REST)
        elif time.monotonic() >= self._rests_until:
            self._next_rest = _FIRST_REST

    def _run(self) -> None:
        if not self._is_running.acquire(blocking=False):
            return
        while True:
            self._offers.get()
            work, self._work = self._work, None
            try:
                if work is not None:
                    work()
            except Exception as error:  # as Python reports it where a thread ends with one; this thread goes on
                threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, None)))
            finally:
                del work
                self._is_idle = True
