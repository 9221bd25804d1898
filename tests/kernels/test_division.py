"""Quotients: their errors, and their limits."""

import re

import numpy as np
import pytest

from fastmlp.kernels import division
from fastmlp.simd.denormals import flush_denormals, restore_denormals
from fastmlp.simd.jit import JIT_DISABLED, uncached
from fastmlp.simd.vectors import lane_count, load, store
from tests.helpers.problems import DTYPES

(_bound,) = re.findall(r"error of a quotient is below ([\d.]+) units", " ".join(division.__doc__.split()))
BOUND = float(_bound) if division.IS_USED else 0.5
if JIT_DISABLED and division.IS_USED:
    BOUND += 1  # interpreted, d r is rounded too, before it is taken from 1

has_wide_long_double = np.finfo(np.longdouble).nmant >= 60


@uncached
def divide(out, n, d):
    former = flush_denormals()
    for place in range(0, len(n), lane_count(n)):
        store(out, place, division.quotient(load(n, place), load(d, place)))
    restore_denormals(former)


def quotients(n, d):
    """Divide arrays of any length."""
    padded = [np.append(x, np.ones(-len(x) % 64, x.dtype)) for x in (n, d)]
    out = np.empty_like(padded[0])
    divide(out, *padded)
    return out[: len(n)]


def numbers(dtype, count, seed):
    """Return positive numbers of every order of magnitude whose reciprocals are normal, and some in between 1 and 2."""
    generator = np.random.RandomState(seed)
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    tiny = np.finfo(dtype).tiny
    first, last = np.array([tiny, 1 / tiny], dtype).view(bits).tolist()
    spread = generator.randint(first, last + 1, count, dtype=bits).view(dtype)
    return np.concatenate([spread, generator.uniform(1, 2, count).astype(dtype)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_quotients(dtype):
    wider = np.float64 if dtype == np.float32 else np.longdouble
    if dtype == np.float64 and not has_wide_long_double:
        pytest.skip("long double is no wider than double here")
    d = numbers(dtype, 200_000, 0)
    n = np.random.RandomState(1).permutation(numbers(dtype, 200_000, 2)) * np.resize([1, -1], len(d)).astype(dtype)
    exact = n.astype(wider) / d.astype(wider)
    info = np.finfo(dtype)
    normal = (np.abs(exact) > 2 * info.tiny) & (np.abs(exact) < info.max / 2)
    assert np.mean(normal) > 0.4
    n, d, exact = n[normal], d[normal], exact[normal]
    error = np.abs(quotients(n, d).astype(wider) - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert error.max() <= BOUND


@pytest.mark.parametrize("dtype", DTYPES)
def test_limits_of_quotients(dtype):
    inf, nan = np.inf, np.nan
    n = np.array([0, 1, -1, inf, inf, -inf, nan, 1, nan], dtype)
    d = np.array([2, inf, inf, 2, inf, inf, 2, nan, inf], dtype)
    with np.errstate(invalid="ignore"):
        result = quotients(n, d)
    np.testing.assert_array_equal(result, [0, 0, 0, inf, nan, nan, nan, nan, nan])


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients_of_divisors_with_no_normal_reciprocal(dtype):
    """They are far below what they are subtracted from, whether 0 or right."""
    largest = np.finfo(dtype).max
    d = np.array([largest, largest / 2, 1.5 / np.finfo(dtype).tiny], dtype)
    result = quotients(np.ones_like(d), d)
    assert np.all((result == 0) | (np.abs(result * d - 1) < 1e-3))
