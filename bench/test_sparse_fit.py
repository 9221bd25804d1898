"""Fits on sparse X beside scikit-learn's, time and memory: ``pytest bench -k sparse_fit`` prints the ratios.

Hashed texts, texts weighted by TF-IDF, and columns of zeros and ones, which say which of many one is 1. Both estimators
start from the same weights and take turns.
"""

import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
from scipy import sparse

import fastmlp

TURNS = 3


@dataclass(frozen=True)
class Fit:
    """Rows of so many entries, spread over all columns or one in each group of them, and the network."""

    n_rows: int
    columns: int
    entries: int
    units: tuple[int, ...]
    in_groups: bool = False
    options: dict[str, Any] = field(default_factory=lambda: {"max_iter": 2})

    def samples(self, dtype: str) -> Any:
        """Return X."""
        generator = np.random.default_rng(0)
        shape = (self.n_rows, self.entries)
        if self.in_groups:
            size = self.columns // self.entries
            numbers = generator.integers(size, size=shape) + size * np.arange(self.entries)
            values = np.ones(shape)
        else:
            numbers, values = generator.integers(self.columns, size=shape), generator.uniform(0.1, 1, shape)
        starts = np.arange(0, numbers.size + 1, self.entries, dtype=np.int32)
        parts = (values.ravel().astype(dtype), numbers.ravel().astype(np.int32), starts)
        X = sparse.csr_array(parts, (self.n_rows, self.columns))
        X.sum_duplicates()
        return X


LBFGS = {"solver": "lbfgs", "max_iter": 5}
FITS = {
    "hashed, adam": Fit(4_000, 2**18, 20, (16,)),
    "hashed, lbfgs": Fit(4_000, 2**18, 20, (16,), options=LBFGS),
    "TF-IDF, 64 units": Fit(3_000, 7_685, 60, (64,), options={"max_iter": 5}),
    "TF-IDF, 100 units": Fit(3_000, 7_685, 60, (100,), options={"max_iter": 5}),
    "TF-IDF, lbfgs": Fit(3_000, 7_685, 60, (64,), options=LBFGS),
    "one-hot, adam": Fit(20_000, 360, 12, (100, 50), in_groups=True),
    "one-hot, lbfgs": Fit(20_000, 360, 12, (100, 50), in_groups=True, options=LBFGS),
    "few columns, lbfgs": Fit(20_000, 180, 12, (100, 50), in_groups=True, options=LBFGS),
}


@pytest.mark.parametrize("name", FITS)
def test_sparse_fit(name: str, dtype: str, n_threads: int, worst_ratios: Callable[[str, float, str], None]) -> None:
    """The same fit by both; the ratios stand below all tests."""
    fit = FITS[name]
    X, y = fit.samples(dtype), np.arange(fit.n_rows) % 3
    own = fastmlp.MLPClassifier(fit.units, random_state=0, n_threads=n_threads, **fit.options)
    other = sklearn.neural_network.MLPClassifier(fit.units, random_state=0, **fit.options)
    seconds: tuple[list[float], list[float]] = ([], [])
    peaks = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in (own, other):  # compiles, too
            tracemalloc.start()
            model.fit(X, y)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        for _ in range(TURNS):
            for model, taken in zip((own, other), seconds, strict=True):
                began = time.perf_counter()
                model.fit(X, y)
                taken.append(time.perf_counter() - began)
    np.testing.assert_allclose(own.loss_, other.loss_, rtol=1e-3)
    medians = [statistics.median(taken) for taken in seconds]
    what = f"{name}, {dtype}, {n_threads} threads"
    worst_ratios(
        "fits on sparse X, of scikit-learn's time",
        medians[0] / medians[1],
        f"{what}: {1e3 * medians[0]:,.0f} ms, {1e3 * medians[1]:,.0f} ms",
    )
    worst_ratios(
        "fits on sparse X, of scikit-learn's memory",
        peaks[0] / peaks[1],
        f"{what}: {peaks[0] / 1e6:,.0f} MB, {peaks[1] / 1e6:,.0f} MB",
    )
