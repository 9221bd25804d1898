"""Sparse matrices whose indices lead out of their arrays: refused with a sentence, by every method that takes X."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn.neural_network
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

import fastmlp

SAMPLES = np.random.RandomState(0).poisson(0.6, (700, 6)).astype(float)
SAMPLES[:, 0] = 1  # no row and no column is empty
Y = SAMPLES.sum(axis=1).astype(int) % 2
FORMATS = ["csr", "csc", "bsr", "coo"]


def fitted(name, X=SAMPLES, y=Y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return getattr(fastmlp, name)((5,) if name == "MLPClassifier" else "squared_error", max_iter=2, **options).fit(
            X, y
        )


def matrix(form, n_rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparse.SparseEfficiencyWarning)  # of so many diagonals
        return sparse.csr_array(SAMPLES[:n_rows]).asformat(form)


def index_beyond(X):
    numbers = X.coords[1] if X.format == "coo" else X.indices
    numbers[3] = 700 if X.format == "csc" else 6


def index_far_beyond(X):
    numbers = X.coords[1] if X.format == "coo" else X.indices
    numbers[-1] = 2**31 - 1


def negative_index(X):
    numbers = X.coords[0] if X.format == "coo" else X.indices
    numbers[0] = -1


def decreasing_starts(X):
    X.indptr[2] = X.indptr[1] - 1


def starts_beyond_the_data(X):
    X.indptr[-1] += 1


def starts_far_beyond_the_data(X):
    X.indptr[1:] += 10**6


def late_start(X):
    X.indptr[0] = 1


def too_few_starts(X):
    X.indptr = X.indptr[:-1]


def too_few_indices(X):
    if X.format == "coo":
        X.coords = (X.coords[0], X.coords[1][:-1])
    else:
        X.indices = X.indices[:-1]


def short_integers(X):
    if X.format == "coo":
        X.coords = tuple(numbers.astype(np.int16) for numbers in X.coords)
    else:
        X.indices = X.indices.astype(np.int16)


def foreign_starts(X):
    X.indptr = X.indptr.astype(X.indptr.dtype.newbyteorder())


OF_INDICES = {
    index_beyond: r"indices holds \d+ at 3, and must lie from 0 to \d+",
    index_far_beyond: r"indices holds 2147483647 at \d+, and must lie",
    negative_index: r"indices holds -1 at 0, and must lie",
    too_few_indices: r"it has \d+ values,? and",
    short_integers: r"its indices are int16, and must be int32 or int64",
}
OF_STARTS = {
    decreasing_starts: r"indptr decreases from \d+ to \d+ at 2",
    starts_beyond_the_data: r"indptr goes from 0 to \d+, and there are \d+ values",
    starts_far_beyond_the_data: r"indptr goes from 0 to 1\d{6}, and there are",
    late_start: r"indptr goes from 1 to",
    too_few_starts: r"indptr is int32 of shape \(\d+,\), and must be int32 or int64 of shape \(\d+,\)",
    foreign_starts: r"indptr is >i4 of shape|indptr is int32 of shape",
}
CASES = [
    *[(form, break_it, reason) for form in FORMATS for break_it, reason in OF_INDICES.items()],
    *[(form, break_it, reason) for form in FORMATS[:3] for break_it, reason in OF_STARTS.items()],
]


@pytest.mark.parametrize("n_rows", [5, 700])
@pytest.mark.parametrize(("form", "break_it", "reason"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_malformed_matrix_is_refused_by_every_method(form, break_it, reason, n_rows):
    classifier, regressor = fitted("MLPClassifier"), fitted("MLPRegressor")
    X, y = matrix(form, n_rows), Y[:n_rows]
    break_it(X)
    message = rf"^Input X is a malformed {form.upper()} matrix: {reason}.*\. Build it again from its rows"
    for model in (classifier, regressor):
        before = pickle.dumps(model)
        calls = [("fit", (X, y)), ("partial_fit", (X, y)), ("predict", (X,)), ("score", (X, y))]
        if model is classifier:
            calls += [("predict_proba", (X,)), ("predict_log_proba", (X,))]
        for method, arguments in calls:
            with pytest.raises(ValueError, match=message):
                getattr(model, method)(*arguments)
        assert pickle.dumps(model) == before


def test_lists_of_lists_are_checked_when_they_are_converted():
    X = matrix("lil", 700)
    X.rows[3][0] = 6
    with pytest.raises(ValueError, match=r"^Input X is a malformed CSR matrix: indices holds 6 at"):
        fitted("MLPClassifier").predict(X)


@pytest.mark.parametrize(("name", "y"), [("MLPClassifier", SAMPLES > 0), ("MLPRegressor", SAMPLES)])
def test_sparse_targets_are_checked_too(name, y):
    y = sparse.csr_array(y.astype(float if name == "MLPRegressor" else int))
    y.indices[3] = 6
    with pytest.raises(ValueError, match=r"^Input y is a malformed CSR matrix: indices holds 6 at 3"):
        fitted(name, y=y)


@pytest.mark.parametrize("n_rows", [5, 700])
@pytest.mark.parametrize("form", [*FORMATS, "lil", "dok", "dia"])
def test_what_is_well_formed_is_taken(form, n_rows):
    """Also with wide indices, indices in no order, an entry in several parts, and room beyond the last one."""
    classifier = fitted("MLPClassifier", random_state=0)
    expected = classifier.predict_proba(SAMPLES[:n_rows])
    X = matrix(form, n_rows)
    np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-12)
    if form not in ("csr", "csc"):
        return
    wide = X.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    roomy = X.copy()
    roomy.data, roomy.indices = np.append(X.data, [9, 9]), np.append(X.indices, np.array([5000, -1], X.indices.dtype))
    halves = type(X)((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), X.indptr * 2), X.shape)
    for other in (wide, roomy, halves):
        np.testing.assert_allclose(classifier.predict_proba(other), expected, rtol=1e-12)
    theirs = sklearn.neural_network.MLPClassifier((5,), max_iter=2, random_state=0)
    ours = fitted("MLPClassifier", halves, Y[:n_rows], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(X, Y[:n_rows])
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-9)
