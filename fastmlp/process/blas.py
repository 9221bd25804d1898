"""One BLAS thread for as long as somebody wants no more: L-BFGS, or a prediction with ``n_threads=1``.

SciPy's minimiser calls its own OpenBLAS for products of a few hundred numbers. OpenBLAS shares even those out among its
threads, which wait for each other by spinning: on a busy machine that takes a hundred times as long as the work.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from fastmlp.process.forks import OfThisProcess
from fastmlp.process.interrupts import to_the_end


class _Process:
    """Who limits BLAS in this process. A thread that does so when its process is forked does not exist in the child."""

    def __init__(self, former: "_Process | None") -> None:
        self.choosing = threading.Lock()
        self.limiting: list[object] = []  # whoever has set the limit and will restore it


_process = OfThisProcess(_Process)


@cache
def _controller() -> ThreadpoolController:
    # Looking for the libraries takes milliseconds, so it is done once: by then SciPy has been imported.
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit NumPy's and SciPy's BLAS to one thread, and restore what was set before.

    The setting belongs to the process. Two Python threads that both limit it and both restore what they found can leave
    the limit behind, so only one at a time does; whoever comes while it lasts has the benefit and leaves it alone.
    """
    found: list[tuple[Any, int]] = []
    process, caller = _process(), object()

    def restore() -> None:
        for library, n_threads in found:
            library.set_num_threads(n_threads)

    try:
        with process.choosing:
            if not process.limiting:
                process.limiting.append(caller)
        if caller in process.limiting:
            libraries = _controller().select(user_api="blas").lib_controllers
            found = [(library, library.num_threads) for library in libraries]
            for library in libraries:
                library.set_num_threads(1)
        yield
    finally:
        if caller in process.limiting:
            to_the_end(restore)
            process.limiting.remove(caller)
