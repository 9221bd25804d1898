"""Integers in the places of numbers, as wide as these: which numbers are not zero, and lists of places.

As in ``vectors``, the operations are those of ``simd.integers_naive`` with the JIT disabled.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastmlp.simd import integers_naive
from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import (
    bits_type,
    declare,
    element_pointer,
    is_vector,
    llvm_scalar,
    llvm_vector,
    vector_of,
    vector_suffix,
    vector_with,
)
from fastmlp.simd.numba_modules import types
from fastmlp.simd.tile_table import SPARSE_TILE_ROWS


def _index_pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> ir.Value:
    """Emit the address of an integer that stands in the place of ``array[offset]``, and is as wide."""
    pointer = element_pointer(context, builder, array_type, array, offset)
    return builder.bitcast(pointer, ir.IntType(array_type.dtype.bitwidth).as_pointer())


@emitted(integers_naive.load_index)
def load_index(typingctx: Any, array: Any, offset: Any) -> Any:
    """Return the integer that stands in the place of ``array[offset]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _index_pointer(context, builder, sig.args[0], args[0], args[1])
        return builder.sext(builder.load(pointer), ir.IntType(64))

    return types.intp(array, types.intp), codegen


@emitted(integers_naive.store_index)
def store_index(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write an integer, which must not need more bits, to the place of ``array[offset]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _index_pointer(context, builder, sig.args[0], args[0], args[1])
        builder.store(builder.trunc(args[2], pointer.type.pointee), pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), codegen


def _mark_count(dtype: types.Type) -> int:
    return max(SPARSE_TILE_ROWS, vector_of(dtype).lanes)


@emitted(integers_naive.mark_count)
def mark_count(typingctx: Any, array: Any) -> Any:
    """Return the numbers that share a mark (see ``wide.nonzero_lists``), a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.IntType(64)(_mark_count(array.dtype))

    return types.intp(array), codegen


@emitted(integers_naive.nonzero_bits)
def nonzero_bits(typingctx: Any, array: Any, offset: Any) -> Any:
    """Return a number whose bits say which of the numbers of a mark, from ``array[offset]`` on, are not zero."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = _mark_count(array.dtype)
        kind = ir.VectorType(llvm_scalar(array.dtype), count)
        pointer = element_pointer(context, builder, sig.args[0], args[0], args[1])
        numbers = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=array.dtype.bitwidth // 8)
        bits = builder.fcmp_unordered("!=", numbers, ir.Constant(kind, [0.0] * count))
        return builder.zext(builder.bitcast(bits, ir.IntType(count)), ir.IntType(64))

    return types.intp(array, types.intp), codegen


@emitted(integers_naive.lane_indices)
def lane_indices(typingctx: Any, array: Any) -> Any:
    """Return 0, 1, 2, ... in the lanes of a register of integers as wide as the numbers of `array`."""
    vector = bits_type(vector_of(array.dtype))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(llvm_vector(vector), list(range(vector.lanes)))

    return vector(array), codegen


@emitted(integers_naive.lanes_of_bits)
def lanes_of_bits(typingctx: Any, array: Any, bits: Any) -> Any:
    """Return which lanes of a register are chosen by the bits of a number, the first by the lowest."""
    vector = vector_with(types.boolean, vector_of(array.dtype).lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(builder.trunc(args[1], ir.IntType(vector.lanes)), llvm_vector(vector))

    return vector(array, types.intp), codegen


@emitted(integers_naive.store_chosen)
def store_chosen(typingctx: Any, array: Any, offset: Any, value: Any, chosen: Any) -> Any:
    """Write the lanes that are chosen, side by side, to ``array[offset]`` and on; return how many they are.

    A whole register is written: what follows them counts for nothing.
    """
    if not is_vector(value):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = llvm_vector(value)
        name = f"llvm.experimental.vector.compress.{vector_suffix(value)}"
        compress = declare(builder, name, kind, [kind, args[3].type, kind])
        pointer = element_pointer(context, builder, sig.args[0], args[0], args[1])
        side_by_side = builder.call(compress, [args[2], args[3], ir.Constant(kind, ir.Undefined)])
        builder.store(side_by_side, builder.bitcast(pointer, kind.as_pointer()), align=array.dtype.bitwidth // 8)
        bits = builder.zext(builder.bitcast(args[3], ir.IntType(value.lanes)), ir.IntType(64))
        return builder.ctpop(bits)

    return types.intp(array, types.intp, value, chosen), codegen
