"""Data and models with steps big enough to be shared out, and their bits: for tests of threads and processes."""

import hashlib
import itertools
import warnings

import numpy as np
from sklearn.model_selection import GridSearchCV

import fastmlp
from fastmlp.network.threads import worth_sharing
from tests.helpers.estimators import fit_quietly
from tests.helpers.recorded_calls import Recorded, calls, record, twins_used

# Steps of about a millisecond on one thread.
SHAPES = [(200, 100), (150,), (100, 100, 50), (300, 20)]
BATCH_SIZE = 200


def samples():
    """Return 1,200 samples, more than predictions of few rows are, and their classes."""
    generator = np.random.RandomState(0)
    X = generator.standard_normal((1200, 300)).astype(np.float32)
    y = (X[:, :10].argmax(axis=1) + generator.randint(0, 2, 1200)) % 10
    return X, y


def model(number=0, **options):
    """Return an unfitted classifier of one of several shapes, on two threads."""
    settings = {"hidden_layer_sizes": SHAPES[number % len(SHAPES)], "batch_size": BATCH_SIZE, "max_iter": 4}
    return fastmlp.MLPClassifier(**(settings | {"random_state": 0, "n_threads": 2} | options))


def bits(estimator, X):
    """Return a digest of a fitted model's parameters and of its probabilities for many rows and for few."""
    parameters = [*estimator.coefs_, *estimator.intercepts_]
    outputs = [estimator.predict_proba(X), estimator.predict_proba(X[:7])]
    return hashlib.sha256(b"".join(array.tobytes() for array in parameters + outputs)).hexdigest()


def assert_worth_sharing():
    """Make sure that the cost model would have these steps shared out."""
    for shape in SHAPES:
        units = [300, *shape, 10]
        work = BATCH_SIZE * 4 * sum(a * b for a, b in itertools.pairwise(units))
        assert worth_sharing(work, 4, 2), shape


def fit_in_this_process(number):
    """Fit and predict; return the bits, the twins that were called and the most threads of a call."""
    record()
    X, y = samples()
    digest = bits(fit_quietly(model(number, n_threads=None), X, y), X)
    return digest, twins_used(), max(call["n_threads"] for call in calls)


def search(n_jobs):
    """Search a small grid with several jobs; return the scores."""
    X, y = samples()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = Recorded(hidden_layer_sizes=(200, 100), max_iter=2, random_state=0)
        found = GridSearchCV(estimator, {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=n_jobs).fit(X, y)
    return found.cv_results_["mean_test_score"].tolist()
