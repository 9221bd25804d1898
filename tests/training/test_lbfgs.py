"""L-BFGS: its dtype, its minimum, Ctrl-C, and the threads of BLAS."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import fastmlp
from tests.helpers.estimators import X_IRIS, Y_IRIS, assert_same_parameters, coefs_and_intercepts, quietly


def test_keyboard_interrupt_of_lbfgs(monkeypatch):
    import fastmlp.network.network

    evaluate = fastmlp.network.network.Network.loss_and_gradient
    calls = []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return evaluate(self, *arguments)

    monkeypatch.setattr(fastmlp.network.network.Network, "loss_and_gradient", interrupted)
    model = fastmlp.MLPClassifier(random_state=0, solver="lbfgs")
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        model.fit(X_IRIS, Y_IRIS)
    monkeypatch.undo()
    assert model.n_iter_ > 2
    expected = quietly(
        fastmlp.MLPClassifier(random_state=0, solver="lbfgs", max_iter=model.n_iter_),
        "fit",
        X_IRIS,
        Y_IRIS,
    )
    assert_same_parameters(model, expected)
    assert model.loss_ == pytest.approx(expected.loss_)


def test_lbfgs_keeps_float32():
    X = X_IRIS.astype(np.float32)
    model = quietly(fastmlp.MLPClassifier(solver="lbfgs", max_iter=30), "fit", X, Y_IRIS)
    assert {array.dtype for array in coefs_and_intercepts(model)} == {np.dtype(np.float32)}
    assert model.predict_proba(X).dtype == np.float32


def test_lbfgs_minimises_what_its_gradient_belongs_to():
    """With several outputs, scikit-learn's line search sees a loss that is not the gradient's."""
    targets = np.column_stack([X_IRIS[:, 0] * X_IRIS[:, 1], X_IRIS[:, 1] ** 2, -3 * X_IRIS[:, 2]])
    model = fastmlp.MLPRegressor(
        hidden_layer_sizes=(), solver="lbfgs", max_iter=500, tol=1e-8, alpha=0.01, random_state=0
    )
    quietly(model, "fit", X_IRIS, targets)
    # Without a hidden layer this is ridge regression, all outputs apart, intercepts unpenalised.
    centred = X_IRIS - X_IRIS.mean(axis=0)
    gram = centred.T @ centred + 0.01 * np.eye(4)
    np.testing.assert_allclose(model.coefs_[0], np.linalg.solve(gram, centred.T @ targets), atol=1e-3)
    # The loss that is reported is scikit-learn's number all the same: a mean over the outputs.
    error = np.square(model.predict(X_IRIS) - targets).sum()
    penalty = 0.5 * 0.01 * np.square(model.coefs_[0]).sum() / 150
    assert model.loss_ == pytest.approx(error / (2 * 3 * 150) + penalty, rel=1e-9)


def test_lbfgs_leaves_the_threads_of_blas_as_they_were():
    def n_threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    settings = {"solver": "lbfgs", "max_iter": 40, "random_state": 0}
    model = quietly(fastmlp.MLPClassifier(**settings), "fit", X_IRIS, Y_IRIS)  # loads every library
    before = n_threads()

    class Watching:
        """A callback that looks at the limits while the minimiser runs."""

        def __init__(self, stop):
            self.seen = []
            self.stop = stop

        def setup(self, estimator, context):
            self.seen = []

        def teardown(self, estimator, context):
            self.seen = set(map(tuple, self.seen))

        def on_fit_task_begin(self, estimator, context):
            if context.parent is not None:
                self.seen.append(n_threads())

        def on_fit_task_end(self, estimator, context):
            if self.stop:
                raise MemoryError("no more")

    for stop in (False, True):
        watching = Watching(stop)
        model = fastmlp.MLPClassifier(**settings).set_callbacks(watching)
        if stop:
            with pytest.raises(MemoryError):
                model.fit(X_IRIS, Y_IRIS)
        else:
            quietly(model, "fit", X_IRIS, Y_IRIS)
        assert watching.seen == {(1,) * len(before)}
        assert n_threads() == before

    def fit(number):
        fastmlp.MLPClassifier(**settings, hidden_layer_sizes=(5 + 7 * number,)).fit(X_IRIS, Y_IRIS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fit, range(12)))
    assert n_threads() == before
