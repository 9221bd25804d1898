"""A model file, and what is wrong with one that is refused."""

import pytest
from sklearn.datasets import load_iris

from fastmlp.estimators.persistence import load_model
from tests.helpers.estimators import fit_quietly

IRIS, SPECIES = load_iris(return_X_y=True)


def fit(estimator, X=IRIS, y=SPECIES):
    return fit_quietly(estimator.set_params(max_iter=3), X, y)


def refuse(path, content, match=None):
    """Load a file that must be refused, in one sentence, in memory of its own size."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(f"{str(path)!r} is not a model of fastmlp: ")
    assert message.endswith(".")
    assert "\n" not in message
