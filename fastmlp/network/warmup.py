"""Compiling before it is needed."""

from __future__ import annotations

import numpy as np

import fastmlp.drivers.inference
import fastmlp.microkernels.function_table  # noqa: F401 (declares the kernels that write it)
from fastmlp.drivers.region import EVALUATE, TRAIN
from fastmlp.network.threads import threading_layer
from fastmlp.simd.jit import JIT_DISABLED, KERNELS
from fastmlp.simd.library import LIBRARY


def warmup(dtype: np.dtype | type | str | None = None) -> None:
    """Compile everything that fits and predictions need, or load it from the cache.

    Where the kernels come from the library of an installed wheel, there is nothing to compile, and nothing is done.
    Else this takes half a minute for each data type on two cores of 2023, once for a machine.

    Parameters
    ----------
    dtype : {"float32", "float64"} or None, default=None
        The data type of the networks; None for both. L-BFGS always computes in float64.

    Raises
    ------
    ValueError
        If `dtype` is another.

    Examples
    --------
    >>> import fastmlp
    >>> fastmlp.warmup("float32")  # doctest: +SKIP
    """
    both: list[np.dtype] = [np.dtype(np.float32), np.dtype(np.float64)]
    try:
        dtypes = both if dtype is None else [np.dtype(dtype)]
    except TypeError:  # it is no data type at all
        dtypes = []
    if not dtypes or not set(dtypes) <= set(both):
        raise ValueError(f"dtype is {dtype!r}; it must be 'float32' or 'float64', or None for both.")
    if LIBRARY is not None or JIT_DISABLED:
        return
    for compiled_for in dtypes:
        for kernel in KERNELS:
            kernel.compiled(compiled_for)
        if threading_layer() in ("omp", "tbb"):
            for driver in (TRAIN, EVALUATE):
                driver.compile_for_teams(compiled_for)
