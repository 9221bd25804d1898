"""What scikit-learn refuses is refused in its words, and training that diverges is an error."""

import pickle
import re

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.utils._param_validation import InvalidParameterError

import fastmlp
from tests.helpers.estimators import NAMES, X_IRIS, Y_IRIS, both, outcome, quietly, with_sorted_options

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
