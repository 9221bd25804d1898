"""A fit needs as much memory as docs/memory.md says, and never a copy of X."""

import tracemalloc
from unittest import mock

import numpy as np
import pytest
import sklearn.neural_network
from scipy import sparse

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators.prediction_plan import rows_of_workspace
from tests.helpers.memory_formula import fit_bytes, workspace_bytes
from tests.helpers.random_data import draw, labels

# Interpreted kernels are slow, and NumPy's temporary arrays in them are not the product's memory.
pytestmark = [
    pytest.mark.needs_jit,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size`"),
]


def fit_peak(model, X, y, **arguments):
    """Return the largest number of bytes that a fit holds at a time, as NumPy and Python count them."""
    few = slice(0, 300)
    # Imports, compiled code and tables that last as long as the process are no part of a fit.
    model.fit(X[few], y[few], **{name: values[few] for name, values in arguments.items()})
    for name in [name for name in vars(model) if name.endswith("_") or name.startswith("_")]:
        delattr(model, name)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        model.fit(X, y, **arguments)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def assert_as_documented(measured, formula):
    assert 0.9 < measured / formula < 1.1, f"{measured:,} bytes measured, {formula:,} by the formula"


OPTIMIZERS = {
    "adam": {"solver": "adam"},
    "momentum": {"solver": "sgd"},
    "sgd": {"solver": "sgd", "momentum": 0.0},
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", OPTIMIZERS)
def test_large_network_few_samples(solver, dtype, early_stopping):
    model = MLPClassifier((600, 500), max_iter=2, early_stopping=early_stopping, **OPTIMIZERS[solver])
    measured = fit_peak(model, draw(600, 300, dtype), labels(600, 10))
    held_out = 60 if early_stopping else 0
    formula = fit_bytes([300, 600, 500, 10], n_samples=600, dtype=dtype, solver=solver, targets=8, held_out=held_out)
    assert_as_documented(measured, formula)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_network_lbfgs(dtype):
    # More iterations than corrections that the minimiser remembers.
    model = MLPClassifier((300, 200), max_iter=12, solver="lbfgs")
    measured = fit_peak(model, draw(600, 100, dtype), labels(600, 10))
    assert_as_documented(
        measured, fit_bytes([100, 300, 200, 10], n_samples=600, dtype=dtype, solver="lbfgs", targets=8)
    )


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_minibatch(dtype, n_threads):
    X = draw(4000, 300, dtype)
    model = MLPRegressor(hidden_layer_sizes=(64, 64), batch_size=4000, max_iter=2, n_threads=n_threads)
    formula = fit_bytes([300, 64, 64, 1], n_samples=4000, dtype=dtype, batch_size=4000)
    assert_as_documented(fit_peak(model, X, X[:, 0].copy()), formula)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_in_halves(dtype, n_threads):
    layer_units, n_samples = [600, 600, 1], 960
    formula = fit_bytes(layer_units, n_samples=n_samples, dtype=dtype, batch_size=n_samples)
    with mock.patch("fastmlp.network.layout.Layout.halves_below", np.inf):
        none = fit_bytes(layer_units, n_samples=n_samples, dtype=dtype, batch_size=n_samples)
    assert none < 0.9 * formula  # or this would test nothing
    X = draw(n_samples, 600, dtype)
    model = MLPRegressor(hidden_layer_sizes=(600,), batch_size=n_samples, max_iter=2, n_threads=n_threads)
    assert_as_documented(fit_peak(model, X, X[:, 0].copy()), formula)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_minibatch_of_a_narrow_network(dtype):
    X = draw(60_000, 2, dtype)
    model = MLPRegressor(hidden_layer_sizes=(4,), batch_size=60_000, max_iter=2)
    formula = fit_bytes([2, 4, 1], n_samples=60_000, dtype=dtype, batch_size=60_000)
    assert_as_documented(fit_peak(model, X, X[:, 0].copy()), formula)


N_SAMPLES = 200_000

# Model, targets, options of the formula; the units of the network are 4, 8 and `outputs`.
MANY_SAMPLES = {
    "three classes": (MLPClassifier(), labels(N_SAMPLES, 3), 3, {"targets": 8, "checks": 8}),
    "two classes": (MLPClassifier(), labels(N_SAMPLES, 2), 1, {"targets": 4, "checks": 8}),
    "names": (
        MLPClassifier(),
        np.array(["no", "perhaps"])[labels(N_SAMPLES, 2)],
        1,
        {"targets": 4, "checks": 4 * len("perhaps")},
    ),
    "three classes, early stopping": (
        MLPClassifier(early_stopping=True),
        labels(N_SAMPLES, 3),
        3,
        {"targets": 8, "checks": 8, "splitting": 32, "scoring": 3 * 4 + 36},
    ),
    "two classes, early stopping": (
        MLPClassifier(early_stopping=True),
        labels(N_SAMPLES, 2),
        1,
        {"targets": 4, "checks": 8, "splitting": 104, "scoring": 4 + 36},
    ),
    "numbers to be converted": (MLPRegressor(), draw(N_SAMPLES, 1, np.float64)[:, 0], 1, {"targets": 4}),
    "numbers as they are": (MLPRegressor(), draw(N_SAMPLES, 1)[:, 0], 1, {"targets": 0}),
    "numbers, early stopping": (
        MLPRegressor(early_stopping=True),
        draw(N_SAMPLES, 1)[:, 0],
        1,
        {"splitting": 24, "scoring": 4 + 3 * 4},
    ),
    "several numbers, early stopping": (
        MLPRegressor(early_stopping=True),
        draw(N_SAMPLES, 10),
        10,
        {"splitting": 24, "scoring": 10 * (4 + 3 * 4)},
    ),
}


@pytest.mark.parametrize("name", MANY_SAMPLES)
def test_many_samples(name):
    model, targets, outputs, options = MANY_SAMPLES[name]
    model.set_params(hidden_layer_sizes=(8,), max_iter=2)
    held_out = N_SAMPLES // 10 if model.early_stopping else 0
    formula = fit_bytes([4, 8, outputs], n_samples=N_SAMPLES, dtype=np.float32, held_out=held_out, **options)
    assert_as_documented(fit_peak(model, draw(N_SAMPLES, 4), targets), formula)


def test_many_samples_lbfgs():
    # There is no order of all the samples, only one of each chunk; targets become float64.
    X = draw(N_SAMPLES, 4)
    model = MLPRegressor(hidden_layer_sizes=(50,), solver="lbfgs", max_iter=2)
    formula = fit_bytes([4, 50, 1], n_samples=N_SAMPLES, dtype=np.float32, solver="lbfgs", targets=8)
    assert_as_documented(fit_peak(model, X, X[:, 0].copy()), formula)


def test_weights_of_samples():
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=2)
    X, weights = draw(N_SAMPLES, 4), np.ones(N_SAMPLES)
    formula = fit_bytes([4, 8, 1], n_samples=N_SAMPLES, dtype=np.float32, targets=4)
    assert_as_documented(fit_peak(model, X, X[:, 0].copy(), sample_weight=weights), formula)


def in_c_order():
    return draw(40_000, 100)


def double_precision():
    return draw(40_000, 100, np.float64)


def read_only():
    X = draw(40_000, 100)
    X.flags.writeable = False
    return X


def in_fortran_order():
    return np.asfortranarray(draw(40_000, 100))


def every_second_column():
    return draw(40_000, 200)[:, ::2]


def images():
    return np.random.RandomState(0).randint(0, 256, (40_000, 400)).astype(np.uint8)


def compressed_rows():
    # Fifty entries a row, in columns that rise.
    columns = np.arange(40_000 * 50, dtype=np.int32) * 7 % 20 + np.tile(np.arange(50, dtype=np.int32) * 20, 40_000)
    values = np.ones(len(columns), np.float32)
    return sparse.csr_array((values, columns, np.arange(0, len(columns) + 1, 50, dtype=np.int32)), (40_000, 1000))


SAMPLES = [
    in_c_order, double_precision, read_only, in_fortran_order, every_second_column, images, compressed_rows,
]  # fmt: skip


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("make", SAMPLES)
def test_samples_are_not_copied(make, early_stopping):
    X = make()
    dtype = "float64" if X.dtype == np.float64 else "float32"
    model = MLPClassifier((32,), batch_size=20, max_iter=2, dtype=dtype, early_stopping=early_stopping)
    options = (
        {"held_out": 4000, "splitting": 32, "scoring": 10 * np.dtype(dtype).itemsize + 36} if early_stopping else {}
    )
    formula = fit_bytes(
        [X.shape[1], 32, 10], n_samples=40_000, dtype=dtype, batch_size=20, targets=8, checks=8,
        n_entries=20 * 50 if make is compressed_rows else 0, **options,
    )  # fmt: skip
    assert formula < (X.data if sparse.issparse(X) else X).nbytes / 2
    assert_as_documented(fit_peak(model, X, labels(40_000, 10)), formula)


@pytest.mark.parametrize("make", SAMPLES)
def test_a_prediction_does_not_copy_its_samples(make):
    X = make()
    dtype = "float64" if X.dtype == np.float64 else "float32"
    model = MLPClassifier((32,), max_iter=1, dtype=dtype).fit(X[:300], labels(300, 10))
    model.predict_proba(X)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        model.predict_proba(X)
        measured = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    itemsize = np.dtype(dtype).itemsize
    rows = rows_of_workspace(model, X, np.dtype(dtype))
    # Or one of the two ways would not be tested.
    assert (rows > 0) == (make not in (in_fortran_order, every_second_column, compressed_rows))
    if rows:
        formula = workspace_bytes([X.shape[1], 32, 10], rows, dtype, 1, trains=False) + 40_000 * 10 * itemsize
        # And row numbers for one call at a time: as many as it predicts in a tenth of a second.
        assert 0.9 * formula < measured < 1.1 * (formula + 8 * 40_000)
    else:  # NumPy holds two layers at a time
        assert_as_documented(measured, 40_000 * (32 + 10) * itemsize)
    assert measured < (X.data.nbytes + X.indices.nbytes if sparse.issparse(X) else X.nbytes)


class RecordingPeak:
    """The largest number of bytes that a call holds, as NumPy and Python count them."""

    def __enter__(self):
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *_):
        self.bytes = tracemalloc.get_traced_memory()[1] - self._before
        tracemalloc.stop()


PREDICTED = {
    "remainder": ([6, 30, 30, 1], 20_000, {}),
    "many features": ([2_000, 16, 3], 3_000, {}),
    "many units": ([20, 600, 600, 10], 2_000, {}),
    "logistic": ([784, 300, 100, 10], 600, {"activation": "logistic"}),
    "one layer": ([30, 10], 5_000, {}),
    "bytes": ([400, 64, 10], 5_000, {"kind": np.uint8}),
    "hashed": ([2**18, 16, 10], 4_000, {"kind": sparse.csr_array}),
    "half zero": ([300, 100, 10], 4_000, {"kind": sparse.csc_array}),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PREDICTED)
def test_a_prediction_needs_no_more_than_scikit_learns_and_one_copy_of_the_weights(name, dtype):
    units, n_rows, options = PREDICTED[name]
    kind = options.get("kind")
    if kind in (sparse.csr_array, sparse.csc_array):
        X = kind(sparse.random_array((n_rows, units[0]), density=min(0.5, 20 / units[0]), dtype=dtype, rng=0))
    else:
        X = draw(n_rows, units[0], kind or dtype)
    models = [
        kind((*units[1:-1],), max_iter=1, activation=options.get("activation", "relu"))
        for kind in (MLPClassifier, sklearn.neural_network.MLPClassifier)
    ]
    peaks = []
    for model in models:
        # scikit-learn's converts integers to float64, and so is given what it would compute in.
        model.partial_fit(X[:300].astype(dtype), labels(300, 10), classes=np.arange(10))
        model.coefs_, model.intercepts_ = models[0].coefs_, models[0].intercepts_
        for method in (model.predict_proba, model.predict):
            method(X)
            with RecordingPeak() as peak:
                method(X)
            peaks.append(peak.bytes)
    weights = sum(array.nbytes for array in models[0].coefs_ + models[0].intercepts_)
    for own, other in zip(peaks[:2], peaks[2:], strict=True):
        assert own < other + weights + 1_000_000, f"{own:,} bytes, scikit-learn's {other:,}"


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_minibatch_of_which_much_is_zero(dtype, n_threads):
    X = draw(4000, 300, dtype)
    X[np.random.RandomState(1).uniform(size=X.shape) < 0.95] = 0
    model = MLPRegressor(hidden_layer_sizes=(64, 64), batch_size=4000, max_iter=2, n_threads=n_threads)
    options = {"n_samples": 4000, "dtype": dtype, "batch_size": 4000}
    formula = fit_bytes([300, 64, 64, 1], **options, leaves_zeros_out=True, n_threads=n_threads)
    assert fit_bytes([300, 64, 64, 1], **options) < 0.9 * formula  # or this would test nothing
    assert_as_documented(fit_peak(model, X, X[:, 0].copy()), formula)


HASHED = {
    "adam": ({"solver": "adam"}, 100),
    "sgd": ({"solver": "sgd", "momentum": 0.0}, 100),
    "adam, long minibatches": ({"solver": "adam"}, 3000),
    "lbfgs": ({"solver": "lbfgs"}, 100),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", HASHED)
def test_wide_sparse_samples(name, dtype):
    options, batch_size = HASHED[name]
    n_samples, n_features, n_words, units = 3000, 2**15, 60, 20
    columns = np.random.RandomState(0).randint(n_features, size=n_samples * n_words).astype(np.int32)
    starts = np.arange(0, len(columns) + 1, n_words, dtype=np.int32)
    X = sparse.csr_array((np.ones(len(columns), dtype), columns, starts), (n_samples, n_features))
    lbfgs = name == "lbfgs"
    model = MLPClassifier((units,), max_iter=12 if lbfgs else 2, batch_size=batch_size, **options)
    formula = fit_bytes(
        [n_features, units, 10], n_samples=n_samples, dtype=dtype, solver=name.partition(",")[0],
        batch_size=batch_size, targets=8, n_entries=n_words * (1024 if lbfgs else batch_size),
    )  # fmt: skip
    measured = fit_peak(model, X, labels(n_samples, 10))
    assert_as_documented(measured, formula)
    # Dense panels of a minibatch would be more than that.
    assert batch_size < 3000 or measured < batch_size * n_features * np.dtype(dtype).itemsize / 2
