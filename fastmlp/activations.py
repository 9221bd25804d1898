"""Vector mathematics: exp, log, tanh and the logistic function, and the table of hidden activations.

Each function is branch-free: every lane goes through the same instructions, whatever its value. The
largest errors, measured against mpmath over the whole range (``tests/test_activations.py``), in
units in the last place:

==========  =======  =======
function    float32  float64
==========  =======  =======
exp         0.8      0.8
log         1.0      1.0
tanh        1.6      2.5
logistic    2.0      2.0
==========  =======  =======

exp returns exactly 0 where its value would be denormal; NaN gives NaN; 0 and the infinities give
the exact limits.

Adding an activation is one function here, its derivative by its own value, and one line in
``ACTIVATIONS`` and in the two switches below the table.
"""

from __future__ import annotations

from fastmlp._jit import inner
from fastmlp.vectors import (
    absolute,
    as_bits,
    bits_to_float,
    from_bits,
    is_single,
    lane_count,
    load,
    multiply_add,
    panel_width,
    round_to_even,
    select,
    shift_left,
    shift_right,
    store,
    truncate_to_bits,
)

IDENTITY, RELU, TANH, LOGISTIC = range(4)
ACTIVATIONS = {"identity": IDENTITY, "relu": RELU, "tanh": TANH, "logistic": LOGISTIC}

_LOG2_E = 1.4426950408889634
# ln 2 in two parts: the first has so few bits that its product with a whole number up to 2048 is
# exact.
_LN2_HIGH_SINGLE, _LN2_LOW_SINGLE = 0.693145751953125, 1.428606765330187e-06
_LN2_HIGH_DOUBLE, _LN2_LOW_DOUBLE = 0.6931471803691238, 1.9082149292705877e-10


@inner
def _reduce(x):
    """Return n and r with ``x = n ln 2 + r``, n whole and r within +- ln(2) / 2."""
    n = round_to_even(x * _LOG2_E)
    if is_single(x):
        return n, multiply_add(n, -_LN2_LOW_SINGLE, multiply_add(n, -_LN2_HIGH_SINGLE, x))
    return n, multiply_add(n, -_LN2_LOW_DOUBLE, multiply_add(n, -_LN2_HIGH_DOUBLE, x))


@inner
def _exp_series(r):
    """Return q with ``exp(r) = 1 + r + q r^2``, r within +- ln(2) / 2: the Taylor series to r^8 (single) or r^14."""
    if is_single(r):
        q = r * (1 / 40320) + (1 / 5040)
    else:
        q = r * (1 / 87178291200) + (1 / 6227020800)
        q = multiply_add(q, r, 1 / 479001600)
        q = multiply_add(q, r, 1 / 39916800)
        q = multiply_add(q, r, 1 / 3628800)
        q = multiply_add(q, r, 1 / 362880)
        q = multiply_add(q, r, 1 / 40320)
        q = multiply_add(q, r, 1 / 5040)
    q = multiply_add(q, r, 1 / 720)
    q = multiply_add(q, r, 1 / 120)
    q = multiply_add(q, r, 1 / 24)
    q = multiply_add(q, r, 1 / 6)
    return multiply_add(q, r, 1 / 2)


@inner
def _power_of_two(n):
    """Return ``2**n`` for whole n in the range of normal exponents."""
    bits = truncate_to_bits(n)
    if is_single(n):
        return from_bits(shift_left(bits + 127, 23))
    return from_bits(shift_left(bits + 1023, 52))


@inner
def _clip(x, low, high):
    """Return x within [low, high]; a NaN stays."""
    x = select(x > high, high, x)
    return select(x < low, low, x)


@inner
def exp(x):
    """Return e**x; 0 where the value would be denormal."""
    if is_single(x):
        lowest, highest = -87.33654, 88.72284
    else:
        lowest, highest = -708.3964185322641, 709.782712893384
    n, r = _reduce(_clip(x, lowest, highest))
    # 2**n in two factors: n reaches one beyond the largest normal exponent.
    half = round_to_even(n * 0.5)
    # 1 + r in two parts, so that only the last sum rounds.
    high = r + 1.0
    low = r - (high - 1.0)
    value = high + multiply_add(_exp_series(r), r * r, low)
    value = value * _power_of_two(half) * _power_of_two(n - half)
    value = select(x < lowest, 0.0, value)
    return select(x > highest, float("inf"), value)


@inner
def exp_nonpositive(x):
    """Return e**x for x <= 0, where no exponent overflows; 0 where the value would be denormal."""
    lowest = -87.33654 if is_single(x) else -708.3964185322641
    n, r = _reduce(select(x < lowest, lowest, x))
    high = r + 1.0
    low = r - (high - 1.0)
    value = (high + multiply_add(_exp_series(r), r * r, low)) * _power_of_two(n)
    return select(x < lowest, 0.0, value)


@inner
def _log_one_plus(e):
    """Return log(1 + e) for single-precision e within [0, 1]: ``e + e^2 P(e)`` of least relative error.

    Found as the one of `tanh`; its error is 0.09 units in the last place.
    """
    p = multiply_add(e, -0.0033183961996475293, 0.02020424145896715)
    p = multiply_add(p, e, -0.057663800791917796)
    p = multiply_add(p, e, 0.10680490585291616)
    p = multiply_add(p, e, -0.15355358197568017)
    p = multiply_add(p, e, 0.19695387457613675)
    p = multiply_add(p, e, -0.24958584921789118)
    p = multiply_add(p, e, 0.3333051108653444)
    p = multiply_add(p, e, -0.4999993275593952)
    return multiply_add(p, e * e, e)


@inner
def log(x):
    """Return the natural logarithm of a positive, normal, finite x.

    With ``x = 2**e m`` and m within [sqrt(1/2), sqrt(2)): ``log m = 2 atanh(s)``, s = (m - 1) / (m
    + 1).
    """
    bits = as_bits(x)
    if is_single(x):
        # The bit pattern of sqrt(1/2) is taken off, so that the exponent field steps there.
        offset = bits - 0x3F3504F3
        exponent = bits_to_float(shift_right(offset, 23))
        m = from_bits((offset & 0x007FFFFF) + 0x3F3504F3)
    else:
        offset = bits - 0x3FE6A09E667F3BCD
        exponent = bits_to_float(shift_right(offset, 52))
        m = from_bits((offset & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD)
    f = m - 1.0
    s = f / (m + 1.0)
    s2 = s * s
    if is_single(x):
        series = s2 * (2 / 11) + (2 / 9)
    else:
        series = s2 * (2 / 23) + (2 / 21)
        series = multiply_add(series, s2, 2 / 19)
        series = multiply_add(series, s2, 2 / 17)
        series = multiply_add(series, s2, 2 / 15)
        series = multiply_add(series, s2, 2 / 13)
        series = multiply_add(series, s2, 2 / 11)
        series = multiply_add(series, s2, 2 / 9)
    series = multiply_add(series, s2, 2 / 7)
    series = multiply_add(series, s2, 2 / 5)
    series = multiply_add(series, s2, 2 / 3)
    # 2 s = f - s f, and f is exact.
    tail = multiply_add(s, series * s2, -(s * f))
    if is_single(x):
        value = multiply_add(exponent, _LN2_HIGH_SINGLE, multiply_add(exponent, _LN2_LOW_SINGLE, tail) + f)
    else:
        value = multiply_add(exponent, _LN2_HIGH_DOUBLE, multiply_add(exponent, _LN2_LOW_DOUBLE, tail) + f)
    # The bits of a NaN are taken apart like any others.
    return select(x == x, value, x)


@inner
def tanh(x):
    r"""Return the hyperbolic tangent, for \|x\| first, then with the sign of x.

    Single precision: ``(1 - e) / (1 + e)`` with ``e = exp(-2 |x|)``; on \|x\| <= 0.575, where 1 - e cancels, the
    polynomial of least relative error for ``(tanh(x) / x - 1) / x^2``, found by iteratively reweighted least squares
    (error 0.03 units in the last place). Double precision: ``E / (E + 2)`` with ``E = exp(2 |x|) - 1``.
    """
    magnitude = absolute(x)
    if is_single(x):
        e = exp_nonpositive(magnitude * -2.0)
        value = (1.0 - e) / (1.0 + e)
        z = x * x
        p = multiply_add(z, -0.006085102084313166, 0.020940117212951012)
        p = multiply_add(p, z, -0.053821116619140186)
        p = multiply_add(p, z, 0.13332298818318314)
        p = multiply_add(p, z, -0.3333330948735817)
        value = select(x < 0.0, -value, value)
        return select(magnitude < 0.575, multiply_add(p * z, x, x), value)
    # Beyond 20 the result is 1 to the last bit.
    n, r = _reduce(select(magnitude > 20.0, 20.0, magnitude) * 2.0)
    power = _power_of_two(n)
    e = multiply_add(power, multiply_add(_exp_series(r), r * r, r), power - 1.0)
    value = e / (e + 2.0)
    return select(x < 0.0, -value, value)


@inner
def _logistic_parts(x):
    """Return ``e = exp(-|x|)``, ``1 + e``, what that sum lost to rounding, and ``1 / (1 + e)``."""
    e = exp_nonpositive(-absolute(x))
    total = e + 1.0
    lost = e - (total - 1.0)
    # One step of Newton's, which makes up for the rounding of the quotient and for what the sum lost.
    inverse = 1.0 / total
    residual = multiply_add(-inverse, lost, multiply_add(-inverse, total, 1.0))
    return e, total, lost, multiply_add(inverse, residual, inverse)


@inner
def logistic(x):
    """Return ``1 / (1 + e)`` for x >= 0 and ``e / (1 + e)`` for x < 0, with ``e = exp(-|x|)``."""
    e, _, _, inverse = _logistic_parts(x)
    return select(x < 0.0, e * inverse, inverse)


@inner
def logistic_and_log(x):
    """Return the logistic function of x, and minus the logarithm of that of the absolute value of x."""
    e, total, lost, inverse = _logistic_parts(x)
    value = select(x < 0.0, e * inverse, inverse)
    if is_single(x):
        return value, _log_one_plus(e)
    return value, log(total) + lost * inverse


@inner
def activate_tile(workspace, out, rows, columns, activation):
    """Apply tanh or the logistic function to a tile; relu and identity are done in the micro-kernel.

    workspace[out...] : (rows, columns), rows NR apart. Overwritten.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    if activation == TANH:
        for row in range(rows):
            for place in range(out + row * width, out + row * width + columns, lanes):
                store(workspace, place, tanh(load(workspace, place)))
    elif activation == LOGISTIC:
        for row in range(rows):
            for place in range(out + row * width, out + row * width + columns, lanes):
                store(workspace, place, logistic(load(workspace, place)))


@inner
def differentiate_tile(workspace, delta, activations, rows, columns, activation):
    """Multiply a tile of deltas by the derivative of tanh or the logistic function, found from the function's value.

    workspace[delta...], workspace[activations...] : (rows, columns), rows NR apart. The first is
    overwritten.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    if activation == TANH:
        for row in range(rows):
            for column in range(0, columns, lanes):
                place = row * width + column
                a = load(workspace, activations + place)
                store(workspace, delta + place, load(workspace, delta + place) * (1.0 - a * a))
    elif activation == LOGISTIC:
        for row in range(rows):
            for column in range(0, columns, lanes):
                place = row * width + column
                a = load(workspace, activations + place)
                store(workspace, delta + place, load(workspace, delta + place) * (a * (1.0 - a)))
