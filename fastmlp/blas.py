"""One BLAS thread for as long as L-BFGS runs.

SciPy's minimiser calls its own OpenBLAS for products of a few hundred numbers. OpenBLAS shares even those out among its
threads, which wait for each other by spinning: on a busy machine that takes a hundred times as long as the work.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_n_inside = 0
_limiter: Any = None


@cache
def _controller() -> ThreadpoolController:
    # Looking for the libraries takes milliseconds, so it is done once: by then SciPy has been imported.
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit NumPy's and SciPy's BLAS to one thread, and restore what was set before.

    The setting belongs to the process. If several Python threads are inside at once, the first to come sets it and the
    last to go restores it; each restoring what it found would leave the limit behind.
    """
    global _n_inside, _limiter
    with _lock:
        if _n_inside == 0:
            _limiter = _controller().limit(limits=1, user_api="blas")
        _n_inside += 1
    try:
        yield
    finally:
        with _lock:
            _n_inside -= 1
            if _n_inside == 0:
                _limiter.restore_original_limits()
                _limiter = None
