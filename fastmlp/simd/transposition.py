"""The gather of a narrow network: rows of X, in any order, become columns of A_0^T, a block at a time.

A block is a register's number of samples, each with four columns of X that lie next to each other (drawn for eight
lanes)::

    X                   joined: 4 registers               transposed: 4 registers
    row a  |a0 a1 a2 a3|
    row b  |b0 b1 b2 b3|   |a0 a1 a2 a3 e0 e1 e2 e3|      |a0 b0 c0 d0 e0 f0 g0 h0|   column 0 of the samples a to h
    row c  |c0 c1 c2 c3|   |b0 b1 b2 b3 f0 f1 f2 f3|      |a1 b1 c1 d1 e1 f1 g1 h1|   column 1
     ...        ...        |c0 c1 c2 c3 g0 g1 g2 g3|      |a2 b2 c2 d2 e2 f2 g2 h2|
    row h  |h0 h1 h2 h3|   |d0 d1 d2 d3 h0 h1 h2 h3|      |a3 b3 c3 d3 e3 f3 g3 h3|

Every fourth row joins the same register, so that what is left to do is to transpose four numbers by four, at the same
time in all parts of four registers: eight instructions for sixteen samples.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastmlp.simd import conversion_naive
from fastmlp.simd.conversion import convert
from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import element_pointer, llvm_vector, vector_of, vector_with
from fastmlp.simd.numba_modules import types
from fastmlp.simd.vectors import BLOCK_COLUMNS, joined_rows, shuffled, transposed_parts


@emitted(conversion_naive.row_addresses)
def row_addresses(
    typingctx: Any, array: Any, address: Any, row_stride: Any, order: Any, first: Any, samples: Any
) -> Any:
    """Return the addresses of rows ``order[first]`` and on, as many as `array` has lanes; behind `samples` the last."""
    lanes = vector_of(array.dtype).lanes

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, address, row_stride, order, first, samples = args
        last = builder.sub(samples, samples.type(1))
        addresses = []
        for lane in range(lanes):
            number = samples.type(lane)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            place = element_pointer(context, builder, sig.args[3], order, builder.add(first, number))
            addresses.append(builder.add(address, builder.mul(builder.load(place), row_stride)))
        return context.make_tuple(builder, sig.return_type, addresses)

    index = types.intp
    return types.UniTuple(index, lanes)(array, index, index, order, index, index), codegen


def _wider(builder: Any, row: ir.Value, columns: int) -> ir.Value:
    """Emit a vector of more numbers, of which the last are anything."""
    return shuffled(builder, row, row, [*range(row.type.count), *[0] * (columns - row.type.count)])


@emitted(conversion_naive.copy_transposed)
def copy_transposed(
    typingctx: Any, array: Any, place: Any, step: Any, addresses: Any, offset: Any, is_double: Any, columns: Any
) -> Any:
    """Copy a block of `columns` columns to ``array[place]``, the next column `step` behind.

    addresses: those of the block's rows, as `row_addresses` returns them. offset: bytes from there to the block.
    is_double: whether it is of float64, or of float32.
    """
    vector = vector_of(array.dtype)
    most = min(BLOCK_COLUMNS, vector.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, place, step, addresses, offset, is_double, columns = args

        def block(source: types.Type, columns: int) -> None:
            row_type = llvm_vector(vector_with(source, columns)).as_pointer()
            rows = []
            for lane in range(vector.lanes):
                address = builder.add(builder.extract_value(addresses, lane), offset)
                rows.append(_wider(builder, builder.load(builder.inttoptr(address, row_type), align=1), most))
            joined = [joined_rows(builder, rows[first::most]) for first in range(most)]
            registers = [convert(builder, row, source, llvm_vector(vector), vector.dtype) for row in joined]
            for number, register in enumerate(transposed_parts(builder, registers)[:columns]):
                place_of_column = builder.add(place, builder.mul(step, step.type(number)))
                out = element_pointer(context, builder, sig.args[0], args[0], place_of_column)
                builder.store(
                    register, builder.bitcast(out, register.type.as_pointer()), align=array.dtype.bitwidth // 8
                )

        def blocks(source: types.Type) -> None:
            finish = builder.append_basic_block("copied")
            whole = builder.append_basic_block("whole")
            jump = builder.switch(columns, whole)
            for number in range(1, most + 1):
                part = whole if number == most else builder.append_basic_block(f"columns_{number}")
                if number < most:
                    jump.add_case(columns.type(number), part)
                builder.position_at_end(part)
                block(source, number)
                builder.branch(finish)
            builder.position_at_end(finish)

        with builder.if_else(context.cast(builder, is_double, sig.args[5], types.boolean)) as (then, otherwise):
            with then:
                blocks(types.float64)
            with otherwise:
                blocks(types.float32)
        return context.get_dummy_value()

    index = types.intp
    return types.void(array, index, index, addresses, index, types.boolean, index), codegen
