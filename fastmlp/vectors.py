"""SIMD vectors as values: load, store, arithmetic, comparison, selection, reduction.

A ``Vector`` is one register of `lanes` numbers. Kernels hold it in a local variable and compute
with it by ordinary operators; LLVM sees vector instructions of exactly that width, so nothing is
left to an auto-vectoriser, and every lane rounds as a scalar would.

With the JIT disabled a vector is a short NumPy array, and the same kernels run as plain Python.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.errors import RequireLiteralValue
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, register_model

from fastmlp import vectors_naive
from fastmlp._jit import JIT_DISABLED, emitted
from fastmlp.tiles import TILE

_INT32 = ir.IntType(32)


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


def llvm_scalar(dtype: types.Type) -> ir.Type:
    """Return the LLVM type of a lane."""
    if dtype == types.float32:
        return ir.FloatType()
    if dtype == types.float64:
        return ir.DoubleType()
    return ir.IntType(dtype.bitwidth if isinstance(dtype, types.Integer) else 1)


def llvm_vector(vector: Vector) -> ir.VectorType:
    """Return the LLVM type of a register."""
    return ir.VectorType(llvm_scalar(vector.dtype), vector.lanes)


def vector_of(dtype: types.Type) -> Vector:
    """Return the vector type of this process's tile for float32 or float64."""
    return Vector(dtype, TILE.vector_bytes * 8 // dtype.bitwidth)


def _bits_type(vector: Vector) -> Vector:
    integer = types.int32 if vector.dtype == types.float32 else types.int64
    return Vector(integer, vector.lanes)


def splat(builder: Any, vector: Vector, scalar: ir.Value) -> ir.Value:
    """Emit the copying of a scalar to all lanes."""
    kind = llvm_vector(vector)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _INT32(0))
    mask = ir.Constant(ir.VectorType(_INT32, vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), mask)


def declare(builder: Any, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """Declare an LLVM intrinsic by name (llvmlite's own helper refuses vector types)."""
    if name in builder.module.globals:
        return builder.module.globals[name]
    return ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def vector_suffix(vector: Vector) -> str:
    """Return the suffix of an LLVM intrinsic's name, such as ``v16f32``."""
    letter = "i" if isinstance(vector.dtype, types.Integer) else "f"
    return f"v{vector.lanes}{letter}{vector.dtype.bitwidth}"


def element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> ir.Value:
    """Emit the address of ``array[index]``; the array has one dimension and is contiguous."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


# --- operators
# ------------------------------------------------------------------------------------------------------


def _emit_as_vector(context: Any, builder: Any, vector: Vector, kind: types.Type, value: Any) -> Any:
    if isinstance(kind, Vector):
        return value
    return splat(builder, vector, context.cast(builder, value, kind, vector.dtype))


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
            _emit_as_vector(context, builder, vector, kind, value) for kind, value in zip(sig.args, args, strict=True)
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


# --- intrinsics
# -----------------------------------------------------------------------------------------------------


@emitted(vectors_naive.load)
def load(typingctx: Any, array: Any, offset: Any) -> Any:
    """Return the register that starts at ``array[offset]``."""
    vector = vector_of(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, llvm_vector(vector).as_pointer())
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp), codegen


@emitted(vectors_naive.store)
def store(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write a register to ``array[offset]`` and on."""
    if not isinstance(value, Vector):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, llvm_vector(value).as_pointer())
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@emitted(vectors_naive.broadcast)
def broadcast(typingctx: Any, scalar: Any, like: Any) -> Any:
    """Return the scalar in all lanes of a register like `like`."""
    if not isinstance(like, Vector):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splat(builder, like, context.cast(builder, args[0], sig.args[0], like.dtype))

    return like(scalar, like), codegen


@emitted(vectors_naive.splat_of)
def splat_of(typingctx: Any, array: Any, scalar: Any) -> Any:
    """Return the scalar in all lanes of a register for the numbers of `array`."""
    vector = vector_of(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splat(builder, vector, context.cast(builder, args[1], sig.args[1], vector.dtype))

    return vector(array, scalar), codegen


@emitted(vectors_naive.select)
def select(typingctx: Any, mask: Any, yes: Any, no: Any) -> Any:
    """Return `yes` where the mask holds, else `no`."""
    vector = yes if isinstance(yes, Vector) else no

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        yes_value = _emit_as_vector(context, builder, vector, sig.args[1], args[1])
        no_value = _emit_as_vector(context, builder, vector, sig.args[2], args[2])
        return builder.select(args[0], yes_value, no_value)

    return vector(mask, yes, no), codegen


def _float_intrinsic(name: str, n_arguments: int, naive: Callable) -> Any:
    """Return an intrinsic that maps `n_arguments` vectors to one through LLVM's own of that name."""

    def typer(vector: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = llvm_vector(vector)
            target = declare(builder, f"llvm.{name}.{vector_suffix(vector)}", kind, [kind] * n_arguments)
            values = [_emit_as_vector(context, builder, vector, a, v) for a, v in zip(sig.args, args, strict=True)]
            return builder.call(target, values)

        return codegen

    if n_arguments == 1:

        def one(typingctx: Any, x: Any) -> Any:
            return x(x), typer(x)

        return emitted(naive)(one)

    def three(typingctx: Any, x: Any, y: Any, z: Any) -> Any:
        vector = next(a for a in (x, y, z) if isinstance(a, Vector))
        return vector(x, y, z), typer(vector)

    return emitted(naive)(three)


square_root = _float_intrinsic("sqrt", 1, vectors_naive.square_root)
round_to_even = _float_intrinsic("rint", 1, vectors_naive.round_to_even)
absolute = _float_intrinsic("fabs", 1, vectors_naive.absolute)
# fmuladd is a fused multiply-add where the processor has one, and two roundings where it has not;
# llvm.fma would be a call into the C library there.
multiply_add = _float_intrinsic("fmuladd", 3, vectors_naive.multiply_add)


@emitted(vectors_naive.truncate_to_bits)
def truncate_to_bits(typingctx: Any, value: Any) -> Any:
    """Return the values as integers of the same width."""
    bits = _bits_type(value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptosi(args[0], llvm_vector(bits))

    return bits(value), codegen


@emitted(vectors_naive.bits_to_float)
def bits_to_float(typingctx: Any, bits: Any) -> Any:
    """Return integers as floating-point values of the same width."""
    dtype = types.float32 if bits.dtype == types.int32 else types.float64
    vector = Vector(dtype, bits.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sitofp(args[0], llvm_vector(vector))

    return vector(bits), codegen


@emitted(vectors_naive.as_bits)
def as_bits(typingctx: Any, value: Any) -> Any:
    """Return the bit patterns as integers."""
    bits = _bits_type(value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], llvm_vector(bits))

    return bits(value), codegen


@emitted(vectors_naive.from_bits)
def from_bits(typingctx: Any, bits: Any) -> Any:
    """Return the floating-point numbers of the bit patterns."""
    dtype = types.float32 if bits.dtype == types.int32 else types.float64
    vector = Vector(dtype, bits.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], llvm_vector(vector))

    return vector(bits), codegen


def _shift(name: str, naive: Callable) -> Any:
    def shift(typingctx: Any, bits: Any, count: Any) -> Any:
        if not isinstance(count, types.IntegerLiteral):
            raise RequireLiteralValue("a shift's count must be a literal")
        amount = count.literal_value

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = llvm_vector(bits)
            return getattr(builder, name)(args[0], ir.Constant(kind, [amount] * bits.lanes))

        return bits(bits, count), codegen

    return naive if JIT_DISABLED else intrinsic(prefer_literal=True)(shift)


shift_left = _shift("shl", vectors_naive.shift_left)
shift_right = _shift("ashr", vectors_naive.shift_right)


@emitted(vectors_naive.is_single)
def is_single(typingctx: Any, value: Any) -> Any:
    """Return whether the numbers are float32, a constant to the compiler."""
    dtype = value.dtype

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(1), int(dtype == types.float32))

    return types.boolean(value), codegen


@emitted(vectors_naive.lane_count)
def lane_count(typingctx: Any, array: Any) -> Any:
    """Return the numbers in a register, a constant to the compiler."""
    lanes = vector_of(array.dtype).lanes

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.IntType(64)(lanes)

    return types.intp(array), codegen


@emitted(vectors_naive.panel_width)
def panel_width(typingctx: Any, array: Any) -> Any:
    """Return NR, the columns of a panel, a constant to the compiler."""
    width = vector_of(array.dtype).lanes * TILE.vectors

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.IntType(64)(width)

    return types.intp(array), codegen


@emitted(vectors_naive.lane_numbers)
def lane_numbers(typingctx: Any, array: Any) -> Any:
    """Return 0, 1, 2, ... in the lanes of a register for the numbers of `array`."""
    vector = vector_of(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(llvm_vector(vector), [float(i) for i in range(vector.lanes)])

    return vector(array), codegen


@emitted(vectors_naive.prefetch)
def prefetch(typingctx: Any, array: Any, offset: Any) -> Any:
    """Ask for the cache line of ``array[offset]``, to be written to."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        arguments = [pointer, _INT32(1), _INT32(3), _INT32(1)]
        target = declare(builder, "llvm.prefetch.p0", ir.VoidType(), [a.type for a in arguments])
        builder.call(target, arguments)
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _interleave(builder: Any, rows: list[ir.Value]) -> ir.Value:
    """Emit one long vector with lane 0 of all rows, then lane 1 of all rows, and so on."""
    if len(rows) == 1:
        return rows[0]
    # Even rows among themselves and odd rows among themselves, then one number of each in turn.
    evens, odds = _interleave(builder, rows[::2]), _interleave(builder, rows[1::2])
    count = evens.type.count
    order = [lane // 2 + (lane % 2) * count for lane in range(2 * count)]
    return builder.shuffle_vector(evens, odds, ir.Constant(ir.VectorType(_INT32, 2 * count), order))


@emitted(vectors_naive.transpose_tile)
def transpose_tile(typingctx: Any, array: Any, source: Any, target: Any, vectors: Any) -> Any:
    """Copy a tile of MR rows by `vectors` vectors at `source` to `target`, where its rows become lanes.

    Rows of the source and of the target are NR apart.
    """
    vector = vector_of(array.dtype)
    lanes, width = vector.lanes, vector.lanes * TILE.vectors
    alignment = array.dtype.bitwidth // 8

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        column_type = ir.VectorType(llvm_scalar(vector.dtype), TILE.rows)

        def pointer(offset: ir.Value, kind: ir.Type) -> ir.Value:
            place = element_pointer(context, builder, sig.args[0], args[0], offset)
            return builder.bitcast(place, kind.as_pointer())

        index = args[1].type
        with cgutils.for_range(builder, args[3]) as loop:
            first = builder.add(args[1], builder.mul(loop.index, index(lanes)))
            rows = [
                builder.load(pointer(builder.add(first, index(row * width)), llvm_vector(vector)), align=alignment)
                for row in range(TILE.rows)
            ]
            long = _interleave(builder, rows)
            first = builder.add(args[2], builder.mul(loop.index, index(lanes * width)))
            for lane in range(lanes):
                numbers = list(range(lane * TILE.rows, (lane + 1) * TILE.rows))
                mask = ir.Constant(ir.VectorType(_INT32, TILE.rows), numbers)
                column = builder.shuffle_vector(long, ir.Constant(long.type, ir.Undefined), mask)
                place = pointer(builder.add(first, index(lane * width)), column_type)
                builder.store(column, place, align=alignment)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp), codegen


def _reduction(combine: Callable, naive: Callable) -> Any:
    """Return an intrinsic that folds the lanes in halves: the order is fixed, and the same on every processor."""

    def reduce(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            folded, width = args[0], value.lanes
            while width > 1:
                width //= 2
                undefined = ir.Constant(folded.type, ir.Undefined)
                halves = [
                    builder.shuffle_vector(
                        folded,
                        undefined,
                        ir.Constant(ir.VectorType(_INT32, width), list(range(start, start + width))),
                    )
                    for start in (0, width)
                ]
                folded = combine(builder, *halves)
            return builder.extract_element(folded, _INT32(0))

        return value.dtype(value), codegen

    return emitted(naive)(reduce)


def _emit_maximum(builder: Any, x: ir.Value, y: ir.Value) -> ir.Value:
    # In this form a NaN in y stays (and x86 has one instruction for it).
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


sum_lanes = _reduction(lambda builder, x, y: builder.fadd(x, y), vectors_naive.sum_lanes)
max_lanes = _reduction(_emit_maximum, vectors_naive.max_lanes)
