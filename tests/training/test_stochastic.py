"""``partial_fit``, warm starts, early stopping, interrupts and schedules follow scikit-learn."""

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from fastmlp.training import optimizer_state
from fastmlp.training.schedules import Progress
from tests.helpers.estimators import (
    LABELS,
    NAMES,
    SOLVERS,
    X_IRIS,
    Y_IRIS,
    assert_same_parameters,
    both,
    coefs_and_intercepts,
    quietly,
)


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_follows_scikit_learn(solver, seed):
    models = [
        cls(random_state=np.random.RandomState(7) if seed is None else seed, solver=solver)
        for cls in both("MLPClassifier")
    ]
    for model in models:
        for _ in range(4):
            model.partial_fit(X_IRIS, LABELS, classes=np.unique(LABELS))
            model.partial_fit(X_IRIS[:40], LABELS[:40], np.arange(40))
    ours, theirs = models
    assert_same_parameters(ours, theirs, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_)
    for attribute in ("n_iter_", "t_", "_no_improvement_count"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_)


def test_partial_fit_goes_on_with_its_optimizer():
    """What notebooks do: lower the rate by hand between two calls."""
    models = [cls(random_state=0, solver="sgd", learning_rate="adaptive") for cls in both(NAMES[1])]
    for model in models:
        model.partial_fit(X_IRIS, Y_IRIS)
        model._optimizer.learning_rate = 1e-5
        model.set_params(learning_rate_init=10.0, momentum=0.1)  # ignored: the optimiser is there
        model.partial_fit(X_IRIS, Y_IRIS)
    assert_same_parameters(*models, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_follows_scikit_learn(solver):
    models = [cls(warm_start=True, max_iter=4, random_state=0, solver=solver) for cls in both("MLPClassifier")]
    for model in models:
        for _ in range(3):
            quietly(model, "fit", X_IRIS, LABELS)
    ours, theirs = models
    assert_same_parameters(ours, theirs, rtol=1e-6, atol=1e-8)
    assert ours.n_iter_ == theirs.n_iter_
    if solver != "lbfgs":
        assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 12
        assert ours.t_ == theirs.t_


def test_warm_start_may_change_solver_and_early_stopping():
    model = fastmlp.MLPClassifier(warm_start=True, max_iter=3, random_state=0, solver="lbfgs")
    quietly(model, "fit", X_IRIS, Y_IRIS)
    for settings in ({"solver": "adam"}, {"early_stopping": True}, {"early_stopping": False}):
        quietly(model.set_params(**settings), "fit", X_IRIS, Y_IRIS)
        assert len(model.loss_curve_) % 3 == 0
    assert model.best_loss_ < np.inf


def test_warm_start_with_early_stopping_keeps_the_best_weights():
    """scikit-learn trains in the very arrays in which it keeps the best."""
    model = fastmlp.MLPClassifier(
        warm_start=True, max_iter=30, random_state=0, early_stopping=True, learning_rate_init=0.02
    )
    quietly(model, "fit", X_IRIS, Y_IRIS)
    best = [array.copy() for array in coefs_and_intercepts(model)]
    score = model.best_validation_score_
    quietly(model.set_params(learning_rate_init=10.0, max_iter=3), "fit", X_IRIS, Y_IRIS)
    assert model.best_validation_score_ == score
    for array, kept in zip(coefs_and_intercepts(model), best, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("shuffle", [True, False])
def test_early_stopping_keeps_the_best_weights(shuffle):
    settings = {"early_stopping": True, "random_state": 0, "max_iter": 25, "shuffle": shuffle}
    settings |= {"batch_size": 150, "learning_rate_init": 0.05, "validation_fraction": 0.3}
    ours, theirs = (quietly(cls(**settings), "fit", X_IRIS, Y_IRIS) for cls in both("MLPClassifier"))
    assert ours.validation_scores_ == theirs.validation_scores_
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert_same_parameters(ours, theirs, rtol=1e-7, atol=1e-9)


def test_n_iter_no_change_may_be_infinite():
    model = fastmlp.MLPRegressor(n_iter_no_change=np.inf, tol=1e3, max_iter=40)
    with pytest.warns(ConvergenceWarning):
        model.fit(X_IRIS, Y_IRIS)
    assert model.n_iter_ == 40
    assert model._no_improvement_count == 39


def test_a_minibatch_without_weight_changes_nothing():
    weights = np.zeros(150)
    weights[:50] = 1.0
    settings = {"shuffle": False, "batch_size": 50, "random_state": 0, "max_iter": 1}
    with pytest.raises(ZeroDivisionError):
        quietly(sklearn.neural_network.MLPClassifier(**settings), "fit", X_IRIS, Y_IRIS > 0, weights)
    fitted = quietly(fastmlp.MLPClassifier(**settings), "fit", X_IRIS, Y_IRIS > 0, weights)
    assert fitted._optimizer.t == 1
    alone = quietly(sklearn.neural_network.MLPClassifier(**settings), "fit", X_IRIS[:50], (Y_IRIS > 0)[:50])
    # Another set of classes, but the same logistic output: one class or two.
    assert_same_parameters(fitted, alone, rtol=1e-9, atol=1e-12)
    assert fitted.loss_ == pytest.approx(alone.loss_ / 3)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_keyboard_interrupt_leaves_a_usable_model(monkeypatch, early_stopping):
    import fastmlp.network.network

    advance = fastmlp.network.network.Epochs.advance
    calls = []

    def interrupted(self, rates):
        calls.append(len(rates))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return advance(self, rates[:1])

    monkeypatch.setattr(fastmlp.network.network.Epochs, "advance", interrupted)
    model = fastmlp.MLPClassifier(random_state=0, early_stopping=early_stopping)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$") as caught:
        model.fit(X_IRIS, Y_IRIS)
    assert len(caught) == 1
    assert model.n_iter_ == 3
    assert len(model.loss_curve_) == 3
    monkeypatch.undo()
    settings = {"random_state": 0, "early_stopping": early_stopping, "max_iter": 3}
    expected = quietly(fastmlp.MLPClassifier(**settings), "fit", X_IRIS, Y_IRIS)
    assert_same_parameters(model, expected)
    quietly(model.set_params(max_iter=2), "fit", X_IRIS, Y_IRIS)
    assert model.n_iter_ == 2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_schedule_goes_on_where_the_rates_that_were_computed_ahead_end(monkeypatch):
    X, y = np.random.RandomState(0).standard_normal((20, 3)), np.arange(20.0)
    options = {"hidden_layer_sizes": (4,), "solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1}
    model = fastmlp.MLPRegressor(**options, max_iter=30, tol=0.0, n_iter_no_change=31, random_state=0)
    expected = clone(model).fit(X, y)

    def progress_after(n_epochs):
        return Progress(20 * n_epochs, n_epochs / 30)

    assert len(expected._optimizer.coming_rates(30, progress_after)) == 30
    monkeypatch.setattr(optimizer_state, "MOST_RATES_AHEAD", 7)
    model.fit(X, y)
    assert len(model._optimizer.coming_rates(30, progress_after)) == 7
    assert model.loss_curve_ == expected.loss_curve_
    assert model._optimizer.learning_rate == expected._optimizer.learning_rate < 0.001
