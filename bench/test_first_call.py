"""What a process pays before it trains: imports, and the first fit with and without a cache."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.machine import ROOT

IMPORTS = {
    "python": "pass",
    "scikit-learn and numba": "import sklearn.neural_network, numba",
    "fastmlp": "import sklearn.neural_network, numba, fastmlp",
}

FIRST_FIT = """
import sys
import numpy as np
from fastmlp import MLPClassifier
random_state = np.random.RandomState(0)
X, y = random_state.standard_normal((400, 20)).astype(sys.argv[1]), np.arange(400) % 3
n_threads = int(sys.argv[2])
if sys.argv[3] == "fit":
    model = MLPClassifier(hidden_layer_sizes=(512, 256), random_state=0, n_threads=n_threads)
    model.partial_fit(X, y, classes=np.arange(3))
    assert np.isfinite(model.loss_)
    assert model.predict(X).shape == (400,)
"""


def run_python(code: str, *arguments: str, cache: Path | None = None) -> None:
    """Run code in a process of its own."""
    environment = dict(os.environ)
    if cache is not None:
        environment["FASTMLP_CACHE_DIR"] = environment["NUMBA_CACHE_DIR"] = str(cache)
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, env=environment, check=True)


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
