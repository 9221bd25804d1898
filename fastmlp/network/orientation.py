"""Which way round a network is kept: units along the vectors, or samples (see ``narrow.products``).

The cycles of a step are estimated for both, less what both take alike. The terms were fitted to 2,820 measurements, so
that little time is lost and the estimated ratio is near the measured one. These are 41 networks of 1 to 784 units,
minibatches of 1 to 400, float32 and float64, relu and tanh, on a Granite Rapids with its tiles ``avx512`` and
``avx2`` (single runs of ``python -m bench.orientation``); the gradient from the rows of X to 680 more, of 17 networks.
There the choice loses 0.1 % to the better one on average with ``avx512`` and 0.7 % with ``avx2``, a quarter at most;
that between rows and columns of X (``--of gradient`` and ``--of full-batch``) loses 0.4 %. The gradient of a
remainder panel is priced by the same numbers; with it, on an Emerald Rapids, 123 of these shapes lose 0.3 % on average
and 13 % at most.
"""

from __future__ import annotations

import functools
import itertools

from fastmlp.network.layout import Layout
from fastmlp.simd.tile_table import TILE

# Cycles of one vector's multiply-add, where units fill the lanes and where samples do.
_MULTIPLY_ADD, _NARROW_MULTIPLY_ADD = 0.48, 0.6
# Of a call of a tile function; where samples fill the lanes, one call has so much to do that it counts for nothing.
_TILE = 52
# Of what a vector of outputs costs besides, in either: loss, activation and the sum for the bias.
_OUTPUT, _NARROW_OUTPUT = 39, 25
# Of a vector of weights that is updated.
_UPDATE = 11
# Of a register of samples and four columns of X that are gathered for its lanes.
_BLOCK = 8.5
# Of a narrow network's weight gradient as inner products over the samples: each multiply-add of vectors, and each sum.
_INNER_PRODUCT, _FOLD = 0.41, 1.6
# Of one from the rows of X: each multiply-add, each sample of a tile at least (a sum waits for the one before), each
# number that is transposed, each sum for a bias, and of the gather each row and each of its vectors.
_OUTER_PRODUCT, _LATENCY, _TRANSPOSED, _SUM, _ROW, _ROW_VECTOR = 0.33, 4.3, 0.2, 6, 2, 4
# Samples fill the lanes only if that is estimated to take no more than this part of the other's time; where a step
# takes so many cycles, two threads may share it, and they share what lies along the units better.
_MOST, _MOST_OF_SHARED, _SHARED = 0.95, 0.88, 60_000


def _pieces(count: int, most: int) -> int:
    """Return how many tiles cover `count` rows: of `most` rows, and of smaller powers of two at the end."""
    return count // most + (count % most).bit_count()


def _up(count: int, divisor: int) -> int:
    return -(-count // divisor)


def _cycles_along_units(fan_in: int, fan_out: int, is_first: bool, samples: int, lanes: int) -> float:
    width = lanes * TILE.vectors
    out_vectors = samples * _up(fan_out, lanes)
    remainder_units = Layout.remainder_units(fan_out, lanes)
    others = fan_out - remainder_units
    products = (out_vectors + samples * _up(others, lanes)) * fan_in
    tiles = _up(fan_out, width) * _pieces(samples, TILE.rows) + _up(others, width) * _pieces(fan_in, TILE.rows)
    if remainder_units:
        # One row takes as long as two: a sum waits for the one before.
        products += samples * _up(fan_in, lanes) * max(2, remainder_units)
        tiles += _up(fan_in, width) * _pieces(remainder_units, TILE.rows)
    if not is_first:
        products += samples * _up(fan_in, lanes) * fan_out
        tiles += _up(fan_in, width) * _pieces(samples, TILE.rows)
    return (
        _MULTIPLY_ADD * products
        + _TILE * tiles
        + (_TRANSPOSED * fan_in * lanes if remainder_units else 0)
        + _OUTPUT * out_vectors
        + _UPDATE * fan_in * _up(fan_out, lanes)
    )


def _cycles_by_columns(fan_in: int, fan_out: int, samples: int, lanes: int) -> float:
    return (fan_in + 1) * fan_out * (_INNER_PRODUCT * _up(samples, lanes) + _FOLD)


def _cycles_by_rows(fan_in: int, fan_out: int, samples: int, lanes: int, gathers: bool) -> float:
    row_vectors = _up(fan_in, lanes)
    panels, rest = divmod(row_vectors, TILE.vectors)
    widths = [TILE.vectors] * panels + [rest] * (rest > 0)
    of_sample = sum(
        max(_OUTER_PRODUCT * fan_out * vectors, _LATENCY * _up(fan_out, TILE.most_rows(vectors))) for vectors in widths
    )
    if gathers:
        of_sample += _ROW + _ROW_VECTOR * row_vectors
    # The biases' gradient comes with the product, unless features leave no lane free.
    of_unit = _TRANSPOSED * fan_in + (_SUM if fan_in % lanes == 0 else 0)
    return samples * of_sample + fan_out * of_unit


def _cycles_along_samples(fan_in: int, fan_out: int, is_first: bool, samples: int, lanes: int) -> float:
    vectors = _up(samples, lanes)
    products = vectors * fan_out * (fan_in + 1)
    gradient = _cycles_by_columns(fan_in, fan_out, samples, lanes)
    gathered = 0
    if is_first:
        gradient = min(gradient, _cycles_by_rows(fan_in, fan_out, samples, lanes, gathers=True))
        gathered = vectors * _up(fan_in, 4)
    else:
        products += vectors * fan_in * fan_out
    return (
        _NARROW_MULTIPLY_ADD * products
        + gradient
        + _NARROW_OUTPUT * vectors * fan_out
        + _BLOCK * gathered
        + _UPDATE * fan_in * _up(fan_out, lanes)
    )


@functools.lru_cache(maxsize=256)
def is_narrow(layer_units: tuple[int, ...], batch_size: int, lanes: int) -> bool:
    """Return whether samples should fill the lanes, not units: the one place that chooses the orientation."""
    along_units = along_samples = 0.0
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(layer_units)):
        along_units += _cycles_along_units(fan_in, fan_out, number == 0, batch_size, lanes)
        along_samples += _cycles_along_samples(fan_in, fan_out, number == 0, batch_size, lanes)
    return along_samples < (_MOST if along_units < _SHARED else _MOST_OF_SHARED) * along_units


@functools.lru_cache(maxsize=256)
def gains_by_rows(layer_units: tuple[int, ...], batch_size: int, lanes: int, gathers: bool) -> bool:
    """Return whether a narrow network computes its first weight gradient from the rows of X.

    They fill the lanes with features and leave nothing to fold, but are gathered besides the columns, if each step
    `gathers` its minibatch.
    """
    fan_in, fan_out = layer_units
    by_rows = _cycles_by_rows(fan_in, fan_out, batch_size, lanes, gathers)
    return by_rows < _cycles_by_columns(fan_in, fan_out, batch_size, lanes)
