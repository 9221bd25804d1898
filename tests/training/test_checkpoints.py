"""A fit that is stopped and goes on from its checkpoint ends as one that was never stopped, bit for bit."""

import numpy as np
import pytest
from scipy import sparse

from fastmlp import MLPClassifier, MLPRegressor
from tests.helpers.estimators import fit_quietly
from tests.helpers.interrupted import IRIS, SPECIES, assert_same_fit, assert_same_generator, interrupted_fit, make

PETALS = IRIS[:, 2:] @ np.array([[1.0, 0.5], [-0.3, 2.0]])
WEIGHTS = np.random.RandomState(5).uniform(0, 2, len(IRIS))

CASES = {
    "adam": (MLPClassifier, {}, SPECIES),
    "momentum": (MLPClassifier, {"solver": "sgd", "nesterovs_momentum": False}, SPECIES),
    "nesterov": (MLPClassifier, {"solver": "sgd"}, SPECIES),
    "plain sgd": (MLPClassifier, {"solver": "sgd", "momentum": 0}, SPECIES),
    "adamw": (MLPClassifier, {"solver": "adamw", "weight_decay": 0.1}, SPECIES),
    "invscaling": (MLPClassifier, {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3}, SPECIES),
    "adaptive": (
        MLPClassifier,
        {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 9.0},
        SPECIES,
    ),
    "stopped by the rule": (MLPClassifier, {"n_iter_no_change": 3, "tol": 9.0}, SPECIES),
    "no shuffle": (MLPClassifier, {"shuffle": False}, SPECIES),
    "full batch": (MLPRegressor, {"batch_size": 150, "max_iter": 40}, PETALS),
    "early stopping": (MLPClassifier, {"early_stopping": True}, SPECIES),
    "early stopping of a regression": (MLPRegressor, {"early_stopping": True, "validation_fraction": 0.3}, PETALS),
    "early stopping of two classes": (MLPClassifier, {"early_stopping": True, "n_iter_no_change": 2}, SPECIES == 1),
    "regression": (MLPRegressor, {"solver": "sgd", "learning_rate_init": 0.01}, PETALS),
    "poisson": (MLPRegressor, {"loss": "poisson"}, PETALS[:, 1] ** 2),
    "narrow": (MLPClassifier, {"hidden_layer_sizes": 4, "batch_size": 64, "max_iter": 20}, SPECIES == 1),
    "no hidden layer": (MLPClassifier, {"hidden_layer_sizes": ()}, SPECIES),
    "float32": (MLPClassifier, {"dtype": "float32"}, SPECIES),
    "float32 and sgd": (MLPRegressor, {"dtype": "float32", "solver": "sgd", "early_stopping": True}, PETALS),
    "two threads": (MLPClassifier, {"n_threads": 2, "hidden_layer_sizes": (60, 70)}, SPECIES),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_fit_ends_as_one_that_was_never_stopped(monkeypatch, path, name):
    cls, settings, y = CASES[name]
    expected = fit_quietly(make(cls, settings), IRIS, y)
    for calls in (1, 2, 4, 3):
        model = make(cls, settings, checkpoint=path)
        assert interrupted_fit(monkeypatch, calls, model, IRIS, y)
        assert path.exists()
    resumed = fit_quietly(make(cls, settings, checkpoint=path), IRIS, y)
    assert_same_fit(resumed, expected)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("X", [sparse.csr_array(IRIS), sparse.csc_array(IRIS), IRIS.astype(np.float32)], ids=type)
def test_weights_and_other_kinds_of_X(monkeypatch, path, X, early_stopping):
    settings = {"early_stopping": early_stopping}
    expected = fit_quietly(make(MLPClassifier, settings), X, SPECIES, WEIGHTS)
    for calls in (3, 5):
        model = make(MLPClassifier, settings, checkpoint=path)
        assert interrupted_fit(monkeypatch, calls, model, X, SPECIES, sample_weight=WEIGHTS)
    assert_same_fit(fit_quietly(make(MLPClassifier, settings, checkpoint=path), X, SPECIES, WEIGHTS), expected)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_generator_that_was_given_ends_where_it_would_have(monkeypatch, path, early_stopping):
    settings = {"early_stopping": early_stopping}

    def generator(seed):
        generator = np.random.RandomState(seed)
        generator.standard_normal()  # so that it keeps a second Gaussian number
        return generator

    expected_generator = generator(1)
    expected = fit_quietly(make(MLPClassifier, settings, random_state=expected_generator), IRIS, SPECIES)
    model = make(MLPClassifier, settings, random_state=generator(1), checkpoint=path)
    assert interrupted_fit(monkeypatch, 5, model, IRIS, SPECIES)
    ours = generator(99)  # in a later process nobody knows where the first one was
    resumed = fit_quietly(make(MLPClassifier, settings, random_state=ours, checkpoint=path), IRIS, SPECIES)
    assert_same_fit(resumed, expected)
    assert_same_generator(ours, expected_generator)


def test_numpys_global_generator(monkeypatch, path):
    kept = np.random.get_state()
    try:
        np.random.seed(4)
        settings = {"random_state": None, "early_stopping": True}
        expected = fit_quietly(make(MLPClassifier, settings), IRIS, SPECIES)
        next_number = np.random.random_sample()
        np.random.seed(4)
        assert interrupted_fit(monkeypatch, 6, make(MLPClassifier, settings, checkpoint=path), IRIS, SPECIES)
        np.random.seed(77)
        resumed = fit_quietly(make(MLPClassifier, settings, checkpoint=path), IRIS, SPECIES)
        assert np.random.random_sample() == next_number
        assert_same_fit(resumed, expected)
    finally:
        np.random.set_state(kept)


def test_the_same_estimator_fitted_again_goes_on(monkeypatch, path):
    expected = fit_quietly(make(MLPClassifier, {"early_stopping": True}), IRIS, SPECIES)
    for warm_start in (False, True):
        model = make(MLPClassifier, {"early_stopping": True}, checkpoint=path, warm_start=warm_start)
        assert interrupted_fit(monkeypatch, 5, model, IRIS, SPECIES)
        assert 0 < model.n_iter_ < expected.n_iter_
        assert_same_fit(fit_quietly(model, IRIS, SPECIES), expected)
        assert not path.exists()


def test_warm_start_goes_on_from_the_weights_that_it_began_with_only(monkeypatch, path):
    def warm(**more):
        model = fit_quietly(make(MLPClassifier, {"max_iter": 3}), IRIS, SPECIES)
        return model.set_params(warm_start=True, max_iter=9, **more)

    expected = fit_quietly(warm(), IRIS, SPECIES)
    assert interrupted_fit(monkeypatch, 6, warm(checkpoint=path), IRIS, SPECIES)
    other = warm(checkpoint=path)
    other.coefs_[0][1, 1] += 1
    for model in (other, make(MLPClassifier, {}, checkpoint=path)):
        with pytest.raises(ValueError, match=r"the initial parameters have other values\. Delete the file"):
            model.fit(IRIS, SPECIES)
    assert_same_fit(fit_quietly(warm(checkpoint=path), IRIS, SPECIES), expected)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_arrays_that_are_coarser_than_what_is_computed_in(monkeypatch, path, early_stopping):
    """The network goes on in float32 though the user's arrays, which get its parameters, are float16."""

    def warm(**more):
        model = fit_quietly(make(MLPClassifier, {"max_iter": 1, "early_stopping": early_stopping}), IRIS, SPECIES)
        model.coefs_ = [array.astype(np.float16) for array in model.coefs_]
        model.intercepts_ = [array.astype(np.float16) for array in model.intercepts_]
        return model.set_params(warm_start=True, max_iter=9, **more)

    expected = fit_quietly(warm(), IRIS, SPECIES)
    assert expected.coefs_[0].dtype == np.float16
    for calls in (4, 3):
        assert interrupted_fit(monkeypatch, calls, warm(checkpoint=path), IRIS, SPECIES)
    assert_same_fit(fit_quietly(warm(checkpoint=path), IRIS, SPECIES), expected)


def test_another_max_iter_may_be_given_but_none_that_lies_behind(monkeypatch, path):
    expected = fit_quietly(make(MLPClassifier, {"max_iter": 12}), IRIS, SPECIES)
    assert interrupted_fit(monkeypatch, 14, make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES)
    with pytest.raises(ValueError, match=r"it holds 5 epochs, and max_iter is 5\. Raise max_iter"):
        make(MLPClassifier, {"max_iter": 5}, checkpoint=path).fit(IRIS, SPECIES)
    assert_same_fit(fit_quietly(make(MLPClassifier, {"max_iter": 12}, checkpoint=path), IRIS, SPECIES), expected)


def test_threads_verbosity_and_interval_may_change(monkeypatch, path, capsys):
    expected = fit_quietly(make(MLPClassifier, {}), IRIS, SPECIES)
    assert interrupted_fit(monkeypatch, 5, make(MLPClassifier, {}, checkpoint=path), IRIS, SPECIES)
    other = {"n_threads": 1, "verbose": True, "checkpoint_interval": 3, "hidden_layer_sizes": np.array([30, 20])}
    resumed = fit_quietly(make(MLPClassifier, other, checkpoint=str(path)), IRIS, SPECIES)
    assert capsys.readouterr().out.startswith("Going on after 1 epochs, from the checkpoint")
    resumed.hidden_layer_sizes = expected.hidden_layer_sizes
    assert_same_fit(resumed, expected)


def test_a_narrow_and_a_wide_network_are_both_tested():
    """The cases above are worth less if all of them run in the same orientation."""
    narrow = {}
    for name in ("narrow", "two threads"):
        cls, settings, y = CASES[name]
        model = fit_quietly(make(cls, settings), IRIS, y)
        narrow[name] = model._make_network(np.dtype(float), batch_size=model.batch_size, solver="adam").narrow
    assert narrow == {"narrow": True, "two threads": False}
