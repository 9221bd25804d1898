"""The state of a random generator."""

import numpy as np


def assert_same_generator(ours, expected):
    for value, wanted in zip(ours.get_state(), expected.get_state(), strict=True):
        np.testing.assert_array_equal(value, wanted)
