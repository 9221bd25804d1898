"""When terms of zeros are left out, and that a fit does not show it."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.network.network import Network
from fastmlp.network.rows import Rows
from fastmlp.network.sparsity import kept_entries, term_density
from fastmlp.simd.tile_table import SPARSE_TILE_ROWS as ROWS


def drawn(shape, density, seed=0):
    generator = np.random.RandomState(seed)
    return generator.standard_normal(shape) * (generator.uniform(size=shape) < density)


def test_the_part_that_is_left_is_that_of_the_tiles():
    X = drawn((64, 30), 0.1)
    is_nonzero = X != 0
    in_forward = is_nonzero.reshape(-1, ROWS, 30).any(axis=1).mean()
    padded = np.pad(is_nonzero, ((0, 0), (0, -30 % ROWS)))
    in_gradient = padded.reshape(64, -1, ROWS).any(axis=2).mean()
    assert term_density(X, 1000, 16) == pytest.approx((in_forward + in_gradient) / 2)
    assert term_density(sparse.csr_array(X), 1000, 16) == term_density(X, 1000, 16)


def test_zeros_are_left_out_where_that_pays():
    assert term_density(drawn((500, 40), 1), 1000, 16) == 1
    assert term_density(drawn((500, 40), 0.5), 1000, 16) == 1  # four numbers are seldom all zero
    assert term_density(drawn((500, 40), 0.05), 1000, 16) < 0.25
    assert term_density(np.zeros((500, 40)), 1000, 16) == 0
    assert term_density(np.eye(400)[np.arange(5000) % 400], 1000, 16) < 0.02  # one of 400 columns
    # With few units the lists cost more than they save.
    assert term_density(drawn((500, 40), 0.16), 1000, 16) < 1
    assert term_density(drawn((500, 40), 0.16), 5, 16) == 1


def test_of_fewer_rows_than_a_tile_nothing_is_left_out():
    assert term_density(np.zeros((ROWS - 1, 40)), 1000, 16) == 1
    assert term_density(np.zeros((ROWS, 40)), 1000, 16) == 0


def test_explicit_zeros_of_a_sparse_matrix_are_zeros():
    X = sparse.csr_array(drawn((64, 30), 1))
    X.data[:] = 0
    assert term_density(X, 1000, 16) == 0


def test_entries_alone_are_kept_where_that_pays():
    assert kept_entries(np.zeros((500, 40))) == 0  # a dense X has none
    assert kept_entries(sparse.csr_array(drawn((500, 40), 0.2))) == 0
    assert kept_entries(sparse.csr_array(np.eye(400)[np.arange(5000) % 400])) == 1
    assert kept_entries(sparse.csr_array((5, 40))) == 1  # no entry at all: never 0, which says that none are kept
    hashed = texts(300)
    assert kept_entries(hashed) == hashed.nnz / 300


# --- estimators ----------------------------------------------------------------------------------


def fitted(estimator, X, y, monkeypatch, leaves_zeros_out):
    """Fit with the zeros of X left out, as they are by default, or not."""
    seen = []
    original = Rows.term_density

    def part(rows, fan_out, lanes):
        seen.append(original(rows, fan_out, lanes))
        return seen[-1] if leaves_zeros_out else 1.0

    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(Rows, "term_density", part)
        # Networks and predictions so small would go other ways, where there are no lists.
        patch.setattr("fastmlp.network.network.is_narrow", lambda *shapes: False)
        patch.setattr("fastmlp.estimators.prediction_plan.rows_of_workspace", lambda model, X, dtype: 256)
        estimator.fit(X, y)
        outputs = estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)
    assert seen
    assert max(seen) < 1
    return estimator, outputs


WAYS = {
    "dense": lambda X: X,
    "uint8": lambda X: (X != 0).astype(np.uint8),
    "CSR": sparse.csr_array,
    "Fortran": np.asfortranarray,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier((60, 20), max_iter=3, random_state=0),
        MLPClassifier((60,), max_iter=3, random_state=0, early_stopping=True, activation="logistic"),
        MLPClassifier((60,), max_iter=3, random_state=0, dtype="float32", solver="sgd"),
        MLPRegressor(hidden_layer_sizes=(60,), max_iter=3, random_state=0, solver="lbfgs"),
    ],
    ids=["adam", "early stopping", "sgd in float32", "lbfgs"],
)
def test_a_fit_is_the_same_to_the_last_bit(estimator, way, monkeypatch):
    X = WAYS[way](drawn((700, 90), 0.08))
    y = np.arange(700) % 3
    (model, outputs), (expected, expected_outputs) = (
        fitted(estimator, X, y, monkeypatch, leaves_zeros_out) for leaves_zeros_out in (True, False)
    )
    np.testing.assert_array_equal(outputs, expected_outputs)
    assert model.loss_ == expected.loss_


def test_a_training_that_diverges_is_still_noticed():
    X = drawn((400, 90), 0.05)
    model = MLPRegressor(hidden_layer_sizes=(60,), solver="sgd", learning_rate_init=1e6, max_iter=50, random_state=0)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite"):
        model.fit(X, X[:, 0])


# --- very sparse X


def texts(n_rows, columns=3000, n_words=20):
    """Return rows of some words each, hashed to many columns; a word that comes twice is two entries."""
    generator = np.random.RandomState(0)
    numbers = generator.randint(columns, size=n_rows * n_words)
    starts = np.arange(0, len(numbers) + 1, n_words)
    return sparse.csr_array((generator.standard_normal(len(numbers)), numbers, starts), (n_rows, columns))


VERY_SPARSE = {
    "adam": MLPClassifier((30,), max_iter=4, random_state=0),
    "adam in float32": MLPClassifier((30, 20), max_iter=4, random_state=0, dtype="float32"),
    "sgd": MLPClassifier((30,), max_iter=4, random_state=0, solver="sgd", batch_size=30, activation="tanh"),
    "early stopping": MLPClassifier((30,), max_iter=4, random_state=0, early_stopping=True),
    "lbfgs": MLPRegressor(hidden_layer_sizes=(30,), max_iter=4, random_state=0, solver="lbfgs"),
    "few units": MLPClassifier((2,), max_iter=4, random_state=0),  # which a dense X would make a narrow network
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", VERY_SPARSE)
def test_a_fit_on_entries_is_that_on_a_dense_x_but_for_rounding(name, monkeypatch):
    X, y = texts(1500), np.arange(1500) % 3
    kept = []
    original = Network.__init__

    def note(network, *arguments, **options):
        original(network, *arguments, **options)
        kept.append(network.keeps_entries)

    monkeypatch.setattr(Network, "__init__", note)
    one, two, converted, dense = (
        clone(VERY_SPARSE[name]).set_params(n_threads=n_threads).fit(samples, y)
        for samples, n_threads in ((X, 1), (X, 2), (X.tocsc(), 1), (X.toarray(), 1))
    )
    assert kept[:3] == [True] * 3
    assert not any(kept[3:])
    tolerance = 1e-4 if "float32" in name else 1e-9
    for model, expected, same_bits in ((one, two, True), (one, converted, False), (one, dense, False)):
        arrays = zip(model.coefs_ + model.intercepts_, expected.coefs_ + expected.intercepts_, strict=True)
        if same_bits:
            assert all(array.tobytes() == other.tobytes() for array, other in arrays)
        else:
            assert all(np.abs(array - other).max() < tolerance for array, other in arrays)
        assert model.loss_ == pytest.approx(expected.loss_, rel=0 if same_bits else tolerance)
        scores = getattr(model, "validation_scores_", None)
        assert scores == getattr(expected, "validation_scores_", None)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fit_on_entries_goes_on_from_its_checkpoint(tmp_path):
    X, y = texts(600), np.arange(600) % 3
    whole = MLPClassifier((30,), max_iter=6, random_state=0).fit(X, y)
    path = tmp_path / "fit"
    MLPClassifier((30,), max_iter=3, random_state=0, checkpoint=path).fit(X, y)
    resumed = MLPClassifier((30,), max_iter=6, random_state=0, checkpoint=path).fit(X, y)
    assert resumed.loss_curve_ == whole.loss_curve_
    for array, expected in zip(resumed.coefs_, whole.coefs_, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_partial_fits_may_have_rows_of_more_entries_than_before():
    model, expected = (MLPClassifier((30,), random_state=0) for _ in range(2))
    for n_words in (3, 20, 8):
        X = texts(200, n_words=n_words)
        for estimator, samples in ((model, X), (expected, X.toarray())):
            estimator.partial_fit(samples, np.arange(200) % 3, classes=np.arange(3))
    np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], atol=1e-9)
