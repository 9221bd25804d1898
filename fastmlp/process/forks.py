"""What a process knows of itself, and what a forked child must not take over from its parent.

A child of ``os.fork`` can be told by a hook. One that C code has forked (uWSGI's workers, a call of libc's ``fork``)
can't, so whoever asks for the state of a process compares process ids first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

State = TypeVar("State")


class OfThisProcess(Generic[State]):
    """State that each process has of its own; called, it returns this process's.

    Parameters
    ----------
    make : callable
        Makes the state of a process. It takes the state of the process that this one was forked from, or None.
    """

    def __init__(self, make: Callable[[State | None], State]) -> None:
        self._make = make
        self._states = {os.getpid(): make(None)}
        if hasattr(os, "register_at_fork"):
            # At once, before the child does anything that would look like its parent's doing.
            os.register_at_fork(after_in_child=self)

    def __call__(self) -> State:
        """Return the state of this process, made anew if this is a child that has not asked before."""
        process = os.getpid()
        state = self._states.get(process)
        if state is None:
            (former,) = list(self._states.values())[-1:]
            # Several threads of a child may ask at once: all get the same.
            state = self._states.setdefault(process, self._make(former))
            for other in list(self._states):
                if other != process:
                    self._states.pop(other, None)
        return state
