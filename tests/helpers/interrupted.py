"""Fits that are interrupted on purpose, and what has to be equal when they have gone on to their end."""

import signal

import numpy as np
from sklearn.datasets import load_iris

from fastmlp.network.epochs import Epochs
from tests.helpers.estimators import fit_quietly
from tests.helpers.generators import assert_same_generator

IRIS, SPECIES = load_iris(return_X_y=True)

ARRAYS = ("coefs_", "intercepts_", "_best_coefs", "_best_intercepts", "ms", "vs", "velocities")
IGNORED = ("checkpoint", "checkpoint_interval", "n_threads", "verbose", "max_iter", "random_state", "warm_start")


def make(cls, settings, **more):
    return cls(**{"hidden_layer_sizes": (30, 20), "random_state": 3, "batch_size": 20, "max_iter": 9} | settings | more)


def interrupted_fit(monkeypatch, calls, model, *arguments, steps=3, **options):
    """Fit with calls of a few steps; press Ctrl-C in the last of so many. Return whether there were so many."""
    advance = Epochs.advance
    made = []

    def short_advance(self, rates):
        self._steps_per_call = steps
        losses = advance(self, rates)
        made.append(1)
        if len(made) == calls:
            signal.raise_signal(signal.SIGINT)
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(Epochs, "advance", short_advance)
        fit_quietly(model, *arguments, **options)
    return len(made) >= calls


def assert_same_fit(ours, expected):
    """Compare all that a fit leaves, bit for bit."""
    assert type(ours) is type(expected)
    names = vars(expected).keys()
    assert vars(ours).keys() == names
    for name in names - set(IGNORED):
        value, wanted = vars(ours)[name], vars(expected)[name]
        if name in ARRAYS:
            for array, wanted_array in zip(value, wanted, strict=True):
                assert array.dtype == wanted_array.dtype
                assert array.tobytes() == wanted_array.tobytes(), name
        elif name == "_optimizer":
            assert_same_fit(value, wanted)
        elif name == "_random_state":
            assert_same_generator(value, wanted)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, wanted)
        elif name == "_label_binarizer":
            np.testing.assert_array_equal(value.classes_, wanted.classes_)
        else:
            assert value == wanted, name
