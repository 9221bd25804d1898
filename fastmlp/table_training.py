"""From a user's table to a trained model, and from a model and a table to predictions.

This is what ``fastmlp train`` and ``fastmlp predict`` do, without a word on the terminal.
"""

import csv
import io
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastmlp.files import replaced_file
from fastmlp.tables import read_features, read_target, require_columns

FEWEST_ROWS = 5


@dataclass
class TrainedTable:
    """A model trained on a table, and how well it does.

    ``score`` is accuracy or R² on the held-out rows; ``baseline`` is what the most common class, or
    the mean, reaches there.
    """

    estimator: Any
    scaler: Any
    columns: list[str]
    target: str
    task: str
    reason: str
    n_train: int
    n_test: int
    seconds: float
    score: float
    baseline: float
    notes: list[str]

    @property
    def score_name(self):
        """Accuracy or R²."""
        return "accuracy" if self.task == "classification" else "R²"


def train_on_table(table, target, *, task=None, test_fraction=0.2, seed=0, **parameters):
    """Train a classifier or a regressor on a table.

    Features are all the other columns, scaled to mean 0 and variance 1 on the rows trained on. The
    target of a regression is scaled too while it is trained on, and the scale is put into the last
    layer afterwards, so that the model predicts in the target's own units.

    Parameters
    ----------
    table : fastmlp.tables.Table
        The table.
    target : str
        The column to predict.
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

    require_columns(table, [target])
    columns = [name for name in table.columns if name != target]
    if not columns:
        raise ValueError(f"{table.path!r} has no column but the target, so there is nothing to learn from.")
    found = read_target(table, target, task)
    X = read_features(table, columns)
    _require_enough(found, target)
    train, test = _split(found, test_fraction, seed)

    scaler = StandardScaler()
    with np.errstate(over="ignore", invalid="ignore"):
        X_train = scaler.fit_transform(X[train])
    for name, finite in zip(columns, np.isfinite(scaler.scale_) & np.isfinite(scaler.mean_), strict=True):
        if not finite:
            raise ValueError(f"Column {name!r} holds values too large to be scaled.")
    X_test = scaler.transform(X[test])
    y_train, y_test = found.y[train], found.y[test]

    estimator_class = MLPClassifier if found.task == "classification" else MLPRegressor
    estimator = estimator_class(random_state=seed, **parameters)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if found.task == "classification":
            estimator.fit(X_train, y_train)
        else:
            _fit_scaled(estimator, X_train, y_train)
    seconds = time.perf_counter() - start
    if found.task == "classification":
        labels, counts = np.unique(y_train, return_counts=True)
        baseline = float(np.mean(y_test == labels[counts.argmax()]))
    else:
        baseline = 0.0
    return TrainedTable(
        estimator=estimator,
        scaler=scaler,
        columns=columns,
        target=target,
        task=found.task,
        reason=found.reason,
        n_train=len(train),
        n_test=len(test),
        seconds=seconds,
        score=float(estimator.score(X_test, y_test)),
        baseline=baseline,
        notes=[_note(warning) for warning in caught],
    )


def _note(warning):
    if issubclass(warning.category, ConvergenceWarning):
        return "training ended before the loss had settled; --epochs gives it more"
    return " ".join(str(warning.message).split())


def _require_enough(found, target):
    if len(found.y) < FEWEST_ROWS:
        raise ValueError(f"There are {len(found.y)} rows; training takes {FEWEST_ROWS} at least.")
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


def _fit_scaled(estimator, X, y):
    """Fit to the target at mean 0 and variance 1, then undo the scaling in the last layer."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = y.mean(), y.std()
    if not np.isfinite(scale):
        raise ValueError("The target holds values too large to be scaled.")
    estimator.fit(X, (y - mean) / scale)
    limit = np.finfo(estimator.coefs_[-1].dtype).max
    if abs(mean) + 100 * scale > limit:
        raise ValueError("The target holds values too large for this dtype; try --dtype float64.")
    estimator.coefs_[-1] *= scale
    estimator.intercepts_[-1] *= scale
    estimator.intercepts_[-1] += mean


def predict_table(model, table, probabilities=False):
    """Predict every row of a table.

    Parameters
    ----------
    model : fastmlp.persistence.SavedModel
        What was loaded.
    table : fastmlp.tables.Table
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
    X = read_features(table, model.columns)
    if model.scaler is not None:
        X = model.scaler.transform(X)
    estimator = model.estimator
    if not probabilities:
        return {"prediction": estimator.predict(X)}
    if not hasattr(estimator, "predict_proba"):
        raise ValueError("The model predicts numbers, so it has no probabilities.")
    outputs = estimator.predict_proba(X)
    columns = {"prediction": estimator.classes_[outputs.argmax(axis=1)]}
    for index, label in enumerate(estimator.classes_):
        columns[f"probability of {label}"] = outputs[:, index]
    return columns


def write_columns(columns, path=None, stream=None):
    """Write columns as CSV to a stream, or to a file: ``.npz`` if its name ends so, else CSV.

    Parameters
    ----------
    columns : dict of str to ndarray
        Columns of one length.
    path : path, optional
        The file; an earlier one is replaced whole or not at all.
    stream : text stream, optional
        Where to write if there is no path.
    """
    if path is None:
        _write_csv(columns, stream)
        return
    with replaced_file(path) as file:
        if Path(path).suffix.lower() == ".npz":
            np.savez(file, allow_pickle=False, **columns)
        else:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            _write_csv(columns, text)
            text.detach()


def _write_csv(columns, stream):
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    # tolist() would turn float32 into longer float64 numbers; str() keeps the shortest.
    writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))
    stream.flush()
