"""The rows of the table of activations: values and slopes of vectors are those of the reference, at the edges too."""

import numpy as np
import pytest

from fastmlp import reference
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.simd.jit import uncached
from fastmlp.simd.vectors import lane_count, load, store
from tests.helpers.problems import DTYPES


def values_and_slopes(name, z):
    """Return what a row of the table makes of some pre-activations."""
    row = ACTIVATIONS[name]
    value_of, slope_of, both = row.value, row.slope, row.value_and_slope

    @uncached
    def compute(values, slopes, z):
        for place in range(0, len(z), lane_count(z)):
            x = load(z, place)
            if value_of is not None:
                store(values, place, value_of(x))
            if slope_of is not None:
                store(slopes, place, slope_of(load(values, place)))
            if both is not None:
                _, slope = both(x)
                store(slopes, place, slope)

    padded = np.zeros(-(-len(z) // 64) * 64, z.dtype)
    padded[: len(z)] = z
    values, slopes = padded.copy(), np.ones_like(padded)
    compute(values, slopes, padded)
    return values[: len(z)], slopes[: len(z)]


def exact(name, z):
    """Return the reference's values and slopes, in double precision."""
    z = z.astype(np.float64)
    values, slopes = z.copy(), np.ones_like(z)
    if name in reference.SLOPES:
        slopes = reference.SLOPES[name](z)
    reference.HIDDEN_ACTIVATIONS[name](values)
    if name in reference.DERIVATIVES:
        reference.DERIVATIVES[name](values, slopes)
    return values, slopes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_slopes_are_the_references(name, dtype):
    generator = np.random.RandomState(0)
    z = np.concatenate([3 * generator.standard_normal(5000), generator.uniform(-60, 60, 500), [0.0, -0.0]]).astype(
        dtype
    )
    (values, slopes), (exact_values, exact_slopes) = values_and_slopes(name, z), exact(name, z)
    epsilon = np.finfo(dtype).eps
    np.testing.assert_allclose(values, exact_values, rtol=10 * epsilon, atol=epsilon)
    if not ACTIVATIONS[name].is_floor:  # whose slope micro-kernels take
        np.testing.assert_allclose(slopes, exact_slopes, rtol=10 * epsilon, atol=10 * epsilon)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_far_out_values_and_slopes_have_their_limits(name, dtype):
    largest = np.finfo(dtype).max
    z = np.array([np.inf, largest, 1e4, -1e4, -largest, -np.inf], dtype)
    limits = {  # of the value to the left, of the slope on both sides; None: as z itself
        "identity": (None, 1, 1),
        "relu": (0, None, None),
        "tanh": (-1, 0, 0),
        "logistic": (0, 0, 0),
        "gelu": (0, 0, 1),
    }
    left, left_slope, right_slope = limits[name]
    values, slopes = values_and_slopes(name, z)
    np.testing.assert_array_equal(values[3:], z[3:] if left is None else np.full(3, left, dtype))
    np.testing.assert_array_equal(values[:3], z[:3] if name in ("identity", "relu", "gelu") else np.ones(3, dtype))
    if left_slope is not None:
        np.testing.assert_array_equal(slopes, [right_slope] * 3 + [left_slope] * 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays(name, dtype):
    values, slopes = values_and_slopes(name, np.full(3, np.nan, dtype))
    assert np.isnan(values).all()
    if name in reference.SLOPES:
        assert np.isnan(slopes).all()
