"""Ctrl-C, and other exceptions from outside, at any moment: what must not be left half done, and what they wait for."""

import _thread
import contextvars
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeVar, cast

Result = TypeVar("Result")

# Seconds after which nobody waits for a thread any longer that has been started and does not begin.
_SECONDS_TO_BEGIN = 5.0


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


def undisturbed(action: Callable[[], Result]) -> Result:
    """Do something that no exception from outside may cut short; one that comes meanwhile is raised when it is done.

    Ctrl-C and the handlers of other signals raise theirs in the main thread, and others can be sent to any thread. So
    it is done in a thread of its own, which none of them reaches, while this one waits. Handlers of signals run as they
    come.

    Parameters
    ----------
    action : callable without arguments
        What to do. Its result is returned, and what it raises is raised.
    """
    outcome: list[tuple[Any, BaseException | None]] = []
    claim, over = threading.Lock(), threading.Lock()
    over.acquire()
    context = contextvars.copy_context()

    def work() -> None:
        if not claim.acquire(blocking=False):
            return
        try:
            outcome.append((context.run(action), None))
        except BaseException as error:
            outcome.append((None, error))
        finally:
            over.release()

    interrupt = None
    is_started = False
    while not outcome:
        try:
            # An exception from outside may come when the thread runs already: a second one would find the work claimed.
            if not is_started:
                _start_thread(work)
                is_started = True
            if not over.acquire(timeout=_SECONDS_TO_BEGIN):
                work()  # here, if the thread has not begun: without memory, one ends before its first line
        except BaseException as error:
            interrupt = error if interrupt is None else interrupt
    result, failure = outcome[0]
    if interrupt is not None:
        raise interrupt
    if failure is not None:
        raise failure
    return cast(Result, result)


def _start_thread(work: Callable[[], None]) -> None:
    """Start a thread; where there can be no further one, do the work in this one."""
    try:
        # A thread that `threading` knows would be left half known by an exception in the midst of its start.
        _thread.start_new_thread(work, ())
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "new thread" not in str(error):
            raise  # it is a signal handler's
        work()


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
