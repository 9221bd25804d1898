"""What is known of Numba's compiling: how long it has taken, and a line for whoever waits for it.

The line stands on standard error while kernels are being compiled, where that is a terminal or a notebook, and goes
when they are. The logger ``fastmlp`` has it everywhere.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any

_LOG = logging.getLogger("fastmlp")

LINE = "fastmlp: compiling kernels, once for this machine; a first fit takes 10 to 20 seconds ..."


class _Line:
    """A line on standard error that can be taken away again."""

    def __init__(self) -> None:
        self._stream: Any = None

    def show(self) -> None:
        """Write the line where somebody sees it."""
        stream = sys.stderr
        is_notebook = type(stream).__module__.partition(".")[0] == "ipykernel"
        try:
            if stream is not None and (is_notebook or stream.isatty()):
                stream.write(LINE)
                stream.flush()
                self._stream = stream
        except (OSError, ValueError):  # a stream that was closed
            self._stream = None

    def take_away(self) -> None:
        """Leave the cursor where it was."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.write(f"\r{' ' * len(LINE)}\r")
                stream.flush()
        except (OSError, ValueError):
            return


class Compilation:
    """Counts the seconds in which Numba compiles; a kernel that compiles another counts once.

    Attributes
    ----------
    seconds : float
        So far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._start = 0.0
        self._line = _Line()
        self._has_told = False
        self._is_watching = threading.Lock()

    def watch(self) -> None:
        """Have Numba tell when it compiles; doing it again does nothing."""
        if not self._is_watching.acquire(blocking=False):
            return
        from numba.core import event

        compilation = self

        class Listener(event.Listener):
            def on_start(self, event: Any) -> None:
                compilation.began()

            def on_end(self, event: Any) -> None:
                compilation.ended()

        event.register("numba:compile", Listener())

    def began(self) -> None:
        """Start the clock, unless it runs."""
        if self._depth == 0:
            self._start = time.perf_counter()
            self._line.show()
            if not self._has_told:
                self._has_told = True
                _LOG.info(LINE)
        self._depth += 1

    def ended(self) -> None:
        """Stop the clock."""
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._start
            self._line.take_away()


COMPILATION = Compilation()
"""That of this process. Numba compiles in one thread at a time."""
