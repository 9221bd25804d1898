"""The vector maths alone, on numbers that are in cache: what a step spends on tanh, exp and the logistic function.

tanh and the logistic function come in two passes, and tanh in one loop too (see ``IN_TWO_PASSES`` in
``fastmlp/kernels/epilogues.py``), and from a table (see ``fastmlp/kernels/tanh_table.py``).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from fastmlp.kernels.vector_maths import (
    exp_nonpositive,
    exp_of_size,
    half_exp_minus_one,
    logistic_and_log_of,
    tanh,
    tanh_from_exp,
    tanh_of,
)
from fastmlp.simd.jit import uncached
from fastmlp.simd.tile_table import TILE, aligned_zeros
from fastmlp.simd.vectors import lane_count, load, store

# Vectors that a pass goes over, and passes of a call. A step of `planar` takes 100 vectors of tanh, and 25 of the
# logistic function with its logarithm (float32, AVX-512).
VECTORS = 100
REPEATS = 1000


@uncached
def all_tanh(numbers: Any, count: Any, repeats: Any) -> None:
    """Write the hyperbolic tangents of the first `count` numbers behind them, again and again."""
    for _ in range(repeats):
        for place in range(0, count, lane_count(numbers)):
            store(numbers, count + place, half_exp_minus_one(load(numbers, place)))
        for place in range(count, 2 * count, lane_count(numbers)):
            store(numbers, place, tanh_of(load(numbers, place)))


@uncached
def all_tanh_in_one_loop(numbers: Any, count: Any, repeats: Any) -> None:
    """Do the same without a stop half way."""
    for _ in range(repeats):
        for place in range(0, count, lane_count(numbers)):
            store(numbers, count + place, tanh_from_exp(load(numbers, place)))


@uncached
def all_tanh_as_used(numbers: Any, count: Any, repeats: Any) -> None:
    """Do the same as kernels do it in one loop: with registers of 512 bits, in single precision, from a table."""
    for _ in range(repeats):
        for place in range(0, count, lane_count(numbers)):
            store(numbers, count + place, tanh(load(numbers, place)))


@uncached
def all_exp(numbers: Any, count: Any, repeats: Any) -> None:
    """Write the exponentials of the first `count` numbers, none of them positive, behind them."""
    for _ in range(repeats):
        for place in range(0, count, lane_count(numbers)):
            store(numbers, count + place, exp_nonpositive(load(numbers, place)))


@uncached
def all_logistic(numbers: Any, count: Any, repeats: Any) -> None:
    """Write the logistic function of the first `count` numbers behind them, and minus its logarithm behind that."""
    for _ in range(repeats):
        for place in range(0, count, lane_count(numbers)):
            store(numbers, count + place, exp_of_size(load(numbers, place)))
        for place in range(0, count, lane_count(numbers)):
            value, loss = logistic_and_log_of(load(numbers, count + place))
            store(numbers, count + place, value)
            store(numbers, 2 * count + place, loss)


FUNCTIONS = {
    "tanh": (all_tanh, np.tanh),
    "tanh in one loop": (all_tanh_in_one_loop, np.tanh),
    "tanh in one loop, from a table where there is one": (all_tanh_as_used, np.tanh),
    "exp": (all_exp, np.exp),
    "logistic and its logarithm": (all_logistic, expit),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vector_maths(benchmark: Any, note: Callable[..., None], name: str, dtype: str) -> None:
    """Each function on so many vectors; the summary prints the time of a thousand of them."""
    function, expected = FUNCTIONS[name]
    count = VECTORS * TILE.lanes(np.dtype(dtype))
    numbers = aligned_zeros(3 * count, np.dtype(dtype))
    numbers[:count] = -np.abs(np.random.RandomState(0).standard_normal(count))
    function(numbers, count, 1)
    np.testing.assert_allclose(numbers[count : 2 * count], expected(numbers[:count]), rtol=1e-5)
    benchmark.group = f"vector maths {dtype}"
    benchmark.pedantic(function, (numbers, count, REPEATS), rounds=21, warmup_rounds=2)
    note(dtype, 1, steps=VECTORS * REPEATS // 1000)
