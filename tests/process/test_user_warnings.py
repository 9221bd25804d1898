"""Every warning of a fit points at the line of the user's that called it, also through scikit-learn."""

import ast
import warnings
from pathlib import Path

import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
import fastmlp.network.network
import fastmlp.training.checkpoints
from fastmlp import MLPClassifier, MLPRegressor

X, Y = load_iris(return_X_y=True)
HUGE = Y * 1e200
SHORT = {"max_iter": 2, "random_state": 0}


def interrupt(*arguments):
    raise KeyboardInterrupt


def fail(*arguments, **options):
    raise OSError("no room")


# One line each: that is the line to which the warning has to point.
DIRECT = {
    "epochs": (lambda: MLPClassifier(**SHORT).fit(X, Y), ConvergenceWarning),
    "epochs of a regression": (lambda: MLPRegressor(**SHORT).fit(X, Y), ConvergenceWarning),
    "early stopping": (lambda: MLPRegressor(early_stopping=True, **SHORT).fit(X, Y), ConvergenceWarning),
    "warm start": (lambda: MLPClassifier(warm_start=True, **SHORT).fit(X, Y), ConvergenceWarning),
    "iterations": (lambda: MLPClassifier(solver="lbfgs", **SHORT).fit(X, Y), ConvergenceWarning),
    "minibatch": (lambda: MLPClassifier(batch_size=1000).partial_fit(X, Y, classes=[0, 1, 2]), UserWarning),
    "column": (lambda: MLPClassifier(**SHORT).partial_fit(X, Y[:, None], classes=[0, 1, 2]), DataConversionWarning),
    "column of a regression": (lambda: MLPRegressor(**SHORT).fit(X, Y[:, None]), DataConversionWarning),
    "loss": (lambda: MLPRegressor(**SHORT).fit(X, HUGE), ConvergenceWarning),
}
INDIRECT = {
    "pipeline": (lambda: make_pipeline(StandardScaler(), MLPClassifier(**SHORT)).fit(X, Y), ConvergenceWarning),
    "grid": (lambda: GridSearchCV(MLPClassifier(**SHORT), {"alpha": [0, 1]}, cv=2).fit(X, Y), ConvergenceWarning),
    "cross-validation": (lambda: cross_val_score(MLPClassifier(**SHORT), X, Y, cv=2), ConvergenceWarning),
    "targets": (lambda: TransformedTargetRegressor(MLPRegressor(**SHORT)).fit(X, Y), ConvergenceWarning),
    "one against the rest": (lambda: OneVsRestClassifier(MLPClassifier(**SHORT)).fit(X, Y), ConvergenceWarning),
    "bagging": (lambda: BaggingClassifier(MLPClassifier(**SHORT), n_estimators=2).fit(X, Y), ConvergenceWarning),
}


def assert_points_at(call, category, text=""):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    ours = [warning for warning in caught if warning.category is category and text in str(warning.message)]
    assert ours
    for warning in ours:
        assert (Path(warning.filename).name, warning.lineno) == (Path(__file__).name, call.__code__.co_firstlineno)


@pytest.mark.parametrize("name", [*DIRECT, *INDIRECT])
def test_the_line_of_the_call_is_named(name):
    assert_points_at(*(DIRECT | INDIRECT)[name])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_interrupt(monkeypatch, solver):
    monkeypatch.setattr(fastmlp.network.epochs.Epochs, "advance", interrupt)
    monkeypatch.setattr(fastmlp.network.network.Network, "loss_and_gradient", interrupt)
    assert_points_at(lambda: MLPClassifier(solver=solver).fit(X, Y), UserWarning, "interrupted by user")


@pytest.mark.parametrize("name", ["replaced_file", "unlink"])
def test_a_checkpoint_that_cannot_be_written_or_removed(monkeypatch, tmp_path, name):
    path = tmp_path / "run.npz"
    if name == "replaced_file":
        monkeypatch.setattr(fastmlp.training.checkpoints, name, fail)
        text = "could not be written"
    else:
        monkeypatch.setattr(Path, "unlink", fail)
        text = "could not be removed"
    model = MLPClassifier(checkpoint=path, checkpoint_interval=0, **SHORT)
    assert_points_at(lambda: model.fit(X, Y), UserWarning, text)


def test_a_subclass_outside_the_package_is_the_caller():
    class Patient(MLPClassifier):
        def fit(self, X, y):
            return super().fit(X, y)

    with pytest.warns(ConvergenceWarning) as caught:
        Patient(**SHORT).fit(X, Y)
    assert caught[0].lineno == Patient.fit.__code__.co_firstlineno + 1


def test_a_filter_by_module_finds_the_users_module():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module=__name__.replace(".", r"\."))
        MLPClassifier(**SHORT).fit(X, Y)


def test_no_module_warns_in_a_way_of_its_own():
    for path in Path(fastmlp.__file__).parent.rglob("*.py"):
        if path.stem != "user_warnings":
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not [call.lineno for call in calls if ast.unparse(call.func) in ("warnings.warn", "warn")], path
