"""How many threads, and which twin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numba
from numba import config

from fastmlp._jit import JIT_DISABLED

# Floating-point operations of a step below which a fork-join costs more than sharing the work
# saves.
PARALLEL_FLOPS = 1.0e6


def _environment_limit() -> int | None:
    value = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(value) if value.isdigit() and int(value) > 0 else None


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_n_threads(n_threads: int | None) -> int:
    """Return the number of threads to use: `n_threads` or else the smallest limit, within Numba's pool."""
    pool = config.NUMBA_NUM_THREADS
    if n_threads is not None:
        return max(1, min(n_threads, pool))
    limits = [pool, _affinity(), numba.get_num_threads()]
    environment = _environment_limit()
    if environment is not None:
        limits.append(environment)
    return max(1, min(limits))


def describe() -> dict[str, Any]:
    """Return what limits the threads, and the threading layer's name if one has started."""
    try:
        layer = numba.threading_layer()
    except ValueError:
        layer = "not started"
    return {
        "threading_layer": layer,
        "numba_threads": config.NUMBA_NUM_THREADS,
        "affinity": _affinity(),
        "OMP_NUM_THREADS": _environment_limit(),
        "n_threads": resolve_n_threads(None),
    }


def worth_sharing(flops: float, n_threads: int) -> bool:
    """Return whether a step of so many floating-point operations should run on several threads."""
    return n_threads > 1 and flops >= PARALLEL_FLOPS and not JIT_DISABLED


@contextlib.contextmanager
def numba_threads(n_threads: int) -> Iterator[None]:
    """Let parallel kernels use `n_threads`, and restore the caller's setting."""
    former = numba.get_num_threads()
    numba.set_num_threads(n_threads)
    try:
        yield
    finally:
        numba.set_num_threads(former)
