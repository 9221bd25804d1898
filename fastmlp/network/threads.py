"""How many threads a call runs on, and how: the driver alone, in a parallel region, or with helpers.

A fit uses `n_threads` threads if that is given, else the smallest of all limits in force:

- ``NUMBA_NUM_THREADS``, the size of Numba's pool, and that pool's current mask (``numba.set_num_threads``);
- ``OMP_NUM_THREADS``, and the OpenMP limit that ``threadpoolctl`` sets;
- the processors this process may run on, and the CPU quota of its control groups (see `processors`).

Even then a call runs on one thread when

- the work of a step is too small to share out (`worth_sharing`);
- another thread of this process is in a compiled call too: together they would exceed the limit. (Who comes while a
  call runs on several threads waits for its end, a tenth of a second at most as a rule.)
- shared steps turn out slower than serial ones (see `sharing`), because other processes compete for the processors.

Where the kernels come from a library (see ``simd.library``), the other threads are helpers of this process, which come
if they can (see ``process.helper_threads``); so they are for predictions in any case (see `helped_call`). Under the JIT
a team enters a parallel region of Numba's, and a call also runs on one thread when

- the threading layer is ``workqueue``, which aborts the process when two threads enter it, or there is none;
- this process was forked, by Python or by C code, from one whose thread pool had started (GNU OpenMP kills such a
  child).

Any number of threads gives the same bits, so none of this shows in a result.
"""

from __future__ import annotations

import contextlib
import multiprocessing.process
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from fastmlp.process.forks import OfThisProcess
from fastmlp.process.helper_threads import Helper
from fastmlp.process.interrupts import to_the_end
from fastmlp.process.processors import count_processors, cpu_quota, on_all_processors, openmp_libraries
from fastmlp.simd.jit import JIT_DISABLED
from fastmlp.simd.library import LIBRARY
from fastmlp.simd.numba_modules import config, numba

# The cost model, measured on two cores of a Zen 4 and of a Sapphire Rapids machine. A step on one thread runs at about
# 60 GFLOP/s in float32, half that in float64; on n threads it takes 1.25 / n of the time, and two barriers with their
# cold cache lines on top. These cost from 4 microseconds, where cores share a cache, to 20, where they do not, and on
# other processors small steps run at up to 150 GFLOP/s: where it may help, ``sharing`` finds out whether it does.
_SECONDS_PER_FLOP = 1 / 60e9
_SHARING_LOSS = 1.25
_SECONDS_PER_STEP = 4e-6


def expected_seconds(flops: float, itemsize: int) -> float:
    """Return the seconds that the cost model gives a step on one thread."""
    return flops * _SECONDS_PER_FLOP * (itemsize / 4)


def worth_sharing(flops: float, itemsize: int, n_threads: int) -> bool:
    """Return whether a step may be faster on several threads.

    Parameters
    ----------
    flops : float
        Floating-point operations of the step.
    itemsize : int
        Bytes of a number: 4 or 8.
    n_threads : int
        Threads at hand.
    """
    return not JIT_DISABLED and may_gain(flops, itemsize, n_threads)


def may_gain(flops: float, itemsize: int, n_threads: int) -> bool:
    """Return whether the cost model gives a step fewer seconds on several threads, be they at hand or not."""
    serial = expected_seconds(flops, itemsize)
    return n_threads > 1 and serial > serial * _SHARING_LOSS / n_threads + _SECONDS_PER_STEP


def _pool_has_started() -> bool:
    """Return whether Numba's pool of threads has started: here, or in the process that this was forked from."""
    if "numba" not in sys.modules:
        return False
    try:
        numba.threading_layer()
    except ValueError:
        return False
    return True


class _Caller:
    """One compiled call that is under way."""


class _Process:
    """What this process knows of its own threads; made anew in a forked child."""

    def __init__(self, forked_with_pool: bool) -> None:
        self.forked_with_pool = forked_with_pool
        # Weak: a Ctrl-C in the moment before or after a call can keep it from being taken out, but not from being
        # forgotten. Else this process would think for good that it is not alone.
        self.callers: weakref.WeakSet[_Caller] = weakref.WeakSet()
        # Held by the call that runs on several threads. Reentrant: a signal handler may predict.
        self.sharing = threading.RLock()
        self.helpers: list[Helper] = []


def _is_fork_of_stranger() -> bool:
    """Return whether multiprocessing forked this process before fastmlp was imported, with Numba's pool started."""
    process = multiprocessing.process.current_process()
    return type(process).__name__ == "ForkProcess" and _pool_has_started()


def _made_from(former: _Process | None) -> _Process:
    if former is None:
        return _Process(forked_with_pool=_is_fork_of_stranger())
    return _Process(forked_with_pool=former.forked_with_pool or _pool_has_started())


_process = OfThisProcess(_made_from)


# --- limits ---------------------------------------------------------------------------------------------------------


def _environment_limit() -> int | None:
    value = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(value) if value.isdigit() and int(value) > 0 else None


def _openmp_limit() -> int | None:
    return min((library.num_threads for library in openmp_libraries()), default=None)


def _pool_size() -> int:
    """Return the number of threads that Numba's pool has, or will have when it starts.

    Numba takes the number of processors from the affinity when it is imported. If OpenMP had bound the process to one
    of them by then, that is one, and is put right as long as the pool has not started and nobody has asked for one.
    """
    if "numba" not in sys.modules and LIBRARY is not None:
        value = os.environ.get("NUMBA_NUM_THREADS", "")
        return int(value) if value.isdigit() and int(value) > 0 else count_processors()
    is_default = config.NUMBA_NUM_THREADS == config.NUMBA_DEFAULT_NUM_THREADS and "NUMBA_NUM_THREADS" not in os.environ
    if is_default and not _pool_has_started() and count_processors() > config.NUMBA_NUM_THREADS:
        _enlarge_pool(count_processors())
    return config.NUMBA_NUM_THREADS


def _enlarge_pool(n_threads: int) -> None:
    """Have Numba's pool, which has not started, start with more threads."""
    from numba import extending
    from numba.core import config as settings
    from numba.np.ufunc import parallel

    # Not public: where these are missing, the pool is what Numba makes it.
    if all(hasattr(parallel, name) for name in ("NUM_THREADS", "snt_check", "gen_snt_check")):
        settings.NUMBA_NUM_THREADS = parallel.NUM_THREADS = n_threads
        # What `set_num_threads` compares its argument with, in Python and in compiled functions, is a copy.
        parallel.snt_check = check = parallel.gen_snt_check()
        extending.overload(check)(lambda n: check)


def _limits() -> dict[str, int | None]:
    return {
        "NUMBA_NUM_THREADS": _pool_size(),
        # Asking before the pool has started would start it; nobody can have set a mask then.
        "Numba's mask": numba.get_num_threads() if _pool_has_started() else None,
        "OMP_NUM_THREADS": _environment_limit(),
        "OpenMP": _openmp_limit(),
        "CPU affinity": count_processors(),
        "CPU quota": cpu_quota(),
    }


def resolve_n_threads(n_threads: int | None) -> int:
    """Return the number of threads to use.

    Parameters
    ----------
    n_threads : int or None
        Clipped to Numba's pool; None for the smallest of all limits in force.
    """
    if n_threads is not None:
        return max(1, min(n_threads, _pool_size()))
    return max(1, min(limit for limit in _limits().values() if limit is not None))


def threading_layer() -> str:
    """Return the name of Numba's threading layer, starting it if need be; "none" where none can be loaded.

    Where kernels come from a library no layer is needed: "threads of Python's".
    """
    if LIBRARY is not None:
        return "threads of Python's"
    try:
        if not _pool_has_started():
            _pool_size()
            with on_all_processors():
                numba.get_num_threads()
        return numba.threading_layer()
    except (ValueError, ImportError):
        return "none"


def describe() -> dict[str, Any]:
    """Return the threads that a fit may use, the threading layer and the limits, for people to read."""
    return {
        "n_threads": resolve_n_threads(None),
        "threading_layer": threading_layer(),
        **_limits(),
    }


# --- one thread or several --------------------------------------------------------------------------------------------


def _may_share() -> bool:
    if LIBRARY is not None:
        return True
    return not JIT_DISABLED and not _process().forked_with_pool and threading_layer() in ("omp", "tbb")


@contextlib.contextmanager
def _counted_call(n_threads: int, may_share: Callable[[], bool]) -> Iterator[bool]:
    """Count a compiled call among those under way; give whether it may run on several threads.

    That it may if no other call is under way, and `may_share` allows it.
    """
    process, caller = _process(), _Caller()
    try:
        # Whoever has added itself after this lock was taken and the others counted waits here for the lock.
        process.callers.add(caller)
        with process.sharing:
            if n_threads > 1 and len(process.callers) == 1 and may_share():
                yield True
                return
        yield False
    finally:
        process.callers.discard(caller)


@contextlib.contextmanager
def compiled_call(n_threads: int) -> Iterator[tuple[int, list[Helper]]]:
    """Surround a compiled call; give on how many threads it may run, and which help where no layer of Numba's does.

    Numba's mask of threads is set for the call and restored after it, whatever happens in between.
    """
    with _counted_call(n_threads, _may_share) as may_share:
        if not may_share:
            yield 1, []
            return
        if LIBRARY is not None:
            yield n_threads, _helpers(n_threads - 1)
            return
        former = numba.get_num_threads()
        try:
            numba.set_num_threads(n_threads)
            yield n_threads, []
        finally:
            to_the_end(lambda: numba.set_num_threads(former))


@contextlib.contextmanager
def helped_call(n_threads: int) -> Iterator[list[Helper]]:
    """Surround a compiled call; give the threads that may help with it, at most ``n_threads - 1``."""
    with _counted_call(n_threads, _may_have_helpers) as may_share:
        yield _helpers(n_threads - 1) if may_share else []


def _may_have_helpers() -> bool:
    return LIBRARY is not None or (not JIT_DISABLED and not _process().forked_with_pool)


def _helpers(count: int) -> list[Helper]:
    """Return so many helpers of this process; only the call that runs on several threads asks for them."""
    helpers = _process().helpers
    while len(helpers) < count:
        helpers.append(Helper())
    return helpers[:count]
