"""Compiling before it is needed: one small run through everything that fits and predictions call."""

from __future__ import annotations

import numpy as np

from fastmlp.network.network import Network
from fastmlp.network.rows import as_rows


def warmup(dtype: np.dtype | type, parallel: bool = True) -> None:
    """Compile everything that fits and predictions in `dtype` need, or load it from the cache.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    parallel : bool
        Whether to compile the parallel regions too.
    """
    X = np.zeros((8, 2), dtype=dtype)  # of zeros, so that what leaves these out is compiled too
    rows = as_rows(X, dtype)
    # Many samples fill the lanes, and many units do: both orientations.
    for layer_units, batch_size in (([2, 2, 1], 8), ([2, 64, 64], 1)):
        y = np.zeros((8, layer_units[-1]), dtype=dtype)
        for n_blocks in (1, 2)[: 1 + parallel]:
            network = Network(
                layer_units, loss="squared_error", dtype=dtype, batch_size=batch_size, n_threads=n_blocks, rows=rows
            )
            if network.n_threads < n_blocks:
                continue  # Numba's pool is one thread: no parallel region will ever be entered
            network.epochs(rows, y, batch_size=batch_size, n_blocks=n_blocks).advance(np.array([0.001]))
            network.predict(rows, np.empty_like(y), n_blocks=n_blocks)
