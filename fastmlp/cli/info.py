"""What is in use: versions, processor, register tile, threads and where the kernels come from."""

import platform
from importlib.metadata import version

import numpy as np
import scipy
import sklearn

from fastmlp import __version__
from fastmlp.network import threads
from fastmlp.simd import library, processor, tile_table

# As NumPy calls them.
FEATURES_OF_INTEREST = {"SSE2", "AVX", "AVX2", "FMA3", "AVX512F", "AVX512BF16", "NEON", "SVE"}


def facts():
    """Return what ``fastmlp info`` tells, by name."""
    tile = tile_table.TILE
    shapes = [f"{tile.rows} x {tile.columns(dtype)} in {np.dtype(dtype)}" for dtype in (np.float32, np.float64)]
    threads.resolve_n_threads(None)  # starts the threading layer, which has no name before
    limits = threads.describe()
    return {
        "fastmlp": __version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "Numba": f"{version('numba')}, llvmlite {version('llvmlite')}",
        "NumPy": f"{np.__version__}, SciPy {scipy.__version__}, scikit-learn {sklearn.__version__}",
        "processor": processor.name(),
        "features in use": " ".join(sorted(processor.features() & FEATURES_OF_INTEREST)) or "none of note",
        "tile": f"{tile.name}, {', '.join(shapes)}",
        "threads": limits.pop("n_threads"),
        "threading layer": limits.pop("threading_layer"),
        "limits": ", ".join(f"{name} {'unset' if value is None else value}" for name, value in limits.items()),
        "kernels": f"library {library.FOUND}" if library.LIBRARY else f"compiled when needed: {library.FOUND}",
        "cache folder": _cache_folder(library.LIBRARY is not None),
    }


def _cache_folder(has_library):
    if has_library:
        return "not needed"
    from fastmlp.simd.cache import cache_directory  # which imports Numba

    return cache_directory() or "none"
