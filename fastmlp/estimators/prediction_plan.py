"""Which way a prediction goes: through NumPy with the user's own arrays, or through the compiled network.

NumPy needs nothing prepared. The compiled network packs the weights first, and then keeps the activations of a block of
samples in cache instead of writing those of all samples to memory, layer after layer. Both times are estimated from the
shapes; the compiled network is taken where it is expected to be clearly faster and to need little memory. The number of
threads has no say, because the two ways round differently.

The estimates were fitted to 143 predictions on a Granite Rapids, networks of 8 to 2,048 units and 64 to 20,000 rows, in
both precisions, on one thread and two. ``pytest bench -k sweep`` shows what the choice costs or brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastmlp.drivers.inference import PREDICTION_ROWS
from fastmlp.network.threads import resolve_n_threads
from fastmlp.simd.tile_table import TILE

# Seconds in NumPy: of a layer, of a floating-point operation, and of an activation; of a number of X; of an entry of a
# sparse X, and of its product with a unit.
_LAYER, _OPERATION, _ACTIVATION, _INPUT = 12e-6, 6e-12, 0.8e-9, 0.3e-9
_ENTRY, _ENTRY_AND_UNIT = 1e-9, 0.11e-9
# What functions take besides; others take about as long as the logistic function.
_FUNCTIONS = {"identity": 0.0, "relu": 0.0, "tanh": 0.0, "exp": 0.0, "logistic": 3e-9, "softmax": 6e-9}
# And of a number of X that has another dtype.
_CONVERTED = 0.5e-9

# The same in the compiled network: of a prediction, of an operation, of an activation, and what other functions than
# relu take besides; of a number of X that is gathered, of an entry of a sparse one, and of a number that is packed.
_CALL, _COMPILED_OPERATION, _COMPILED_ACTIVATION = 250e-6, 4e-12, 0.34e-9
_COMPILED_FUNCTION, _GATHERED, _GATHERED_ENTRY, _PACKED = 0.45e-9, 0.5e-9, 2e-9, 1.3e-9

# The compiled network is taken if its estimated time is at most this part of NumPy's: neither estimate is exact, other
# processors differ, and on two threads NumPy's products gain more than its activations.
_CLEARLY_FASTER = 0.65

# Bytes that the compiled network may take beyond what NumPy does, besides one copy of the parameters.
_SPARE_BYTES = 900_000

# With fewer rows in the workspace, all weights would be read too often.
_FEWEST_ROWS = 64


def _numpy_seconds(units: Sequence[int], n_rows: int, n_entries: int | None, activations: Sequence[str]) -> float:
    """Return the seconds of float32 on one thread; n_entries: those of a sparse X, else None."""
    seconds = 0.0
    for number, (fan_in, fan_out) in enumerate(pairwise(units)):
        seconds += _LAYER + n_rows * fan_out * _ACTIVATION
        if number == 0 and n_entries is not None:
            seconds += n_entries * (_ENTRY + fan_out * _ENTRY_AND_UNIT)
        else:
            seconds += 2 * n_rows * fan_in * fan_out * _OPERATION
        seconds += n_rows * fan_out * _FUNCTIONS.get(activations[number], _FUNCTIONS["logistic"])
    return seconds if n_entries is not None else seconds + n_rows * units[0] * _INPUT


def _compiled_seconds(
    units: Sequence[int], n_rows: int, n_entries: int | None, activations: Sequence[str], n_packed: int
) -> float:
    """Return the seconds of float32 on one thread; n_packed: numbers of the packed weights."""
    of_row = units[0] * _GATHERED
    lanes = TILE.lanes(np.float32)
    for activation, (fan_in, fan_out) in zip(activations, pairwise(units), strict=True):
        of_row += 2 * fan_in * -(-fan_out // lanes) * lanes * _COMPILED_OPERATION + fan_out * _COMPILED_ACTIVATION
        if activation not in ("identity", "relu"):
            of_row += fan_out * _COMPILED_FUNCTION
    return _CALL + n_packed * _PACKED + n_rows * of_row + (n_entries or 0) * _GATHERED_ENTRY


def rows_of_workspace(model: Any, X: Any, dtype: np.dtype) -> int:
    """Return how many rows the workspace of a compiled prediction has, or 0 if NumPy predicts.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : ndarray or CSR or CSC matrix of shape (n_rows, n_features)
        Samples.
    dtype : dtype
        That of the outputs, float32 or float64.
    """
    n_rows = X.shape[0]
    n_entries = None if isinstance(X, np.ndarray) else int(X.nnz)
    if n_entries is not None and X.format != "csr":
        return 0  # it would have to be copied
    if n_entries is None and X.strides[1] != X.itemsize:
        return 0  # such rows take long to gather; and BLAS takes a matrix by columns as it takes one by rows
    units = [X.shape[1], *(W.shape[1] for W in model.coefs_)]
    activations = [model.activation] * (len(units) - 2) + [model.out_activation_]
    scale = dtype.itemsize / 4
    converts = X.dtype != dtype and n_entries is None
    in_numpy = scale * _numpy_seconds(units, n_rows, n_entries, activations) + converts * X.size * _CONVERTED
    if in_numpy * _CLEARLY_FASTER < _CALL:
        return 0
    width = TILE.columns(dtype)
    n_packed = sum((fan_in + 1) * -(-fan_out // width) * width for fan_in, fan_out in pairwise(units))
    compiled = scale * _compiled_seconds(units, n_rows, n_entries, activations, n_packed)
    if compiled > _CLEARLY_FASTER * in_numpy:
        return 0
    # NumPy holds the activations of two layers at a time, and X if it has to be converted.
    held_in_numpy = n_rows * max(
        *map(sum, pairwise(units[1:])), units[1], (units[0] + units[1]) if converts else 0
    )  # fmt: skip
    n_parameters = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(units))
    spare = held_in_numpy - n_rows * units[-1] + n_parameters - n_packed + _SPARE_BYTES // dtype.itemsize
    most_rows = spare // sum(-(-layer // width) * width for layer in units)
    if most_rows < _FEWEST_ROWS:
        return 0
    return min(n_rows, most_rows, PREDICTION_ROWS * resolve_n_threads(getattr(model, "n_threads", None)))
