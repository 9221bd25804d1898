"""``coefs_`` and ``intercepts_`` are the user's: what is written into them counts."""

import pickle

import numpy as np
import pytest
import sklearn.neural_network

import fastmlp
from tests.helpers.estimators import (
    LABELS,
    SOLVERS,
    X_DIGITS,
    X_IRIS,
    Y_DIGITS,
    Y_IRIS,
    assert_same_parameters,
    both,
    coefs_and_intercepts,
    quietly,
)


@pytest.mark.parametrize("n_rows", [2, 1500])
def test_what_is_written_into_coefs_counts_in_predict(n_rows):
    regressor = quietly(fastmlp.MLPRegressor(max_iter=2), "fit", X_DIGITS, Y_DIGITS)
    regressor.coefs_[-1][:] = 0
    regressor.intercepts_[-1][:] = 7
    np.testing.assert_array_equal(regressor.predict(X_DIGITS[:n_rows]), np.full(n_rows, 7.0))
    regressor.coefs_ = [np.zeros((64, 1))]
    regressor.intercepts_ = [np.array([3.0])]
    np.testing.assert_array_equal(regressor.predict(X_DIGITS[:n_rows]), np.full(n_rows, 3.0))


def test_what_is_written_into_coefs_counts_in_partial_fit():
    models = [cls(random_state=0, solver="sgd") for cls in both("MLPRegressor")]
    for model in models:
        for _ in range(3):
            model.partial_fit(X_IRIS, Y_IRIS)
        model.coefs_[0][:] = 0.01
        model.intercepts_[1] = np.array([1.5])
        model.partial_fit(X_IRIS, Y_IRIS)
    assert_same_parameters(*models, rtol=1e-9, atol=1e-12)


def test_partial_fit_writes_into_the_users_arrays():
    regressor = fastmlp.MLPRegressor(random_state=0).partial_fit(X_IRIS, Y_IRIS)
    arrays = coefs_and_intercepts(regressor)
    copies = [array.copy() for array in arrays]
    regressor.partial_fit(X_IRIS, Y_IRIS)
    for array, now, copy in zip(arrays, coefs_and_intercepts(regressor), copies, strict=True):
        assert array is now
        assert not np.array_equal(array, copy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_parameters_set_before_a_first_partial_fit_count(solver, dtype):
    start = quietly(fastmlp.MLPClassifier((6,), max_iter=1, random_state=5), "fit", X_IRIS, Y_IRIS)
    model = fastmlp.MLPClassifier((6,), solver=solver, random_state=0)
    model.coefs_ = [array.astype(dtype) for array in start.coefs_]
    model.intercepts_ = [array.astype(dtype) for array in start.intercepts_]
    model.partial_fit(X_IRIS, LABELS, classes=np.unique(LABELS))
    assert model.n_layers_ == 3
    assert model.out_activation_ == "softmax"
    assert model.coefs_[0].dtype == dtype

    expected = sklearn.neural_network.MLPClassifier((6,), solver=solver, random_state=0)
    expected.partial_fit(X_IRIS.astype(dtype), LABELS, classes=np.unique(LABELS))
    # The same epoch from the same start.
    expected = sklearn.neural_network.MLPClassifier((6,), solver=solver, random_state=0)
    expected.coefs_ = [array.astype(dtype) for array in start.coefs_]
    expected.intercepts_ = [array.astype(dtype) for array in start.intercepts_]
    expected.n_layers_, expected.t_, expected.loss_curve_ = 3, 0, []
    expected.best_loss_, expected._no_improvement_count = np.inf, 0
    expected.out_activation_ = "softmax"
    expected.partial_fit(X_IRIS, LABELS, classes=np.unique(LABELS))
    tolerance = 1e-10 if dtype == np.float64 else 1e-5
    assert_same_parameters(model, expected, rtol=tolerance, atol=tolerance)


def test_parameters_of_the_wrong_shape_are_refused():
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(6,))
    model.coefs_ = [np.zeros((4, 6)), np.zeros((5, 1))]
    model.intercepts_ = [np.zeros(6), np.zeros(1)]
    with pytest.raises(ValueError, match="do not fit X with 4 features and y with 1 outputs"):
        model.partial_fit(X_IRIS, Y_IRIS)


def test_another_number_of_outputs_is_refused():
    """scikit-learn broadcasts one column over all outputs."""
    model = fastmlp.MLPRegressor(random_state=0).partial_fit(X_IRIS, X_IRIS[:, :2])
    with pytest.raises(ValueError, match="do not fit X with 4 features and y with 1 outputs"):
        model.partial_fit(X_IRIS, Y_IRIS)


def test_hidden_layer_sizes_are_ignored_by_a_warm_start():
    for solver in SOLVERS:
        model = fastmlp.MLPRegressor(solver=solver, max_iter=2, warm_start=True)
        quietly(model, "fit", X_IRIS, Y_IRIS)
        quietly(model.set_params(hidden_layer_sizes=(3, 3)), "fit", X_IRIS, Y_IRIS)
        assert [array.shape for array in model.coefs_] == [(4, 100), (100, 1)]


def test_read_only_and_odd_parameters_can_be_trained_further():
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(6,), random_state=0).partial_fit(X_IRIS, Y_IRIS)
    expected = pickle.loads(pickle.dumps(model)).partial_fit(X_IRIS, Y_IRIS)
    for array in coefs_and_intercepts(model):
        array.flags.writeable = False
    model.coefs_[0] = np.asfortranarray(model.coefs_[0])
    model.coefs_ = tuple(model.coefs_)
    model.partial_fit(X_IRIS, Y_IRIS)
    assert_same_parameters(model, expected)


def test_an_overridden_initialisation_is_used():
    class Constant(fastmlp.MLPRegressor):
        def _init_coef(self, fan_in, fan_out, dtype):
            return np.full((fan_in, fan_out), 0.25, dtype), np.zeros(fan_out, dtype)

    model = Constant(hidden_layer_sizes=(3,), learning_rate_init=1e-30, max_iter=1)
    quietly(model, "fit", X_IRIS, Y_IRIS)
    np.testing.assert_allclose(model.coefs_[0], 0.25)
