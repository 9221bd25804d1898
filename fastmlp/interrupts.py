"""Ctrl-C at any moment: what must not be left half done, and what it has to wait for."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


def to_the_end(action: Callable[[], object]) -> None:
    """Do something that Ctrl-C must not leave half done; an interrupt in its midst is raised when it is done.

    Parameters
    ----------
    action : callable without arguments
        What to do. It is done again from its beginning if it was interrupted, so doing it twice must be like doing it
        once.
    """
    interrupt = None
    while True:
        try:
            action()
            break
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block is over.

    While LLVM compiles it calls Python back. An interrupt that was raised in there would be lost, with the machine code
    that was to be cached.
    """
    handler: Any = signal.getsignal(signal.SIGINT)
    # Signals are the main thread's affair. What is not a function ignores them, or ends the process.
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    pressed: list[tuple] = []
    try:
        signal.signal(signal.SIGINT, lambda *arguments: pressed.append(arguments))
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if pressed:
            handler(*pressed[0])


class DeferredInterrupt:
    """A context in which Ctrl-C is noted, and raised where the program asks for it.

    The second Ctrl-C is raised at once: whoever is kept waiting has the last word. Where Python would not raise
    KeyboardInterrupt anyhow (in another thread than the main one, or with a handler of the user's), nothing changes.

    Attributes
    ----------
    was_raised : bool
        Whether a Ctrl-C was raised where the program asked for it.
    """

    def __init__(self) -> None:
        self.was_raised = False
        self._pending = False
        self._installed = False

    def __enter__(self) -> "DeferredInterrupt":
        """Take Ctrl-C over."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give Ctrl-C back; one that nobody has asked for is raised now, unless there is an exception already."""
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._pending and error is None:
            raise KeyboardInterrupt

    def raise_if_pending(self) -> None:
        """Raise KeyboardInterrupt if there was a Ctrl-C: nothing is half done here."""
        if self._pending:
            self._pending = False
            self.was_raised = True
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
        self._pending = True
