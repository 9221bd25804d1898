"""The surface of the estimators, held to scikit-learn's own: signatures, attributes, what is printed and warned of."""

import doctest
import importlib
import inspect
from functools import partial

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import fastmlp
from tests.helpers.estimators import (
    LABELS,
    NAMES,
    SOLVERS,
    X_IRIS,
    Y_IRIS,
    both,
    outcome,
    quietly,
)


@pytest.mark.parametrize("name", NAMES)
def test_constructor_is_scikit_learns_with_own_parameters_last(name):
    ours, theirs = both(name)
    our_parameters = list(inspect.signature(ours).parameters.values())
    their_parameters = list(inspect.signature(theirs).parameters.values())
    assert our_parameters[: len(their_parameters)] == their_parameters
    own = our_parameters[len(their_parameters) :]
    defaults = {"n_threads": None, "dtype": None, "checkpoint": None, "checkpoint_interval": 60.0}
    defaults["weight_decay"] = 0.01
    if name == "MLPRegressor":
        defaults["huber_delta"] = 1.0
    assert {parameter.name: parameter.default for parameter in own} == defaults
    for parameter in own:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", NAMES)
def test_methods_are_scikit_learns(name):
    ours, theirs = both(name)

    def public(cls):
        return {attribute for attribute in dir(cls) if not attribute.startswith("_")}

    # Without decision_function: meta-estimators change what they do when they find one.
    # scikit-learn's classifier sets `loss` in its constructor.
    assert public(ours) - {"loss"} == public(theirs) | {"set_callbacks", "save", "load"}
    for method in ("fit", "partial_fit", "predict", "score"):
        assert inspect.signature(getattr(ours(), method)) == inspect.signature(getattr(theirs(), method))


def test_no_scikit_learn_perceptron_among_the_bases():
    for name in NAMES:
        ours, _ = both(name)
        modules = {cls.__module__ for cls in ours.__mro__}
        assert not any(module.startswith("sklearn.neural_network") for module in modules)


@pytest.mark.parametrize("name", NAMES)
def test_tags_and_metadata_requests(name):
    ours, theirs = both(name)
    assert ours().__sklearn_tags__() == theirs().__sklearn_tags__()
    assert repr(ours().get_metadata_routing()) == repr(theirs().get_metadata_routing())


@pytest.mark.parametrize("name", NAMES)
def test_repr_and_parameters(name):
    ours, theirs = both(name)
    settings = {"hidden_layer_sizes": (3, 4), "alpha": 1, "solver": "sgd"}
    assert repr(ours(**settings)) == repr(theirs(**settings))
    own = {"n_threads": 2, "dtype": "float32", "checkpoint": "run.npz", "checkpoint_interval": 5, "weight_decay": 0.1}
    others = {"huber_delta": 1.0} if name == "MLPRegressor" else {}
    assert ours(**own).get_params() == theirs().get_params() | own | others


@pytest.mark.parametrize("module", ["estimators.classifier", "estimators.regressor", "estimators.saving", "reference"])
def test_examples_of_the_documentation(module):
    results = doctest.testmod(importlib.import_module(f"fastmlp.{module}"))
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_fitted_attributes(name, solver, early_stopping):
    settings = {"hidden_layer_sizes": (8, 5), "solver": solver, "early_stopping": early_stopping}
    settings |= {"max_iter": 12, "random_state": 1, "batch_size": 50}
    ours, theirs = (quietly(cls(**settings), "fit", X_IRIS, Y_IRIS) for cls in both(name))

    def fitted(estimator):
        return {key for key in vars(estimator) if key.endswith("_") and not key.startswith("_")}

    assert fitted(ours) == fitted(theirs)
    for attribute in fitted(theirs):
        our_value, their_value = getattr(ours, attribute), getattr(theirs, attribute)
        if attribute in ("coefs_", "intercepts_"):
            assert [type(array) for array in our_value] == [np.ndarray] * 3
            for a, b in zip(our_value, their_value, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
        elif their_value is None or isinstance(their_value, str):
            assert our_value == their_value
        else:
            np.testing.assert_allclose(our_value, their_value, rtol=1e-7)
        assert isinstance(our_value, list) == isinstance(their_value, list)
    if solver != "lbfgs":
        assert ours._no_improvement_count == theirs._no_improvement_count
        assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate)
        assert ours._optimizer.learning_rate_init == theirs._optimizer.learning_rate_init
        moments = {"adam": ["ms", "vs"], "sgd": ["velocities"]}[solver]
        for moment in moments:
            for a, b in zip(getattr(ours._optimizer, moment), getattr(theirs._optimizer, moment), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
        if solver == "adam":
            assert ours._optimizer.t == theirs._optimizer.t
    np.testing.assert_array_equal(ours._random_state.rand(3), theirs._random_state.rand(3))


def test_label_binarizer_is_there_for_converters():
    classifier = quietly(fastmlp.MLPClassifier(max_iter=2), "fit", X_IRIS, LABELS)
    assert classifier._label_binarizer.y_type_ == "multiclass"
    np.testing.assert_array_equal(classifier._label_binarizer.classes_, classifier.classes_)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "score"])
def test_unfitted(method):
    arguments = (X_IRIS, Y_IRIS) if method == "score" else (X_IRIS,)
    with pytest.raises(NotFittedError):
        getattr(fastmlp.MLPClassifier(), method)(*arguments)


TALKATIVE = [
    ("MLPClassifier", {"solver": "adam", "max_iter": 3}),
    ("MLPClassifier", {"solver": "sgd", "learning_rate": "invscaling", "max_iter": 3}),
    (
        "MLPClassifier",
        {
            "solver": "sgd",
            "learning_rate": "adaptive",
            "learning_rate_init": 0.2,
            "tol": 0.05,
            "n_iter_no_change": 1,
            "max_iter": 200,
        },
    ),
    ("MLPClassifier", {"solver": "adam", "early_stopping": True, "n_iter_no_change": 2}),
    ("MLPRegressor", {"solver": "adam", "early_stopping": True, "max_iter": 3}),
    ("MLPRegressor", {"solver": "adam", "tol": 10.0, "n_iter_no_change": 2}),
    ("MLPRegressor", {"solver": "lbfgs", "max_iter": 3}),
    ("MLPRegressor", {"solver": "lbfgs", "max_fun": 3}),
    ("MLPClassifier", {"solver": "adam", "batch_size": 1000, "max_iter": 2}),
]


@pytest.mark.parametrize(("name", "settings"), TALKATIVE, ids=str)
def test_output_and_warnings_are_the_same(name, settings, capsys):
    results = []
    for cls in both(name):
        make = partial(cls, **{"random_state": 0, "verbose": True, "hidden_layer_sizes": (6,), **settings})
        found = outcome(make, "fit", X_IRIS, Y_IRIS)
        results.append((*found, capsys.readouterr().out))
    assert results[0] == results[1]


def test_nothing_is_printed_without_verbose(capsys):
    quietly(fastmlp.MLPClassifier(max_iter=2), "fit", X_IRIS, Y_IRIS)
    assert capsys.readouterr() == ("", "")
