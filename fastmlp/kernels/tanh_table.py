"""tanh in single precision where a register holds sixteen numbers: a polynomial for each of 32 intervals, from a table.

Such a processor looks up sixteen numbers in a table of 32, which lies in two registers, with one instruction. So the
range of tanh is cut where a quarter of a power of two is reached, from 1/16 to 16, and each interval has a polynomial
of the fifth degree around a number c near its middle. That takes two thirds of the instructions that the way through
exp takes, and no division::

    |x| = 0.7          sign  exponent   mantissa
                          0  01111110   01100110011001100110011
                                  ╰──┬───╯
                              low five bits  ──▸  the row of 0.625 to 0.75:  c, tanh c, c1 ... c5

`python -m bench.tanh_polynomials` finds the table. The errors of the polynomials are at most 0.12 units in the last
place below 4, and 0.23 below 8. Each c was chosen among thousands near the middle so that tanh c is close to a number
of single precision (within 0.0001 units in the last place), which makes nearly all of the error that of the last
addition. In the first interval c and tanh c are 0, so that small numbers stay exact; behind 10 all is 1.

The largest error over all numbers is 1.0 units in the last place (0.994, near 0.03; ``pytest --full-grid``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from fastmlp.simd.jit import emitted, inner
from fastmlp.simd.llvm_types import declare, llvm_vector, vector_with
from fastmlp.simd.numba_modules import types
from fastmlp.simd.tile_table import TILE
from fastmlp.simd.vectors import absolute, as_bits, multiply_add, select, shift_right

IS_USED = TILE.vector_bytes == 64
"""Whether tanh in single precision comes from the table: all processors with such registers are x86."""

SMALLEST, LARGEST = 0.0625, 10.0
# Exponent and two bits of the mantissa.
_MANTISSA_BITS_LEFT_OUT = 21

# c, tanh c, and the factors of r to r^5 for r = |x| - c.
_TABLE = (
    (0.0, 0.0, 1.0, 3.002298e-08, -0.33333677, 0.000116491574, 0.13201596),
    (0.086079165, 0.08586719, 0.99262685, -0.08523389, -0.32477066, 0.050587595, 14.909212),
    (0.10152266, 0.1011753, 0.98976356, -0.10013963, -0.3197511, 0.06591168, -0.37151417),
    (0.11715975, 0.11662661, 0.9863982, -0.11504037, -0.31454018, 0.07772767, -10.733961),
    (0.14092454, 0.13999899, 0.98040026, -0.13725516, -0.30729488, 0.08965668, -0.7596839),
    (0.17188764, 0.17021458, 0.971027, -0.16528286, -0.29584733, 0.10468085, 1.0649471),
    (0.20340185, 0.20064244, 0.9597426, -0.19256511, -0.28117165, 0.120772764, -0.23427825),
    (0.23423274, 0.23004098, 0.94708115, -0.21786746, -0.26561072, 0.13361134, 0.19364958),
    (0.28135866, 0.27416208, 0.92483515, -0.25355473, -0.23873943, 0.14993092, 0.040808275),
    (0.34391513, 0.33096817, 0.8904601, -0.29471394, -0.1992966, 0.16414481, 0.045771994),
    (0.40602255, 0.38509026, 0.8517055, -0.3279835, -0.15760246, 0.16997138, 0.008700718),
    (0.46827313, 0.43680298, 0.80920315, -0.35346237, -0.115317665, 0.16819336, -0.03546196),
    (0.56176233, 0.50928384, 0.74063, -0.37719065, -0.05478051, 0.15343091, -0.043247726),
    (0.6874732, 0.5963563, 0.6443592, -0.38426766, 0.014396864, 0.11948958, -0.065947406),
    (0.8142662, 0.671937, 0.54850066, -0.36855793, 0.06483946, 0.079335704, -0.0676059),
    (0.9366142, 0.7336628, 0.4617389, -0.3387607, 0.09462632, 0.043570504, -0.053636167),
    (1.1253259, 0.8094135, 0.3448498, -0.279128, 0.11098029, 0.0036144168, -0.032089174),
    (1.3747424, 0.8797685, 0.2260074, -0.19883533, 0.09959322, -0.021102622, -0.009532104),
    (1.6258531, 0.92546874, 0.1435076, -0.1328122, 0.075079, -0.025124546, 0.0013615313),
    (1.8782309, 0.9543345, 0.08924567, -0.08517026, 0.05153222, -0.020777298, 0.004619592),
    (2.2514277, 0.9780881, 0.043343708, -0.042392746, 0.027017064, -0.012357089, 0.003977569),
    (2.7458272, 0.9917918, 0.016349051, -0.01621394, 0.010632459, -0.0051874383, 0.0019156776),
    (3.2527745, 0.9970142, 0.0059626405, -0.005944426, 0.003939045, -0.0019671766, 0.0007711608),
    (3.7511117, 0.9988969, 0.0022049907, -0.002202397, 0.001464987, -0.0007376021, 0.00029290645),
    (4.503203, 0.9997548, 0.00049038505, -0.00048964855, 0.0003261474, -0.0001708534, 6.859162e-05),
    (5.4985805, 0.9999665, 6.6996225e-05, -6.691003e-05, 4.460627e-05, -2.3382352e-05, 9.31896e-06),
    (6.498972, 0.99999547, 9.060129e-06, -9.048714e-06, 6.0325297e-06, -3.1628283e-06, 1.2618576e-06),
    (7.513047, 0.9999994, 1.1921675e-06, -1.1906324e-06, 7.926584e-07, -4.1609528e-07, 1.7079476e-07),
    (9.031249, 1.0, 5.7228903e-08, -2.8242204e-07, 2.3523706e-08, 2.0209505e-07, 3.7233484e-08),
    (11.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (13.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (15.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
)
# Where the interval's number, taken modulo 32, finds it.
_ROTATED = np.roll(
    np.array(_TABLE, np.float32), int(np.float32(SMALLEST).view(np.int32)) >> _MANTISSA_BITS_LEFT_OUT, axis=0
)


def _look_up_naive(interval: np.ndarray, column: int) -> np.ndarray:
    """Return a column's numbers for the intervals in the lanes."""
    return _ROTATED[interval % len(_ROTATED), column]


@emitted(_look_up_naive, prefer_literal=True)
def _look_up(typingctx: Any, interval: Any, column: Any) -> Any:
    """Return a column's numbers for the intervals, whole numbers in the lanes of a register, modulo 32."""
    if not isinstance(column, types.IntegerLiteral):
        return None
    numbers = _ROTATED[:, column.literal_value]
    result = vector_with(types.float32 if interval.dtype == types.int32 else types.float64, interval.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = llvm_vector(result)
        if result.dtype != types.float32:
            return ir.Constant(kind, ir.Undefined)  # typed, but never called: see `tanh` in ``activations``
        halves = [ir.Constant(kind, [float(number) for number in half]) for half in np.split(numbers, 2)]
        name = "llvm.x86.avx512.vpermi2var.ps.512"
        function = declare(builder, name, kind, [kind, llvm_vector(sig.args[0]), kind])
        return builder.call(function, [halves[0], args[0], halves[1]])

    return result(interval, column), codegen


@inner
def tanh_of_size(x):
    r"""Return the hyperbolic tangent of \|x\|, in single precision."""
    magnitude = absolute(x)
    within = select(magnitude > LARGEST, LARGEST, magnitude)  # a NaN stays
    interval = shift_right(as_bits(select(within < SMALLEST, SMALLEST, within)), _MANTISSA_BITS_LEFT_OUT)
    r = within - _look_up(interval, 0)
    value = multiply_add(r, _look_up(interval, 6), _look_up(interval, 5))
    value = multiply_add(r, value, _look_up(interval, 4))
    value = multiply_add(r, value, _look_up(interval, 3))
    value = multiply_add(r, value, _look_up(interval, 2))
    return multiply_add(r, value, _look_up(interval, 1))
