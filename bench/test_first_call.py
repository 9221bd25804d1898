"""What a process pays before it trains: imports, and the first fit with kernels of a library, of a cache, or of none.

The seconds of the first fit and the first prediction alone are in the extra information of each benchmark.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.installed import install, is_possible
from bench.machine import ROOT
from fastmlp.simd.tile_table import TILE

IMPORTS = {
    "python": "pass",
    "scikit-learn": "from sklearn.neural_network import MLPClassifier",
    "fastmlp": "from fastmlp import MLPClassifier",
}

FIRST_FIT = """
import sys
import time
import numpy as np
from fastmlp import MLPClassifier
random_state = np.random.RandomState(0)
X, y = random_state.standard_normal((400, 20)).astype(sys.argv[1]), np.arange(400) % 3
n_threads = int(sys.argv[2])
if sys.argv[3] == "fit":
    model = MLPClassifier(hidden_layer_sizes=(100,), random_state=0, n_threads=n_threads)
    began = time.perf_counter()
    model.partial_fit(X, y, classes=np.arange(3))
    fitted = time.perf_counter()
    assert model.predict(np.tile(X, (20, 1))).shape == (8000,)
    print(f"{fitted - began:.4f} {time.perf_counter() - fitted:.4f} {'numba' in sys.modules}")
    assert np.isfinite(model.loss_)
"""


def run_python(code: str, *arguments: str, cache: Path | None = None, folder: Path = ROOT) -> str:
    """Run code in a process of its own, which looks for fastmlp in a folder first; return what it prints."""
    environment = dict(os.environ, PYTHONPATH=str(folder))
    if cache is not None:
        environment["FASTMLP_CACHE_DIR"] = environment["NUMBA_CACHE_DIR"] = str(cache)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package as a wheel would have it: with a library for this process's tile."""
    if not is_possible():
        pytest.skip(f"no library is made for {sys.platform} and the tile {TILE.name}")
    return install(tmp_path_factory.mktemp("installed"))


def test_first_fit_with_the_library(
    benchmark: Any, note: Callable[..., None], installed: Path, tmp_path: Path, dtype: str, n_threads: int
) -> None:
    """A process with an installed wheel: nothing is compiled, Numba is never imported."""
    benchmark.group = f"first fit, library {dtype} {n_threads}"
    arguments = (FIRST_FIT, dtype, str(n_threads), "fit")
    options = {"cache": tmp_path / "empty", "folder": installed}
    fit, predict, has_numba = benchmark.pedantic(run_python, arguments, options, rounds=5, warmup_rounds=1).split()
    assert has_numba == "False"
    assert not (tmp_path / "empty").exists()
    note(dtype, n_threads, first_fit_seconds=float(fit), first_predict_seconds=float(predict))


@pytest.mark.parametrize("what", IMPORTS)
def test_import(benchmark: Any, what: str) -> None:
    """A process that imports and ends; the differences between the three are what counts."""
    benchmark.group = "import"
    benchmark.pedantic(run_python, (IMPORTS[what],), rounds=9, warmup_rounds=2)


@pytest.mark.parametrize("what", ["import", "fit"])
def test_first_fit_with_a_cache(
    benchmark: Any,
    note: Callable[..., None],
    tmp_path: Path,
    dtype: str,
    n_threads: int,
    what: str,
) -> None:
    """A later process: what its fit adds to its imports."""
    run_python(FIRST_FIT, dtype, str(n_threads), "fit", cache=tmp_path)
    benchmark.group = f"first fit, cached {dtype} {n_threads}"
    arguments = (FIRST_FIT, dtype, str(n_threads), what)
    benchmark.pedantic(run_python, arguments, {"cache": tmp_path}, rounds=5, warmup_rounds=1)
    note(dtype, n_threads)


def test_first_fit_without_a_cache(
    benchmark: Any, note: Callable[..., None], tmp_path: Path, dtype: str, n_threads: int
) -> None:
    """The very first process: everything is compiled."""
    folders = (tmp_path / str(number) for number in range(100))
    benchmark.group = "first fit, nothing compiled"
    benchmark.pedantic(
        run_python,
        setup=lambda: ((FIRST_FIT, dtype, str(n_threads), "fit"), {"cache": next(folders)}),
        rounds=2,
    )
    note(dtype, n_threads)
