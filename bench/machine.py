"""What a figure was measured on, and how figures are summed up."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

# What a figure depends on, of all that is in the repository.
MEASURED = ("fastmlp", "bench/contenders", "bench/workloads.py")


def processor_name() -> str:
    """Return the processor's own name for itself, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: the platform module knows something, if less
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to know about the machine."""
    from llvmlite import binding

    from bench.peak import VECTOR_BYTES

    return {
        "processor": processor_name(),
        "llvm_name": binding.get_host_cpu_name(),
        "cores": available_cores(),
        "vector_bytes": VECTOR_BYTES,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def commit() -> str:
    """Return the last commit that changed what is measured, marked where the tree differs from it."""

    def git(*command: str) -> str:
        result = subprocess.run(
            ["git", *command, "--", *MEASURED], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return result.stdout.strip()

    try:
        return git("log", "-1", "--format=%h", "--abbrev=12") + "-dirty" * bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def quartiles(values: Sequence[float]) -> list[float]:
    """Return the lower quartile, the median and the upper quartile."""
    return [float(q) for q in np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75])]


def thread_environment(n_threads: int) -> dict[str, str]:
    """Return the environment of a process that may use ``n_threads`` threads.

    OpenBLAS chooses its own kernel for this processor, whatever was set from outside.
    """
    environment = dict(os.environ)
    for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(variable, None)
    for variable in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        environment[f"{variable}_NUM_THREADS"] = str(n_threads)
    return environment


def pin_to_cores(n_threads: int) -> None:
    """Keep this process on as many cores as it may have threads, where the system can.

    No library can then use more, whatever it thinks of its environment.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-n_threads:])


def touch_memory(gibibytes: float) -> None:
    """Touch so much memory, of what is free no more than half, give it back, and say what that took.

    The host of a virtual machine may find memory for it only when that is first touched, forty times as slowly as it is
    cleared afterwards. A contender that gives memory back after each fit would meet such memory in every round, and one
    that keeps its own would not.
    """
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        gibibytes = min(gibibytes, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**31)
    for time_of in ("first", "second"):
        start = time.perf_counter()
        np.ones(int(gibibytes * 2**27))
        print(f"{gibibytes:.1f} GiB of memory, {time_of} touch: {time.perf_counter() - start:.1f} s", flush=True)
