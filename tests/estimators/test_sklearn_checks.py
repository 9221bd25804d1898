"""scikit-learn's own checks of an estimator, for both classes and every solver.

No failure is expected: scikit-learn's own perceptrons, with these settings, have none either.
"""

import pytest
import sklearn.neural_network
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import fastmlp

SOLVERS = ["adam", "sgd", "lbfgs"]
ESTIMATORS = [
    getattr(fastmlp, name)(solver=solver, max_iter=100)
    for name in ("MLPClassifier", "MLPRegressor")
    for solver in SOLVERS
]

# Fitting on purpose with 100 iterations, the checks meet these warnings, in scikit-learn's perceptrons too.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations"),
    pytest.mark.filterwarnings("ignore:lbfgs failed to converge"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@parametrize_with_checks(ESTIMATORS)
def test_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_the_checks_are_those_of_scikit_learns_own(name):
    """The tags let no check slip through that scikit-learn's perceptrons have to pass."""

    def names(cls):
        found = check_estimator(cls(solver="lbfgs", max_iter=5), on_fail=None, on_skip=None)
        return {(result["check_name"], result["status"] == "skipped") for result in found}

    assert names(getattr(fastmlp, name)) == names(getattr(sklearn.neural_network, name))
