"""The SIMD vector as a type of Numba's: how LLVM sees it, and its operators.

A ``Vector`` is one register of `lanes` numbers. Kernels hold it in a local variable and compute with it by ordinary
operators; LLVM sees vector instructions of exactly that width, so nothing is left to an auto-vectoriser, and every lane
rounds as a scalar would. What is not an operator stands in ``vectors``.

This module makes the type known to Numba, so it is imported when the first kernel is compiled (see ``jit.Deferred``).
"""

from __future__ import annotations

import operator
from typing import Any

from numba.core import types
from numba.core.datamodel import models
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import lower_builtin, register_model

from fastmlp.simd.llvm_types import as_vector, llvm_vector


class Vector(types.Type):
    """The Numba type of a register: `lanes` numbers of type `dtype`."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, llvm_vector(fe_type))


def _binary(function: Any, floating: Any, integer: Any, comparison: bool = False) -> None:
    """Register an operator between two vectors, or a vector and a number."""

    @infer_global(function)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            vectors = [a for a in args if isinstance(a, Vector)]
            if kws or len(args) != 2 or not vectors:
                return None
            if any(not isinstance(a, Vector | types.Number) for a in args):
                return None
            if len(vectors) == 2 and vectors[0] != vectors[1]:
                return None
            result = Vector(types.boolean, vectors[0].lanes) if comparison else vectors[0]
            return signature(result, *args)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = next(a for a in sig.args if isinstance(a, Vector))
        left, right = (
            as_vector(context, builder, vector, kind, value) for kind, value in zip(sig.args, args, strict=True)
        )
        emit = integer if isinstance(vector.dtype, types.Integer | types.Boolean) else floating
        return emit(builder, left, right)

    for left in (Vector, types.Number):
        for right in (Vector, types.Number):
            if Vector in (left, right):
                lower_builtin(function, left, right)(lower)


def _float_comparison(symbol: str) -> Any:
    # A NaN is different from everything, and neither less nor equal nor greater.
    if symbol == "!=":
        return lambda builder, a, b: builder.fcmp_unordered(symbol, a, b)
    return lambda builder, a, b: builder.fcmp_ordered(symbol, a, b)


def _signed(symbol: str) -> Any:
    return lambda builder, a, b: builder.icmp_signed(symbol, a, b)


_binary(operator.add, lambda b, x, y: b.fadd(x, y), lambda b, x, y: b.add(x, y))
_binary(operator.sub, lambda b, x, y: b.fsub(x, y), lambda b, x, y: b.sub(x, y))
_binary(operator.mul, lambda b, x, y: b.fmul(x, y), lambda b, x, y: b.mul(x, y))
_binary(operator.truediv, lambda b, x, y: b.fdiv(x, y), None)
_binary(operator.and_, None, lambda b, x, y: b.and_(x, y))
_binary(operator.or_, None, lambda b, x, y: b.or_(x, y))
for _function, _symbol in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _binary(_function, _float_comparison(_symbol), _signed(_symbol), comparison=True)


@infer_global(operator.neg)
class _NegationTemplate(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], Vector):
            return signature(args[0], args[0])
        return None


@lower_builtin(operator.neg, Vector)
def _lower_negation(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])
