"""Samples, targets and weights of every kind train alike."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

import fastmlp
import fastmlp.estimators.validation
from tests.helpers.estimators import (
    LABELS,
    NAMES,
    X_DIGITS,
    X_IRIS,
    Y_DIGITS,
    Y_IRIS,
    assert_same_parameters,
    both,
    coefs_and_intercepts,
    outcome,
    quietly,
)

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


def altered(value, make=np.array):
    """Return samples with one other value."""
    X = COUNTS.astype(float)
    X[7, 3] = value
    return make(X)


REFUSED = {
    "NaN": lambda: altered(np.nan),
    "infinity": lambda: altered(-np.inf, lambda X: X.astype(np.float32)),
    "both infinities": lambda: np.where(COUNTS == 16, np.inf, np.where(COUNTS == 0, -np.inf, 1.0)),
    "NaN in CSR": lambda: altered(np.nan, sp.csr_array),
    "infinity in a CSR matrix": lambda: altered(np.inf, sp.csr_matrix),
    "no rows": lambda: COUNTS[:0].astype(float),
    "no rows in CSR": lambda: sp.csr_array(COUNTS[:0].astype(float)),
    "one dimension": lambda: COUNTS[0].astype(float),
    "three dimensions": lambda: COUNTS[None].astype(float),
    "a column less": lambda: COUNTS[:, 1:].astype(float),
    "a column less in CSR": lambda: sp.csr_array(COUNTS[:, 1:].astype(float)),
    "complex": lambda: COUNTS.astype(complex),
}
ACCEPTED = {
    "huge numbers": lambda: altered(np.finfo(float).max) - altered(0) + np.finfo(float).max * (COUNTS[:1] == 16),
    "a masked array": lambda: np.ma.masked_array(COUNTS.astype(float), mask=COUNTS == 16),
    **{kind: make for kind, make in INPUTS.items() if kind not in ("memory-mapped", "text of numbers")},
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("kind", [*REFUSED, *ACCEPTED])
def test_predict_takes_and_refuses_what_scikit_learns_checks_do(kind, named, monkeypatch):
    """Most samples are known to pass them without their being asked."""
    X_train = pd.DataFrame(COUNTS.astype(float)).add_prefix("count") if named else COUNTS.astype(float)
    model = quietly(fastmlp.MLPClassifier((5,), max_iter=1, random_state=0), "fit", X_train, Y_DIGITS[: len(COUNTS)])
    X = REFUSED[kind]() if kind in REFUSED else ACCEPTED[kind](*([None] if kind in INPUTS else []))
    found = outcome(lambda: model, "predict_proba", X)
    monkeypatch.setattr(fastmlp.estimators.validation, "_passes_all_checks", lambda model, X: False)
    assert found == outcome(lambda: model, "predict_proba", X)
    assert (found[1] is not None) == (kind in REFUSED)
    assert any("feature names" in text for _, text in found[0]) == named


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
        assert {array.dtype for array in coefs_and_intercepts(fitted)} == {np.dtype(np.float32)}
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
