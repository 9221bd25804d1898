"""From samples to outputs with a fitted model.

Small predictions are made in NumPy with the user's own arrays, so that nothing is packed or compiled for them; large
ones go through the compiled network (see ``prediction_plan``). Both read ``coefs_`` and ``intercepts_`` anew on every
call: what a user has written into them counts.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from fastmlp.process.blas import one_blas_thread
from fastmlp.reference import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS

# So few rows are NumPy's whatever the network: packing its weights takes longer than multiplying them.
_ALWAYS_NUMPY = 128

# What NumPy may need for the activations of one layer, however many rows there are; but so many rows go together.
_BLOCK_BYTES, _LEAST_BLOCK_ROWS = 4_000_000, 1024


def _logistic(z: np.ndarray) -> None:
    expit(z, out=z)  # exact to the last bit where the reference's formula is not


def _gelu(z: np.ndarray) -> None:
    size = np.minimum(np.abs(z), 40)  # infinity times 0 would be NaN
    np.maximum(z, 0, out=z)
    z -= size * ndtr(-size)  # fast, where the reference's formula is not


# In place, from pre-activations to activations.
_ACTIVATE = {**HIDDEN_ACTIVATIONS, **OUTPUT_ACTIVATIONS, "logistic": _logistic, "gelu": _gelu}


def parameter_dtype(model: Any) -> np.dtype:
    """Return float32 or float64, whichever a model's weights and biases call for together."""
    dtype = np.result_type(*model.coefs_, *model.intercepts_)
    if dtype.kind == "f" and dtype.itemsize <= 4:
        return np.dtype(np.float32)
    return np.dtype(np.float64)


def prediction_dtype(model: Any, X: Any) -> np.dtype:
    """Return the dtype of the outputs: the one that ``X @ coefs_[0]`` would have.

    With the parameter ``dtype`` set, it is that of the weights whatever X is.
    """
    dtype = parameter_dtype(model)
    if getattr(model, "dtype", None) is not None:
        return dtype
    return np.result_type(X.dtype, dtype)


def predict_outputs(model: Any, X: Any) -> np.ndarray:
    """Compute the outputs of a fitted model.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : ndarray or CSR or CSC matrix of shape (n_rows, n_features)
        Checked samples.

    Returns
    -------
    ndarray of shape (n_rows, n_outputs)
        Outputs after the output activation.
    """
    dtype = prediction_dtype(model, X)
    workspace_rows = 0
    # What kernels can't compute in (long double) is left to NumPy, however many rows there are.
    can_compile = dtype.itemsize in (4, 8) and model.out_activation_ in _ACTIVATE
    if can_compile and X.shape[0] > _ALWAYS_NUMPY:
        # Here and not above: a process that only ever makes small predictions needs no compiler.
        from fastmlp.estimators.prediction_plan import rows_of_workspace

        workspace_rows = rows_of_workspace(model, X, dtype)
    if workspace_rows == 0:
        return _predict_in_numpy(model, X, dtype)
    return _predict_compiled(model, X, dtype, workspace_rows)


def _predict_in_numpy(model: Any, X: Any, dtype: np.dtype) -> np.ndarray:
    n_rows, n_units = X.shape[0], [W.shape[1] for W in model.coefs_]
    widest = max(n_units) if X.dtype == dtype else max(X.shape[1], *n_units)
    block_rows = max(_LEAST_BLOCK_ROWS, _BLOCK_BYTES // (dtype.itemsize * widest))
    # NumPy's BLAS has limits of its own; who asked for one thread gets one here too.
    limit = one_blas_thread() if getattr(model, "n_threads", None) == 1 else nullcontext()
    # Saturation is no accident: as in the compiled network, it is not warned of.
    with limit, np.errstate(over="ignore", invalid="ignore"):
        # Some rows of a sparse matrix would be a copy of them.
        if n_rows <= block_rows or not isinstance(X, np.ndarray):
            return _outputs_of_rows(model, X, dtype)
        outputs = np.empty((n_rows, n_units[-1]), dtype)
        for start in range(0, n_rows, block_rows):
            rows = slice(start, start + block_rows)
            outputs[rows] = _outputs_of_rows(model, X[rows], dtype)
    return outputs


def _outputs_of_rows(model: Any, X: Any, dtype: np.dtype) -> np.ndarray:
    activation = X if X.dtype == dtype else X.astype(dtype)
    last = len(model.coefs_) - 1
    for layer, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        activation = activation @ np.asarray(W, dtype)
        activation += b
        _ACTIVATE[model.out_activation_ if layer == last else model.activation](activation)
    return activation


def _predict_compiled(model: Any, X: Any, dtype: np.dtype, workspace_rows: int) -> np.ndarray:
    from fastmlp.network.network import Network
    from fastmlp.network.rows import as_rows

    rows = as_rows(X, dtype)
    network = Network(
        [model.coefs_[0].shape[0], *(W.shape[1] for W in model.coefs_)],
        activation=model.activation,
        loss=None,
        output_activation=model.out_activation_,
        dtype=dtype,
        solver=None,
        batch_size=workspace_rows,
        n_threads=getattr(model, "n_threads", None),
        rows=rows,
    )
    network.set_parameters(model.coefs_, model.intercepts_)
    outputs = np.empty((X.shape[0], model.coefs_[-1].shape[1]), dtype)
    network.predict(rows, outputs)
    return outputs
