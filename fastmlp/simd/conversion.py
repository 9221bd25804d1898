"""Reading X where it lies: the data types that kernels convert on the way, through addresses and strides.

The data type is a number at run time, and the conversion a jump to one of ten short pieces of code,
so that the kernels do not multiply by the type of X.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from fastmlp.simd import conversion_naive
from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import (
    declare,
    element_pointer,
    llvm_scalar,
    llvm_vector,
    splat,
    vector_of,
    vector_suffix,
    vector_with,
)
from fastmlp.simd.numba_modules import types
from fastmlp.simd.tile_table import TILE

_INT32 = ir.IntType(32)

SOURCE_KINDS = {
    np.dtype(np.float32): 0,
    np.dtype(np.float64): 1,
    np.dtype(np.uint8): 2,
    np.dtype(np.bool_): 2,
    np.dtype(np.int8): 3,
    np.dtype(np.uint16): 4,
    np.dtype(np.int16): 5,
    np.dtype(np.uint32): 6,
    np.dtype(np.int32): 7,
    np.dtype(np.uint64): 8,
    np.dtype(np.int64): 9,
}
"""The data types that the gather reads, and the number by which a kernel names each."""


def _source_scalars() -> tuple:
    return (
        types.float32, types.float64, types.uint8, types.int8, types.uint16, types.int16,
        types.uint32, types.int32, types.uint64, types.int64,
    )  # fmt: skip


def convert(builder: Any, value: ir.Value, source: types.Type, target: ir.Type, dtype: Any) -> Any:
    """Emit the conversion of a number or a vector of a source type to `target`, whose numbers are of type `dtype`."""
    if isinstance(source, types.Integer):
        return (builder.sitofp if source.signed else builder.uitofp)(value, target)
    if source.bitwidth < dtype.bitwidth:
        return builder.fpext(value, target)
    if source.bitwidth > dtype.bitwidth:
        return builder.fptrunc(value, target)
    return value


def _switch_on_kind(builder: Any, address: Any, kind: Any, emit: Callable) -> list:
    """Emit a jump to the code for the data type that `kind` names; return what each emits, and its block."""
    finish = builder.append_basic_block("converted")
    default = builder.append_basic_block("unknown_kind")
    jump = builder.switch(kind, default)
    emitted_values = []
    for number, source in enumerate(_source_scalars()):
        block = builder.append_basic_block(f"kind_{number}")
        jump.add_case(kind.type(number), block)
        builder.position_at_end(block)
        value = emit(source, address)
        emitted_values.append((value, builder.block))
        builder.branch(finish)
    builder.position_at_end(default)
    builder.unreachable()
    builder.position_at_end(finish)
    return emitted_values


@emitted(conversion_naive.copy_row)
def copy_row(typingctx: Any, array: Any, place: Any, address: Any, kind: Any, count: Any) -> Any:
    """Copy up to NR numbers of any source type from an address to ``array[place]``, and zeros to fill a register."""
    vector = vector_of(array.dtype)
    lanes = vector.lanes

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, place, address, kind, count = args
        target = llvm_vector(vector)
        limit = splat(builder, vector_with(types.int32, lanes), builder.trunc(count, _INT32))

        def copy_register(source: types.Type, first: int) -> None:
            kind_vector = llvm_vector(vector_with(source, lanes))
            numbers = ir.Constant(ir.VectorType(_INT32, lanes), list(range(first, first + lanes)))
            mask = builder.icmp_signed("<", numbers, limit)
            offset = address.type(first * source.bitwidth // 8)
            pointer = builder.inttoptr(builder.add(address, offset), kind_vector.as_pointer())
            load = declare(
                builder,
                f"llvm.masked.load.{vector_suffix(vector_with(source, lanes))}.p0",
                kind_vector,
                [pointer.type, _INT32, mask.type, kind_vector],
            )
            value = builder.call(load, [pointer, _INT32(1), mask, ir.Constant(kind_vector, [0] * lanes)])
            value = convert(builder, value, source, target, vector.dtype)
            out = element_pointer(context, builder, sig.args[0], args[0], builder.add(place, place.type(first)))
            builder.store(value, builder.bitcast(out, target.as_pointer()), align=array.dtype.bitwidth // 8)

        def emit(source: types.Type, address: ir.Value) -> None:
            copy_register(source, 0)
            for first in range(lanes, TILE.vectors * lanes, lanes):
                with builder.if_then(builder.icmp_signed(">", count, count.type(first))):
                    copy_register(source, first)

        _switch_on_kind(builder, address, kind, emit)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp, types.intp), codegen


@emitted(conversion_naive.scalar_converted)
def scalar_converted(typingctx: Any, array: Any, address: Any, kind: Any) -> Any:
    """Return one number of any source type from an address, as array's type."""
    dtype = array.dtype

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        target = llvm_scalar(dtype)

        def emit(source: types.Type, address: ir.Value) -> Any:
            scalar = ir.IntType(source.bitwidth) if isinstance(source, types.Integer) else llvm_scalar(source)
            value = builder.load(builder.inttoptr(address, scalar.as_pointer()), align=1)
            return convert(builder, value, source, target, dtype)

        values = _switch_on_kind(builder, args[1], args[2], emit)
        result = builder.phi(target)
        for value, block in values:
            result.add_incoming(value, block)
        return result

    return dtype(array, types.intp, types.intp), codegen


@emitted(conversion_naive.index_at)
def index_at(typingctx: Any, address: Any, is_wide: Any) -> Any:
    """Return the int64 (or int32, if not `is_wide`) at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = context.cast(builder, args[1], sig.args[1], types.boolean)
        integer = ir.IntType(64)
        with builder.if_else(wide) as (then, otherwise):
            with then:
                long = builder.load(builder.inttoptr(args[0], integer.as_pointer()), align=1)
                then_block = builder.block
            with otherwise:
                short = builder.load(builder.inttoptr(args[0], _INT32.as_pointer()), align=1)
                short = builder.sext(short, integer)
                else_block = builder.block
        result = builder.phi(integer)
        result.add_incoming(long, then_block)
        result.add_incoming(short, else_block)
        return result

    return types.intp(types.intp, types.boolean), codegen
