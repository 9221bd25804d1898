"""The surface of the estimators, held to scikit-learn's own, point by point."""

import doctest
import importlib
import inspect
import pickle
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from threadpoolctl import threadpool_info

import fastmlp
from fastmlp.training import optimizer_state
from fastmlp.training.schedules import Progress

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


def parameters_of(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def assert_same_parameters(a, b, rtol=0.0, atol=0.0):
    for ours, theirs in zip(parameters_of(a), parameters_of(b), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


# --- the class -----------------------------------------------------------------------------------


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


BAD_PARAMETERS = [
    {"hidden_layer_sizes": "wide"},
    {"hidden_layer_sizes": 0},
    {"hidden_layer_sizes": None},
    {"activation": "sine"},
    {"solver": "newton"},
    {"alpha": -1},
    {"alpha": "none"},
    {"batch_size": 0},
    {"batch_size": "all"},
    {"batch_size": 2.5},
    {"learning_rate": "cosine"},
    {"learning_rate_init": 0},
    {"power_t": -0.5},
    {"max_iter": 0},
    {"max_iter": 1.5},
    {"shuffle": "yes"},
    {"random_state": "lucky"},
    {"random_state": -1},
    {"tol": -1e-3},
    {"verbose": -1},
    {"warm_start": 2},
    {"momentum": 1.5},
    {"nesterovs_momentum": None},
    {"early_stopping": "no"},
    {"validation_fraction": 1.0},
    {"validation_fraction": -0.1},
    {"beta_1": 1.0},
    {"beta_2": -0.1},
    {"epsilon": 0},
    {"n_iter_no_change": 0},
    {"n_iter_no_change": 2.5},
    {"max_fun": 0},
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", BAD_PARAMETERS, ids=str)
def test_invalid_parameters_are_refused_in_the_same_words(name, bad):
    our_outcome, their_outcome = (
        with_sorted_options(outcome(lambda cls=cls: cls(**bad), "fit", X_IRIS, Y_IRIS)) for cls in both(name)
    )
    assert our_outcome == their_outcome
    assert our_outcome[1][0] is InvalidParameterError


def test_invalid_values_of_own_and_regression_parameters():
    outcomes = [
        with_sorted_options(outcome(lambda cls=cls: cls(loss="log_loss"), "fit", X_IRIS, Y_IRIS))
        for cls in both("MLPRegressor")
    ]
    assert outcomes[0] == outcomes[1]
    ours = fastmlp.MLPRegressor
    wrong_files = ({"checkpoint": 1}, {"checkpoint_interval": -1}, {"checkpoint_interval": None})
    for bad in ({"n_threads": 0}, {"n_threads": 1.5}, {"dtype": "float16"}, {"dtype": int}, *wrong_files):
        with pytest.raises(InvalidParameterError, match=next(iter(bad))):
            ours(**bad).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize("module", ["estimators.classifier", "estimators.regressor", "estimators.saving", "reference"])
def test_examples_of_the_documentation(module):
    results = doctest.testmod(importlib.import_module(f"fastmlp.{module}"))
    assert results.attempted > 0
    assert results.failed == 0


# --- fitted attributes ---------------------------------------------------------------------------


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


# --- what is printed and warned of ---------------------------------------------------------------

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


# --- errors --------------------------------------------------------------------------------------

NAN = X_IRIS.copy()
NAN[3, 1] = np.nan
INFINITE = X_IRIS.copy()
INFINITE[3, 1] = np.inf
BAD_INPUT = {
    "NaN in X": (NAN, Y_IRIS),
    "infinity in X": (INFINITE, Y_IRIS),
    "NaN in y": (X_IRIS, np.where(Y_IRIS == 1, np.nan, Y_IRIS)),
    "lengths differ": (X_IRIS, Y_IRIS[:-1]),
    "no samples": (X_IRIS[:0], Y_IRIS[:0]),
    "no features": (X_IRIS[:, :0], Y_IRIS),
    "one-dimensional X": (X_IRIS[:, 0], Y_IRIS),
    "three-dimensional X": (X_IRIS.reshape(150, 2, 2), Y_IRIS),
    "text in X": (np.full((150, 4), "four"), Y_IRIS),
    "objects in X": (np.full((150, 4), object()), Y_IRIS),
    "complex X": (X_IRIS + 1j, Y_IRIS),
    "no y": (X_IRIS, None),
    "three-dimensional y": (X_IRIS, Y_IRIS.reshape(150, 1, 1)),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_refused_in_the_same_words(name, what):
    ours, theirs = both(name)
    assert outcome(ours, "fit", *BAD_INPUT[what]) == outcome(theirs, "fit", *BAD_INPUT[what])
    assert outcome(ours, "fit", *BAD_INPUT[what])[1] is not None


BAD_TARGETS = {
    "continuous": (X_IRIS, Y_IRIS + 0.5),
    "multiclass-multioutput": (X_IRIS, np.column_stack([Y_IRIS, Y_IRIS])),
    "mixed types": (X_IRIS, np.array([1, "a", *[2] * 148], dtype=object)),
}


@pytest.mark.parametrize("what", BAD_TARGETS)
def test_bad_classes_are_refused_in_the_same_words(what):
    ours, theirs = both("MLPClassifier")
    assert outcome(ours, "fit", *BAD_TARGETS[what]) == outcome(theirs, "fit", *BAD_TARGETS[what])
    assert outcome(ours, "fit", *BAD_TARGETS[what])[1] is not None


BAD_WEIGHTS = {
    "too few": np.ones(149),
    "NaN": np.full(150, np.nan),
    "matrix": np.ones((150, 2)),
    "text": ["heavy"] * 150,
    "all zero": np.zeros(150),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", BAD_WEIGHTS)
def test_bad_weights_are_refused_in_the_same_words(name, what):
    ours, theirs = both(name)
    arguments = (X_IRIS, Y_IRIS, BAD_WEIGHTS[what])
    assert outcome(ours, "fit", *arguments) == outcome(theirs, "fit", *arguments)
    assert outcome(ours, "fit", *arguments)[1] is not None


@pytest.mark.parametrize(
    ("settings", "X", "y"),
    [
        ({"hidden_layer_sizes": (5, 0)}, X_IRIS, Y_IRIS),
        ({"hidden_layer_sizes": (5, -3)}, X_IRIS, Y_IRIS),
        ({"hidden_layer_sizes": (5.5,)}, X_IRIS, Y_IRIS),
        ({"early_stopping": True}, X_IRIS[:4], [0, 1, 0, 1]),
        ({"early_stopping": True, "validation_fraction": 0.001}, X_IRIS, Y_IRIS),
        ({"early_stopping": True, "validation_fraction": 0.0}, X_IRIS, Y_IRIS),
        ({"early_stopping": True}, X_IRIS[:20], [0] * 19 + [1]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_other_refusals_of_fit(settings, X, y):
    ours, theirs = both("MLPClassifier")
    our_outcome = outcome(lambda: ours(**settings), "fit", X, y)
    assert our_outcome == outcome(lambda: theirs(**settings), "fit", X, y)
    assert our_outcome[1] is not None


def test_refusals_of_partial_fit():
    for X, y, kwargs in [
        (X_IRIS, Y_IRIS, {}),
        (X_IRIS, Y_IRIS, {"classes": [0, 1]}),
        (X_IRIS, Y_IRIS, {"classes": [0.5, 1.5]}),
        (NAN, Y_IRIS, {"classes": [0, 1, 2]}),
    ]:
        ours, theirs = both("MLPClassifier")
        our_outcome = outcome(ours, "partial_fit", X, y, **kwargs)
        assert our_outcome == outcome(theirs, "partial_fit", X, y, **kwargs)
        assert our_outcome[1] is not None


def test_refusals_after_a_partial_fit():
    def begun(cls):
        return quietly(cls(random_state=0), "partial_fit", X_IRIS, Y_IRIS, classes=[0, 1, 2])

    for X, y, kwargs in [
        (X_IRIS, Y_IRIS + 1, {}),
        (X_IRIS, Y_IRIS, {"classes": [0, 1, 2, 3]}),
        (X_IRIS[:, :3], Y_IRIS, {}),
        (X_IRIS, np.eye(3, dtype=int)[Y_IRIS], {}),
    ]:
        ours, theirs = both("MLPClassifier")
        our_outcome = outcome(lambda ours=ours: begun(ours), "partial_fit", X, y, **kwargs)
        assert our_outcome == outcome(lambda theirs=theirs: begun(theirs), "partial_fit", X, y, **kwargs)
        assert our_outcome[1] is not None


@pytest.mark.parametrize("name", NAMES)
def test_partial_fit_refuses_early_stopping(name):
    ours, theirs = both(name)
    kwargs = {"classes": [0, 1, 2]} if name == "MLPClassifier" else {}
    outcomes = [
        outcome(lambda cls=cls: cls(early_stopping=True), "partial_fit", X_IRIS, Y_IRIS, **kwargs)
        for cls in (ours, theirs)
    ]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1][0] is ValueError


@pytest.mark.parametrize("name", NAMES)
def test_partial_fit_is_absent_with_lbfgs(name):
    estimator = getattr(fastmlp, name)(solver="lbfgs")
    assert not hasattr(estimator, "partial_fit")
    with pytest.raises(AttributeError) as caught:
        estimator.partial_fit(X_IRIS, Y_IRIS)
    assert str(caught.value.__cause__) == (
        "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
    )


def test_warm_start_with_other_classes():
    ours, theirs = both("MLPClassifier")

    def warm(cls):
        return quietly(cls(warm_start=True, max_iter=2), "fit", X_IRIS, Y_IRIS)

    our_outcome = outcome(lambda: warm(ours), "fit", X_IRIS, Y_IRIS % 2)
    assert our_outcome == outcome(lambda: warm(theirs), "fit", X_IRIS, Y_IRIS % 2)
    assert our_outcome[1][0] is ValueError


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_refused_input_leaves_an_earlier_fit_untouched(name, method):
    estimator = getattr(fastmlp, name)(random_state=0, max_iter=3)
    quietly(estimator, "fit", X_IRIS, Y_IRIS)
    before = pickle.dumps(estimator)
    attributes = {key: id(value) for key, value in vars(estimator).items()}
    bad = [
        (NAN, Y_IRIS),
        (X_IRIS, np.where(Y_IRIS == 1, np.nan, Y_IRIS)),
        (X_IRIS, Y_IRIS, np.zeros(150)),
        (X_IRIS, Y_IRIS[:9]),
        (np.hstack([X_IRIS, NAN]), Y_IRIS),
        (X_IRIS, np.full((150, 2, 2), 1)),
    ]
    for arguments in bad:
        # Each has a text of its own, most of them scikit-learn's; here it matters what they leave behind.
        with pytest.raises(ValueError):  # noqa: PT011
            getattr(estimator, method)(*arguments)
        assert {key: id(value) for key, value in vars(estimator).items()} == attributes
    if method == "fit":
        estimator.set_params(early_stopping=True, validation_fraction=0.001)
        with pytest.raises(ValueError, match="validation set is too small"):
            estimator.fit(X_IRIS, Y_IRIS)
        estimator.set_params(early_stopping=False, validation_fraction=0.1)
    assert pickle.dumps(estimator) == before


def test_diverging_training_is_an_error():
    settings = {"solver": "sgd", "learning_rate_init": 1e10, "random_state": 0, "max_iter": 5}
    settings |= {"activation": "identity", "momentum": 0.0}
    text = re.escape(
        "Solver produced non-finite parameter weights. The input data may contain large values"
        " and need to be preprocessed."
    )
    with pytest.raises(ValueError, match=text):
        quietly(sklearn.neural_network.MLPRegressor(**settings), "fit", X_IRIS * 1e200, Y_IRIS)
    with pytest.raises(ValueError, match=text):
        quietly(fastmlp.MLPRegressor(**settings), "fit", X_IRIS * 1e200, Y_IRIS)


def test_diverging_training_stops_at_once_and_names_the_epoch():
    regressor = fastmlp.MLPRegressor(
        solver="sgd", learning_rate_init=1e10, max_iter=10_000, random_state=0, batch_size=10
    )
    with pytest.raises(ValueError, match="loss is not finite from epoch 1 of this fit on"):
        quietly(regressor, "fit", X_IRIS * 1e200, Y_IRIS)


def test_values_beyond_the_range_of_float32_are_named():
    for dtype in ("float32", "float64"):
        regressor = fastmlp.MLPRegressor(dtype=dtype, max_iter=2, solver="lbfgs")
        huge_X, huge_y = X_IRIS.copy(), Y_IRIS.astype(float)
        huge_X[0, 0] = huge_y[0] = 1e39
        if dtype == "float64":
            quietly(regressor, "fit", X_IRIS, Y_IRIS)
            continue
        with pytest.raises(ValueError, match="Input X contains infinity or a value too large"):
            fastmlp.MLPRegressor(dtype=dtype).fit(huge_X, Y_IRIS)
        with pytest.raises(ValueError, match="Input y contains infinity or a value too large"):
            fastmlp.MLPRegressor(dtype=dtype).fit(X_IRIS, huge_y)


# --- input of every kind -------------------------------------------------------------------------

COUNTS = (X_DIGITS[:60, :20] * 16).astype(int)


def memory_mapped(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, COUNTS.astype(float))
    return np.load(path, mmap_mode="r")


def read_only():
    X = COUNTS.astype(float)
    X.flags.writeable = False
    return X


INPUTS = {
    "float64": lambda _: COUNTS.astype(float),
    "float16": lambda _: COUNTS.astype(np.float16),
    "Fortran order": lambda _: np.asfortranarray(COUNTS.astype(float)),
    "strided": lambda _: np.repeat(COUNTS.astype(float), 3, axis=1)[:, ::3],
    "reversed": lambda _: COUNTS.astype(float)[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda _: read_only(),
    "memory-mapped": memory_mapped,
    "foreign byte order": lambda _: COUNTS.astype(">f8"),
    "long double": lambda _: COUNTS.astype(np.longdouble),
    "int8": lambda _: COUNTS.astype(np.int8),
    "uint8": lambda _: COUNTS.astype(np.uint8),
    "int16": lambda _: COUNTS.astype(np.int16),
    "int64": lambda _: COUNTS,
    "uint64": lambda _: COUNTS.astype(np.uint64),
    "foreign integers": lambda _: COUNTS.astype(">i4"),
    "objects": lambda _: COUNTS.astype(object),
    "text of numbers": lambda _: COUNTS.astype(str),
    "lists": lambda _: COUNTS.tolist(),
    "CSR": lambda _: sp.csr_array(COUNTS.astype(float)),
    "CSC": lambda _: sp.csc_array(COUNTS.astype(float)),
    "COO": lambda _: sp.coo_array(COUNTS.astype(float)),
    "CSR matrix of integers": lambda _: sp.csr_matrix(COUNTS),
    "CSC of uint8": lambda _: sp.csc_array(COUNTS.astype(np.uint8)),
    "CSR with repeated entries": lambda _: repeated_entries(),
}


def repeated_entries():
    """Return a CSR matrix in which every number is stored in two parts, in no order."""
    halves = sp.coo_array(COUNTS.astype(float) / 2)
    order = np.random.RandomState(0).permutation(2 * halves.nnz)
    rows = np.tile(halves.row, 2)[order]
    by_row = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[by_row], np.arange(COUNTS.shape[0] + 1))
    return sp.csr_array(
        (
            np.tile(halves.data, 2)[order][by_row],
            np.tile(halves.col, 2)[order][by_row],
            starts,
        ),
        shape=COUNTS.shape,
    )


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", INPUTS)
def test_every_kind_of_input_trains_alike(kind, early_stopping, tmp_path):
    y = Y_DIGITS[: len(COUNTS)]
    settings = {
        "random_state": 0,
        "max_iter": 3,
        "batch_size": 16,
        "early_stopping": early_stopping,
    }
    expected = quietly(fastmlp.MLPClassifier(**settings), "fit", COUNTS.astype(float), y)
    X = INPUTS[kind](tmp_path)
    fitted = quietly(fastmlp.MLPClassifier(**settings), "fit", X, y)
    assert_same_parameters(fitted, expected, rtol=1e-12, atol=1e-15)
    assert fitted.coefs_[0].dtype == np.float64
    if kind != "text of numbers":  # which predict refuses, as scikit-learn's does
        np.testing.assert_allclose(fitted.predict_proba(X), expected.predict_proba(COUNTS), rtol=1e-9)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "float16", "CSC of uint8"])
def test_integers_are_read_where_they_lie(kind, tmp_path, monkeypatch):
    import fastmlp.network.rows

    seen = []
    as_rows = fastmlp.network.rows.as_rows

    def recording(X, dtype):
        seen.append(X.dtype)
        return as_rows(X, dtype)

    monkeypatch.setattr(fastmlp.network.rows, "as_rows", recording)
    X = INPUTS[kind](tmp_path)
    quietly(fastmlp.MLPClassifier(max_iter=1), "fit", X, Y_DIGITS[: len(COUNTS)])
    assert seen[0] == X.dtype


def test_booleans():
    X = COUNTS > 4
    y = Y_DIGITS[: len(COUNTS)]
    settings = {"random_state": 0, "max_iter": 3}
    expected = quietly(fastmlp.MLPClassifier(**settings), "fit", X.astype(float), y)
    for kind in (X, sp.csr_array(X)):
        fitted = quietly(fastmlp.MLPClassifier(**settings), "fit", kind, y)
        assert_same_parameters(fitted, expected, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(fitted.predict(kind), expected.predict(X))


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_frames(package):
    frames = pytest.importorskip(package)
    names = [f"pixel{i}" for i in range(COUNTS.shape[1])]
    data = {name: COUNTS[:, i].astype(float) for i, name in enumerate(names)}
    X = frames.DataFrame(data)
    y = frames.Series(Y_DIGITS[: len(COUNTS)])
    settings = {"random_state": 0, "max_iter": 3, "early_stopping": True}
    expected = quietly(fastmlp.MLPClassifier(**settings), "fit", COUNTS.astype(float), y.to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = fastmlp.MLPClassifier(**settings).fit(X, y)
        predicted = fitted.predict(X)
    np.testing.assert_array_equal(predicted, expected.predict(COUNTS))
    np.testing.assert_array_equal(fitted.feature_names_in_, names)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        fitted.predict(COUNTS)


def test_predictions_have_scikit_learns_dtype():
    y = Y_DIGITS[:60].astype(float)
    for trained in (np.float32, np.float64):
        models = [
            quietly(cls(max_iter=2, random_state=0), "fit", X_DIGITS[:60].astype(trained), y)
            for cls in both("MLPRegressor")
        ]
        for n_rows in (3, 1797):
            for kind in (np.float16, np.float32, np.float64, np.int8, np.int64, bool):
                ours, theirs = (model.predict(X_DIGITS[:n_rows].astype(kind)) for model in models)
                assert ours.dtype == theirs.dtype
                np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_dtype_parameter():
    images = (X_DIGITS * 16).astype(np.uint8)
    settings = {"random_state": 0, "max_iter": 3}
    for kind in (np.uint8, np.float64):
        fitted = quietly(fastmlp.MLPClassifier(dtype="float32", **settings), "fit", images.astype(kind), Y_DIGITS)
        assert {array.dtype for array in parameters_of(fitted)} == {np.dtype(np.float32)}
        assert fitted.predict_proba(images.astype(kind)).dtype == np.float32
        assert fitted.predict_proba(images[:2].astype(kind)).dtype == np.float32
    expected = quietly(fastmlp.MLPClassifier(**settings), "fit", images.astype(np.float32), Y_DIGITS)
    assert_same_parameters(fitted, expected)
    doubled = quietly(
        fastmlp.MLPClassifier(dtype="float64", **settings),
        "fit",
        images.astype(np.float32),
        Y_DIGITS,
    )
    assert doubled.coefs_[0].dtype == np.float64


TARGETS = {
    "text": np.array(["no", "yes"])[Y_IRIS % 2],
    "objects": np.array(["no", "yes"], dtype=object)[Y_IRIS % 2],
    "three texts": LABELS,
    "booleans": Y_IRIS == 1,
    "floats": Y_IRIS.astype(float),
    "large integers": Y_IRIS * 10**12 - 7,
    "uint8": Y_IRIS.astype(np.uint8),
    "list": Y_IRIS.tolist(),
    "one class": np.zeros(150),
    "one class of text": np.array(["only"] * 150),
    "indicator matrix": np.column_stack([Y_IRIS == 0, Y_IRIS >= 1]).astype(int),
    "sparse indicator matrix": sp.csr_array(np.eye(3, dtype=int)[Y_IRIS]),
    "list of lists": np.eye(3, dtype=int)[Y_IRIS].tolist(),
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_classes(kind, early_stopping):
    y = TARGETS[kind]
    settings = {"random_state": 0, "max_iter": 5, "early_stopping": early_stopping}
    ours, theirs = (quietly(cls(**settings), "fit", X_IRIS, y) for cls in both("MLPClassifier"))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert_same_parameters(ours, theirs, rtol=1e-8, atol=1e-10)
    if early_stopping:
        assert ours.validation_scores_ == theirs.validation_scores_
    predicted, expected = ours.predict(X_IRIS), theirs.predict(X_IRIS)
    assert type(predicted) is type(expected)
    assert predicted.dtype == expected.dtype
    if sp.issparse(expected):
        predicted, expected = predicted.toarray(), expected.toarray()
    np.testing.assert_array_equal(predicted, expected)
    np.testing.assert_allclose(ours.predict_proba(X_IRIS), theirs.predict_proba(X_IRIS))
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(
            ours.predict_log_proba(X_IRIS), theirs.predict_log_proba(X_IRIS), rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_column_of_targets_is_warned_of(name):
    outcomes = [outcome(lambda cls=cls: cls(max_iter=1), "fit", X_IRIS, Y_IRIS[:, np.newaxis]) for cls in both(name)]
    assert outcomes[0] == outcomes[1]
    assert any("column-vector y" in text for _, text in outcomes[0][0])


@pytest.mark.parametrize("kind", ["int64", "bool", "float32", "several", "list"])
def test_every_kind_of_numbers(kind):
    targets = {
        "int64": Y_IRIS,
        "bool": Y_IRIS == 1,
        "float32": X_IRIS[:, 0].astype(np.float32),
        "several": X_IRIS[:, 1:3],
        "list": X_IRIS[:, 0].tolist(),
    }
    settings = {"random_state": 0, "max_iter": 5}
    ours, theirs = (quietly(cls(**settings), "fit", X_IRIS, targets[kind]) for cls in both("MLPRegressor"))
    assert_same_parameters(ours, theirs, rtol=1e-8, atol=1e-10)
    assert ours.predict(X_IRIS).shape == theirs.predict(X_IRIS).shape
    np.testing.assert_allclose(ours.predict(X_IRIS), theirs.predict(X_IRIS), rtol=1e-8)


def test_text_is_no_target_of_a_regression():
    for cls in both("MLPRegressor"):
        with pytest.raises(TypeError):
            cls().fit(X_IRIS, LABELS)


def test_a_scalar_weight_and_integer_weights():
    for weight in (2, 0.5, np.arange(150), np.arange(150) - 20.0):
        ours, theirs = (
            quietly(cls(random_state=0, max_iter=3), "fit", X_IRIS, Y_IRIS, weight) for cls in both("MLPClassifier")
        )
        assert_same_parameters(ours, theirs, rtol=1e-7, atol=1e-9)


# --- parameters are the user's -------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [2, 1500])
def test_what_is_written_into_coefs_counts_in_predict(n_rows):
    regressor = quietly(fastmlp.MLPRegressor(max_iter=2), "fit", X_DIGITS, Y_DIGITS)
    regressor.coefs_[-1][:] = 0
    regressor.intercepts_[-1][:] = 7
    np.testing.assert_array_equal(regressor.predict(X_DIGITS[:n_rows]), np.full(n_rows, 7.0))
    regressor.coefs_ = [np.zeros((64, 1))]
    regressor.intercepts_ = [np.array([3.0])]
    np.testing.assert_array_equal(regressor.predict(X_DIGITS[:n_rows]), np.full(n_rows, 3.0))


def test_what_is_written_into_coefs_counts_in_partial_fit():
    models = [cls(random_state=0, solver="sgd") for cls in both("MLPRegressor")]
    for model in models:
        for _ in range(3):
            model.partial_fit(X_IRIS, Y_IRIS)
        model.coefs_[0][:] = 0.01
        model.intercepts_[1] = np.array([1.5])
        model.partial_fit(X_IRIS, Y_IRIS)
    assert_same_parameters(*models, rtol=1e-9, atol=1e-12)


def test_partial_fit_writes_into_the_users_arrays():
    regressor = fastmlp.MLPRegressor(random_state=0).partial_fit(X_IRIS, Y_IRIS)
    arrays = parameters_of(regressor)
    copies = [array.copy() for array in arrays]
    regressor.partial_fit(X_IRIS, Y_IRIS)
    for array, now, copy in zip(arrays, parameters_of(regressor), copies, strict=True):
        assert array is now
        assert not np.array_equal(array, copy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_parameters_set_before_a_first_partial_fit_count(solver, dtype):
    start = quietly(fastmlp.MLPClassifier((6,), max_iter=1, random_state=5), "fit", X_IRIS, Y_IRIS)
    model = fastmlp.MLPClassifier((6,), solver=solver, random_state=0)
    model.coefs_ = [array.astype(dtype) for array in start.coefs_]
    model.intercepts_ = [array.astype(dtype) for array in start.intercepts_]
    model.partial_fit(X_IRIS, LABELS, classes=np.unique(LABELS))
    assert model.n_layers_ == 3
    assert model.out_activation_ == "softmax"
    assert model.coefs_[0].dtype == dtype

    expected = sklearn.neural_network.MLPClassifier((6,), solver=solver, random_state=0)
    expected.partial_fit(X_IRIS.astype(dtype), LABELS, classes=np.unique(LABELS))
    # The same epoch from the same start.
    expected = sklearn.neural_network.MLPClassifier((6,), solver=solver, random_state=0)
    expected.coefs_ = [array.astype(dtype) for array in start.coefs_]
    expected.intercepts_ = [array.astype(dtype) for array in start.intercepts_]
    expected.n_layers_, expected.t_, expected.loss_curve_ = 3, 0, []
    expected.best_loss_, expected._no_improvement_count = np.inf, 0
    expected.out_activation_ = "softmax"
    expected.partial_fit(X_IRIS, LABELS, classes=np.unique(LABELS))
    tolerance = 1e-10 if dtype == np.float64 else 1e-5
    assert_same_parameters(model, expected, rtol=tolerance, atol=tolerance)


def test_parameters_of_the_wrong_shape_are_refused():
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(6,))
    model.coefs_ = [np.zeros((4, 6)), np.zeros((5, 1))]
    model.intercepts_ = [np.zeros(6), np.zeros(1)]
    with pytest.raises(ValueError, match="do not fit X with 4 features and y with 1 outputs"):
        model.partial_fit(X_IRIS, Y_IRIS)


def test_another_number_of_outputs_is_refused():
    """scikit-learn broadcasts one column over all outputs."""
    model = fastmlp.MLPRegressor(random_state=0).partial_fit(X_IRIS, X_IRIS[:, :2])
    with pytest.raises(ValueError, match="do not fit X with 4 features and y with 1 outputs"):
        model.partial_fit(X_IRIS, Y_IRIS)


def test_hidden_layer_sizes_are_ignored_by_a_warm_start():
    for solver in SOLVERS:
        model = fastmlp.MLPRegressor(solver=solver, max_iter=2, warm_start=True)
        quietly(model, "fit", X_IRIS, Y_IRIS)
        quietly(model.set_params(hidden_layer_sizes=(3, 3)), "fit", X_IRIS, Y_IRIS)
        assert [array.shape for array in model.coefs_] == [(4, 100), (100, 1)]


def test_read_only_and_odd_parameters_can_be_trained_further():
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(6,), random_state=0).partial_fit(X_IRIS, Y_IRIS)
    expected = pickle.loads(pickle.dumps(model)).partial_fit(X_IRIS, Y_IRIS)
    for array in parameters_of(model):
        array.flags.writeable = False
    model.coefs_[0] = np.asfortranarray(model.coefs_[0])
    model.coefs_ = tuple(model.coefs_)
    model.partial_fit(X_IRIS, Y_IRIS)
    assert_same_parameters(model, expected)


def test_an_overridden_initialisation_is_used():
    class Constant(fastmlp.MLPRegressor):
        def _init_coef(self, fan_in, fan_out, dtype):
            return np.full((fan_in, fan_out), 0.25, dtype), np.zeros(fan_out, dtype)

    model = Constant(hidden_layer_sizes=(3,), learning_rate_init=1e-30, max_iter=1)
    quietly(model, "fit", X_IRIS, Y_IRIS)
    np.testing.assert_allclose(model.coefs_[0], 0.25)


# --- partial_fit, warm start, early stopping -----------------------------------------------------


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_follows_scikit_learn(solver, seed):
    models = [
        cls(random_state=np.random.RandomState(7) if seed is None else seed, solver=solver)
        for cls in both("MLPClassifier")
    ]
    for model in models:
        for _ in range(4):
            model.partial_fit(X_IRIS, LABELS, classes=np.unique(LABELS))
            model.partial_fit(X_IRIS[:40], LABELS[:40], np.arange(40))
    ours, theirs = models
    assert_same_parameters(ours, theirs, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_)
    for attribute in ("n_iter_", "t_", "_no_improvement_count"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_)


def test_partial_fit_goes_on_with_its_optimizer():
    """What notebooks do: lower the rate by hand between two calls."""
    models = [cls(random_state=0, solver="sgd", learning_rate="adaptive") for cls in both(NAMES[1])]
    for model in models:
        model.partial_fit(X_IRIS, Y_IRIS)
        model._optimizer.learning_rate = 1e-5
        model.set_params(learning_rate_init=10.0, momentum=0.1)  # ignored: the optimiser is there
        model.partial_fit(X_IRIS, Y_IRIS)
    assert_same_parameters(*models, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_follows_scikit_learn(solver):
    models = [cls(warm_start=True, max_iter=4, random_state=0, solver=solver) for cls in both("MLPClassifier")]
    for model in models:
        for _ in range(3):
            quietly(model, "fit", X_IRIS, LABELS)
    ours, theirs = models
    assert_same_parameters(ours, theirs, rtol=1e-6, atol=1e-8)
    assert ours.n_iter_ == theirs.n_iter_
    if solver != "lbfgs":
        assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 12
        assert ours.t_ == theirs.t_


def test_warm_start_may_change_solver_and_early_stopping():
    model = fastmlp.MLPClassifier(warm_start=True, max_iter=3, random_state=0, solver="lbfgs")
    quietly(model, "fit", X_IRIS, Y_IRIS)
    for settings in ({"solver": "adam"}, {"early_stopping": True}, {"early_stopping": False}):
        quietly(model.set_params(**settings), "fit", X_IRIS, Y_IRIS)
        assert len(model.loss_curve_) % 3 == 0
    assert model.best_loss_ < np.inf


def test_warm_start_with_early_stopping_keeps_the_best_weights():
    """scikit-learn trains in the very arrays in which it keeps the best."""
    model = fastmlp.MLPClassifier(
        warm_start=True, max_iter=30, random_state=0, early_stopping=True, learning_rate_init=0.02
    )
    quietly(model, "fit", X_IRIS, Y_IRIS)
    best = [array.copy() for array in parameters_of(model)]
    score = model.best_validation_score_
    quietly(model.set_params(learning_rate_init=10.0, max_iter=3), "fit", X_IRIS, Y_IRIS)
    assert model.best_validation_score_ == score
    for array, kept in zip(parameters_of(model), best, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("shuffle", [True, False])
def test_early_stopping_keeps_the_best_weights(shuffle):
    settings = {"early_stopping": True, "random_state": 0, "max_iter": 25, "shuffle": shuffle}
    settings |= {"batch_size": 150, "learning_rate_init": 0.05, "validation_fraction": 0.3}
    ours, theirs = (quietly(cls(**settings), "fit", X_IRIS, Y_IRIS) for cls in both("MLPClassifier"))
    assert ours.validation_scores_ == theirs.validation_scores_
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert_same_parameters(ours, theirs, rtol=1e-7, atol=1e-9)


def test_n_iter_no_change_may_be_infinite():
    model = fastmlp.MLPRegressor(n_iter_no_change=np.inf, tol=1e3, max_iter=40)
    with pytest.warns(ConvergenceWarning):
        model.fit(X_IRIS, Y_IRIS)
    assert model.n_iter_ == 40
    assert model._no_improvement_count == 39


def test_a_minibatch_without_weight_changes_nothing():
    weights = np.zeros(150)
    weights[:50] = 1.0
    settings = {"shuffle": False, "batch_size": 50, "random_state": 0, "max_iter": 1}
    with pytest.raises(ZeroDivisionError):
        quietly(sklearn.neural_network.MLPClassifier(**settings), "fit", X_IRIS, Y_IRIS > 0, weights)
    fitted = quietly(fastmlp.MLPClassifier(**settings), "fit", X_IRIS, Y_IRIS > 0, weights)
    assert fitted._optimizer.t == 1
    alone = quietly(sklearn.neural_network.MLPClassifier(**settings), "fit", X_IRIS[:50], (Y_IRIS > 0)[:50])
    # Another set of classes, but the same logistic output: one class or two.
    assert_same_parameters(fitted, alone, rtol=1e-9, atol=1e-12)
    assert fitted.loss_ == pytest.approx(alone.loss_ / 3)


# --- interrupts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_keyboard_interrupt_leaves_a_usable_model(monkeypatch, early_stopping):
    import fastmlp.network.network

    advance = fastmlp.network.network.Epochs.advance
    calls = []

    def interrupted(self, rates):
        calls.append(len(rates))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return advance(self, rates[:1])

    monkeypatch.setattr(fastmlp.network.network.Epochs, "advance", interrupted)
    model = fastmlp.MLPClassifier(random_state=0, early_stopping=early_stopping)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$") as caught:
        model.fit(X_IRIS, Y_IRIS)
    assert len(caught) == 1
    assert model.n_iter_ == 3
    assert len(model.loss_curve_) == 3
    monkeypatch.undo()
    settings = {"random_state": 0, "early_stopping": early_stopping, "max_iter": 3}
    expected = quietly(fastmlp.MLPClassifier(**settings), "fit", X_IRIS, Y_IRIS)
    assert_same_parameters(model, expected)
    quietly(model.set_params(max_iter=2), "fit", X_IRIS, Y_IRIS)
    assert model.n_iter_ == 2


def test_keyboard_interrupt_of_lbfgs(monkeypatch):
    import fastmlp.network.network

    evaluate = fastmlp.network.network.Network.loss_and_gradient
    calls = []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return evaluate(self, *arguments)

    monkeypatch.setattr(fastmlp.network.network.Network, "loss_and_gradient", interrupted)
    model = fastmlp.MLPClassifier(random_state=0, solver="lbfgs")
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        model.fit(X_IRIS, Y_IRIS)
    monkeypatch.undo()
    assert model.n_iter_ > 2
    expected = quietly(
        fastmlp.MLPClassifier(random_state=0, solver="lbfgs", max_iter=model.n_iter_),
        "fit",
        X_IRIS,
        Y_IRIS,
    )
    assert_same_parameters(model, expected)
    assert model.loss_ == pytest.approx(expected.loss_)


# --- L-BFGS --------------------------------------------------------------------------------------


def test_lbfgs_keeps_float32():
    X = X_IRIS.astype(np.float32)
    model = quietly(fastmlp.MLPClassifier(solver="lbfgs", max_iter=30), "fit", X, Y_IRIS)
    assert {array.dtype for array in parameters_of(model)} == {np.dtype(np.float32)}
    assert model.predict_proba(X).dtype == np.float32


def test_lbfgs_minimises_what_its_gradient_belongs_to():
    """With several outputs, scikit-learn's line search sees a loss that is not the gradient's."""
    targets = np.column_stack([X_IRIS[:, 0] * X_IRIS[:, 1], X_IRIS[:, 1] ** 2, -3 * X_IRIS[:, 2]])
    model = fastmlp.MLPRegressor(
        hidden_layer_sizes=(), solver="lbfgs", max_iter=500, tol=1e-8, alpha=0.01, random_state=0
    )
    quietly(model, "fit", X_IRIS, targets)
    # Without a hidden layer this is ridge regression, all outputs apart, intercepts unpenalised.
    centred = X_IRIS - X_IRIS.mean(axis=0)
    gram = centred.T @ centred + 0.01 * np.eye(4)
    np.testing.assert_allclose(model.coefs_[0], np.linalg.solve(gram, centred.T @ targets), atol=1e-3)
    # The loss that is reported is scikit-learn's number all the same: a mean over the outputs.
    error = np.square(model.predict(X_IRIS) - targets).sum()
    penalty = 0.5 * 0.01 * np.square(model.coefs_[0]).sum() / 150
    assert model.loss_ == pytest.approx(error / (2 * 3 * 150) + penalty, rel=1e-9)


def test_lbfgs_leaves_the_threads_of_blas_as_they_were():
    def n_threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    settings = {"solver": "lbfgs", "max_iter": 40, "random_state": 0}
    model = quietly(fastmlp.MLPClassifier(**settings), "fit", X_IRIS, Y_IRIS)  # loads every library
    before = n_threads()

    class Watching:
        """A callback that looks at the limits while the minimiser runs."""

        def __init__(self, stop):
            self.seen = []
            self.stop = stop

        def setup(self, estimator, context):
            self.seen = []

        def teardown(self, estimator, context):
            self.seen = set(map(tuple, self.seen))

        def on_fit_task_begin(self, estimator, context):
            if context.parent is not None:
                self.seen.append(n_threads())

        def on_fit_task_end(self, estimator, context):
            if self.stop:
                raise MemoryError("no more")

    for stop in (False, True):
        watching = Watching(stop)
        model = fastmlp.MLPClassifier(**settings).set_callbacks(watching)
        if stop:
            with pytest.raises(MemoryError):
                model.fit(X_IRIS, Y_IRIS)
        else:
            quietly(model, "fit", X_IRIS, Y_IRIS)
        assert watching.seen == {(1,) * len(before)}
        assert n_threads() == before

    def fit(number):
        fastmlp.MLPClassifier(**settings, hidden_layer_sizes=(5 + 7 * number,)).fit(X_IRIS, Y_IRIS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fit, range(12)))
    assert n_threads() == before


# --- pickles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_size_of_a_pickle(solver, early_stopping):
    model = fastmlp.MLPClassifier((100, 50), solver=solver, early_stopping=early_stopping, max_iter=20, random_state=0)
    quietly(model, "fit", X_DIGITS, Y_DIGITS)
    n_bytes = sum(array.nbytes for array in parameters_of(model))
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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_schedule_goes_on_where_the_rates_that_were_computed_ahead_end(monkeypatch):
    X, y = np.random.RandomState(0).standard_normal((20, 3)), np.arange(20.0)
    options = {"hidden_layer_sizes": (4,), "solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1}
    model = fastmlp.MLPRegressor(**options, max_iter=30, tol=0.0, n_iter_no_change=31, random_state=0)
    expected = clone(model).fit(X, y)

    def progress_after(n_epochs):
        return Progress(20 * n_epochs, n_epochs / 30)

    assert len(expected._optimizer.coming_rates(30, progress_after)) == 30
    monkeypatch.setattr(optimizer_state, "MOST_RATES_AHEAD", 7)
    model.fit(X, y)
    assert len(model._optimizer.coming_rates(30, progress_after)) == 7
    assert model.loss_curve_ == expected.loss_curve_
    assert model._optimizer.learning_rate == expected._optimizer.learning_rate < 0.001
