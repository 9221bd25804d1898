"""What is not a number, what is too large and what has the wrong shape: named, and an earlier fit is as it was."""

import copy
import mmap
import pickle
import re
import warnings
import weakref

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

import fastmlp
import fastmlp.network.epochs

X, Y = load_iris(return_X_y=True)
NAMES = pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
SOLVERS = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def fitted(name, package=fastmlp, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(package, name)(**({"random_state": 0, "max_iter": 3} | options)).fit(X, Y)


def error_and_result(model, method, arguments):
    """Return class and text of the error of a call, and its result if there was none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return None, getattr(model, method)(*arguments)
        except Exception as error:
            return (type(error), str(error)), None


def with_value(array, place, value):
    changed = np.array(array, dtype=float)
    changed[place] = value
    return changed


# --- bad input leaves no trace ------------------------------------------------------------------

TEXT = np.full(X.shape, "four")
BAD_SAMPLES = {
    "NaN": with_value(X, (3, 1), np.nan),
    "infinity": with_value(X, (3, 1), -np.inf),
    "no samples": X[:0],
    "no features": X[:, :0],
    "fewer features": X[:, :3],
    "more features": np.hstack([X, X]),
    "one-dimensional": X[:, 0],
    "three-dimensional": X.reshape(150, 2, 2),
    "a number": 3.0,
    "nothing": None,
    "text": TEXT,
    "objects that are text": TEXT.astype(object),
    "objects": np.full(X.shape, object()),
    "complex": X + 1j,
    "ragged lists": [[1.0, 2.0, 3.0, 4.0], [1.0]] * 75,
}
BAD_TARGETS = {
    "too few": Y[:-1],
    "too many": np.append(Y, 0),
    "none at all": Y[:0],
    "nothing": None,
    "NaN": with_value(Y, 3, np.nan),
    "infinity": with_value(Y, 3, np.inf),
    "three-dimensional": Y.reshape(150, 1, 1),
    "objects": np.full(150, object()),
    "complex": Y + 1j,
}
BAD_WEIGHTS = {
    "too few": np.ones(149),
    "NaN": with_value(np.ones(150), 3, np.nan),
    "infinity": with_value(np.ones(150), 3, np.inf),
    "matrix": np.ones((150, 2)),
    "text": ["heavy"] * 150,
    "all zero": np.zeros(150),
}
CALLS = [
    *[("fit", what, (bad, Y)) for what, bad in BAD_SAMPLES.items() if what not in ("fewer features", "more features")],
    *[("partial_fit", what, (bad, Y)) for what, bad in BAD_SAMPLES.items()],
    *[("predict", what, (bad,)) for what, bad in BAD_SAMPLES.items()],
    *[("score", what, (bad, Y)) for what, bad in BAD_SAMPLES.items()],
    *[("fit", f"y {what}", (X, bad)) for what, bad in BAD_TARGETS.items()],
    *[("partial_fit", f"y {what}", (X, bad)) for what, bad in BAD_TARGETS.items()],
    *[("fit", f"sample_weight {what}", (X, Y, bad)) for what, bad in BAD_WEIGHTS.items()],
    *[("partial_fit", f"sample_weight {what}", (X, Y, bad)) for what, bad in BAD_WEIGHTS.items()],
]


@NAMES
def test_bad_input_is_refused_in_scikit_learns_words_and_leaves_no_trace(name):
    ours, theirs = fitted(name), fitted(name, sklearn.neural_network)
    before = pickle.dumps(ours)
    identities = {key: id(value) for key, value in vars(ours).items()}
    arrays = copy.deepcopy([*ours.coefs_, *ours.intercepts_])
    for method, what, arguments in CALLS:
        error, _ = error_and_result(ours, method, arguments)
        assert error is not None, (method, what)
        # Each call on a copy: scikit-learn forgets an earlier fit before it refuses.
        assert error == error_and_result(copy.deepcopy(theirs), method, arguments)[0], (method, what)
        assert {key: id(value) for key, value in vars(ours).items()} == identities, (method, what)
        for array, kept in zip([*ours.coefs_, *ours.intercepts_], arrays, strict=True):
            np.testing.assert_array_equal(array, kept)
    assert pickle.dumps(ours) == before


def test_one_class_is_fitted_as_scikit_learn_does():
    for value in (0, "only"):
        models = [package.MLPClassifier(random_state=0, max_iter=3) for package in (fastmlp, sklearn.neural_network)]
        ours, theirs = (error_and_result(model, "fit", (X, np.full(150, value)))[1].predict(X) for model in models)
        np.testing.assert_array_equal(ours, theirs)


# --- parameters that are not finite -------------------------------------------------------------


@NAMES
@SOLVERS
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("place", "message"),
    [(("coefs_", 0, (2, 3)), "coefs_[0] is {} at [2, 3]"), (("intercepts_", 1, 0), "intercepts_[1] is {} at [0]")],
    ids=["weight", "bias"],
)
def test_training_does_not_go_on_from_what_is_not_finite(name, solver, value, place, message):
    model = fitted(name, solver=solver, warm_start=True)
    attribute, number, index = place
    getattr(model, attribute)[number][index] = value
    before = pickle.dumps(model)
    for method in ("fit",) if solver == "lbfgs" else ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=re.escape(message.format(value))):
            getattr(model, method)(X, Y)
        assert pickle.dumps(model) == before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(warm_start=False).fit(X, Y)
    assert np.isfinite(model.loss_)


# --- numbers that become too large in training --------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
def test_huge_targets_never_pass_in_silence(solver, dtype, early_stopping):
    """Their squares overflow; Adam then stands still, and early stopping keeps the weights that it began with."""
    huge = (Y * (1e30 if dtype == np.float32 else 1e200)).astype(dtype)
    model = fastmlp.MLPRegressor(solver=solver, max_iter=3, random_state=0, early_stopping=early_stopping)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if solver == "sgd" and not early_stopping:
            with pytest.raises(ValueError, match=r"non-finite parameter weights.* from epoch 1 of this fit on"):
                model.fit(X.astype(dtype), huge)
            return
        model.fit(X.astype(dtype), huge)
    texts = [str(warning.message) for warning in caught if warning.category is ConvergenceWarning]
    assert any("from epoch 1 of this fit on" in text and "X or y may contain large values" in text for text in texts)
    assert all(np.isfinite(array).all() for array in model.coefs_ + model.intercepts_)


@pytest.mark.parametrize("early_stopping", [False, True])
@NAMES
def test_a_diverging_learning_rate_never_passes_in_silence(name, early_stopping):
    model = getattr(fastmlp, name)(
        solver="sgd", learning_rate_init=1e30, max_iter=30, random_state=0, early_stopping=early_stopping
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if early_stopping:
            model.fit(X, Y)
        else:
            with pytest.raises(ValueError, match=r"non-finite parameter weights.* from epoch \d+ of this fit on"):
                model.fit(X, Y)
            return
    assert any("learning_rate_init=1e+30 is too large" in str(warning.message) for warning in caught)
    assert np.isfinite(model.predict(X).astype(float)).all()


def test_a_diverging_partial_fit_is_an_error_each_time():
    model = fastmlp.MLPRegressor(solver="sgd", learning_rate_init=1e200, random_state=0, batch_size=10)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.partial_fit(X * 1e100, Y)
    with pytest.raises(ValueError, match=re.escape("coefs_[0] is ")):
        model.partial_fit(X, Y)


def test_values_that_overflow_in_float32_are_refused():
    for value, solver in ((1e300, "adam"), (-1e300, "lbfgs")):
        model = fastmlp.MLPRegressor(dtype="float32", solver=solver)
        for arguments in (
            (with_value(X, (3, 1), value), Y),
            (X, with_value(Y, 3, value)),
            (X, Y, with_value(np.ones(150), 3, value)),
        ):
            error, _ = error_and_result(model, "fit", arguments)
            if solver == "adam":  # L-BFGS computes in float64
                name = ["X", "y", "sample_weight"][len(arguments) - 1 if len(arguments) == 3 else arguments[0] is X]
                assert error == (
                    ValueError, f"Input {name} contains infinity or a value too large for dtype('float32')."
                )  # fmt: skip
            assert not hasattr(model, "coefs_") or np.isfinite(model.coefs_[0]).all()


# --- values that mean nothing to the loss ------------------------------------------------------


@SOLVERS
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, "list"])
@pytest.mark.parametrize("options", [{}, {"warm_start": True}, {"early_stopping": True}], ids=str)
def test_targets_for_which_the_loss_is_not_defined_are_refused(solver, dtype, options):
    model = fitted("MLPRegressor", loss="poisson", solver=solver, **options)
    before = pickle.dumps(model)
    negative = np.where(np.arange(150) == 7, -3, Y)
    negative = negative.tolist() if dtype == "list" else negative.astype(dtype)
    for targets in (negative, np.column_stack([Y, negative])) if not options else (negative,):
        for method in ("fit",) if solver == "lbfgs" or "early_stopping" in options else ("fit", "partial_fit"):
            with pytest.raises(
                ValueError, match=r"^Some value\(s\) of y are out of the valid range of the loss 'poisson'"
            ) as error:
                getattr(model, method)(X, targets)
            assert "y must not be below 0, and its smallest value is -3. Choose loss='squared_error'" in str(
                error.value
            )
    assert pickle.dumps(model) == before
    # Zeros, of either sign, are counts as any others.
    error, fit_to_zeros = error_and_result(model, "fit", (X, -np.zeros(150)))
    assert error is None
    assert np.isfinite(fit_to_zeros.loss_)


# --- weights of samples that cancel --------------------------------------------------------------

ALTERNATING = np.tile([1.0, -1.0], 75)
CANCELLING = {
    "every minibatch": (ALTERNATING, {"batch_size": 10}),
    "one minibatch": (np.where(np.arange(150) < 140, 1, ALTERNATING), {"batch_size": 10}),
    "the last of an odd size": (np.where(np.arange(150) < 148, 1, ALTERNATING), {"batch_size": 148}),
    "all samples": (ALTERNATING, {"batch_size": 150}),
    "some, and the others are zero": (np.where(np.arange(150) < 2, ALTERNATING, 0), {"batch_size": 150}),
    "one sample a minibatch later": (np.where(np.arange(150) < 75, 1, -1), {"batch_size": 150}),
}


@NAMES
@SOLVERS
@pytest.mark.parametrize("case", CANCELLING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("warm_start", [False, True])
def test_weights_that_cancel_within_a_minibatch_are_refused(name, solver, case, dtype, warm_start):
    """With scikit-learn's error, which names the argument here; an earlier fit stays as it was."""
    weights, options = CANCELLING[case]
    if solver == "lbfgs":
        weights = ALTERNATING
    options = {"solver": solver, "shuffle": False, "warm_start": warm_start, **options}
    theirs = fitted(name, sklearn.neural_network, **options)
    with pytest.raises(ZeroDivisionError, match=r"^Weights sum to zero, can't be normalized"):
        theirs.fit(X, Y, weights)
    model = fitted(name, dtype=dtype, **options)
    before = pickle.dumps(model)
    for method in ("fit",) if solver == "lbfgs" else ("fit", "partial_fit"):
        with pytest.raises(
            ZeroDivisionError, match=r"^Weights sum to zero, can't be normalized.* sample_weight cancel\. Give"
        ):
            getattr(model, method)(X, Y, weights)
        assert pickle.dumps(model) == before


@NAMES
def test_weights_that_cancel_in_a_later_epoch_are_refused(name):
    """Which minibatch they meet in is drawn; what was trained until then is discarded."""
    weights = np.ones(150)
    weights[0] = -1
    options = {"batch_size": 2, "random_state": 3, "max_iter": 50, "warm_start": True, "n_iter_no_change": 50}
    model = fitted(name, **options)
    before = pickle.dumps(model)
    with pytest.raises(ZeroDivisionError, match="sample_weight cancel"):
        model.fit(X, Y, weights)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("weights", [None, np.ones(150)], ids=["no weights", "positive weights"])
def test_an_earlier_fit_is_kept_no_longer_than_it_can_be_needed(monkeypatch, weights):
    """It is as large as the new one."""
    advance = fastmlp.network.epochs.Epochs.advance
    model = fitted("MLPClassifier")
    earlier = weakref.ref(model.coefs_[0])

    def checked(self, rates):
        assert earlier() is None
        return advance(self, rates)

    monkeypatch.setattr(fastmlp.network.epochs.Epochs, "advance", checked)
    assert error_and_result(model, "fit", (X, Y, weights))[0] is None


@NAMES
@SOLVERS
def test_negative_weights_that_do_not_cancel_are_taken_as_scikit_learn_takes_them(name, solver):
    weights = np.where(np.arange(150) % 3, 1.0, -0.5)
    ours, theirs = (
        error_and_result(
            getattr(package, name)(solver=solver, max_iter=5, random_state=0, tol=1e-9), "fit", (X, Y, weights)
        )[1]
        for package in (fastmlp, sklearn.neural_network)
    )
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_denormal_numbers_are_like_zeros(dtype):
    tiny = np.finfo(dtype).tiny / 100
    settings = {"random_state": 0, "max_iter": 20}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [fastmlp.MLPClassifier(**settings).fit((X * factor).astype(dtype), Y) for factor in (tiny, 0)]
        theirs = sklearn.neural_network.MLPClassifier(**settings).fit((X * tiny).astype(dtype), Y)
    assert models[0].loss_ == pytest.approx(models[1].loss_, rel=1e-6)
    assert models[0].loss_ == pytest.approx(theirs.loss_, rel=1e-4)
    for model in models:
        assert all(np.isfinite(array).all() for array in model.coefs_)


# --- more than 2**31 bytes or numbers -----------------------------------------------------------

FAR = 2**31 + 2**20


def test_rows_that_lie_gigabytes_apart():
    """A few rows and columns of a matrix of which the system makes only the pages that are touched."""
    for transposed in (False, True):
        memory = mmap.mmap(-1, 600 * (FAR // 500))
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        far = np.frombuffer(memory, np.uint8).reshape(600, -1)
        view = far[:, :60].T if transposed else far[:, :4]
        assert max((length - 1) * stride for length, stride in zip(view.shape, view.strides, strict=True)) > 2**31
        view[...] = np.random.RandomState(0).randint(0, 9, view.shape)
        y = np.arange(len(view)) % 3
        models = []
        for samples in (view, view.copy()):
            model = fastmlp.MLPClassifier(random_state=0, batch_size=30)
            models.append(model.partial_fit(samples, y, classes=[0, 1, 2]).partial_fit(samples, y))
        for ours, expected in zip(models[0].coefs_, models[1].coefs_, strict=True):
            np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(models[0].predict_proba(view), models[1].predict_proba(view.copy()))


def test_more_than_two_to_the_31_numbers():
    """Windows of a short row of bytes: two million rows, no two alike, in two megabytes."""
    n_features = 1024
    n_rows = FAR // n_features
    row = np.random.RandomState(0).randint(0, 2, n_rows + n_features).astype(np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(row, n_features)[:n_rows]
    assert windows.size > 2**31
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(), dtype="float32", random_state=0, shuffle=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.set_params(max_iter=1).fit(windows[:1000], np.zeros(1000))
    outputs = model.predict(windows)
    some = np.r_[0:3, n_rows // 2, n_rows - 1000 : n_rows]
    np.testing.assert_allclose(outputs[some], model.predict(windows[some].copy()), rtol=1e-5, atol=1e-5)
    # Only the last sample counts: what is trained on is that one, or the weights would be others.
    weights = np.zeros(n_rows)
    weights[-1] = 1
    alone = copy.deepcopy(model).partial_fit(windows[-1:].copy(), [1.0], [1.0])
    model.partial_fit(windows, np.ones(n_rows), weights)
    assert not np.array_equal(alone.coefs_[0], np.zeros_like(alone.coefs_[0]))
    np.testing.assert_allclose(model.coefs_[0], alone.coefs_[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("batch_size", [0, -5])
def test_a_batch_of_nothing_is_refused_even_where_parameters_are_not_checked(method, batch_size):
    """Compiled code would go on for ever."""
    X, y = load_iris(return_X_y=True)
    model = fastmlp.MLPRegressor(max_iter=1, batch_size=batch_size)
    with (
        sklearn.config_context(skip_parameter_validation=True),
        pytest.raises(ValueError, match=f"batch_size={batch_size} must be 'auto' or an integer of at least 1"),
    ):
        getattr(model, method)(X, y)
    assert not hasattr(model, "coefs_")
