"""Ctrl-C at any moment: what must not be left half done."""

from collections.abc import Callable


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
