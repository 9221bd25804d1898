"""Input of ``fit`` and ``partial_fit``: checks in scikit-learn's words, and targets for the core.

scikit-learn turns every X that is neither float32 nor float64 into float64. The core reads
integers, booleans and float16 where they lie, so here such an X is checked and left alone; only the
network that trains on it has scikit-learn's dtype.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from traceback import clear_frames
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config, set_config
from sklearn.base import _fit_context
from sklearn.exceptions import DataConversionWarning
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from fastmlp.estimators.prediction import prediction_dtype
from fastmlp.estimators.sparse_input import well_formed
from fastmlp.process.interrupts import to_the_end
from fastmlp.process.user_warnings import warn_user
from fastmlp.reference import LOSSES


def fit_context(method: Callable) -> Callable:
    """Declare a method that fits: scikit-learn checks the parameters before it, and knows that it runs.

    scikit-learn switches the checks off while its context lasts, and a Ctrl-C in the context's own lines would leave
    them off for good. So would one in those of a fit of scikit-learn's that ours calls: its context would be closed
    when the exception's traceback goes, and then put back what it had found, checks that are off. Here they are as
    before, whatever happens.
    """
    checked = _fit_context(prefer_skip_nested_validation=True)(method)

    @functools.wraps(method)
    def fit(*arguments: Any, **options: Any) -> Any:
        skipped = get_config()["skip_parameter_validation"]
        interrupt = None
        try:
            return checked(*arguments, **options)
        except KeyboardInterrupt as error:
            to_the_end(functools.partial(clear_frames, error.__traceback__))  # closes the contexts that hang on it
            raise
        finally:
            # Python looks for signals where a call begins and where a loop goes round: here, within the inner `try`.
            while True:
                try:
                    set_config(skip_parameter_validation=skipped)
                    break
                except KeyboardInterrupt as error:
                    interrupt = error
            if interrupt is not None:
                raise interrupt

    return fit


@contextmanager
def unchanged_if_refused(model: Any) -> Iterator[dict[str, Any]]:
    """Put the model's attributes back as they were, which the block is told, if the block raises."""
    before = vars(model).copy()
    try:
        yield before
    except BaseException:
        put_back(model, before)
        raise


def put_back(model: Any, attributes: dict[str, Any]) -> None:
    """Give a model these attributes, and no others."""
    vars(model).clear()
    vars(model).update(attributes)


def _read_as_it_is(X: Any) -> bool:
    """Return whether the core reads this X without a converted copy, though it isn't float."""
    if not (type(X) in (np.ndarray, np.memmap) or sparse.issparse(X)):
        return False
    return X.dtype.isnative and (X.dtype.kind in "biu" or X.dtype == np.float16)


def check_X_y(model: Any, X: Any, y: Any, *, reset: bool, y_numeric: bool) -> tuple[Any, Any]:
    """Check samples and targets as scikit-learn does, and set ``n_features_in_`` and names.

    Parameters
    ----------
    model : estimator
        Whose ``fit`` this is.
    X, y
        What the user gave.
    reset : bool
        Whether this fit forgets the features of an earlier one.
    y_numeric : bool
        Whether targets are numbers.

    Returns
    -------
    X : ndarray or sparse matrix
        Of the dtype that it had if the core reads that, else float64.
    y : ndarray or sparse matrix
        One-dimensional if it was a column.
    """
    with np.errstate(over="ignore"):  # of a long double, in its conversion: the check that follows finds the infinity
        X, y = validate_data(
            model,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=y_numeric,
            dtype=None if _read_as_it_is(X) else (np.float64, np.float32),
            reset=reset,
        )
    if y.ndim == 2 and y.shape[1] == 1:
        # In scikit-learn's words, but at the user's line.
        warn_user(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
            "(n_samples, ), for example using ravel().",
            DataConversionWarning,
        )
        y = column_or_1d(y)
    return X, y


def samples(X: Any) -> Any:
    """Return samples as they are, but refuse dates, which scikit-learn trains on, and malformed sparse matrices.

    Parameters
    ----------
    X : object
        What the user gave.
    """
    for dtype in [X.dtype] if hasattr(X, "dtype") else getattr(X, "dtypes", ()):
        if getattr(dtype, "kind", None) in ("M", "m"):
            raise ValueError(
                f"Input X holds dates or durations ({dtype}): turn them into numbers first, such as seconds, with "
                ".astype('datetime64[s]').astype(float)."
            )
    return well_formed(X, "X")


def check_X(model: Any, X: Any) -> Any:
    """Check samples that a fitted model is to predict.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : object
        What the user gave.

    Returns
    -------
    ndarray or sparse matrix
        Finite numbers, that are finite in the dtype that predictions are computed in too.
    """
    X = samples(X)
    if not _passes_all_checks(model, X):
        X = validate_data(model, X, accept_sparse=["csr", "csc"], reset=False)
    if model.dtype is not None:  # else predictions are computed in a dtype that holds all of X
        require_range(X, prediction_dtype(model, X), "X")
    return X


def _passes_all_checks(model: Any, X: Any) -> bool:
    """Return whether ``validate_data`` would give this X back as it is, and say nothing.

    To find that out about finite numbers, as most X are, takes it 80 us; to predict one row takes 10.
    """
    if type(X) not in (np.ndarray, sparse.csr_array, sparse.csr_matrix) or hasattr(model, "feature_names_in_"):
        return False
    if X.dtype not in (np.float32, np.float64) or X.ndim != 2 or X.shape[0] == 0 or X.shape[1] != model.n_features_in_:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        # Finite numbers may have an infinite sum: scikit-learn looks closer.
        return isfinite((X if type(X) is np.ndarray else X.data).sum())


# So many numbers lie in a second-level cache.
_PIECE = 2**16


def require_range(array: Any, dtype: Any, name: str) -> None:
    """Refuse finite values that would be infinite in ``dtype``.

    Parameters
    ----------
    array : ndarray or sparse matrix
        Finite values.
    dtype : dtype
        What the core computes in.
    name : str
        What to call the array in the error.
    """
    values = array.data if sparse.issparse(array) else array
    if values.dtype.kind != "f" or values.dtype.itemsize <= np.dtype(dtype).itemsize:
        return
    limit = np.finfo(dtype).max
    if values.flags.f_contiguous:
        values = values.T
    # In pieces, each of which is read from memory once and from the cache the second time.
    n_rows = max(1, _PIECE * len(values) // max(values.size, 1))
    for start in range(0, len(values), n_rows):
        piece = values[start : start + n_rows]
        if piece.size and (piece.max() > limit or piece.min() < -limit):
            raise ValueError(f"Input {name} contains infinity or a value too large for {np.dtype(dtype)!r}.")


def require_finite(name: str, arrays: list[np.ndarray]) -> None:
    """Refuse to train on from parameters that are NaN or infinite: they would stay so."""
    for number, array in enumerate(arrays):
        if not np.isfinite(array).all():
            place = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(
                f"{name}[{number}] is {array[place]} at {list(place)}, so training cannot go on from there. "
                f"Set a finite value, or call fit with warm_start=False."
            )


def trainable(array: Any, dtype: np.dtype) -> np.ndarray:
    """Return the array itself if training can write into it, else a copy that it can."""
    if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.dtype.isnative and array.flags.writeable:
        return array
    return np.array(array, dtype)


def regression_targets(y: Any, loss: str) -> np.ndarray:
    """Return targets as a matrix (n_samples, n_outputs) of numbers, all of them valid for a loss."""
    if sparse.issparse(y):
        y = y.toarray()
    if y.dtype.kind not in "biuf":
        raise TypeError(f"The targets of a regression must be numbers, got dtype {y.dtype}.")
    smallest = LOSSES[loss].smallest_target
    if smallest > -np.inf and y.min() < smallest:
        raise ValueError(
            f"Some value(s) of y are out of the valid range of the loss {loss!r}: y must not be below {smallest:g}, "
            f"and its smallest value is {y.min():g}. Choose loss='squared_error', or other targets."
        )
    return y.reshape(len(y), -1)


def class_targets(label_binarizer: LabelBinarizer, y: Any) -> np.ndarray:
    """Return targets as codes (n_samples,), or as an indicator matrix if they are multilabel.

    ``LabelBinarizer.transform`` makes a dense row of zeros and a one for each sample, which is
    avoided wherever codes say the same.

    Parameters
    ----------
    label_binarizer : LabelBinarizer
        Fitted; every label in ``y`` is known to it.
    y : ndarray or sparse matrix
        Labels.
    """
    if y.ndim == 2 or label_binarizer.y_type_.startswith("multilabel"):
        # Whatever isn't zero is one: a matrix of 0 and 3, say, passes for an indicator too.
        indicator = label_binarizer.transform(y).astype(bool)
        # One column: a single label. A row of ones and zeros for each sample is multilabel even if
        # no two of them stand in one row.
        return indicator[:, 0].astype(np.int64) if indicator.shape[1] == 1 else indicator
    return np.searchsorted(label_binarizer.classes_, y).astype(np.int64, copy=False)
