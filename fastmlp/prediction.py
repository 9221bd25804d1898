"""From samples to outputs with a fitted model.

Few rows are multiplied with the user's own arrays in NumPy, so that nothing is packed or compiled
for them; many rows go through the compiled network. Both read ``coefs_`` and ``intercepts_`` anew
on every call: what a user has written into them counts.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.special import expit

from fastmlp.blas import one_blas_thread

# Up to this many rows NumPy is at least as fast, for networks of all sizes: packing the weights and making a workspace
# takes as long as it gains on so many rows. (Measured: the two meet between 500 and 1,000 rows.)
FEW_ROWS = 512
# Rows that the compiled network's workspace holds; predicting more only takes more memory.
WORKSPACE_ROWS = 1024


def _identity(z: np.ndarray) -> None:
    return None


def _logistic(z: np.ndarray) -> None:
    expit(z, out=z)


def _tanh(z: np.ndarray) -> None:
    np.tanh(z, out=z)


def _relu(z: np.ndarray) -> None:
    np.maximum(z, 0, out=z)


def _exp(z: np.ndarray) -> None:
    np.exp(z, out=z)


def _softmax(z: np.ndarray) -> None:
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)


# In place, from pre-activations to activations.
_ACTIVATE = {
    "identity": _identity,
    "logistic": _logistic,
    "tanh": _tanh,
    "relu": _relu,
    "exp": _exp,
    "softmax": _softmax,
}

# The loss to whose output activation the compiled network is to be told to go.
LOSS_OF_OUTPUT_ACTIVATION = {
    "identity": "squared_error",
    "exp": "poisson",
    "logistic": "binary_log_loss",
    "softmax": "log_loss",
}


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
    if X.shape[0] <= FEW_ROWS or model.out_activation_ not in LOSS_OF_OUTPUT_ACTIVATION:
        return _predict_few(model, X, dtype)
    return _predict_many(model, X, dtype)


def _predict_few(model: Any, X: Any, dtype: np.dtype) -> np.ndarray:
    activation = X.astype(dtype, copy=False)
    last = len(model.coefs_) - 1
    # Saturation is no accident: as in the compiled network, it is not warned of.
    # NumPy's BLAS has limits of its own; who asked for one thread gets one here too.
    limit = one_blas_thread() if getattr(model, "n_threads", None) == 1 else nullcontext()
    with limit, np.errstate(over="ignore", invalid="ignore"):
        for layer, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
            activation = activation @ np.asarray(W, dtype)
            activation += b
            _ACTIVATE[model.out_activation_ if layer == last else model.activation](activation)
    return activation


def _predict_many(model: Any, X: Any, dtype: np.dtype) -> np.ndarray:
    # Here and not above: a process that only ever predicts a few rows needs no compiler.
    from fastmlp.gather import as_rows
    from fastmlp.network import Network

    rows = as_rows(X, dtype)
    network = Network(
        [model.coefs_[0].shape[0], *(W.shape[1] for W in model.coefs_)],
        activation=model.activation,
        loss=LOSS_OF_OUTPUT_ACTIVATION[model.out_activation_],
        dtype=dtype,
        solver=None,
        batch_size=min(X.shape[0], WORKSPACE_ROWS),
        n_threads=getattr(model, "n_threads", None),
        rows=rows,
    )
    network.set_parameters(model.coefs_, model.intercepts_)
    outputs = np.empty((X.shape[0], model.coefs_[-1].shape[1]), dtype)
    network.predict(rows, outputs)
    return outputs
