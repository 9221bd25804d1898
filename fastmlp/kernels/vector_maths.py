"""Vector mathematics: exp, log, tanh, the logistic function and the normal distribution.

Each function is branch-free: every lane goes through the same instructions, whatever its value. The
largest errors, measured against mpmath over the whole range (``tests/kernels/test_vector_maths.py``), in
units in the last place:

==========  =======  =======
function    float32  float64
==========  =======  =======
exp         1.1      1.1
log         1.0      1.0
tanh        2.0      2.2
logistic    2.0      1.9
tail        6.5      7.5
==========  =======  =======

With registers of 512 bits tanh in float32 comes from a table (see ``tanh_table``), and its largest error is half of
that. exp returns exactly 0 where its value would be denormal; NaN gives NaN; 0 and the infinities give
the exact limits. tail is the normal distribution's probability below -x, for x >= 0.
"""

from __future__ import annotations

from fastmlp.kernels.tanh_table import IS_USED as TANH_FROM_TABLE
from fastmlp.kernels.tanh_table import tanh_of_size
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import (
    absolute,
    as_bits,
    from_bits,
    is_single,
    multiply_add,
    select,
    shift_left,
    shift_right,
)

_LOG2_E = 1.4426950408889634
_LN2 = 0.6931471805599453
# ln 2 in two parts: the first has so few bits that its product with a whole number up to 2048 is
# exact.
_LN2_HIGH_SINGLE, _LN2_LOW_SINGLE = 0.693145751953125, 1.428606765330187e-06
_LN2_HIGH_DOUBLE, _LN2_LOW_DOUBLE = 0.6931471803691238, 1.9082149292705877e-10
# Numbers so large that their neighbours are 1 apart, and that end in the bias of an exponent.
_BIASED_SINGLE, _BIASED_DOUBLE = 1.5 * 2**23 + 127, 1.5 * 2**52 + 1023


@inner
def _round(x, factor, shift):
    """Return n, the whole number nearest to ``factor * x``, and ``2**(n + shift)``.

    The sum with so large a number keeps no bits behind the point. What is left in its lowest bits is n and the bias of
    an exponent, which is moved to where the exponent stands. (x86 has no conversion between vectors of numbers and of
    64-bit integers before AVX-512.)
    """
    if is_single(x):
        large = _BIASED_SINGLE + shift
        whole = multiply_add(x, factor, large)
        return whole - large, from_bits(shift_left(as_bits(whole), 23))
    large = _BIASED_DOUBLE + shift
    whole = multiply_add(x, factor, large)
    return whole - large, from_bits(shift_left(as_bits(whole), 52))


@inner
def _reduce(x):
    """Return n, ``2**n`` and r with ``x = n ln 2 + r``, n whole and r within +- ln(2) / 2."""
    n, power = _round(x, _LOG2_E, 0)
    if is_single(x):
        return n, power, multiply_add(n, -_LN2_LOW_SINGLE, multiply_add(n, -_LN2_HIGH_SINGLE, x))
    return n, power, multiply_add(n, -_LN2_LOW_DOUBLE, multiply_add(n, -_LN2_HIGH_DOUBLE, x))


@inner
def _exp_minus_one(r):
    """Return exp(r) - 1 for r within +- ln(2) / 2: ``r + r^2 Q(r)``.

    The Q are the polynomials of least error relative to r, found with Remez's algorithm (0.24 and 0.003 units in the
    last place). Their terms are added in pairs, as a sum term by term would have each wait for the one before.
    """
    r2 = r * r
    if is_single(r):
        a = multiply_add(r, 0.16666545448542699, 0.50000000583451062)
        b = multiply_add(r, 0.0083663474287107838, 0.041666290361724422)
        b = multiply_add(r2, 0.001394600507352842, b)
        return multiply_add(multiply_add(b, r2, a), r2, r)
    r4 = r2 * r2
    a = multiply_add(r, 0.16666666666666675789, 0.5)
    b = multiply_add(r, 8.333333333322185022e-3, 4.1666666666666698641e-2)
    c = multiply_add(r, 1.9841269884850504401e-4, 1.3888888888867853447e-3)
    d = multiply_add(r, 2.7557245398967534116e-6, 2.4801587358933773807e-5)
    e = multiply_add(r, 2.5108648147364553051e-8, 2.7557243929584028133e-7)
    e = multiply_add(r2, 2.092412968833337255e-9, e)
    a, c = multiply_add(b, r2, a), multiply_add(d, r2, c)
    return multiply_add(multiply_add(multiply_add(e, r4, c), r4, a), r2, r)


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
    n, _, r = _reduce(_clip(x, lowest, highest))
    # 2**n in two factors: n reaches one beyond the largest normal exponent.
    half, power = _round(n, 0.5, 0)
    _, rest = _round(n - half, 1.0, 0)
    value = multiply_add(power, _exp_minus_one(r), power) * rest
    value = select(x < lowest, 0.0, value)
    return select(x > highest, float("inf"), value)


@inner
def exp_nonpositive(x):
    """Return e**x for x <= 0, where no exponent overflows; 0 where the value would be denormal."""
    lowest = -87.33654 if is_single(x) else -708.3964185322641
    _, power, r = _reduce(select(x < lowest, lowest, x))
    return select(x < lowest, 0.0, multiply_add(power, _exp_minus_one(r), power))


@inner
def _log_one_plus(e):
    """Return log(1 + e) for single-precision e within [0, 1]: ``e + e^2 P(e)`` of least relative error.

    Found by iteratively reweighted least squares; its error is 0.09 units in the last place.
    """
    e2 = e * e
    e4 = e2 * e2
    a = multiply_add(e, 0.3333051108653444, -0.4999993275593952)
    b = multiply_add(e, 0.19695387457613675, -0.24958584921789118)
    c = multiply_add(e, 0.10680490585291616, -0.15355358197568017)
    d = multiply_add(e, 0.02020424145896715, -0.057663800791917796)
    a, c = multiply_add(b, e2, a), multiply_add(d, e2, c)
    c = multiply_add(e4, -0.0033183961996475293, c)
    return multiply_add(multiply_add(c, e4, a), e2, e)


@inner
def log(x):
    """Return the natural logarithm of a positive, normal, finite x.

    With ``x = 2**e m`` and m within [sqrt(1/2), sqrt(2)): ``log m = 2 atanh(s)``, s = (m - 1) / (m
    + 1).
    """
    # The bit pattern of sqrt(1/2) is taken off and that of 1 added, so that the exponent field steps there. As the last
    # bits of a large number the field is a number itself.
    if is_single(x):
        bits = as_bits(x) + (0x3F800000 - 0x3F3504F3)
        exponent = from_bits(shift_right(bits, 23) | 0x4B000000) - (2.0**23 + 127)
        m = from_bits((bits & 0x007FFFFF) + 0x3F3504F3)
    else:
        bits = as_bits(x) + (0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
        exponent = from_bits(shift_right(bits, 52) | 0x4330000000000000) - (2.0**52 + 1023)
        m = from_bits((bits & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD)
    f = m - 1.0
    s = f / (m + 1.0)
    s2 = s * s
    s4 = s2 * s2
    series = multiply_add(s2, 2 / 5, 2 / 3)
    b = multiply_add(s2, 2 / 9, 2 / 7)
    if is_single(x):
        b = multiply_add(s4, 2 / 11, b)
    else:
        c = multiply_add(s2, 2 / 13, 2 / 11)
        d = multiply_add(s2, 2 / 17, 2 / 15)
        e = multiply_add(s2, 2 / 21, 2 / 19)
        e = multiply_add(s4, 2 / 23, e)
        d = multiply_add(e, s4, d)
        b = multiply_add(multiply_add(d, s4, c), s4, b)
    series = multiply_add(b, s4, series)
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
def half_exp_minus_one(x):
    r"""Return ``(exp(2 |x|) - 1) / 2`` with the sign of x: the first half of `tanh`.

    Beyond \|x\| of 10 (20 in double precision), where tanh is 1 to the last bit, it grows no more.
    """
    magnitude = absolute(x)
    largest = 10.0 if is_single(x) else 20.0
    within = select(magnitude > largest, largest, magnitude)
    # So few multiples of ln 2 need it to one number's precision only.
    n, power = _round(within, 2 * _LOG2_E, -1)
    r = multiply_add(n, -_LN2, within + within)
    return _with_sign_of(x, multiply_add(power, _exp_minus_one(r), power - 0.5))


@inner
def tanh_of(h):
    r"""Return the hyperbolic tangent of x for ``h = half_exp_minus_one(x)``: ``h / (1 + |h|)``.

    Where h is small that is ``h - |h| h / (1 + |h|)``, which has but one rounding of its own.
    """
    magnitude = absolute(h)
    quotient = h / (magnitude + 1.0)
    return select(magnitude < 0.4, multiply_add(-magnitude, quotient, h), quotient)


@inner
def tanh_from_exp(x):
    """Return the hyperbolic tangent, both halves at once."""
    return tanh_of(half_exp_minus_one(x))


@inner
def tanh(x):
    """Return the hyperbolic tangent."""
    if TANH_FROM_TABLE and is_single(x):
        return _with_sign_of(x, tanh_of_size(x))
    return tanh_from_exp(x)


@inner
def exp_of_size(x):
    r"""Return ``exp(-|x|)`` with the sign of x: the first half of `logistic`."""
    return _with_sign_of(x, exp_nonpositive(-absolute(x)))


@inner
def _logistic_parts(signed_e):
    """Return e, ``1 + e``, what that sum lost to rounding, ``1 / (1 + e)`` and the logistic function."""
    e = absolute(signed_e)
    total = e + 1.0
    lost = e - (total - 1.0)
    # One step of Newton's, which makes up for the rounding of the quotient and for what the sum lost.
    inverse = 1.0 / total
    residual = multiply_add(-inverse, lost, multiply_add(-inverse, total, 1.0))
    inverse = multiply_add(inverse, residual, inverse)
    return e, total, lost, inverse, select(as_bits(signed_e) < 0, e * inverse, inverse)


@inner
def logistic_of(signed_e):
    """Return the logistic function of x for ``signed_e = exp_of_size(x)``.

    That is ``1 / (1 + e)`` for x >= 0 and ``e / (1 + e)`` for x < 0, with e the size of `signed_e`.
    """
    _, _, _, _, value = _logistic_parts(signed_e)
    return value


@inner
def logistic_and_log_of(signed_e):
    """Return the logistic function of x, and minus the logarithm of that of the absolute value of x."""
    e, total, lost, inverse, value = _logistic_parts(signed_e)
    if is_single(e):
        return value, _log_one_plus(e)
    return value, log(total) + lost * inverse


@inner
def logistic(x):
    """Return ``1 / (1 + exp(-x))``."""
    return logistic_of(exp_of_size(x))


@inner
def _exp_of_half_square(s):
    """Return ``exp(-s^2 / 2)`` for s up to 40, as exact as `exp`: what rounding takes from the square comes back."""
    square = s * s
    head = from_bits(as_bits(s) & (-0x1000 if is_single(s) else -0x8000000))
    tail = s - head
    lost = (head * head - square) + 2.0 * head * tail + tail * tail
    e = exp_nonpositive(-0.5 * square)
    return multiply_add(e, -0.5 * lost, e)


@inner
def tail_and_density(s):
    r"""Return the normal distribution's probability below -s, and its density at s, for s >= 0.

    The probability is ``exp(-s^2 / 2) P(u) / (s + k)`` with ``u = (s - k) / (s + k)``: so the P is a polynomial where s
    goes to infinity. They interpolate at Chebyshev's nodes (their errors are 0.1 and 0.3 units in the last place). The
    probability is 0 where it would be denormal.
    """
    if is_single(s):
        inverse = 1.0 / (s + 4.0)
        u = multiply_add(inverse, -8.0, 1.0)
        v = u * u
        even = multiply_add(v, 0.00020126173028404674, -0.0035261837003900367)
        even = multiply_add(even, v, 0.060406688729805271)
        even = multiply_add(even, v, 0.38713668408577257)
        even = multiply_add(even, v, 0.75528513832277222)
        odd = multiply_add(v, -0.00012018440110144361, 0.0015723178794425629)
        odd = multiply_add(odd, v, -0.0075292507030986269)
        odd = multiply_add(odd, v, -0.18652268490998793)
        odd = multiply_add(odd, v, -0.60789661828226910)
    else:
        inverse = 1.0 / (s + 5.0)
        u = multiply_add(inverse, -10.0, 1.0)
        v = u * u
        even = multiply_add(v, 7.6304104178731823e-9, -6.6675293392275716e-8)
        even = multiply_add(even, v, 4.3443907263764585e-7)
        even = multiply_add(even, v, -2.7703209441469523e-6)
        even = multiply_add(even, v, 0.000016681703609772679)
        even = multiply_add(even, v, -0.000059375866167360709)
        even = multiply_add(even, v, -0.00079786937489119333)
        even = multiply_add(even, v, 0.020795066797569856)
        even = multiply_add(even, v, 0.16502036617050069)
        even = multiply_add(even, v, 0.49530561596997414)
        even = multiply_add(even, v, 0.76919304975006297)
        odd = multiply_add(v, 2.2249387677164433e-9, -1.0618274174239376e-8)
        odd = multiply_add(odd, v, 4.3758415982855749e-8)
        odd = multiply_add(odd, v, -3.3749652035246319e-7)
        odd = multiply_add(odd, v, 3.9811827415325775e-6)
        odd = multiply_add(odd, v, -0.000049762853165030136)
        odd = multiply_add(odd, v, 0.00054489906269585206)
        odd = multiply_add(odd, v, -0.0029933767690944728)
        odd = multiply_add(odd, v, -0.069118638706479819)
        odd = multiply_add(odd, v, -0.31353315667129711)
        odd = multiply_add(odd, v, -0.66538250289005679)
    e = _exp_of_half_square(s)
    return e * (multiply_add(odd, u, even) * inverse), e * 0.3989422804014327
