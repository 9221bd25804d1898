"""Model files: what is saved comes back, in whatever way it was fitted."""

import copy
import json
import os
import sys
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_multilabel_classification
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators.persistence import SavedModel, load_model, save_model
from fastmlp.reference import HIDDEN_ACTIVATIONS
from fastmlp.training.optimizer_state import SOLVERS
from fastmlp.training.schedules import SCHEDULES
from tests.helpers.models import IRIS, SPECIES, fit, refuse
from tests.helpers.strangers import archive_bytes


def assert_same_attributes(ours, expected):
    assert type(ours) is type(expected)
    assert vars(ours).keys() == vars(expected).keys() - {"_best_coefs", "_best_intercepts"}
    for name, value in vars(ours).items():
        wanted = vars(expected)[name]
        if name in ("_optimizer", "_label_binarizer"):
            assert_same_attributes(value, wanted)
        elif name in ("coefs_", "intercepts_", "ms", "vs", "velocities"):
            for array, wanted_array in zip(value, wanted, strict=True):
                assert array.dtype == wanted_array.dtype
                np.testing.assert_array_equal(array, wanted_array)
        elif isinstance(value, np.random.RandomState):
            ours_state, wanted_state = value.get_state(), wanted.get_state()
            np.testing.assert_array_equal(ours_state[1], wanted_state[1])
            assert ours_state[2:] == wanted_state[2:]
        elif isinstance(value, np.ndarray):
            assert value.dtype == wanted.dtype
            np.testing.assert_array_equal(value, wanted)
        else:
            assert value == wanted, name
            assert type(value) is type(wanted) or isinstance(wanted, np.generic), name


def multilabel():
    return make_multilabel_classification(n_samples=40, n_features=4, n_classes=3, random_state=0)


FITS = {
    "adam": lambda: fit(MLPClassifier((5,), random_state=1)),
    "sgd": lambda: fit(MLPClassifier((5,), solver="sgd", learning_rate="adaptive")),
    "lbfgs": lambda: fit(MLPClassifier((5,), solver="lbfgs")),
    "early stopping": lambda: fit(MLPClassifier(5, early_stopping=True, n_iter_no_change=2)),
    "no hidden layer": lambda: fit(MLPClassifier([], n_iter_no_change=np.inf)),
    "generator": lambda: fit(MLPClassifier(5, random_state=np.random.RandomState(3))),
    "float32": lambda: fit(MLPClassifier(5), IRIS.astype(np.float32)),
    "two classes": lambda: fit(MLPClassifier(5), IRIS[:100], SPECIES[:100] == 1),
    "text labels": lambda: fit(MLPClassifier(5), y=np.array(["setosa", "virginica", "ü"])[SPECIES]),
    "object labels": lambda: fit(MLPClassifier(5), y=np.array(["a", "b", "c"], object)[SPECIES]),
    "float labels": lambda: fit(MLPClassifier(5), y=SPECIES.astype(np.float32)),
    "multilabel": lambda: fit(MLPClassifier(5), *multilabel()),
    "regression": lambda: fit(MLPRegressor(hidden_layer_sizes=(5,)), y=IRIS[:, :2]),
    "poisson": lambda: fit(MLPRegressor("poisson", (5,)), y=IRIS[:, 0]),
}


@pytest.mark.parametrize("name", FITS)
def test_round_trip_keeps_everything(tmp_path, name):
    estimator = FITS[name]()
    X = multilabel()[0] if name == "multilabel" else IRIS
    path = tmp_path / "model.npz"
    save_model(path, estimator)
    loaded = load_model(path)
    assert loaded[1:] == (None, None, None, None)
    vars(estimator).pop("_random_state", None)
    assert_same_attributes(loaded.estimator, estimator)
    np.testing.assert_array_equal(loaded.estimator.predict(X), estimator.predict(X))


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_loaded_model_goes_on_as_the_saved_one_would(tmp_path, solver):
    estimator = fit(MLPClassifier((5, 4), solver=solver, random_state=0))
    save_model(tmp_path / "model.npz", estimator)
    loaded = load_model(tmp_path / "model.npz").estimator
    for model in (estimator, loaded):
        model.partial_fit(IRIS, SPECIES)
    for ours, expected in zip(loaded.coefs_, estimator.coefs_, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_feature_names_scaler_columns_and_target_come_back(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(IRIS, columns=["a", "b", "c", "d"])
    estimator = fit(MLPClassifier(5), frame)
    scaler = StandardScaler().fit(IRIS)
    save_model(tmp_path / "model", estimator, scaler, columns=list(frame), target="species")
    loaded = load_model(tmp_path / "model")
    assert isinstance(loaded, SavedModel)
    assert loaded.columns == ["a", "b", "c", "d"]
    assert loaded.target == "species"
    np.testing.assert_array_equal(loaded.scaler.transform(IRIS), scaler.transform(IRIS))
    assert loaded.estimator.feature_names_in_.tolist() == list(frame)
    loaded.estimator.predict(frame)


def test_numpy_reads_the_file_without_pickle(tmp_path, model_bytes):
    (tmp_path / "model.npz").write_bytes(model_bytes)
    with np.load(tmp_path / "model.npz") as archive:
        assert archive["coefs_0"].shape == (4, 5)
        header = json.loads(archive["header"].tobytes())
    assert header["format"] == "fastmlp model"
    assert header["estimator"] == "MLPClassifier"
    assert header["layer_units"] == [4, 5, 4, 3]


class TestMethods:
    def test_save_and_load(self, tmp_path, classifier):
        classifier.save(tmp_path / "model.npz")
        loaded = MLPClassifier.load(tmp_path / "model.npz")
        vars(classifier).pop("_random_state", None)
        assert_same_attributes(loaded, classifier)

    def test_the_other_class_is_refused(self, tmp_path, classifier):
        classifier.save(tmp_path / "model.npz")
        with pytest.raises(ValueError, match=r"holds an MLPClassifier, not an MLPRegressor: load it with MLPClass"):
            MLPRegressor.load(tmp_path / "model.npz")

    def test_what_a_method_cannot_return_is_refused(self, tmp_path, classifier):
        for extra in ({"scaler": StandardScaler().fit(IRIS)}, {"columns": ["a", "b", "c", "d"]}, {"target": "y"}):
            save_model(tmp_path / "model.npz", classifier, **extra)
            with pytest.raises(ValueError, match=r"predict with `fastmlp predict`"):
                MLPClassifier.load(tmp_path / "model.npz")

    def test_where_fits_save_themselves_is_not_saved(self, tmp_path, parts):
        path = tmp_path / "model.npz"
        fit(MLPClassifier(5, checkpoint=tmp_path / "run.npz", checkpoint_interval=5)).save(path)
        assert MLPClassifier.load(path).get_params() == MLPClassifier(5, max_iter=3).get_params()
        header, arrays = parts
        for name, value in (("checkpoint", "victim.npz"), ("checkpoint_interval", 0)):
            changed = {**header, "parameters": {**header["parameters"], name: value}}
            refuse(path, archive_bytes(changed, arrays), "foreign parameter")


class TestSaving:
    def test_unfitted_or_foreign_estimators_are_refused(self, tmp_path):
        from sklearn.neural_network import MLPClassifier as TheirClassifier

        path = tmp_path / "model.npz"
        with pytest.raises(ValueError, match="has not been fitted"):
            save_model(path, MLPClassifier())
        with pytest.raises(ValueError, match="Only fastmlp's own"):
            save_model(path, TheirClassifier())
        assert list(tmp_path.iterdir()) == []

    def test_what_the_format_has_no_place_for_is_refused(self, tmp_path):
        path = tmp_path / "model.npz"
        estimator = fit(MLPClassifier(5))
        estimator.set_params(verbose=object())
        with pytest.raises(ValueError, match="parameter 'verbose'"):
            save_model(path, estimator)
        estimator.set_params(verbose=False)
        estimator.coefs_[0][1, 2] = np.nan
        with pytest.raises(ValueError, match="coefs_0 are not all finite"):
            save_model(path, estimator)
        assert list(tmp_path.iterdir()) == []

    def test_failure_keeps_the_earlier_file(self, tmp_path, classifier, monkeypatch):
        path = tmp_path / "model.npz"
        path.write_text("earlier")
        with monkeypatch.context() as patch:
            patch.setattr("fastmlp.estimators.persistence.write_archive", lambda file, arrays: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                save_model(path, classifier)
        assert path.read_text() == "earlier"
        assert list(tmp_path.iterdir()) == [path]
        save_model(path, classifier)
        load_model(path)
        assert list(tmp_path.iterdir()) == [path]

    def test_folder_that_does_not_exist(self, tmp_path, classifier):
        with pytest.raises(OSError, match="its folder doesn't exist"):
            save_model(tmp_path / "nowhere" / "model.npz", classifier)
        with pytest.raises(OSError, match="is a folder"):
            save_model(tmp_path, classifier)

    @pytest.mark.skipif(os.name == "nt", reason="needs symbolic links and modes")
    def test_link_and_mode_of_an_earlier_file_are_kept(self, tmp_path, classifier):
        path, link = tmp_path / "model.npz", tmp_path / "link"
        path.write_text("earlier")
        path.chmod(0o640)
        link.symlink_to(path)
        save_model(link, classifier)
        assert link.is_symlink()
        assert path.stat().st_mode & 0o777 == 0o640
        load_model(path)


POSITIVE = st.one_of(
    st.integers(1, 100), st.integers(1, 2**70), st.sampled_from([2**62, sys.maxsize, np.uint64(2**64 - 1), True])
)

SIZE = st.one_of(st.integers(1, 2**70), st.integers(1, 99).map(np.int16), st.just(True))

RATE = st.one_of(
    st.floats(0.01, 0.99),
    st.floats(0.0625, 0.9375, width=16).map(np.float16),
    st.floats(0.0625, 0.5).map(np.longdouble),
)

POSITIVE_NUMBER = st.one_of(POSITIVE, RATE, st.floats(1e-300, 1e300))

PARAMETERS = {
    "hidden_layer_sizes": st.one_of(
        SIZE, st.lists(SIZE), st.lists(SIZE).map(tuple), st.just(np.array([5, 4], np.uint8))
    ),
    "activation": st.sampled_from([*HIDDEN_ACTIVATIONS, np.str_("relu")]),
    "solver": st.sampled_from(["lbfgs", *SOLVERS]),
    "alpha": POSITIVE_NUMBER,
    "batch_size": st.one_of(st.just("auto"), POSITIVE),
    "learning_rate": st.sampled_from(list(SCHEDULES)),
    "learning_rate_init": POSITIVE_NUMBER,
    "power_t": POSITIVE_NUMBER,
    "max_iter": POSITIVE,
    "shuffle": st.sampled_from([True, False, np.True_]),
    "random_state": st.one_of(
        st.none(), st.integers(0, 2**32 - 1), st.builds(np.random.RandomState, st.integers(0, 9))
    ),
    "tol": POSITIVE_NUMBER,
    "verbose": st.one_of(st.booleans(), st.integers(0, 2**70)),
    "warm_start": st.booleans(),
    "momentum": RATE,
    "nesterovs_momentum": st.booleans(),
    "early_stopping": st.booleans(),
    "validation_fraction": RATE,
    "weight_decay": POSITIVE_NUMBER,
    "beta_1": RATE,
    "beta_2": RATE,
    "epsilon": POSITIVE_NUMBER,
    "n_iter_no_change": st.one_of(POSITIVE, st.just(np.inf)),
    "max_fun": POSITIVE,
    "n_threads": st.one_of(st.none(), POSITIVE),
    "dtype": st.sampled_from([None, "float32", "float64"]),
}


def test_every_parameter_is_drawn():
    assert PARAMETERS.keys() == MLPClassifier().get_params().keys() - {"checkpoint", "checkpoint_interval"}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parameters=st.fixed_dictionaries({}, optional=PARAMETERS))
def test_whatever_parameters_a_fit_accepts_come_back(tmp_path, classifier, parameters):
    model = copy.deepcopy(classifier).set_params(**parameters)
    model._validate_params()
    model.save(tmp_path / "model.npz")
    loaded = MLPClassifier.load(tmp_path / "model.npz").get_params()
    for name, value in model.get_params().items():
        if isinstance(value, np.random.RandomState):
            assert loaded[name].randint(2**31, size=5).tolist() == copy.deepcopy(value).randint(2**31, size=5).tolist()
        else:
            assert np.array_equal(loaded[name], value), name


@pytest.mark.parametrize(
    "settings",
    [
        {"max_iter": sys.maxsize, "tol": 1e3, "n_iter_no_change": 1},
        {"hidden_layer_sizes": (True, 5)},
        {"batch_size": 2**63},
    ],
    ids=str,
)
def test_fits_with_parameters_that_people_write(tmp_path, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier(**{"max_iter": 3, "random_state": 0, **settings}).fit(IRIS, SPECIES)
    model.save(tmp_path / "model.npz")
    loaded = MLPClassifier.load(tmp_path / "model.npz")
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.predict_proba(IRIS), model.predict_proba(IRIS))


@pytest.mark.parametrize("n_layers", [1001, 1700])
def test_a_network_of_many_layers_is_saved_whole_or_not_at_all(tmp_path, n_layers):
    model = fit(MLPRegressor(hidden_layer_sizes=(1,) * (n_layers - 2)))
    path = tmp_path / "model.npz"
    path.write_text("earlier")
    if n_layers > 1666:  # Adam has six arrays a layer
        with pytest.raises(ValueError, match=r"can't be saved: a file holds 10000 arrays at most, and these are 10195"):
            model.save(path)
        assert path.read_text() == "earlier"
    else:
        model.save(path)
        np.testing.assert_array_equal(MLPRegressor.load(path).predict(IRIS), model.predict(IRIS))


def spoiled(name, value):
    def spoil(model):
        setattr(model, name, value)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoiled("max_iter", 10**400), r"its parameter 'max_iter' is an integer beyond 1e308"),
        (spoiled("max_iter", 10**5000), r"its parameter 'max_iter' is an integer beyond 1e308"),
        (spoiled("max_iter", -3), r"The 'max_iter' parameter of MLPClassifier must be an int"),
        (spoiled("max_iter", np.timedelta64(3, "s")), r"its parameter 'max_iter' is .*no number of 64 bits"),
        (spoiled("hidden_layer_sizes", (5.5,)), r"its parameter 'hidden_layer_sizes' holds 5.5, which is no integer"),
        (spoiled("hidden_layer_sizes", range(2)), r"its parameter 'hidden_layer_sizes' is of the type 'range'"),
        (spoiled("alpha", np.nan), r"its parameter 'alpha' is nan: one of its numbers is NaN"),
        (spoiled("alpha", np.longdouble(1) / 3), r"its parameter 'alpha' is .* no number of 64 bits"),
        (spoiled("t_", 2**63), r"the field 't_' of its attributes is wrong, 9223372036854775808"),
        (spoiled("n_iter_", -1), r"the field 'n_iter_' of its attributes is wrong, -1"),
        (spoiled("loss_curve_", [1.0, np.nan]), r"one of its numbers is NaN"),
        (spoiled("feature_names_in_", np.array(["a", "b"], object)), r"its feature names are not one a feature"),
        (spoiled("feature_names_in_", np.array(["a", "b", "c", "\ud800"], object)), r"'feature_names'.* is wrong"),
        (spoiled("classes_", np.array([0, 1])), r"its class labels and its outputs don't belong together"),
        (spoiled("out_activation_", "identity"), r"the field 'out_activation' of its header is wrong, 'identity'"),
        (lambda model: model.coefs_.pop(), r"argument 2 is longer|its member"),
        (lambda model: model.coefs_.reverse(), r"its member coefs_0 is missing, or of wrong shape or dtype"),
        (lambda model: model._optimizer.ms.pop(), r"its member first_moments_5 is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.skipif(
    np.finfo(np.longdouble).eps == np.finfo(float).eps, reason="a third is one number in both precisions"
)
def test_what_could_not_be_loaded_is_refused_before_an_earlier_file_is_touched(tmp_path, classifier, spoil, reason):
    model = copy.deepcopy(classifier)
    spoil(model)
    path = tmp_path / "model.npz"
    path.write_text("earlier")
    with pytest.raises(ValueError, match=f"^The model can't be saved: .*(?:{reason})"):
        model.save(path)
    assert [path.read_text(), *tmp_path.iterdir()] == ["earlier", path]
