"""The compiled shuffle is NumPy's legacy one, draw for draw."""

import numpy as np
import pytest
from sklearn.utils import shuffle

from fastmlp.kernels.shuffling import STATE_WORDS, shuffle_order
from fastmlp.simd.jit import JIT_DISABLED, uncached
from tests.helpers.generators import assert_same_generator

SIZES = [*range(1, 40), 63, 64, 65, 127, 128, 129, 500, 623, 624, 625, 1000, 1024, 1999, 2000]


@uncached
def call_shuffle(order, key, position):
    return shuffle_order(order, key, position)


def shuffled(order, generator):
    """Shuffle like the kernels: return the order, and a generator in the state that is left."""
    name, key, position, *rest = generator.get_state()
    order, key = order.copy(), key.copy()
    position = call_shuffle(order, key, position)
    after = np.random.RandomState()
    after.set_state((name, key, position, *rest))
    return order, after


@pytest.mark.parametrize("seed", [0, 1, 42, 2**32 - 1])
def test_orders_and_the_generator_afterwards(seed):
    for size in SIZES if not JIT_DISABLED else SIZES[::6]:
        theirs = np.random.RandomState(seed)
        order, ours = shuffled(np.arange(size), np.random.RandomState(seed))
        expected = np.arange(size)
        theirs.shuffle(expected)
        np.testing.assert_array_equal(order, expected)
        assert_same_generator(ours, theirs)


def test_epoch_after_epoch_as_scikit_learn_does_it():
    expected = order = np.arange(333)
    theirs = np.random.RandomState(5)
    ours = np.random.RandomState(5)
    for _ in range(5):
        expected = shuffle(expected, random_state=theirs)
        order, ours = shuffled(order, ours)
        np.testing.assert_array_equal(order, expected)
        assert_same_generator(ours, theirs)


def test_from_anywhere_in_the_generators_state():
    for drawn in (1, STATE_WORDS - 1, STATE_WORDS, STATE_WORDS + 1, 1000):
        theirs = np.random.RandomState(3)
        theirs.randint(0, 2**31, drawn, dtype=np.int64)
        theirs.standard_normal(1)  # the second of a pair of normal numbers waits in the state
        before = np.random.RandomState()
        before.set_state(theirs.get_state())
        order, ours = shuffled(np.arange(50), before)
        expected = np.arange(50)
        theirs.shuffle(expected)
        np.testing.assert_array_equal(order, expected)
        assert_same_generator(ours, theirs)


def test_nothing_to_shuffle_draws_nothing():
    generator = np.random.RandomState(0)
    for size in (0, 1):
        order, after = shuffled(np.arange(size), generator)
        assert len(order) == size
        assert_same_generator(after, generator)
