"""Fingerprints of data and parameters: whether a fit is the same fit as another one, made earlier.

Arrays are told apart by a digest of their bytes (BLAKE2b), so that a file need not hold the data.
"""

from collections.abc import Sequence
from hashlib import blake2b
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse

from fastmlp.files.header import encode_number

# What cannot change a bit of the result, or (max_iter) of the epochs that are done already.
_WITHOUT_EFFECT = {"checkpoint", "checkpoint_interval", "n_threads", "verbose", "warm_start", "max_fun", "max_iter"}

# Arrays are read in pieces of about so many bytes: a memory-mapped X isn't copied as a whole.
_PIECE_BYTES = 2**20


def parameters_fingerprint(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that decide a fit's result, equal ones in equal form.

    Parameters
    ----------
    parameters : dict
        What ``get_params`` returned, validated.

    Returns
    -------
    dict
        What JSON has. A generator is only said to be one: a checkpoint holds its state.
    """
    return {name: _plain(value) for name, value in sorted(parameters.items()) if name not in _WITHOUT_EFFECT} | {
        "hidden_layer_sizes": [int(size) for size in np.ravel(parameters["hidden_layer_sizes"])]
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.random.RandomState):
        return "a generator"
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return encode_number(float(value))
    return value if value is None else str(value)


def data_fingerprint(X: Any, targets: np.ndarray, sample_weight: np.ndarray | None, labels: Any) -> dict[str, Any]:
    """Return what tells these data from others.

    Parameters
    ----------
    X : ndarray or sparse matrix
        Checked samples.
    targets : ndarray
        Targets as numbers.
    sample_weight : ndarray, or None
        Weights of the samples.
    labels : ndarray, or None
        What a classifier's numbers stand for.

    Returns
    -------
    dict
        What JSON has, under the names of ``fit``'s arguments.
    """
    if sparse.issparse(X):
        X = X.tocsr()
        parts = [X.data, X.indptr.astype(np.int64, copy=False), X.indices.astype(np.int64, copy=False)]
    else:
        parts = [X]
    y = digest([targets], "" if labels is None else repr(labels.tolist()))
    return {
        "X": {"shape": list(X.shape), "dtype": X.dtype.name, "sparse": sparse.issparse(X), "digest": digest(parts)},
        "y": {"shape": list(targets.shape), "dtype": targets.dtype.name, "digest": y},
        "sample_weight": None if sample_weight is None else {"digest": digest([sample_weight])},
    }


def digest(arrays: Sequence[np.ndarray], text: str = "") -> str:
    """Return a digest of some arrays, of their shapes and dtypes, and of a text; memory order doesn't count.

    Parameters
    ----------
    arrays : sequence of ndarray
        Of one dimension at least.
    text : str
        What counts besides.
    """
    state = blake2b(digest_size=32)
    for array in arrays:
        dtype = array.dtype.newbyteorder("<")
        state.update(f"{dtype.str} {array.shape} ".encode())
        rows = max(1, _PIECE_BYTES * len(array) // max(array.nbytes, 1))
        for start in range(0, len(array), rows):
            state.update(np.asarray(array[start : start + rows], dtype).tobytes())
    state.update(text.encode("utf-8", "surrogatepass"))
    return state.hexdigest()


def differences(saved: Any, ours: Any) -> list[str]:
    """Say in which parameters or data two fingerprints differ.

    Parameters
    ----------
    saved, ours : dict
        Fingerprints of one kind; the first comes from a file, and may hold anything.

    Returns
    -------
    list of str
        One clause for each difference.
    """
    if not isinstance(saved, dict):
        return ["its fingerprint is not an object"]
    return [
        _difference(str(name), saved.get(name), ours.get(name))
        for name in sorted(saved.keys() | ours.keys())
        if saved.get(name) != ours.get(name)
    ]


def _difference(name: str, saved: Any, ours: Any) -> str:
    name = _short(name)
    if not (isinstance(saved, dict) and isinstance(ours, dict)):
        if isinstance(saved, dict) or isinstance(ours, dict):
            return f"{name} was {_given(saved)} and is {_given(ours)}"
        return f"{name} was {_short(saved)} and is {_short(ours)}"
    changed = [
        f"{part} was {_short(saved.get(part))} and is {_short(ours.get(part))}"
        for part in ("shape", "dtype", "sparse")
        if saved.get(part) != ours.get(part)
    ]
    return f"{name} has other values" if not changed else f"{name} is another: its {', its '.join(changed)}"


def _given(value: Any) -> str:
    return "not given" if value is None else "given"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
