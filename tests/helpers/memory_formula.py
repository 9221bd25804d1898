"""The formula of docs/memory.md for the bytes that a fit needs beyond its X and y."""

import itertools
import math

import numpy as np

from fastmlp.network.layout import Layout
from fastmlp.network.orientation import gains_by_rows, is_narrow
from fastmlp.network.parameter_blocks import parameter_shapes
from fastmlp.network.threads import may_gain, resolve_n_threads
from fastmlp.simd.tile_table import BLOCK_BYTES, ENTRY_TILE_ROWS, TILE

# Copies of the parameters that the workspace holds, and that the estimator holds besides them.
WORKSPACE_COPIES = {"adam": 3, "momentum": 2, "sgd": 1, "lbfgs": 2}
ESTIMATOR_COPIES = {"adam": 3, "momentum": 2, "sgd": 2, "lbfgs": 1}
# Vectors as long as all the parameters that SciPy's minimiser and its callback hold, in float64.
MINIMISER_VECTORS = 39
# Samples that L-BFGS evaluates, and a narrow network predicts, at a time.
CHUNK = 1024
# Lists, records, the losses of a call.
FIXED = 100_000


def padded(units, dtype):
    """Return the columns of the panels that hold so many."""
    width = TILE.columns(dtype)
    return -(-units // width) * width


def work_per_sample(layer_units, narrow):
    """Return the floating-point operations of a step's three products, and what narrow units cost, for one sample."""
    pairs = list(itertools.pairwise(layer_units))
    products = 6 * sum(fan_in * fan_out for fan_in, fan_out in pairs) - 2 * pairs[0][0] * pairs[0][1]
    return products + (55 * sum(layer_units[1:]) if narrow else 0)


def parameters_in_rows(shape, dtype):
    """Return the numbers of a block of parameters where the entries of X are kept: whole registers."""
    *rows, columns = shape
    lanes = TILE.lanes(dtype)
    return math.prod(rows) * -(-columns // lanes) * lanes


def parameters_in_panels(shape, dtype):
    """Return the numbers of a block of parameters in panels."""
    *rows, columns = shape
    return math.prod(rows) * padded(columns, dtype)


def whole_tiles(fan_in, fan_out, dtype):
    """Return the numbers of a narrow layer's weight tiles, each of which is square."""
    return padded(fan_in + 1, dtype) * padded(fan_out, dtype)


def half_in_panels(fan_in, fan_out, dtype):
    """Return the numbers of one half of a layer's gradient: of a remainder, a register's of each row transposed."""
    remainder_units = Layout.remainder_units(fan_out, TILE.lanes(dtype))
    if not remainder_units:
        return parameters_in_panels((fan_in + 1, fan_out), dtype)
    remainder = max(TILE.rows, TILE.lanes(dtype)) * padded(fan_in, dtype) + padded(1, dtype)
    return remainder + (
        parameters_in_panels((fan_in + 1, fan_out - remainder_units), dtype) if fan_out > remainder_units else 0
    )


def list_numbers(n_features, rows, dtype, n_threads, in_halves):
    """Return the numbers that marks and lists take where zeros of X are left out.

    n_threads: 0 for a prediction. in_halves: whether the gradient of the first layer is computed in halves.
    """
    marks_and_lists = rows * n_features * (1 / TILE.lanes(dtype) + 1 / 2)
    panel_bytes = rows * padded(1, dtype) * np.dtype(dtype).itemsize
    features_at_a_time = n_features if in_halves else max(1, BLOCK_BYTES // panel_bytes) * padded(1, dtype)
    return marks_and_lists + n_threads * rows * min(n_features, features_at_a_time) / 4


def workspace_bytes(
    layer_units, rows, dtype, copies, trains=True, narrow=False, in_halves=False, leaves_zeros_out=False,
    n_threads=None, n_entries=0,
):  # fmt: skip
    pairs = list(itertools.pairwise(layer_units))
    # Without panels of X the blocks of the first layer have none.
    parameters = sum(
        (parameters_in_rows if n_entries and name.endswith("_0") else parameters_in_panels)(shape, dtype)
        for name, shape in parameter_shapes(layer_units).items()
    )
    transposed = sum(fan_out * padded(fan_in, dtype) for fan_in, fan_out in pairs[1:])
    half = half_in_panels
    if narrow:
        units = sum(layer_units) + len(layer_units)
        deltas = sum(layer_units[1:]) + layer_units[-1]
        numbers = copies * parameters + padded(rows, dtype) * (units + deltas + 3)
        if gains_by_rows(tuple(layer_units[:2]), rows, TILE.lanes(dtype), gathers=True):
            numbers += padded(rows, dtype) * padded(layer_units[0], dtype)
        half = whole_tiles
    else:
        units = sum(padded(units, dtype) for units in layer_units)
        deltas = sum(padded(units, dtype) for units in (*layer_units[1:], layer_units[-1]))
        numbers = copies * parameters + rows * (units + 3)
        if n_entries:
            numbers += 4 * n_entries + layer_units[0] / ENTRY_TILE_ROWS - rows * (padded(layer_units[0], dtype) - 2)
        if trains:
            numbers += transposed + rows * deltas
    small = []
    if in_halves and may_gain(rows * work_per_sample(layer_units, narrow), np.dtype(dtype).itemsize, 2):
        small = [pair for pair in pairs[n_entries > 0 :] if Layout.halves_below * pair[0] * pair[1] <= rows * sum(pair)]
        numbers += 2 * sum(half(*pair, dtype) for pair in small)
    if leaves_zeros_out:
        n_threads = resolve_n_threads(n_threads) if trains else 0
        numbers += list_numbers(layer_units[0], rows, dtype, n_threads, pairs[0] in small)
    return numbers * np.dtype(dtype).itemsize


def fit_bytes(
    layer_units,
    *,
    n_samples,
    dtype,
    solver="adam",
    batch_size=200,
    targets=0,
    checks=0,
    splitting=0,
    held_out=0,
    scoring=0,
    leaves_zeros_out=False,
    n_threads=None,
    n_entries=0,
):
    """Return the largest number of bytes that a fit holds at a time.

    Parameters
    ----------
    targets : int
        Bytes per sample of labels as codes, or of targets and weights that had to be converted.
    checks, splitting : int
        Bytes per sample while labels are checked, and while validation samples are drawn.
    held_out : int
        Validation samples; 0 without early stopping.
    scoring : int
        Bytes per validation sample while they are scored, their outputs included.
    leaves_zeros_out : bool
        Whether much of X is zero.
    n_threads : int or None
        That of the estimator, which counts only then.
    n_entries : int
        The most entries that the rows of a minibatch have, where X is very sparse.
    """
    parameters = sum(map(math.prod, parameter_shapes(layer_units).values()))
    itemsize = np.dtype(dtype).itemsize
    estimator = ESTIMATOR_COPIES[solver] * parameters * itemsize
    if solver == "lbfgs":
        workspace = workspace_bytes(
            layer_units, min(CHUNK, n_samples), np.float64, WORKSPACE_COPIES[solver], n_entries=n_entries
        )
        training = workspace + MINIMISER_VECTORS * 8 * parameters + targets * n_samples
        return FIXED + estimator + max(training, checks * n_samples)
    n_trained = n_samples - held_out
    rows = min(batch_size, n_trained)
    narrow = n_entries == 0 and is_narrow(tuple(layer_units), rows, TILE.lanes(dtype))
    training = workspace_bytes(
        layer_units, rows, dtype, WORKSPACE_COPIES[solver], narrow=narrow, in_halves=True,
        leaves_zeros_out=leaves_zeros_out, n_threads=n_threads, n_entries=n_entries,
    )  # fmt: skip
    training += (8 + targets) * n_samples
    if held_out:
        training += parameters * itemsize
        predicting = 0
        if narrow:
            training += parameters * itemsize
            outputs = layer_units[-1] * itemsize * held_out
            predicting = workspace_bytes(layer_units, CHUNK, dtype, 1, trains=False) + outputs
        training += max(predicting, scoring * held_out)
    return FIXED + estimator + max(training, checks * n_samples, splitting * n_samples)
