"""Compile the kernels before the first test, a process for each precision: that takes half the time."""

from pathlib import Path

from fastmlp.simd.cache import cache_directory
from fastmlp.simd.jit import JIT_DISABLED
from tests.helpers.subprocesses import finish, start_python

PROGRAM = """
    import fastmlp
    fastmlp.warmup("{dtype}")
"""


def compile_ahead():
    """Fill the compile cache of this session if there is nothing in it."""
    folder = None if JIT_DISABLED else cache_directory()
    if folder is None or any(Path(folder).glob("*")):
        return
    processes = [start_python(PROGRAM.format(dtype=dtype)) for dtype in ("float32", "float64")]
    for process in processes:
        finish(process)
