"""AdamW: the decay is no part of the gradient, spares the biases, and is saved with the moments."""

import numpy as np
import pytest

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.training.optimizer_state import AdamWOptimizer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.RandomState(0)
X = GENERATOR.standard_normal((90, 4))
Y = X @ [1.0, -1.0, 2.0, 0.0] + 3.0


def test_without_decay_it_is_adam():
    options = {"hidden_layer_sizes": (20,), "max_iter": 5, "random_state": 0}
    adam = MLPRegressor(solver="adam", **options).fit(X, Y)
    adamw = MLPRegressor(solver="adamw", weight_decay=0.0, **options).fit(X, Y)
    for ours, theirs in zip(adamw.coefs_ + adamw.intercepts_, adam.coefs_ + adam.intercepts_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("n_outputs", [3, 40])
def test_weights_without_a_gradient_shrink_and_biases_do_not(n_outputs):
    """Features that are 0 teach their weights nothing, and without hidden layers the biases know nothing of these."""
    nothing, targets = np.zeros_like(X), np.tile(Y[:, np.newaxis], n_outputs)

    def fitted(rate, weight_decay):
        options = {"alpha": 0, "batch_size": 30, "max_iter": 1, "random_state": 0}
        model = MLPRegressor(
            hidden_layer_sizes=(), solver="adamw", learning_rate_init=rate, weight_decay=weight_decay, **options
        )
        return model.fit(nothing, targets)

    first, decayed, kept = fitted(1e-300, 0.0), fitted(0.01, 0.5), fitted(0.01, 0.0)
    np.testing.assert_allclose(decayed.coefs_[0], first.coefs_[0] * (1 - 0.01 * 0.5) ** 3, rtol=1e-12)
    np.testing.assert_array_equal(decayed.intercepts_[0], kept.intercepts_[0])
    assert np.abs(kept.intercepts_[0] - first.intercepts_[0]).min() > 0.01


def test_partial_fit_goes_on_from_a_file(tmp_path):
    y = (Y > 3).astype(int)
    model = MLPClassifier((5,), solver="adamw", weight_decay=0.2, random_state=0).partial_fit(X, y, classes=[0, 1])
    model.save(tmp_path / "model")
    loaded = MLPClassifier.load(tmp_path / "model")
    assert isinstance(loaded._optimizer, AdamWOptimizer)
    assert loaded._optimizer.weight_decay == 0.2
    for each in (model, loaded):
        each.partial_fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], loaded.coefs_[0])
    assert loaded._optimizer.t == model._optimizer.t == 2


@pytest.mark.parametrize("weight_decay", [-0.1, np.nan, "much", None])
def test_a_negative_decay_is_refused(weight_decay):
    with pytest.raises(ValueError, match="weight_decay"):
        MLPRegressor(solver="adamw", weight_decay=weight_decay).fit(X, Y)
