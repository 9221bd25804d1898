"""Prediction: one row (latency), a thousand and a hundred thousand (throughput)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
from threadpoolctl import threadpool_limits

import fastmlp
from bench.workloads import WORKLOADS

ENGINES = ("fastmlp", "scikit-learn", "reference")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n_rows", [1, 1_000, 100_000])
@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_predict_proba(
    benchmark: Any,
    note: Callable[..., None],
    name: str,
    n_rows: int,
    dtype: str,
    n_threads: int,
    engine: str,
) -> None:
    """All validation in: the same method of both estimators, and the reference's bare forward."""
    from fastmlp.reference import ReferenceNetwork

    workload = WORKLOADS[name]
    X = np.ascontiguousarray(workload.data().X, dtype)
    y = workload.data().y
    settings = {"hidden_layer_sizes": workload.layer_units[1:-1], "random_state": 0}
    # partial_fit is one epoch, and warns of nothing
    classes = np.arange(workload.layer_units[-1])
    own = fastmlp.MLPClassifier(**settings, dtype=dtype, n_threads=n_threads)
    own.partial_fit(X[:2000], y[:2000], classes=classes)
    other = sklearn.neural_network.MLPClassifier(**settings).partial_fit(X[:10], y[:10], classes=classes)
    other.coefs_, other.intercepts_ = own.coefs_, own.intercepts_
    reference = ReferenceNetwork(workload.layer_units, dtype=np.dtype(dtype))
    reference.coefs, reference.intercepts = own.coefs_, own.intercepts_

    rows = np.resize(X, (n_rows, X.shape[1]))
    with threadpool_limits(n_threads, "blas"):
        methods = {
            "fastmlp": own.predict_proba,
            "scikit-learn": other.predict_proba,
            "reference": reference.predict,
        }
        few = rows[:2000]
        expected = reference.predict(few)
        np.testing.assert_allclose(methods[engine](few), expected, rtol=1e-4, atol=1e-5)
        benchmark.group = f"predict {name} {n_rows} {dtype} {n_threads}"
        if n_rows == 100_000:
            benchmark.pedantic(methods[engine], (rows,), rounds=7, warmup_rounds=1)
        else:
            benchmark(methods[engine], rows)
    weights = sum(fan_in * fan_out for fan_in, fan_out in workload.layers())
    note(dtype, n_threads, 2 * n_rows * weights, engine=engine, rows=n_rows, workload=name)
    if benchmark.stats is not None:
        benchmark.extra_info["rows_per_second"] = round(n_rows / benchmark.stats.stats.median)
