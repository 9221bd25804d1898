"""Pickles: their size, that they predict without compiling, and that training goes on after them."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastmlp
from tests.helpers.estimators import (
    LABELS,
    SOLVERS,
    X_DIGITS,
    X_IRIS,
    Y_DIGITS,
    Y_IRIS,
    assert_same_parameters,
    coefs_and_intercepts,
    quietly,
)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_size_of_a_pickle(solver, early_stopping):
    model = fastmlp.MLPClassifier((100, 50), solver=solver, early_stopping=early_stopping, max_iter=20, random_state=0)
    quietly(model, "fit", X_DIGITS, Y_DIGITS)
    n_bytes = sum(array.nbytes for array in coefs_and_intercepts(model))
    n_bytes *= {"lbfgs": 1, "sgd": 2, "adam": 3}[solver]
    assert len(pickle.dumps(model)) <= 1.1 * n_bytes + 8000


def test_a_pickle_loads_and_predicts_without_compiling(tmp_path):
    model = quietly(fastmlp.MLPClassifier(max_iter=2), "fit", X_IRIS, LABELS)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(model))
    code = (
        "import pickle, sys; model = pickle.load(open(sys.argv[1], 'rb'));"
        "print(*model.predict([[5.1, 3.5, 1.4, 0.2], [6.2, 3.4, 5.4, 2.3]]));"
        "print('numba' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert printed[0].split() == [*model.predict([[5.1, 3.5, 1.4, 0.2], [6.2, 3.4, 5.4, 2.3]])]
    assert printed[1] == "False"


def test_training_goes_on_after_a_pickle():
    model = fastmlp.MLPClassifier(random_state=np.random.RandomState(0))
    model.partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    twin = pickle.loads(pickle.dumps(model))
    for _ in range(2):
        model.partial_fit(X_IRIS, Y_IRIS)
        twin.partial_fit(X_IRIS, Y_IRIS)
    assert_same_parameters(model, twin)
    assert model._optimizer.t == twin._optimizer.t == 3
