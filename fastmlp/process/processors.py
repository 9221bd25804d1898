"""How many processors this process may use: its CPU affinity, and the CPU quota of its control groups.

Linux tells both, but neither plainly:

- With ``OMP_PROC_BIND`` set, GNU OpenMP binds the thread that loads it to one processor. Whoever asks for the affinity
  then sees that one. OpenMP still knows all processors: they are its places.
- A quota may be set for any group on the way from the process's own up to the root, and each of them counts. Which one
  is its own stands in ``/proc/self/cgroup``, and where groups can be read in ``/proc/self/mountinfo``.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from threadpoolctl import ThreadpoolController

# What all paths of the system begin with.
_ROOT = ""


# --- affinity -------------------------------------------------------------------------------------------------------


@functools.cache
def openmp_libraries() -> list[Any]:
    """Return threadpoolctl's controllers of the OpenMP libraries that were loaded when this was first asked."""
    # Finding the libraries takes milliseconds, asking them again a microsecond.
    return ThreadpoolController().select(user_api="openmp").lib_controllers


def _places(library: Any) -> list[set[int]]:
    """Return the sets of processors to which an OpenMP library binds threads; none where it binds no thread."""
    try:
        functions = library.dynlib
        places = []
        for number in range(functions.omp_get_num_places()):
            processors = (ctypes.c_int * functions.omp_get_place_num_procs(number))()
            functions.omp_get_place_proc_ids(number, processors)
            places.append(set(processors))
        return places
    except AttributeError:
        return []  # an OpenMP before 4.5 has no such functions


def _processors() -> set[int]:
    """Return the processors that this thread may run on, or might before OpenMP bound it to one place."""
    processors = os.sched_getaffinity(0)
    if len(processors) < (os.cpu_count() or 1):
        for library in openmp_libraries():
            places = _places(library)
            if any(processors <= place for place in places):
                processors = processors.union(*places)
    return processors


def count_processors() -> int:
    """Return how many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(_processors())
    return os.cpu_count() or 1


@contextlib.contextmanager
def on_all_processors() -> Iterator[None]:
    """Undo what OpenMP has bound this thread to while a pool of threads starts.

    A second OpenMP library, loaded by a thread that the first has bound, would bind all its threads to one processor.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    bound, processors = os.sched_getaffinity(0), _processors()
    if processors == bound:
        yield
        return
    try:
        # Processors may have been taken away meanwhile.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, processors)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, bound)


# --- quota ----------------------------------------------------------------------------------------------------------


def cpu_quota() -> int | None:
    """Return the smallest CPU quota in force in whole processors, rounded up, or None where there is none."""
    return _quota_of_process(os.getpid())


@functools.lru_cache(maxsize=1)
def _quota_of_process(process: int) -> int | None:
    """Return the quota; it is read once in each process, as a child may belong to another group."""
    quotas = [quota for folder in _groups() if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _lines(name: str) -> list[str]:
    try:
        with open(f"{_ROOT}/proc/self/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []  # another system than Linux


def _groups() -> Iterator[Path]:
    """Yield the folders of all groups that may limit this process, from its own up to the highest in sight."""
    own = {}
    for line in _lines("cgroup"):
        _, controllers, path = line.split(":", 2)
        # In version 2 all controllers share one tree, and none is named.
        if controllers == "" or "cpu" in controllers.split(","):
            own["cgroup" if controllers else "cgroup2"] = path
    for line in _lines("mountinfo"):
        mount, _, system = line.partition(" - ")
        (root, point), (kind, _, options) = mount.split(" ")[3:5], system.split(" ")[:3]
        if kind not in own or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        path, top = own[kind], _unescape(root).rstrip("/")
        # A container may see only a part of the tree, and a path that leads out of it: then that part's top counts.
        below = path.removeprefix(top) if f"{path}/".startswith(f"{top}/") else ""
        highest = Path(f"{_ROOT}{_unescape(point)}")
        steps = [step for step in PurePosixPath(below).parts if step != "/"]
        for length in range(len(steps), -1, -1):
            yield highest.joinpath(*steps[:length])


def _unescape(field: str) -> str:
    """Return a field of mountinfo as it was: blanks and backslashes are written there as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _quota(folder: Path) -> int | None:
    """Return the quota of one group in whole processors, or None: cgroup version 2, else version 1."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except (OSError, ValueError):
            return None
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # "max", or -1: no quota
    return max(1, -(-int(quota) // int(period)))
