"""exp, log, tanh and the logistic function: their errors in units in the last place, their limits, their shape."""

import math
import re

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr

from fastmlp.kernels import tanh_table, vector_maths
from fastmlp.simd.jit import uncached
from fastmlp.simd.tile_table import TILE
from fastmlp.simd.vectors import lane_count, load, store
from tests.helpers.problems import DTYPES

pytestmark = pytest.mark.needs_jit  # interpreted, NumPy warns of the overflows that are meant to be

EXP, LOG, TANH, LOGISTIC, TAIL = range(5)
FUNCTIONS = {"exp": EXP, "log": LOG, "tanh": TANH, "logistic": LOGISTIC, "tail": TAIL}

# A processor without fused multiply-add rounds twice where others round once.
FACTOR = 1.25 if TILE.name == "generic" else 1.0

# The largest errors, in units in the last place: what the module's documentation states is what holds.
BOUNDS = {
    (name, dtype): FACTOR * float(bound)
    for name, *bounds in re.findall(r"^(\w+) +([\d.]+) +([\d.]+)$", vector_maths.__doc__, re.MULTILINE)
    for dtype, bound in zip(DTYPES, bounds, strict=True)
}
if tanh_table.IS_USED:
    (_bound,) = re.findall(r"largest error over all numbers is ([\d.]+) units", tanh_table.__doc__)
    BOUNDS["tanh", np.float32] = float(_bound)

# Between these lies every argument whose result is a normal number, and short of the limit (log: every argument).
RANGES = {
    ("exp", np.float32): (-87.336, 88.722),
    ("exp", np.float64): (-708.39, 709.78),
    ("log", np.float32): (float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)),
    ("log", np.float64): (float(np.finfo(np.float64).tiny), float(np.finfo(np.float64).max)),
    ("tanh", np.float32): (-12.0, 12.0),
    ("tanh", np.float64): (-25.0, 25.0),
    ("logistic", np.float32): (-87.336, 25.0),
    ("logistic", np.float64): (-708.39, 45.0),
    ("tail", np.float32): (0.0, 12.9),
    ("tail", np.float64): (0.0, 37.5),
}

EXACT = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "tanh": mpmath.tanh,
    "logistic": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tail": lambda x: mpmath.ncdf(-x),
}


@uncached
def call_function(out, x, function):
    for place in range(0, len(x), lane_count(x)):
        if function == EXP:
            store(out, place, vector_maths.exp(load(x, place)))
        elif function == LOG:
            store(out, place, vector_maths.log(load(x, place)))
        elif function == TANH:
            store(out, place, vector_maths.tanh(load(x, place)))
        elif function == LOGISTIC:
            store(out, place, vector_maths.logistic(load(x, place)))
        else:
            tail, _ = vector_maths.tail_and_density(load(x, place))
            store(out, place, tail)


def evaluate(name, x):
    """Apply one of the functions to an array of any length."""
    padded = np.ones(-(-len(x) // 64) * 64, x.dtype)
    padded[: len(x)] = x
    out = np.empty_like(padded)
    call_function(out, padded, FUNCTIONS[name])
    return out[: len(x)]


def arguments(name, dtype, count):
    """Return arguments all over the range: evenly spaced, of every order of magnitude, and near where 2**n steps."""
    low, high = RANGES[name, dtype]
    generator = np.random.RandomState(0)
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    # Evenly spaced bit patterns are evenly spread over the orders of magnitude.
    largest = np.array([max(abs(low), abs(high))], dtype).view(bits)[0]
    smallest = np.array([np.finfo(dtype).tiny], dtype).view(bits)[0]
    spread = generator.randint(smallest, largest, count, dtype=bits).view(dtype)
    x = [spread]
    if name == "log":
        x += [generator.uniform(0, 4, count), 1 + 1e-3 * generator.standard_normal(count)]
    else:
        steps = math.log(2) / 2 * generator.randint(2 * low / math.log(2), 2 * high / math.log(2), count)
        x += [-spread, generator.uniform(low, high, count), steps * (1 + 1e-6 * generator.standard_normal(count))]
    x = np.concatenate(x).astype(dtype)
    return x[(x >= dtype(low)) & (x <= dtype(high))]


def units_in_the_last_place(result, exact):
    """Return the errors, in distances between neighbours of the exact value."""
    spacing = np.spacing(np.abs(exact).astype(result.dtype)).astype(exact.dtype)
    return np.abs(result.astype(exact.dtype) - exact) / spacing


def test_the_documentation_states_a_bound_for_each_function():
    assert set(BOUNDS) == {(name, dtype) for name in FUNCTIONS for dtype in DTYPES}
    # The tail is as exact as its argument: it falls faster than any power.
    assert max(bound for (name, _), bound in BOUNDS.items() if name != "tail") <= 2.5 * FACTOR
    assert max(BOUNDS.values()) <= 8 * FACTOR


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_against_mpmath(name, dtype):
    x = arguments(name, dtype, 3000)
    result = evaluate(name, x)
    worst = 0.0
    with mpmath.workprec(120):
        for argument, value in zip(x.tolist(), result.tolist(), strict=True):
            exact = EXACT[name](mpmath.mpf(argument))
            spacing = np.spacing(np.abs(dtype(exact)))
            worst = max(worst, float(abs(mpmath.mpf(value) - exact) / float(spacing)))
    assert worst <= BOUNDS[name, dtype]


# What NumPy has of them: exact enough in a wider type.
WIDER = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "tail": lambda z: ndtr(-z),
}


def largest_error(name, x, wider):
    """Return the largest error at `x`, in units in the last place."""
    return units_in_the_last_place(evaluate(name, x), WIDER[name](x.astype(wider))).max()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_of_single_precision_against_double(name):
    assert largest_error(name, arguments(name, np.float32, 400_000), np.float64) <= BOUNDS[name, np.float32]


@pytest.mark.full_grid
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_at_every_number_of_single_precision(name):
    """Every one but those so small that the function is a straight line there: of these one in a thousand."""
    low, high = RANGES[name, np.float32]
    tiny = float(np.finfo(np.float32).tiny)
    # A logarithm is nowhere such a line, and has no negative arguments.
    small = tiny if name == "log" else 2.0**-30
    worst = 0.0
    for sign, last in ((1, high), (-1, -low)):
        if last > 0:
            first, middle, end = np.array([tiny, small, last], np.float32).view(np.uint32).tolist()
            ranges = [(first, middle, 1009)]
            ranges += [(at, min(at + 2**22, end + 1), 1) for at in range(middle, end + 1, 2**22)]
            for numbers in ranges:
                x = np.float32(sign) * np.arange(*numbers, dtype=np.uint32).view(np.float32)
                if len(x):
                    worst = max(worst, largest_error(name, x, np.float64))
    print(f"{name}: {worst:.3f} units in the last place")
    assert worst <= BOUNDS[name, np.float32]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="long double is no wider than double here")
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "logistic"])  # SciPy has no tail in long double
def test_error_of_double_precision_against_long_double(name):
    assert largest_error(name, arguments(name, np.float64, 100_000), np.longdouble) <= BOUNDS[name, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_at_zero_and_the_infinities(dtype):
    x = np.array([0, -0.0, np.inf, -np.inf], dtype)
    np.testing.assert_array_equal(evaluate("exp", x), [1, 1, np.inf, 0])
    np.testing.assert_array_equal(evaluate("tanh", x), [0, 0, 1, -1])
    np.testing.assert_array_equal(evaluate("logistic", x), [0.5, 0.5, 1, 0])
    assert evaluate("log", np.ones(1, dtype)) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_gives_nan(name, dtype):
    assert np.isnan(evaluate(name, np.array([np.nan, -np.nan], dtype))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_out_the_limits_are_exact(dtype):
    largest = np.finfo(dtype).max
    x = np.array([1e3, 1e6, largest], dtype)
    assert (evaluate("exp", -x) == 0).all()
    assert np.isposinf(evaluate("exp", x)).all()
    assert (evaluate("tanh", x) == 1).all()
    assert (evaluate("tanh", -x) == -1).all()
    assert (evaluate("logistic", x) == 1).all()
    assert (evaluate("logistic", -x) == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_never_denormal(dtype):
    smallest = math.log(np.finfo(dtype).tiny)
    x = np.linspace(1.3 * smallest, smallest * (1 - 1e-3), 20_000).astype(dtype)
    result = evaluate("exp", x)
    assert ((result == 0) | (result >= np.finfo(dtype).tiny)).all()
    assert (result[x > smallest * (1 - 1e-6)] > 0).all()
    assert (result[x < smallest * (1 + 1e-6)] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_larger_arguments_never_give_results_smaller_than_the_error(name, dtype):
    x = np.sort(arguments(name, dtype, 20_000))
    result = evaluate(name, x).astype(np.float64) * (-1 if name == "tail" else 1)
    fall = np.maximum.accumulate(result) - result
    spacing = np.spacing(np.abs(result).astype(dtype)).astype(np.float64)
    assert (fall <= 2 * BOUNDS[name, dtype] * spacing).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_odd_and_probabilities_stay_probabilities(dtype):
    x = arguments("tanh", dtype, 20_000)
    np.testing.assert_array_equal(evaluate("tanh", -x), -evaluate("tanh", x))
    assert (np.abs(evaluate("tanh", x)) <= 1).all()
    p = evaluate("logistic", arguments("logistic", dtype, 20_000))
    assert ((p >= 0) & (p <= 1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_arguments_lose_nothing(dtype):
    """exp(x) - 1, which tanh is built on, must not be a difference of numbers near 1."""
    x = np.geomspace(np.finfo(dtype).tiny, 1e-5, 1000).astype(dtype)
    np.testing.assert_allclose(evaluate("tanh", x), x, rtol=max(2 * np.finfo(dtype).eps, 1e-10))
