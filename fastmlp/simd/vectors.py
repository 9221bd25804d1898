"""Operations on SIMD vectors: load and store, rounding, bits, selection, transposition, reduction.

With the JIT disabled a vector is a short NumPy array, the operations are those of ``vectors_naive``, and the same
kernels run as plain Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastmlp.simd import vectors_naive
from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import (
    as_vector,
    bits_type,
    declare,
    element_pointer,
    is_vector,
    llvm_scalar,
    llvm_vector,
    splat,
    vector_of,
    vector_suffix,
    vector_with,
)
from fastmlp.simd.numba_modules import cgutils, errors, types
from fastmlp.simd.target import IS_X86
from fastmlp.simd.tile_table import ALIGNMENT, TILE

if TYPE_CHECKING:
    from fastmlp.simd.vector_type import Vector


_INT32 = ir.IntType(32)


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
    if not is_vector(value):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, llvm_vector(value).as_pointer())
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@emitted(vectors_naive.store_nontemporal)
def store_nontemporal(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write a register to ``array[offset]`` and on, past the caches; the place is aligned to the register's size.

    Other threads see it once `fence_nontemporal_stores` has been passed.
    """
    if not is_vector(value):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = element_pointer(context, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, llvm_vector(value).as_pointer())
        instruction = builder.store(args[2], pointer, align=TILE.vector_bytes)
        instruction.set_metadata("nontemporal", builder.module.add_metadata([_INT32(1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


def _prefetch(to_write: bool) -> Any:
    """Return the intrinsic that prefetches a cache line."""

    def prefetch(typingctx: Any, array: Any, offset: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            byte = ir.IntType(8).as_pointer()
            function = declare(builder, "llvm.prefetch.p0", ir.VoidType(), [byte, *[_INT32] * 3])
            pointer = builder.bitcast(element_pointer(context, builder, sig.args[0], args[0], args[1]), byte)
            # To read or to write, into the first-level cache, and data rather than instructions.
            builder.call(function, [pointer, _INT32(int(to_write)), _INT32(3), _INT32(1)])
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    return emitted(vectors_naive.prefetch)(prefetch)


prefetch_to_read = _prefetch(False)
"""Prefetch the cache line of ``array[offset]``."""

prefetch_to_write = _prefetch(True)
"""The same, for this core alone: no other keeps it."""


@emitted(vectors_naive.fence_nontemporal_stores)
def fence_nontemporal_stores(typingctx: Any) -> Any:
    """Wait until other threads can see all non-temporal stores."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if IS_X86:
            builder.call(declare(builder, "llvm.x86.sse.sfence", ir.VoidType(), []), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@emitted(vectors_naive.broadcast)
def broadcast(typingctx: Any, scalar: Any, like: Any) -> Any:
    """Return the scalar in all lanes of a register like `like`."""
    if not is_vector(like):
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
    vector = yes if is_vector(yes) else no

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        yes_value = as_vector(context, builder, vector, sig.args[1], args[1])
        no_value = as_vector(context, builder, vector, sig.args[2], args[2])
        return builder.select(args[0], yes_value, no_value)

    return vector(mask, yes, no), codegen


def _float_intrinsic(name: str, n_arguments: int, naive: Callable) -> Any:
    """Return an intrinsic that maps `n_arguments` vectors to one through LLVM's own of that name."""

    def typer(vector: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = llvm_vector(vector)
            target = declare(builder, f"llvm.{name}.{vector_suffix(vector)}", kind, [kind] * n_arguments)
            values = [as_vector(context, builder, vector, a, v) for a, v in zip(sig.args, args, strict=True)]
            return builder.call(target, values)

        return codegen

    if n_arguments == 1:

        def one(typingctx: Any, x: Any) -> Any:
            return x(x), typer(x)

        return emitted(naive)(one)

    def three(typingctx: Any, x: Any, y: Any, z: Any) -> Any:
        vector = next(a for a in (x, y, z) if is_vector(a))
        return vector(x, y, z), typer(vector)

    return emitted(naive)(three)


square_root = _float_intrinsic("sqrt", 1, vectors_naive.square_root)
absolute = _float_intrinsic("fabs", 1, vectors_naive.absolute)
# fmuladd is a fused multiply-add where the processor has one, and two roundings where it has not;
# llvm.fma would be a call into the C library there.
multiply_add = _float_intrinsic("fmuladd", 3, vectors_naive.multiply_add)


@emitted(vectors_naive.as_bits)
def as_bits(typingctx: Any, value: Any) -> Any:
    """Return the bit patterns as integers."""
    bits = bits_type(value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], llvm_vector(bits))

    return bits(value), codegen


@emitted(vectors_naive.from_bits)
def from_bits(typingctx: Any, bits: Any) -> Any:
    """Return the floating-point numbers of the bit patterns."""
    dtype = types.float32 if bits.dtype == types.int32 else types.float64
    vector = vector_with(dtype, bits.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], llvm_vector(vector))

    return vector(bits), codegen


def _shift(name: str, naive: Callable) -> Any:
    def shift(typingctx: Any, bits: Any, count: Any) -> Any:
        if not isinstance(count, types.IntegerLiteral):
            raise errors.RequireLiteralValue("a shift's count must be a literal")
        amount = count.literal_value

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = llvm_vector(bits)
            return getattr(builder, name)(args[0], ir.Constant(kind, [amount] * bits.lanes))

        return bits(bits, count), codegen

    return emitted(naive, prefer_literal=True)(shift)


shift_left = _shift("shl", vectors_naive.shift_left)
shift_right = _shift("lshr", vectors_naive.shift_right)


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


@emitted(vectors_naive.line_count)
def line_count(typingctx: Any, array: Any) -> Any:
    """Return the numbers in a cache line, a constant to the compiler, as an array's itemsize is not."""
    numbers = ALIGNMENT * 8 // array.dtype.bitwidth

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.IntType(64)(numbers)

    return types.intp(array), codegen


@emitted(vectors_naive.lane_numbers)
def lane_numbers(typingctx: Any, array: Any) -> Any:
    """Return 0, 1, 2, ... in the lanes of a register for the numbers of `array`."""
    vector = vector_of(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(llvm_vector(vector), [float(i) for i in range(vector.lanes)])

    return vector(array), codegen


def shuffled(builder: Any, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
    """Emit a vector of these lanes of x and, numbered on from those, of y."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INT32, len(lanes)), lanes))


def joined_rows(builder: Any, rows: list[ir.Value]) -> ir.Value:
    """Emit one vector of all rows, one after the other."""
    if len(rows) == 1:
        return rows[0]
    half = len(rows) // 2
    first, second = joined_rows(builder, rows[:half]), joined_rows(builder, rows[half:])
    return shuffled(builder, first, second, list(range(2 * first.type.count)))


def transposed_parts(builder: Any, registers: list[ir.Value]) -> list[ir.Value]:
    """Emit the transposition of so many numbers by so many, in all parts of the registers."""
    columns, lanes = len(registers), registers[0].type.count
    half = columns // 2
    # From each part the first halves of two registers, a number of one and a number of the other in turn; then the
    # second halves. Each round doubles the numbers that stand below each other as they shall.
    turns = [
        [part + number // 2 + number % 2 * lanes for part in range(0, lanes, columns) for number in range(columns)]
    ]
    turns.append([lane + half for lane in turns[0]])
    for _ in range(columns.bit_length() - 1):
        pairs = zip(registers[:half], registers[half:], strict=True)
        registers = [shuffled(builder, *pair, turn) for pair in pairs for turn in turns]
    return registers


BLOCK_COLUMNS = 4
"""Columns that are transposed at a time."""


def _transposition(n_rows: Callable[[Vector], int], naive: Callable) -> Any:
    """Return the intrinsic that transposes tiles of so many rows."""

    def transpose(typingctx: Any, array: Any, source: Any, target: Any, columns: Any) -> Any:
        vector = vector_of(array.dtype)
        width, rows = vector.lanes * TILE.vectors, n_rows(vector)
        alignment = array.dtype.bitwidth // 8

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            _, source, target, columns = args
            index = source.type

            def pointer(place: ir.Value, offset: int, count: int) -> ir.Value:
                place = element_pointer(context, builder, sig.args[0], args[0], builder.add(place, index(offset)))
                return builder.bitcast(place, ir.VectorType(llvm_scalar(vector.dtype), count).as_pointer())

            blocks = builder.sdiv(builder.add(columns, index(BLOCK_COLUMNS - 1)), index(BLOCK_COLUMNS))
            with cgutils.for_range(builder, blocks) as loop:
                column = builder.mul(loop.index, index(BLOCK_COLUMNS))
                first = builder.add(source, column)
                parts = [
                    builder.load(pointer(first, row * width, BLOCK_COLUMNS), align=alignment) for row in range(rows)
                ]
                registers = [joined_rows(builder, parts[number::BLOCK_COLUMNS]) for number in range(BLOCK_COLUMNS)]
                out = builder.add(target, builder.mul(column, index(width)))
                for number, register in enumerate(transposed_parts(builder, registers)):
                    builder.store(register, pointer(out, number * width, rows), align=alignment)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, types.intp), codegen

    return emitted(naive)(transpose)


transpose_tile = _transposition(lambda vector: TILE.rows, vectors_naive.transpose_tile)
"""Copy the first columns of a tile of MR rows at `source` to `target`, where its rows become lanes.

Rows of the source and of the target are NR apart. Columns are copied by fours.
"""

transpose_rows = _transposition(lambda vector: max(TILE.rows, vector.lanes), vectors_naive.transpose_rows)
"""The same for a tile as high as a register has lanes, or MR if that is more."""


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
