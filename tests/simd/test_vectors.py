"""Vector operations: every lane as NumPy has it, which is what the naive twins are."""

import numpy as np
import pytest

from fastmlp.simd import vectors, vectors_naive
from fastmlp.simd.jit import uncached
from fastmlp.simd.tile_table import TILE, aligned_zeros
from tests.helpers.problems import DTYPES

# Numbers in the order in which `all_operations` stores them.
FLOATS = [
    "add", "subtract", "multiply", "divide", "negate", "scalar on the right", "scalar on the left", "broadcast",
    "splat", "square root", "absolute", "multiply_add", "multiply_add with scalars", "from bits", "lane numbers",
    "less", "less or equal", "greater", "greater or equal", "equal", "not equal",
    "both", "either", "scalar selected", "unaligned load",
]  # fmt: skip
INTEGERS = ["as bits", "shifted left", "shifted right", "masked", "sum of bits", "bits less"]


@uncached
def all_operations(floats, integers, scalars, a, b, c, scalar):
    """Store the result of each operation, one register after the other."""
    lanes = vectors.lane_count(floats)
    x = vectors.load(a, 0)
    y = vectors.load(b, 0)
    z = vectors.load(c, 0)
    one = vectors.splat_of(floats, 1.0)
    bits = vectors.as_bits(x)
    vectors.store_nontemporal(floats, 0 * lanes, x + y)
    vectors.fence_nontemporal_stores()
    vectors.store(floats, 1 * lanes, x - y)
    vectors.store(floats, 2 * lanes, x * y)
    vectors.store(floats, 3 * lanes, x / y)
    vectors.store(floats, 4 * lanes, -x)
    vectors.store(floats, 5 * lanes, (x + 0.5) * scalar - 3)
    vectors.store(floats, 6 * lanes, 1.0 / (3 - (scalar + x)))
    vectors.store(floats, 7 * lanes, vectors.broadcast(scalar, x))
    vectors.store(floats, 8 * lanes, vectors.splat_of(floats, scalar))
    vectors.store(floats, 9 * lanes, vectors.square_root(z))
    vectors.store(floats, 10 * lanes, vectors.absolute(x))
    vectors.store(floats, 11 * lanes, vectors.multiply_add(x, y, z))
    vectors.store(floats, 12 * lanes, vectors.multiply_add(vectors.multiply_add(x, 2.0, 0.25), x, 0.125))
    vectors.store(floats, 13 * lanes, vectors.from_bits(bits))
    vectors.store(floats, 14 * lanes, vectors.lane_numbers(floats))
    vectors.store(floats, 15 * lanes, vectors.select(x < y, one, 0.0))
    vectors.store(floats, 16 * lanes, vectors.select(x <= y, one, 0.0))
    vectors.store(floats, 17 * lanes, vectors.select(x > y, one, 0.0))
    vectors.store(floats, 18 * lanes, vectors.select(x >= y, one, 0.0))
    vectors.store(floats, 19 * lanes, vectors.select(x == y, one, 0.0))
    vectors.store(floats, 20 * lanes, vectors.select(x != y, one, 0.0))
    vectors.store(floats, 21 * lanes, vectors.select((x < y) & (z > 1.0), x, y))
    vectors.store(floats, 22 * lanes, vectors.select((x < y) | (z > 1.0), x, y))
    vectors.store(floats, 23 * lanes, vectors.select(x < 0.0, 2.0, y))
    vectors.store(floats, 24 * lanes, vectors.load(a, 1))
    vectors.store(integers, 0 * lanes, bits)
    vectors.store(integers, 1 * lanes, vectors.shift_left(bits, 3))
    vectors.store(integers, 2 * lanes, vectors.shift_right(bits, 7))
    vectors.store(integers, 3 * lanes, (bits & 0x7F) | 5)
    vectors.store(integers, 4 * lanes, bits + bits - 3)
    vectors.store(integers, 5 * lanes, vectors.as_bits(vectors.select(bits < 0, one, 0.0)))
    scalars[0] = vectors.sum_lanes(x)
    scalars[1] = vectors.max_lanes(x)
    scalars[2] = 1.0 if vectors.is_single(x) else 2.0
    scalars[3] = vectors.lane_count(floats)
    scalars[4] = vectors.panel_width(floats)


def operands(dtype, seed):
    generator = np.random.RandomState(seed)
    lanes = TILE.lanes(dtype)
    a = (10 * generator.standard_normal(lanes + 1)).astype(dtype)
    b = (10 * generator.standard_normal(lanes)).astype(dtype)
    b[0] = a[0]  # so that equality occurs
    c = generator.uniform(0, 2, lanes).astype(dtype)
    return a, b, c


def run_operations(dtype, a, b, c, scalar):
    lanes = TILE.lanes(dtype)
    integer = np.int32 if np.dtype(dtype).itemsize == 4 else np.int64
    floats = aligned_zeros(len(FLOATS) * lanes, dtype)
    integers = np.zeros(len(INTEGERS) * lanes, integer)
    scalars = np.zeros(5)
    all_operations(floats, integers, scalars, a, b, c, dtype(scalar))
    named = dict(zip(FLOATS, floats.reshape(-1, lanes), strict=True))
    named.update(zip(INTEGERS, integers.reshape(-1, lanes), strict=True))
    return named, scalars


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation_is_that_of_numpy(dtype, seed):
    a, b, c = operands(dtype, seed)
    lanes, scalar = TILE.lanes(dtype), dtype(0.75)
    results, scalars = run_operations(dtype, a, b, c, scalar)
    x, y, z = a[:lanes], b, c
    bits = vectors_naive.as_bits(x)
    expected = {
        "add": x + y,
        "subtract": x - y,
        "multiply": x * y,
        "divide": x / y,
        "negate": -x,
        "scalar on the left": 1 / (3 - (scalar + x)),
        "broadcast": np.full_like(x, scalar),
        "splat": np.full_like(x, scalar),
        "square root": np.sqrt(z),
        "absolute": np.abs(x),
        "from bits": x,
        "lane numbers": np.arange(lanes),
        "less": x < y,
        "less or equal": x <= y,
        "greater": x > y,
        "greater or equal": x >= y,
        "equal": x == y,
        "not equal": x != y,
        "both": np.where((x < y) & (z > 1), x, y),
        "either": np.where((x < y) | (z > 1), x, y),
        "scalar selected": np.where(x < 0, 2, y),
        "unaligned load": a[1:],
        "as bits": bits,
        "shifted left": bits << 3,
        "shifted right": (bits.view(f"u{bits.itemsize}") >> 7).view(bits.dtype),
        "masked": (bits & 0x7F) | 5,
        "sum of bits": bits + bits - 3,
        "bits less": np.where(bits < 0, np.ones_like(x), 0).astype(dtype).view(bits.dtype),
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(results[name], value, err_msg=name)
    # A product may be fused with the sum behind it, or not: one rounding of the product apart.
    tolerance = 200 * np.finfo(dtype).eps
    fusible = {
        "multiply_add": vectors_naive.multiply_add(x, y, z),
        "multiply_add with scalars": (x * 2 + dtype(0.25)) * x + dtype(0.125),
        "scalar on the right": (x + dtype(0.5)) * scalar - 3,
    }
    for name, value in fusible.items():
        np.testing.assert_allclose(results[name], value, rtol=tolerance, atol=tolerance, err_msg=name)
    assert set(expected) | set(fusible) == set(FLOATS + INTEGERS)
    # Folded in halves: the order of additions is the same, so the bits are.
    assert scalars[0] == vectors_naive.sum_lanes(x)
    assert scalars[1] == vectors_naive.max_lanes(x)
    assert scalars[2] == (1 if dtype is np.float32 else 2)
    assert scalars[3] == lanes
    assert scalars[4] == TILE.columns(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_neither_less_nor_equal_nor_greater_but_different(dtype):
    a, b, c = operands(dtype, 0)
    a[:-1] = np.nan
    results, scalars = run_operations(dtype, a, b, c, 1.0)
    for name in ("less", "less or equal", "greater", "greater or equal", "equal"):
        assert (results[name] == 0).all(), name
    assert (results["not equal"] == 1).all()
    assert np.isnan(results["add"]).all()
    assert np.isnan(results["multiply_add"]).all()
    assert np.isnan(scalars[:2]).all()


@uncached
def call_transpose(array, source, target, columns):
    vectors.transpose_tile(array, source, target, columns)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tile_is_transposed_and_nothing_else_written(dtype):
    width, height = TILE.columns(dtype), TILE.rows
    for n_columns in range(0, width + 1, 4):
        target = 3 + height * width
        array = np.random.RandomState(0).standard_normal(target + width * width + 5).astype(dtype)
        expected = array.copy()
        tile = array[3:target].reshape(height, width)[:, :n_columns]
        place = target + 2
        expected[place:][: width * width].reshape(width, width)[:n_columns, :height] = tile.T
        call_transpose(array, 3, place, n_columns)
        np.testing.assert_array_equal(array, expected)


@pytest.mark.needs_jit
def test_a_shift_by_a_variable_is_refused():
    from numba.core.errors import TypingError

    @uncached
    def shift(a, count):
        return vectors.sum_lanes(vectors.from_bits(vectors.shift_left(vectors.as_bits(vectors.load(a, 0)), count)))

    with pytest.raises(TypingError, match="literal"):
        shift(np.ones(64, np.float32), 3)


@pytest.mark.needs_jit
def test_operands_that_do_not_fit_are_refused():
    from numba.core.errors import TypingError

    @uncached
    def mixed(a, b):
        return vectors.load(a, 0) + vectors.load(b, 0)

    with pytest.raises(TypingError):
        mixed(np.ones(64, np.float32), np.ones(64))

    @uncached
    def with_array(a):
        return vectors.load(a, 0) + a

    with pytest.raises(TypingError):
        with_array(np.ones(64, np.float32))
