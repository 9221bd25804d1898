"""Which way round a network is kept: units along the vectors, or samples (see ``narrow``).

The cycles of a step are estimated for both. What they are made of was fitted to 736 measurements: 23 networks of 1 to
100 units, minibatches of 1 to 400, float32 and float64, relu and tanh, on a Zen 3. There the choice loses less than
half a per cent to the better one on average, and 11 % at most (the best times of six runs of ``python -m
bench.orientation``; in a single run on a busy machine the choice looks worse than it is). On an Intel processor with
AVX-512, which was not fitted to, single runs say 0.7 % on average and 19 % for networks such as 4-100-1 in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from fastmlp.tiles import TILE

# Cycles of one vector's multiply-add, where units fill the lanes and where samples do: there, tiles are smaller.
_MULTIPLY_ADD, _NARROW_MULTIPLY_ADD = 0.5, 0.9
# Of a call of a tile function, in either, and of one that ends in folding inner products.
_TILE, _NARROW_TILE, _DOT_TILE = 90, 40, 15
# Of what a vector of a sample's outputs costs besides: loss, activation and the sum for the bias.
_SAMPLE_VECTOR = 20
# Of each number of X that is gathered to a lane of its own, where rows of units are copied whole.
_NARROW_GATHER = 1.0
# Samples fill the lanes only if that is estimated to take no more than this part of the other's time: where an estimate
# is wrong, more is lost in the networks to which the other one is the natural one.
_MOST = 0.85


def _pieces(count: int, most: int) -> int:
    """Return how many tiles cover `count` rows: of `most` rows, and of smaller powers of two at the end."""
    return count // most + (count % most).bit_count()


def _up(count: int, divisor: int) -> int:
    return -(-count // divisor)


def _cycles_along_units(fan_in: int, fan_out: int, is_first: bool, samples: int, lanes: int) -> float:
    width = lanes * TILE.vectors
    out_vectors = samples * _up(fan_out, lanes)
    products = 2 * out_vectors * fan_in
    tiles = _up(fan_out, width) * (_pieces(samples, TILE.rows) + _pieces(fan_in, TILE.rows))
    if not is_first:
        products += samples * _up(fan_in, lanes) * fan_out
        tiles += _up(fan_in, width) * _pieces(samples, TILE.rows)
    return _MULTIPLY_ADD * products + _TILE * tiles + _SAMPLE_VECTOR * out_vectors


def _cycles_along_samples(fan_in: int, fan_out: int, is_first: bool, samples: int, lanes: int) -> float:
    vectors = _up(samples, lanes)
    products = 2 * vectors * fan_out * (fan_in + 1)
    tiles = _up(fan_out, TILE.rows)
    gathered = 0
    if is_first:
        gathered = samples * fan_in
    else:
        products += vectors * fan_in * fan_out
        tiles += _up(fan_in, TILE.rows)
    dot_tiles = _up(fan_in + 1, TILE.dot_rows) * _up(fan_out, TILE.dot_columns)
    return (
        _NARROW_MULTIPLY_ADD * products
        + _NARROW_TILE * tiles * _up(vectors, TILE.vectors)
        + _DOT_TILE * dot_tiles
        + _NARROW_GATHER * gathered
    )


def is_narrow(layer_units: Sequence[int], batch_size: int, lanes: int) -> bool:
    """Return whether samples should fill the lanes, not units: the one place that chooses the orientation."""
    along_units = along_samples = 0.0
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(layer_units)):
        along_units += _cycles_along_units(fan_in, fan_out, number == 0, batch_size, lanes)
        along_samples += _cycles_along_samples(fan_in, fan_out, number == 0, batch_size, lanes)
    return along_samples < _MOST * along_units
