"""One BLAS thread for as long as somebody wants no more: L-BFGS, or a prediction with ``n_threads=1``.

SciPy's minimiser calls its own OpenBLAS for products of a few hundred numbers. OpenBLAS shares even those out among its
threads, which wait for each other by spinning: on a busy machine that takes a hundred times as long as the work.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_limiting = threading.Lock()


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
    if not _limiting.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _limiting.release()
