"""Huber's loss: its formula, its gradient, and what it is for."""

import numpy as np
import pytest
from scipy.special import huber
from sklearn.linear_model import LinearRegression
from sklearn.utils._param_validation import InvalidParameterError

from fastmlp import MLPRegressor
from fastmlp.reference import LOSSES


@pytest.mark.parametrize("delta", [0.01, 1.0, 30.0])
def test_value_is_scipys(delta):
    generator = np.random.RandomState(0)
    targets, outputs = generator.standard_normal((2, 50, 3))
    weights = generator.uniform(0.5, 2, 50)
    expected = np.average(huber(delta, targets - outputs).mean(axis=1), weights=weights)
    np.testing.assert_allclose(
        LOSSES["huber"].value(targets, outputs, weights, huber_delta=delta), expected, rtol=1e-13
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_large_delta_is_squared_error_and_a_small_one_is_not(solver):
    generator = np.random.RandomState(0)
    X = generator.standard_normal((100, 3))
    y = X @ [1.0, -2.0, 0.5]

    shape = {"hidden_layer_sizes": (5,), "max_iter": 20}

    def fitted(*loss, **options):
        return MLPRegressor(*loss, solver=solver, random_state=0, **shape, **options).fit(X, y)

    squared, large, small = fitted(), fitted("huber", huber_delta=1e6), fitted("huber", huber_delta=0.1)
    assert large.loss_ == pytest.approx(squared.loss_, rel=1e-12)
    np.testing.assert_allclose(large.predict(X), squared.predict(X), rtol=1e-9)
    assert np.abs(small.predict(X) - squared.predict(X)).max() > 1e-3


def test_outliers_do_not_decide():
    """Without hidden layers: the slope of a line, a tenth of whose points lie far off."""
    generator = np.random.RandomState(0)
    X = generator.uniform(-1, 1, (400, 1))
    y = 2 * X[:, 0] + 0.05 * generator.standard_normal(400)
    y[X[:, 0] > 0.8] -= 50
    model = MLPRegressor("huber", (), huber_delta=0.1, solver="lbfgs", alpha=0, max_iter=1000, random_state=0).fit(X, y)
    assert abs(model.coefs_[0].item() - 2) < 0.4
    assert abs(LinearRegression().fit(X, y).coef_[0] - 2) > 10


@pytest.mark.parametrize("delta", [0, -1.0, "small", None, np.nan])
def test_a_delta_that_is_not_positive_is_refused(delta):
    with pytest.raises((InvalidParameterError, ValueError), match="huber_delta"):
        MLPRegressor("huber", huber_delta=delta).fit([[0.0], [1.0]], [0.0, 1.0])


def test_delta_comes_back_from_a_file(tmp_path):
    path = tmp_path / "model.fastmlp"
    with pytest.warns(match="Maximum iterations"):
        model = MLPRegressor("huber", (3,), huber_delta=0.3, max_iter=2, random_state=0).fit([[0.0], [1.0]], [0.0, 1.0])
    model.save(path)
    loaded = MLPRegressor.load(path)
    assert (loaded.loss, loaded.huber_delta, loaded.out_activation_) == ("huber", 0.3, "identity")
