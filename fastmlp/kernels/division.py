"""Quotients by multiply-adds, for a processor that has one unit to divide and two to multiply.

An AVX-512 processor of Intel's is busy for some ten cycles with the quotients of sixteen numbers, and for ten more with
sixteen square roots, in a unit that does one thing at a time. Adam needs both for each weight, and all else that
its update does takes less. But an approximation of 1 / d, right to 14 bits, is one instruction, and each step of
Newton's, of two multiply-adds, doubles the bits::

    r ~ 1 / d        e = 1 - d r        1 / d = r / (1 - e) ~ r + r e

Single precision takes one step, double precision two. The last leaves out e^2 of the reciprocal, an eighth of a unit in
the last place at most; then it is rounded, and so is its product with n: the error of a quotient is below 1.6 units
(``tests/kernels/test_division.py``). Where 1 / d would be no normal number, it is 0.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastmlp.simd import vectors_naive
from fastmlp.simd.jit import emitted, inner
from fastmlp.simd.llvm_types import declare, llvm_vector
from fastmlp.simd.tile_table import TILE
from fastmlp.simd.vectors import is_single, multiply_add, select

IS_USED = TILE.vector_bytes == 64
"""Whether quotients are computed in this way: all processors with such registers are x86."""


@emitted(vectors_naive.reciprocal)
def _reciprocal_to_14_bits(typingctx: Any, x: Any) -> Any:
    """Return an approximation of 1 / x."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind, mask = llvm_vector(x), ir.IntType(max(8, x.lanes))
        name = f"llvm.x86.avx512.rcp14.{'ps' if x.dtype.bitwidth == 32 else 'pd'}.512"
        function = declare(builder, name, kind, [kind, kind, mask])
        return builder.call(function, [args[0], ir.Constant(kind, ir.Undefined), mask(-1)])

    return x(x), codegen


@inner
def _refined(r, d):
    """Return r, an approximation of 1 / d, after a step of Newton's."""
    return multiply_add(r, multiply_add(-d, r, 1.0), r)


@inner
def quotient(n, d):
    """Return n / d for positive d."""
    if not IS_USED:
        return n / d
    r = _reciprocal_to_14_bits(d)
    if not is_single(d):
        r = _refined(r, d)
    # Infinity has a reciprocal, but no e.
    return n * select(d == float("inf"), 0.0, _refined(r, d))
