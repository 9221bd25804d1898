"""Predictions beside scikit-learn's, over rows, columns, units and density; and beside another busy process.

``pytest bench -k sweep`` prints the worst ratios. Both estimators hold the same parameters, and take turns. Of
many short measurements some are wrong: what seems more than a tenth slower is measured again, longer, and that counts.
"""

import itertools
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
from scipy import sparse

import fastmlp
from bench.machine import available_cores

ROWS = (1, 10, 100, 513, 1_000, 2_000, 10_000)
COLUMNS = (6, 100, 784, 5_000, 2**18)
UNITS = ((16,), (30, 30), (100,), (300, 100), (1_000, 1_000))
# By rows, as NumPy makes an array, by columns, as pandas makes one, or sparse rows of some density.
KINDS = ("by rows", "by columns", "density 0.1", "density 0.001")
# Larger ones take longer than their ratio is worth.
MOST_NUMBERS, MOST_OPERATIONS = 2e7, 2e10
# Of each estimator's in a turn, and the calls of a turn that are timed, at most.
SECONDS, CALLS = 0.02, 50
# Turns at first, and where the ratio is above this.
TURNS, SURPRISING, MORE_TURNS = 3, 1.1, 21
# Before that it is called for so long untimed. Idle threads of BLAS, the other estimator's too, go on spinning for some
# 25 ms, and a virtual machine may need 65 ms to give the threads of a process that was idle a processor each.
SECONDS_TO_SETTLE = 0.08

Call = Callable[[], object]


def seconds_in_turn(own: Call, other: Call, turns: int = TURNS) -> tuple[float, float]:
    """Return the median seconds of two calls that take turns, each as it is when nothing else runs.

    A turn begins with calls that are not timed.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for call, taken in zip((own, other), seconds, strict=True):
            began = time.perf_counter()
            while time.perf_counter() - began < SECONDS_TO_SETTLE:
                call()
            began = end = time.perf_counter()
            for _ in range(CALLS):
                if end - began > SECONDS:
                    break
                start = end
                call()
                end = time.perf_counter()
                taken.append(end - start)
    medians = statistics.median(seconds[0]), statistics.median(seconds[1])
    if turns == TURNS and medians[0] > SURPRISING * medians[1]:
        return seconds_in_turn(own, other, MORE_TURNS)
    return medians


def fitted_pair(columns: int, units: tuple[int, ...], dtype: str, activation: str, **options: Any) -> tuple[Any, Any]:
    """Return a classifier of fastmlp's and one of scikit-learn's with the same parameters."""
    generator = np.random.default_rng(0)
    X = np.zeros((20, 2), dtype)
    pair = []
    for package, more in ((fastmlp, options), (sklearn.neural_network, {})):
        model = package.MLPClassifier(units, max_iter=1, activation=activation, **more)
        pair.append(model.partial_fit(X, np.arange(20) % 10, classes=np.arange(10)))
    layers = list(itertools.pairwise((columns, *units, 10)))
    coefs = [(generator.standard_normal(shape) / np.sqrt(shape[0])).astype(dtype) for shape in layers]
    intercepts = [np.zeros(fan_out, dtype) for _, fan_out in layers]
    for model in pair:
        model.coefs_, model.intercepts_, model.n_features_in_ = coefs, intercepts, columns
    return pair[0], pair[1]


def density_of(kind: str) -> float:
    """Return the share of the numbers that are not left out as zeros."""
    return float(kind.removeprefix("density ")) if kind.startswith("density") else 1.0


def draw_samples(n_rows: int, columns: int, kind: str, dtype: str) -> Any:
    """Return samples of a kind."""
    generator = np.random.default_rng(1)
    if kind.startswith("by"):
        return generator.standard_normal((n_rows, columns)).astype(dtype, order="C" if kind == "by rows" else "F")
    return sparse.random_array((n_rows, columns), density=density_of(kind), format="csr", dtype=dtype, rng=generator)


def shapes(units: tuple[int, ...]) -> Iterator[tuple[int, int, str]]:
    """Give rows, columns and kinds of samples that can be had in a moment."""
    for n_rows, columns, kind in itertools.product(ROWS, COLUMNS, KINDS):
        density = density_of(kind)
        weights = sum(a * b for a, b in itertools.pairwise((max(1, round(columns * density)), *units, 10)))
        fits = n_rows * columns * density <= MOST_NUMBERS and columns * units[0] <= MOST_NUMBERS
        if fits and 2 * n_rows * weights <= MOST_OPERATIONS and columns * density >= 1:
            yield n_rows, columns, kind


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
@pytest.mark.parametrize("units", UNITS, ids=lambda units: "-".join(map(str, units)))
def test_predict_sweep(
    units: tuple[int, ...], dtype: str, activation: str, worst_ratios: Callable[[str, float, str], None]
) -> None:
    """Every number of rows, dense and sparse, with all checks; the worst ratios stand below all tests."""
    for n_rows, columns, kind in shapes(units):
        own, other = fitted_pair(columns, units, dtype, activation)
        X = draw_samples(n_rows, columns, kind, dtype)
        np.testing.assert_allclose(own.predict_proba(X), other.predict_proba(X), rtol=2e-3, atol=1e-5)
        seconds, others = seconds_in_turn(lambda: own.predict_proba(X), lambda: other.predict_proba(X))  # noqa: B023
        shape = f"{n_rows} rows, {'-'.join(map(str, (columns, *units, 10)))} units, {kind}"
        worst_ratios(
            "predict_proba, of scikit-learn's time",
            seconds / others,
            f"{shape}, {activation}, {dtype}: {1e6 * seconds:,.0f} us, {1e6 * others:,.0f} us",
        )


def spin(seconds: float) -> None:
    """Keep a processor busy."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.skipif(available_cores() < 2, reason="one core has no room for a second thread")
@pytest.mark.parametrize("units", [(30, 30), (300, 100)], ids=str)
@pytest.mark.parametrize("n_rows", [2_000, 20_000, 200_000])
def test_predict_beside_a_busy_process_sweep(
    n_rows: int, units: tuple[int, ...], worst_ratios: Callable[[str, float, str], None]
) -> None:
    """One other process is busy: what a second thread costs, or still brings."""
    columns = 100
    alone, helped = (fitted_pair(columns, units, "float32", "logistic", n_threads=n_threads)[0] for n_threads in (1, 2))
    X = draw_samples(n_rows, columns, "by rows", "float32")
    busy = multiprocessing.get_context("spawn").Process(target=spin, args=(600.0,))
    busy.start()
    try:
        with warnings.catch_warnings():
            seconds, others = seconds_in_turn(lambda: helped.predict_proba(X), lambda: alone.predict_proba(X))
    finally:
        busy.kill()
        busy.join()
    worst_ratios(
        "two threads beside a busy process, of one thread's time",
        seconds / others,
        f"{n_rows} rows, {units} units: {1e6 * seconds:,.0f} us, {1e6 * others:,.0f} us",
    )
