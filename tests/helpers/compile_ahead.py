"""Compile the kernels before the first test, a process for each precision: that takes half the time."""

from pathlib import Path

from fastmlp.simd.cache import cache_directory
from fastmlp.simd.jit import JIT_DISABLED
from tests.helpers.subprocesses import finish, start_python

# The kernels over the entries of a very sparse X are compiled on their own.
PROGRAM = """
    import warnings
    import numpy as np
    from scipy import sparse
    from fastmlp import MLPRegressor
    from fastmlp.cli.warmup import warmup

    warnings.simplefilter("ignore")
    warmup(np.{dtype})
    X = sparse.random_array((300, 4096), density=0.001, format="csr", dtype=np.{dtype}, rng=np.random.default_rng(0))
    MLPRegressor(hidden_layer_sizes=(16,), max_iter=1, dtype="{dtype}").fit(X, np.zeros(300)).predict(X)
    if "{dtype}" == "float64":
        MLPRegressor(hidden_layer_sizes=(16,), solver="lbfgs", max_iter=2).fit(np.ones((50, 3)), np.arange(50.0))
"""


def compile_ahead():
    """Fill the compile cache of this session if there is nothing in it."""
    folder = None if JIT_DISABLED else cache_directory()
    if folder is None or any(Path(folder).glob("*")):
        return
    processes = [start_python(PROGRAM.format(dtype=dtype)) for dtype in ("float32", "float64")]
    for process in processes:
        finish(process)
