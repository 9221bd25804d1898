"""The generator of random numbers behind ``random_state``: scikit-learn's, sooner ready where a number is given."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from sklearn.utils import check_random_state


class _Zeros(ISeedSequence):
    """What a Mersenne Twister is made with that will be seeded at once."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return np.zeros(n_words, dtype)


def generator_of(random_state: Any) -> np.random.RandomState:
    """Return what ``check_random_state`` returns.

    ``RandomState(7)`` first gathers entropy and spreads it over the 624 words of the generator, then overwrites them
    with what follows from 7. The former takes a tenth of a small fit, and is left out.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        As in scikit-learn.

    Raises
    ------
    ValueError
        If it is none of these, or a number below 0 or above 2**32 - 1.
    """
    if not isinstance(random_state, Integral):
        return check_random_state(random_state)
    zeros: Any = _Zeros()  # NumPy takes any such object, and its stubs name one class of them
    generator = np.random.RandomState(np.random.MT19937(zeros))
    generator.seed(int(random_state))
    return generator
