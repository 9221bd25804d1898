"""One test for each piece of the ecosystem that a scikit-learn estimator lives in."""

import copy
import pickle
import threading
import warnings

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import BaggingClassifier, StackingRegressor, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, learning_curve
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from tests.helpers.estimators import assert_same_parameters

X, y = load_iris(return_X_y=True)
X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
QUICK = {"max_iter": 15, "random_state": 0, "hidden_layer_sizes": (12,)}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# --- copies --------------------------------------------------------------------------------------


def test_clone():
    model = MLPClassifier((5, 4), solver="sgd", n_threads=2, dtype="float32").fit(X, y)
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "coefs_")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    model = MLPClassifier(**QUICK).fit(X, y)
    twin = pickle.loads(pickle.dumps(model, protocol))
    np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
    assert twin.get_params() == model.get_params()


def test_joblib(tmp_path):
    model = MLPRegressor(**QUICK).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    for mmap_mode in (None, "r"):  # parameters that nobody can write to
        twin = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap_mode)
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
        twin.partial_fit(X, y)
        expected = copy.deepcopy(model).partial_fit(X, y)
        assert_same_parameters(twin, expected)


def test_deepcopy():
    model = MLPClassifier(**QUICK).fit(X, y)
    twin = copy.deepcopy(model)
    before = model.predict_proba(X)
    twin.partial_fit(X, y)
    assert not np.array_equal(model.coefs_[0], twin.coefs_[0])
    np.testing.assert_array_equal(model.predict_proba(X), before)


# --- model selection -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search(backend):
    grid = {"alpha": [1e-4, 1.0], "activation": ["relu", "tanh"]}
    with joblib.parallel_backend(backend):
        search = GridSearchCV(MLPClassifier(**QUICK), grid, cv=2, n_jobs=2).fit(X, y)
    serial = GridSearchCV(MLPClassifier(**QUICK), grid, cv=2).fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"])
    assert search.best_params_ == serial.best_params_
    assert_same_parameters(search.best_estimator_, serial.best_estimator_)


def test_cross_validation_is_scikit_learns():
    settings = {**QUICK, "max_iter": 60}
    ours, theirs = (
        cross_val_score(cls(**settings), X, y, cv=3) for cls in (MLPClassifier, sklearn.neural_network.MLPClassifier)
    )
    np.testing.assert_allclose(ours, theirs)
    ours, theirs = (
        cross_val_predict(cls(**settings), X, y, cv=3, method="predict_proba")
        for cls in (MLPClassifier, sklearn.neural_network.MLPClassifier)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)


def test_learning_curve_with_partial_fit():
    sizes, _, scores = learning_curve(
        MLPClassifier(**QUICK), X, y, cv=2, train_sizes=[0.3, 0.6, 1.0], exploit_incremental_learning=True
    )
    assert len(sizes) == 3
    assert np.isfinite(scores).all()


def test_permutation_importance():
    model = MLPClassifier(**{**QUICK, "max_iter": 100}).fit(X, y)
    importance = permutation_importance(model, X, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.shape == (4,)


# --- composition ---------------------------------------------------------------------------------


def test_pipeline():
    settings = {**QUICK, "learning_rate_init": 0.05}
    ours, theirs = (
        make_pipeline(StandardScaler(), cls(**settings)).fit(X, y)
        for cls in (MLPClassifier, sklearn.neural_network.MLPClassifier)
    )
    assert ours.score(X, y) == theirs.score(X, y) > 0.9


def test_pipeline_of_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    scaler = StandardScaler().set_output(transform="pandas")
    pipeline = make_pipeline(scaler, MLPClassifier(**QUICK, early_stopping=True)).fit(frame, y)
    assert list(pipeline[-1].feature_names_in_) == ["a", "b", "c", "d"]
    pipeline.predict(frame)


def test_voting():
    voters = [("mlp", MLPClassifier(**QUICK)), ("linear", LogisticRegression())]
    voting = VotingClassifier(voters, voting="soft").fit(X, y, sample_weight=np.ones(150))
    assert voting.score(X, y) > 0.7


def test_calibration():
    """Without decision_function, it calibrates the probabilities."""
    calibrated = CalibratedClassifierCV(MLPClassifier(**QUICK), cv=2).fit(X, y)
    theirs = CalibratedClassifierCV(sklearn.neural_network.MLPClassifier(**QUICK), cv=2).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X), theirs.predict_proba(X), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_bagging(n_jobs):
    bagging = BaggingClassifier(MLPClassifier(**QUICK), n_estimators=3, random_state=0, n_jobs=n_jobs).fit(X, y)
    theirs = BaggingClassifier(
        sklearn.neural_network.MLPClassifier(**QUICK), n_estimators=3, random_state=0, n_jobs=n_jobs
    ).fit(X, y)
    np.testing.assert_allclose(bagging.predict_proba(X), theirs.predict_proba(X), rtol=1e-5, atol=1e-8)


def test_stacking_and_other_wrappers():
    stacking = StackingRegressor([("mlp", MLPRegressor(**QUICK)), ("ridge", Ridge())], cv=2).fit(X, y)
    assert stacking.score(X, y) > 0.8
    wrapped = TransformedTargetRegressor(MLPRegressor(**QUICK), transformer=StandardScaler()).fit(X, y)
    assert wrapped.predict(X).shape == (150,)
    several = MultiOutputRegressor(MLPRegressor(**QUICK)).fit(X, X[:, :2])
    assert several.predict(X).shape == (150, 2)
    several.partial_fit(X, X[:, :2])
    assert OneVsRestClassifier(MLPClassifier(**QUICK)).fit(X, y).predict(X).shape == (150,)


def test_metadata_routing():
    weights = np.linspace(0.1, 1, 150)
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier(**QUICK).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), model).fit(X, y, sample_weight=weights)
        scores = cross_val_score(model, X, y, cv=2, params={"sample_weight": weights})
    direct = MLPClassifier(**QUICK).fit(X, y, weights)
    assert_same_parameters(pipeline[-1], direct)
    assert len(scores) == 2


# --- threads -------------------------------------------------------------------------------------


def test_many_threads_fit_and_predict_at_once():
    shapes = [(5,), (40, 30), (), (100,)]
    expected = [MLPClassifier(**QUICK).set_params(hidden_layer_sizes=shape).fit(X, y) for shape in shapes]
    fitted, wrong = {}, []

    def work(number):
        shape = shapes[number % len(shapes)]
        model = MLPClassifier(**QUICK).set_params(hidden_layer_sizes=shape).fit(X, y)
        fitted[number] = model
        shared = expected[number % len(shapes)]
        for n_rows in (3, 150):
            if not np.array_equal(shared.predict_proba(X[:n_rows]), model.predict_proba(X[:n_rows])):
                wrong.append(number)

    with warnings.catch_warnings():  # which is not a thing to do from several threads
        warnings.simplefilter("ignore", ConvergenceWarning)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    for number, model in fitted.items():
        assert_same_parameters(model, expected[number % len(shapes)])
    assert len(fitted) == 8


# --- callbacks -----------------------------------------------------------------------------------


class Recorder:
    """Follows the protocol of callbacks, and writes down what it is told."""

    def __init__(self, stop_after=None):
        self.events = []
        self.probabilities = []
        self.stop_after = stop_after

    def setup(self, estimator, context):
        self.events.append(("setup", context.max_subtasks))

    def teardown(self, estimator, context):
        self.events.append(("teardown", None))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.events.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.events.append(("end", context.task_name))
        self.data = X, y, metadata
        self.probabilities.append(fitted_estimator.predict(X))
        return self.stop_after is not None and context.task_id + 1 >= self.stop_after and context.parent is not None

    def count(self, event, name):
        return self.events.count((event, name))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_one_task_per_epoch_or_iteration(solver, early_stopping):
    recorder = Recorder()
    settings = {**QUICK, "solver": solver, "early_stopping": early_stopping}
    weights = np.linspace(0.5, 1, 150)
    model = MLPClassifier(**settings).set_callbacks(recorder).fit(X, y, weights)
    name = "lbfgs-iter" if solver == "lbfgs" else "epoch"
    assert recorder.events[0] == ("setup", 15)
    assert recorder.events[-1] == ("teardown", None)
    assert recorder.count("begin", "fit") == recorder.count("end", "fit") == 1
    assert recorder.count("begin", name) == recorder.count("end", name) == model.n_iter_
    assert recorder.data[0] is X
    assert recorder.data[1] is y
    assert recorder.data[2]["sample_weight"] is weights
    np.testing.assert_array_equal(recorder.probabilities[-1], model.predict(X))
    # Being watched changes nothing.
    assert_same_parameters(model, MLPClassifier(**settings).fit(X, y, weights))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_fitted_estimator_is_as_if_fit_had_stopped_there(solver):
    recorder = Recorder()
    MLPRegressor(**QUICK, solver=solver).set_callbacks(recorder).fit(X, y)
    for n_iter in (1, 7):
        stopped = MLPRegressor(**{**QUICK, "max_iter": n_iter}, solver=solver).fit(X, y)
        np.testing.assert_array_equal(recorder.probabilities[n_iter - 1], stopped.predict(X))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_may_stop_the_fit(solver):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # so no ConvergenceWarning either
        model = MLPRegressor(**QUICK, solver=solver).set_callbacks(Recorder(stop_after=4)).fit(X, y)
    assert model.n_iter_ == 4
    with pytest.warns(ConvergenceWarning):
        stopped = MLPRegressor(**{**QUICK, "max_iter": 4}, solver=solver).fit(X, y)
    assert_same_parameters(model, stopped)


def test_callbacks_in_partial_fit():
    recorder = Recorder()
    model = MLPRegressor(**QUICK).set_callbacks(recorder)
    for _ in range(3):
        model.partial_fit(X, y)
    assert recorder.count("end", "epoch") == recorder.count("end", "fit") == 3


def test_callbacks_are_torn_down_after_an_error():
    class Failing(Recorder):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("no more")

    recorder = Failing()
    model = MLPClassifier(**QUICK).set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="no more"):
        model.fit(X, y)
    assert recorder.events[-1] == ("teardown", None)
    assert model.predict(X).shape == (150,)  # with the parameters after the first epoch
    with pytest.raises(TypeError, match="FitCallback protocol"):
        model.set_callbacks("loudly")


def test_without_callbacks_nothing_is_made():
    model = MLPClassifier(**QUICK).set_callbacks(Recorder()).set_callbacks()
    model._init_callback_context = None  # would fail if it were called
    model.fit(X, y)


def test_progress_bar(capsys):
    pytest.importorskip("rich")
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**QUICK)).set_callbacks(ProgressBar())
    pipeline.fit(X, y)
    assert "MLPClassifier" in capsys.readouterr().out


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_scoring_monitor(solver):
    monitor = ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(**QUICK, solver=solver).set_callbacks(monitor).fit(X, y)
    name = "lbfgs-iter" if solver == "lbfgs" else "epoch"
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == name]
    assert len(scores) == model.n_iter_
    assert scores[-1] == model.score(X, y)


def test_callbacks_reach_the_estimators_of_a_grid_search():
    monitor = ScoringMonitor(scoring="accuracy")
    estimator = MLPClassifier(**QUICK).set_callbacks(monitor)
    GridSearchCV(estimator, {"alpha": [1e-4, 1.0]}, cv=2).fit(X, y)
    assert monitor.get_logs("all")


# --- converters ----------------------------------------------------------------------------------


def test_what_converters_read():
    """By hand what an ONNX converter builds from the fitted attributes."""
    model = MLPClassifier(**QUICK).fit(X_DIGITS, Y_DIGITS)
    assert model._label_binarizer.y_type_ == "multiclass"
    a = X_DIGITS
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        a = np.maximum(a @ W + b, 0)
    z = a @ model.coefs_[-1] + model.intercepts_[-1]
    assert model.out_activation_ == "softmax"
    np.testing.assert_array_equal(model.classes_[z.argmax(axis=1)], model.predict(X_DIGITS))
