"""Vector mathematics: exp, log, tanh and the logistic function, and the table of hidden activations.

Each function is branch-free: every lane goes through the same instructions, whatever its value. The
largest errors, measured against mpmath over the whole range (``tests/test_activations.py``), in
units in the last place:

==========  =======  =======
function    float32  float64
==========  =======  =======
exp         1.0      1.0
log         1.0      1.0
tanh        1.5      2.4
logistic    2.0      1.9
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
_LN2 = 0.6931471805599453
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
    """Return q with ``exp(r) = 1 + r + q r^2``, r within +- ln(2) / 2.

    The polynomials of least error relative to r, found with Remez's algorithm (0.24 and 0.003 units in the last place).
    """
    if is_single(r):
        q = multiply_add(r, 0.001394600507352842, 0.0083663474287107838)
        q = multiply_add(q, r, 0.041666290361724422)
        q = multiply_add(q, r, 0.16666545448542699)
        return multiply_add(q, r, 0.50000000583451062)
    q = multiply_add(r, 2.092412968833337255e-9, 2.5108648147364553051e-8)
    q = multiply_add(q, r, 2.7557243929584028133e-7)
    q = multiply_add(q, r, 2.7557245398967534116e-6)
    q = multiply_add(q, r, 2.4801587358933773807e-5)
    q = multiply_add(q, r, 1.9841269884850504401e-4)
    q = multiply_add(q, r, 1.3888888888867853447e-3)
    q = multiply_add(q, r, 8.333333333322185022e-3)
    q = multiply_add(q, r, 4.1666666666666698641e-2)
    q = multiply_add(q, r, 0.16666666666666675789)
    return multiply_add(q, r, 0.5)


@inner
def _exp_reduced(r):
    """Return e**r for r within +- ln(2) / 2."""
    return multiply_add(multiply_add(_exp_series(r), r, 1.0), r, 1.0)


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
    value = _exp_reduced(r) * _power_of_two(half) * _power_of_two(n - half)
    value = select(x < lowest, 0.0, value)
    return select(x > highest, float("inf"), value)


@inner
def exp_nonpositive(x):
    """Return e**x for x <= 0, where no exponent overflows; 0 where the value would be denormal."""
    lowest = -87.33654 if is_single(x) else -708.3964185322641
    n, r = _reduce(select(x < lowest, lowest, x))
    return select(x < lowest, 0.0, _exp_reduced(r) * _power_of_two(n))


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
def _with_sign_of(x, magnitude):
    """Return a number that isn't negative with the sign of x."""
    sign = as_bits(x) & (-0x80000000 if is_single(x) else -0x8000000000000000)
    return from_bits(as_bits(magnitude) | sign)


@inner
def tanh(x):
    r"""Return the hyperbolic tangent, for \|x\| first, then with the sign of x.

    Single precision: ``1 - 2 e / (1 + e)`` with ``e = exp(-2 |x|)``; on \|x\| <= 0.575, where the difference cancels,
    the polynomial of least relative error for ``(tanh(x) / x - 1) / x^2``, found by iteratively reweighted least
    squares (error 0.03 units in the last place). Double precision: ``E / (E + 2)`` with ``E = exp(2 |x|) - 1``.
    """
    magnitude = absolute(x)
    if is_single(x):
        # Beyond 10 the result is 1 to the last bit; so few multiples of ln 2 need it to one float's precision only.
        within = select(magnitude > 10.0, 10.0, magnitude)
        n = round_to_even(within * (-2 * _LOG2_E))
        r = multiply_add(n, -_LN2, within * -2.0)
        e = _exp_reduced(r) * _power_of_two(n)
        value = multiply_add(e / (e + 1.0), -2.0, 1.0)
        z = x * x
        p = multiply_add(z, -0.006085102084313166, 0.020940117212951012)
        p = multiply_add(p, z, -0.053821116619140186)
        p = multiply_add(p, z, 0.13332298818318314)
        p = multiply_add(p, z, -0.3333330948735817)
        return select(magnitude < 0.575, multiply_add(p * z, x, x), _with_sign_of(x, value))
    # Beyond 20 the result is 1 to the last bit.
    n, r = _reduce(select(magnitude > 20.0, 20.0, magnitude) * 2.0)
    power = _power_of_two(n)
    e = multiply_add(power, multiply_add(_exp_series(r), r * r, r), power - 1.0)
    return _with_sign_of(x, e / (e + 2.0))


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
