"""Every data type that NumPy knows, dense and sparse, few rows and many: one answer, or one refusal."""

import warnings

import numpy as np
import pytest
import sklearn.neural_network
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

import fastmlp

COUNTS = np.random.RandomState(0).poisson(0.7, (700, 6))
ONES = np.minimum(COUNTS, 1)
Y = COUNTS.sum(axis=1) % 3
FEW, MANY = 5, 700
METHODS = ("predict", "predict_proba", "predict_log_proba")

CODES = [*np.typecodes["AllInteger"], *np.typecodes["Float"]]
NUMBERS = ["?", *CODES, *[f">{code}" for code in ("i2", "u4", "i8", "f2", "f4", "f8", "g")], "O"]
REFUSED = {
    **dict.fromkeys(np.typecodes["Complex"], "Complex data not supported"),
    "M8[s]": "Input X holds dates or durations",
    "m8[ns]": "Input X holds dates or durations",
}


def fitted(package, X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return package.MLPClassifier((7,), max_iter=2, random_state=0, **options).fit(X, y)


MODELS = {}


def model(package, **options):
    """Return a model that has been fitted to float64, made once."""
    key = (package.__name__, *options.values())
    if key not in MODELS:
        MODELS[key] = fitted(package, COUNTS.astype(float), Y, **options)
    return MODELS[key]


def samples(code, n_rows, container):
    X = (ONES if code == "?" else COUNTS)[:n_rows].astype(code)
    if container == "dense":
        return X
    try:
        return sparse.csr_array(X).asformat(container)
    except ValueError:  # of float16, of a foreign order of bytes, of what is no number
        return None


CONTAINERS = ("dense", "csr", "csc")


def of_type(codes):
    """Parametrize a test with data types and containers, as far as SciPy makes such matrices."""
    pairs = [(code, box) for code in codes for box in CONTAINERS if samples(code, FEW, box) is not None]
    return pytest.mark.parametrize(("code", "container"), pairs)


@of_type(NUMBERS)
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_numbers_of_any_type_give_one_answer(code, container, dtype):
    ours, theirs = model(fastmlp, dtype=dtype), model(sklearn.neural_network)
    X = samples(code, MANY, container)
    plain = (ONES if code == "?" else COUNTS).astype(float)
    tolerance = 2e-6 if dtype == "float32" else 1e-12
    for method in METHODS:
        many, few = (getattr(ours, method)(samples(code, n, container)) for n in (MANY, FEW))
        expected = getattr(ours, method)(plain)
        assert few.dtype == many.dtype
        if dtype is None:
            assert many.dtype == getattr(theirs, method)(X).dtype
        np.testing.assert_allclose(many, expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(few, expected[:FEW], rtol=tolerance, atol=tolerance)
    assert ours.score(X, Y) == ours.score(plain, Y)


@of_type(NUMBERS)
@pytest.mark.parametrize("n_rows", [FEW, MANY])
def test_a_fit_to_numbers_of_any_type_is_scikit_learns(code, container, n_rows):
    X = samples(code, n_rows, container)
    ours, theirs = (fitted(package, X, Y[:n_rows]) for package in (fastmlp, sklearn.neural_network))
    single = ours.coefs_[0].dtype == np.float32
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-5 if single else 1e-9)


@of_type(REFUSED)
def test_what_is_no_real_number_is_refused(code, container):
    ours = model(fastmlp)
    for n_rows in (FEW, MANY):
        X = samples(code, n_rows, container)
        for method, arguments in [
            ("fit", (X, Y[:n_rows])), ("partial_fit", (X, Y[:n_rows])), ("score", (X, Y[:n_rows])),
            *[(method, (X,)) for method in METHODS],
        ]:  # fmt: skip
            with pytest.raises(ValueError, match=REFUSED[code]):
                getattr(ours, method)(*arguments)


@pytest.mark.parametrize("code", ["U3", "S3"])
@pytest.mark.parametrize("n_rows", [FEW, MANY])
def test_numbers_as_text_are_refused_by_predictions(code, n_rows):
    """As by scikit-learn's, whose fits read them."""
    X = COUNTS[:n_rows].astype(code)
    for method in METHODS:
        with pytest.raises(ValueError, match="dtype='numeric' is not compatible with arrays of bytes/strings"):
            getattr(model(fastmlp), method)(X)
    assert fitted(fastmlp, X, Y[:n_rows]).loss_ == fitted(fastmlp, COUNTS[:n_rows], Y[:n_rows]).loss_


def test_columns_of_dates_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(dict.fromkeys("abcdef", COUNTS[:, 0]))
    frame["c"] = pandas.to_datetime(frame["c"])
    with pytest.raises(ValueError, match="Input X holds dates or durations"):
        fitted(fastmlp, frame, Y)


# --- finite numbers that are infinite in the dtype that is computed in ---------------------------

TOO_LARGE = [
    ("float32", np.float64, 1e39),
    ("float32", np.float64, -1e39),
    ("float32", np.longdouble, 1e39),
    ("float64", np.longdouble, np.longdouble(10) ** 400),
]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("n_rows", [FEW, MANY])
@pytest.mark.parametrize("package_class", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize(("dtype", "of_X", "value"), TOO_LARGE, ids=str)
def test_overflow_is_refused_by_every_method(package_class, dtype, of_X, value, n_rows, container):
    if not np.isfinite(of_X(value)):
        pytest.skip("a long double is a double here")
    plain = COUNTS[:n_rows].astype(of_X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = getattr(fastmlp, package_class)(dtype=dtype, max_iter=2, random_state=0).fit(COUNTS, Y)
    plain[2, 1] = value
    X = plain if container == "dense" else sparse.csr_array(plain).asformat(container)
    y = Y[:n_rows]
    message = rf"^Input X contains infinity or a value too large for dtype\('{dtype}'\)\."
    calls = [("predict", (X,)), ("score", (X, y)), ("partial_fit", (X, y)), ("fit", (X, y))]
    if package_class == "MLPClassifier":
        calls += [("predict_proba", (X,)), ("predict_log_proba", (X,))]
    for method, arguments in calls:
        with pytest.raises(ValueError, match=message):
            getattr(fitted, method)(*arguments)


def test_what_does_not_overflow_is_predicted():
    """In float32: its largest number, the largest integers. In float64: what only float32 could not hold."""
    for n_rows in (FEW, MANY):
        X = COUNTS[:n_rows].astype(float)
        X[2, 1] = np.finfo(np.float32).max
        assert np.isfinite(model(fastmlp, dtype="float32").predict(X)).all()
        integers = COUNTS[:n_rows].astype(np.uint64)
        integers[2, 1] = 2**64 - 1
        assert np.isfinite(model(fastmlp, dtype="float32").predict_proba(integers)).all()
        X[2, 1] = 1e39
        assert np.isfinite(model(fastmlp, dtype="float64").predict_proba(X)).all()
