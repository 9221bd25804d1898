"""``random_state``: whatever is given, the generator is scikit-learn's, to the bit."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.utils import check_random_state

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.training.random_state import generator_of


def assert_same_draws(generator, expected):
    for draw in (
        lambda g: g.uniform(-1, 1, 1000),
        lambda g: g.permutation(700),  # past the end of the first 624 words
        lambda g: g.standard_normal(3),
        lambda g: g.randint(2**31),
    ):
        np.testing.assert_array_equal(draw(generator), draw(expected))


@pytest.mark.parametrize("seed", [0, 1, 42, 2**32 - 1, np.int8(5), np.uint64(7), True])
def test_a_number_seeds_as_scikit_learn_does(seed):
    generator = generator_of(seed)
    kind, words, *rest = generator.get_state()
    expected_kind, expected_words, *expected_rest = check_random_state(seed).get_state()
    assert (kind, rest) == (expected_kind, expected_rest)
    np.testing.assert_array_equal(words, expected_words)
    assert_same_draws(generator, check_random_state(seed))


@pytest.mark.parametrize("take", [check_random_state, generator_of])
@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "Seed must be between"),
        (2**32, "Seed must be between"),
        ("seed", "cannot be used"),
        (0.5, "cannot be used"),
    ],
)
def test_what_scikit_learn_refuses_is_refused_in_its_words(take, seed, message):
    with pytest.raises(ValueError, match=message):
        take(seed)


def test_a_generator_and_none_are_passed_on():
    generator = np.random.RandomState(3)
    assert generator_of(generator) is generator
    assert generator_of(None) is check_random_state(None)
    assert generator_of(np.random) is check_random_state(np.random)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_a_copy_goes_on_where_the_generator_stands(duplicate):
    generator = generator_of(11)
    generator.uniform(size=5)
    expected = check_random_state(11)
    expected.uniform(size=5)
    assert_same_draws(duplicate(generator), expected)


class Regressor(MLPRegressor):
    """A user's own estimator, with a parameter more."""

    def __init__(self, loss="squared_error", hidden_layer_sizes=(100,), *, extra=1):
        super().__init__(loss, hidden_layer_sizes)
        self.extra = extra


def test_each_class_has_its_own_parameters():
    assert list(Regressor().get_params()) == ["extra", "hidden_layer_sizes", "loss"]
    assert "extra" not in MLPRegressor().get_params()
    assert "loss" not in MLPClassifier().get_params()
    MLPClassifier().get_params().clear()
    assert "alpha" in MLPClassifier().get_params()
