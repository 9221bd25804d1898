"""Estimators of both packages, small data for them, and what two fits are compared by."""

import re
import warnings

import numpy as np
import sklearn.neural_network
from sklearn.datasets import load_digits, load_iris

import fastmlp

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X_DIGITS = X_DIGITS / 16
LABELS = np.array(["setosa", "versicolor", "virginica"])[Y_IRIS]
MULTILABEL = np.column_stack([Y_DIGITS % 2, Y_DIGITS > 4, Y_DIGITS % 3 == 0]).astype(int)

NAMES = ["MLPClassifier", "MLPRegressor"]
SOLVERS = ["adam", "sgd", "lbfgs"]


def both(name):
    """Return our estimator and scikit-learn's."""
    return getattr(fastmlp, name), getattr(sklearn.neural_network, name)


def quietly(estimator, method, *args, **kwargs):
    """Call a method whose warnings are not the subject."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(estimator, method)(*args, **kwargs)


def fit_quietly(estimator, *args, **kwargs):
    """Fit without warnings, such as that the iterations ran out; only for the only thread of a process."""
    return quietly(estimator, "fit", *args, **kwargs)


def outcome(make, method, *args, **kwargs):
    """Return the warnings and the error of a call, as pairs of class and text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            getattr(make(), method)(*args, **kwargs)
        except Exception as error:
            raised = (type(error), str(error))
        else:
            raised = None
    return [(w.category, str(w.message)) for w in caught], raised


# What a parameter may be besides: scikit-learn's messages do not list these.
OWN_OPTIONS = {"'gelu'", "'huber'", "'adamw'"}


def with_sorted_options(found):
    """Put the options that a message lists in order: they come from a set, which has none. Leave our own out."""
    caught, raised = found
    if raised is not None:
        text = re.sub(r"\{(.*?)\}", lambda options: str(sorted({*options[1].split(", ")} - OWN_OPTIONS)), raised[1])
        raised = (raised[0], text)
    return caught, raised


def coefs_and_intercepts(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def nudged(cls):
    """Return scikit-learn's class with initial weights that differ by one unit in the last place."""

    class Nudged(cls):
        def _init_coef(self, fan_in, fan_out, dtype):
            return tuple(np.nextafter(array, np.inf) for array in super()._init_coef(fan_in, fan_out, dtype))

    return Nudged


def assert_same_parameters(a, b, rtol=0.0, atol=0.0):
    for ours, theirs in zip(coefs_and_intercepts(a), coefs_and_intercepts(b), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)
