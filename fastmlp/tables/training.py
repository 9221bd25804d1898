"""From a user's table to a trained model, and from a model and a table to predictions.

This is what ``fastmlp train`` and ``fastmlp predict`` do, without a word on the terminal.
"""

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastmlp.simd.compilation import COMPILATION
from fastmlp.tables.roles import find_identifiers, read_features, read_target, require_columns

FEWEST_ROWS = 5
# Minibatches that the fit before the fit sees: enough for all that is compiled or loaded at the first call.
REHEARSED_BATCHES = 4


@dataclass
class TrainedTable:
    """A model trained on a table, and how well it does.

    ``seconds`` are those of the fit; what was compiled for it took ``seconds_compiling`` more.
    ``score`` is accuracy or R² on the held-out rows; ``baseline`` is what the most common class, or
    the mean, reaches there.
    """

    estimator: Any
    scaler: Any
    target_scaler: Any
    columns: list[str]
    target: str
    task: str
    reason: str
    n_train: int
    n_test: int
    seconds: float
    seconds_compiling: float
    score: float
    baseline: float
    notes: list[str]

    @property
    def score_name(self):
        """Accuracy or R²."""
        return "accuracy" if self.task == "classification" else "R²"


def train_on_table(table, target, *, drop=(), keep_all=False, task=None, test_fraction=0.2, seed=0, **parameters):
    """Train a classifier or a regressor on a table.

    Features are all the other columns but identifiers, scaled to mean 0 and variance 1 on the rows
    trained on. So is the target of a regression; predictions are brought to its own units in
    float64.

    Parameters
    ----------
    table : fastmlp.tables.reading.Table
        The table.
    target : str
        The column to predict.
    drop : sequence of str
        Columns to leave out.
    keep_all : bool, default=False
        Whether columns that number or name the rows are features too.
    task : {"classification", "regression"}, optional
        By default it is found out from the target.
    test_fraction : float, default=0.2
        Share of the rows that is held out for the score.
    seed : int, default=0
        Determines the split, the initial weights and the order of the samples.
    **parameters
        Parameters of the estimator.

    Returns
    -------
    TrainedTable

    Raises
    ------
    ValueError
        If the table can't be trained on: one sentence.
    """
    from fastmlp import MLPClassifier, MLPRegressor

    require_columns(table, [target, *drop])
    if target in drop:
        raise ValueError(f"Column {target!r} is the target, so it can't be dropped.")
    columns = [name for name in table.columns if name != target and name not in drop]
    notes = []
    if not keep_all:
        identifiers = find_identifiers(table, columns)
        columns = [name for name in columns if name not in identifiers]
        notes += [f"column {name!r} is left out: {why}; --keep-all keeps it" for name, why in identifiers.items()]
    if not columns:
        raise ValueError(f"{table.path!r} has no column but the target to learn from{_except(notes)}.")
    found = read_target(table, target, task)
    n_missing = table.n_rows - len(found.rows)
    if n_missing:
        are = "row is" if n_missing == 1 else "rows are"
        notes.append(f"{n_missing:,} {are} left out, as the target is missing there")
    _require_enough(found, target)
    X = read_features(table, columns, found.rows, droppable=True)
    train, test = _split(found, test_fraction, seed)
    scaler = StandardScaler()
    with np.errstate(over="ignore", invalid="ignore"):
        scaler.fit(X[train])
    for name, finite in zip(columns, np.isfinite(scaler.scale_) & np.isfinite(scaler.mean_), strict=True):
        if not finite:
            raise ValueError(f"Column {name!r} holds values too large to be scaled.")

    estimator_class = MLPClassifier if found.task == "classification" else MLPRegressor
    estimator = estimator_class(random_state=seed, **parameters)
    X = _scale(scaler, X, columns, found.rows, np.dtype(estimator.dtype or np.float64))
    y, target_scaler = found.y, None
    if found.task == "regression":
        target_scaler = _fit_target_scaler(found, train, target)
        y = target_scaler.transform(y.reshape(-1, 1))[:, 0]
    seconds, seconds_compiling, caught = _fit(estimator, X[train], y[train])
    predicted = _predict(estimator, X[test], columns, found.rows[test], target_scaler)
    if found.task == "classification":
        labels, counts = np.unique(y[train], return_counts=True)
        score = accuracy_score(found.y[test], predicted)
        baseline = float(np.mean(found.y[test] == labels[counts.argmax()]))
    else:
        score, baseline = r2_score(found.y[test], predicted), 0.0
    return TrainedTable(
        estimator=estimator,
        scaler=scaler,
        target_scaler=target_scaler,
        columns=columns,
        target=target,
        task=found.task,
        reason=found.reason,
        n_train=len(train),
        n_test=len(test),
        seconds=seconds,
        seconds_compiling=seconds_compiling,
        score=float(score),
        baseline=baseline,
        notes=[*notes, *dict.fromkeys(map(_note, caught))],
    )


def _except(notes):
    return f" ({'; '.join(notes)})" if notes else ""


def _note(warning):
    if issubclass(warning.category, ConvergenceWarning):
        return "training ended before the loss had settled; --epochs gives it more"
    return " ".join(str(warning.message).split())


def _fit(estimator, X, y):
    """Fit; return the seconds it took without compiling, those of compiling, and the warnings."""
    before = COMPILATION.seconds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = _rehearsal_rows(estimator, y)
        clone(estimator).set_params(max_iter=1).fit(X[rows], y[rows])
    start, rehearsed = time.perf_counter(), COMPILATION.seconds
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, y)
    seconds = time.perf_counter() - start - (COMPILATION.seconds - rehearsed)
    return seconds, COMPILATION.seconds - before, caught


def _rehearsal_rows(estimator, y):
    """Choose rows for a fit that compiles and loads what the fit will need: minibatches as large, and every class."""
    batch_size = 200 if estimator.batch_size == "auto" else estimator.batch_size
    n_rows = min(len(y), REHEARSED_BATCHES * batch_size)
    rows = np.arange(n_rows)
    if is_classifier(estimator):
        # A few of each class, as early stopping holds out some; classes of fewer rows it refuses in the fit itself.
        few = [np.flatnonzero(y == label)[:3] for label in np.unique(y)]
        rows = np.union1d(rows, np.concatenate(few))
    return rows


def _require_enough(found, target):
    if len(found.y) < FEWEST_ROWS:
        rows = "is 1 row" if len(found.y) == 1 else f"are {len(found.y)} rows"
        raise ValueError(f"There {rows} with a target; training takes {FEWEST_ROWS} at least.")
    if len(np.unique(found.y)) == 1:
        raise ValueError(f"Column {target!r} has only one distinct value, so there is nothing to learn.")


def _split(found, test_fraction, seed):
    """Split the rows; classes keep their proportions where there are enough of each."""
    rows = np.arange(len(found.y))
    n_test = min(max(2, round(test_fraction * len(rows))), len(rows) - 2)
    strata = None
    if found.task == "classification":
        counts = np.unique(found.y, return_counts=True)[1]
        if counts.min() >= 2 and len(counts) <= min(n_test, len(rows) - n_test):
            strata = found.y
    train, test = train_test_split(rows, test_size=n_test, random_state=seed, stratify=strata)
    if len(np.unique(found.y[train])) == 1:
        raise ValueError("All rows that are not held out have the same target; there are too few of the others.")
    return train, test


def _fit_target_scaler(found, train, target):
    """Fit the scaler of a regression's target."""
    target_scaler = StandardScaler()
    with np.errstate(over="ignore", invalid="ignore"):
        target_scaler.fit(found.y[train].reshape(-1, 1))
    if not (np.isfinite(target_scaler.mean_).all() and np.isfinite(target_scaler.scale_).all()):
        raise ValueError(f"Column {target!r}, the target, holds values too large to be scaled.")
    return target_scaler


# --- predictions ---------------------------------------------------------------------------------


def predict_table(model, table, probabilities=False):
    """Predict every row of a table.

    Parameters
    ----------
    model : fastmlp.estimators.persistence.SavedModel
        What was loaded.
    table : fastmlp.tables.reading.Table
        A table with the columns that the model was trained on, in any order; others don't matter.
    probabilities : bool, default=False
        Whether to add a column for the probability of every class.

    Returns
    -------
    dict of str to ndarray
        Columns: ``prediction``, and ``probability of ...``.
    """
    if model.columns is None:
        raise ValueError("The model doesn't know the names of its columns: fastmlp train didn't save it.")
    estimator = model.estimator
    if probabilities and not is_classifier(estimator):
        raise ValueError("The model predicts numbers, so it has no probabilities.")
    rows = np.arange(table.n_rows)
    X = _scale(model.scaler, read_features(table, model.columns), model.columns, rows, estimator.coefs_[0].dtype)
    if not probabilities:
        return {"prediction": _predict(estimator, X, model.columns, rows, model.target_scaler)}
    outputs = _predict_outputs(estimator, X, model.columns, rows)
    columns = {"prediction": estimator.classes_[outputs.argmax(axis=1)]}
    for index, label in enumerate(estimator.classes_):
        columns[f"probability of {label}"] = outputs[:, index]
    return columns


def _scale(scaler, X, columns, rows, dtype):
    """Scale features; what is too large for the arithmetic of a model is refused by column and row."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = X if scaler is None else scaler.transform(X)
        large = ~(np.abs(scaled) <= np.finfo(dtype).max)
    if large.any():
        row, column = np.argwhere(large)[0]
        raise ValueError(
            f"Column {columns[column]!r} holds {X[row, column]:g} in row {rows[row] + 1}, "
            f"which is too large for a model in {np.dtype(dtype)}."
        )
    return scaled


def _predict(estimator, X, columns, rows, target_scaler):
    """Predict labels, or numbers in their own units."""
    outputs = _predict_outputs(estimator, X, columns, rows)
    if is_classifier(estimator):
        return estimator.classes_[outputs.argmax(axis=1)]
    if target_scaler is None:
        return outputs
    # In float64, whatever the model computes in: a time in seconds has more digits than a float32.
    with np.errstate(over="ignore"):
        return target_scaler.inverse_transform(outputs.astype(np.float64).reshape(len(X), -1)).reshape(outputs.shape)


def _predict_outputs(estimator, X, columns, rows):
    """Return probabilities or numbers; what overflows on the way is refused by row and its most unusual column."""
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = estimator.predict_proba(X) if is_classifier(estimator) else estimator.predict(X)
    finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        name = columns[int(np.abs(X[row]).argmax())]
        raise ValueError(
            f"Row {rows[row] + 1} can't be predicted in {estimator.coefs_[0].dtype}: "
            f"its value in column {name!r} is too far from those trained on."
        )
    return outputs
