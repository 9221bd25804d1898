"""How kernels multiply: the tile functions of the micro-kernel by their places in a table, and the calls of them.

A function is found by its height, its width and its form (see ``function_table``), so that a kernel which calls it
holds none of its machine code.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from fastmlp.microkernels import naive
from fastmlp.microkernels.tile import MR, VECTORS, TileFunction, row_counts, tile_function_type
from fastmlp.simd.jit import emitted
from fastmlp.simd.tile_table import TILE
from fastmlp.simd.vector_type import Vector, element_pointer, llvm_scalar

_INDEX = ir.IntType(64)

# Of any tile function, a narrow network's or another's.
_MOST_ROWS = max(MR, *(TILE.most_rows(vectors) for vectors in range(1, VECTORS + 1)))


def tile_slot(rows: int, vectors: int, rows_are_lanes: bool) -> int:
    """Return the place of a tile function in the table."""
    return (int(rows_are_lanes) * (_MOST_ROWS + 1) + rows) * (VECTORS + 1) + vectors


_ROWS_AHEAD_SLOT = tile_slot(_MOST_ROWS, VECTORS, True) + 1
_LANES_AHEAD_SLOT = _ROWS_AHEAD_SLOT + 1

N_AHEAD = 3
"""Tiles of parameters that a weight gradient asks for: weights and up to two moments."""

TILE_SLOTS = _LANES_AHEAD_SLOT + 1
"""Places that the tile functions take in the table of functions."""


def tile_functions(vector: Vector) -> list[tuple[int, TileFunction]]:
    """Return all tile functions and their places in the table."""
    functions = [
        (tile_slot(rows, vectors, rows_are_lanes), TileFunction(vector, rows, vectors, rows_are_lanes))
        for rows_are_lanes in (False, True)
        for rows in row_counts(MR)
        for vectors in range(1, VECTORS + 1)
    ]
    return [
        *functions,
        (_ROWS_AHEAD_SLOT, TileFunction(vector, MR, VECTORS, False, 1)),
        (_LANES_AHEAD_SLOT, TileFunction(vector, MR, VECTORS, True, N_AHEAD)),
    ]


class Workspace:
    """Emits what the intrinsics below have in common: addresses in the workspace, and the call of a tile function."""

    def __init__(self, context: Any, builder: Any, sig: Any, args: Any) -> None:
        self._context, self.builder = context, builder
        (self._workspace_type, self._table_type), (self._workspace, self._table) = sig.args[:2], args[:2]
        self.scalar = llvm_scalar(self._workspace_type.dtype)
        self.index = ir.IntType(self._workspace_type.dtype.bitwidth)  # an integer that stands in a number's place
        self.null = ir.Constant(self.scalar.as_pointer(), None)

    def pointer(self, offset: ir.Value) -> ir.Value:
        """Emit the address of a place."""
        return element_pointer(self._context, self.builder, self._workspace_type, self._workspace, offset)

    def index_pointer(self, offset: ir.Value) -> ir.Value:
        """Emit the address of an integer."""
        return self.builder.bitcast(self.pointer(offset), self.index.as_pointer())

    def pointer_or_null(self, offset: ir.Value) -> ir.Value:
        """Emit the address of a place, or null where it is negative."""
        return self.builder.select(
            self.builder.icmp_signed(">=", offset, offset.type(0)), self.pointer(offset), self.null
        )

    def row_arguments(self, *places_and_numbers: ir.Value) -> list[ir.Value]:
        """Emit the arguments of a tile function whose rows are rows of A's panels, from those of `multiply_rows`."""
        out, start, stride, left, step, right, inner, floor, mask = places_and_numbers
        pointers = map(self.pointer, (out, left, right))
        return [*pointers, inner, self.pointer(start), stride, step, floor, self.pointer_or_null(mask)]

    def slot(self, rows: ir.Value, vectors: ir.Value, rows_are_lanes: bool) -> ir.Value:
        """Emit the place in the table of a tile function of a run-time size."""
        first = _INDEX(tile_slot(0, 0, rows_are_lanes))
        return self.builder.add(first, self.builder.add(self.builder.mul(rows, _INDEX(VECTORS + 1)), vectors))

    def call(self, slot: ir.Value, function_type: ir.FunctionType, arguments: list[ir.Value]) -> None:
        """Call the function whose address stands at a place of the table."""
        builder = self.builder
        address = builder.load(element_pointer(self._context, builder, self._table_type, self._table, slot))
        builder.call(builder.inttoptr(address, function_type.as_pointer()), arguments)


@emitted(naive.multiply_rows)
def multiply_rows(
    typingctx: Any,
    workspace: Any,
    tiles: Any,
    out: Any,
    start: Any,
    start_stride: Any,
    left: Any,
    panel_step: Any,
    right: Any,
    inner: Any,
    rows: Any,
    vectors: Any,
    floor: Any,
    activations: Any,
) -> Any:
    """C = start + A B where the rows of the tile are rows of A's panels (forward, backward data).

    `tiles` is the table of addresses. All places are offsets into `workspace`: `out` (C), `start`,
    `left` (A), `right` (B) and `activations` (negative: none).
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, _, out, start, stride, left, step, right, inner, rows, vectors, floor, mask = args
        memory = Workspace(context, builder, sig, args)
        memory.call(
            memory.slot(rows, vectors, False),
            tile_function_type(memory.scalar, False),
            memory.row_arguments(out, start, stride, left, step, right, inner, floor, mask),
        )
        return context.get_dummy_value()

    return types.void(workspace, tiles, *[types.intp] * 9, workspace.dtype, types.intp), codegen


@emitted(naive.multiply_lanes)
def multiply_lanes(
    typingctx: Any,
    workspace: Any,
    tiles: Any,
    out: Any,
    left: Any,
    right: Any,
    inner: Any,
    rows: Any,
    vectors: Any,
) -> Any:
    """C = A^T B where the rows of the tile are lanes of one panel of A (weight gradient)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, _, out, left, right, inner, rows, vectors = args
        memory = Workspace(context, builder, sig, args)
        memory.call(
            memory.slot(rows, vectors, True),
            tile_function_type(memory.scalar, True),
            [*map(memory.pointer, (out, left, right)), inner],
        )
        return context.get_dummy_value()

    return types.void(workspace, tiles, *[types.intp] * 6), codegen


@emitted(naive.multiply_rows_ahead)
def multiply_rows_ahead(
    typingctx: Any,
    workspace: Any,
    tiles: Any,
    out: Any,
    start: Any,
    start_stride: Any,
    left: Any,
    panel_step: Any,
    right: Any,
    inner: Any,
    floor: Any,
    activations: Any,
    ahead: Any,
) -> Any:
    """C = start + A B for a whole tile; meanwhile ask for a part of the panel that will take B's place.

    `ahead` lies in that panel where `right` lies in this one, or some cache lines behind: one of every `ASKING_TILES`
    lines is asked for.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, _, out, start, stride, left, step, right, inner, floor, mask, ahead = args
        memory = Workspace(context, builder, sig, args)
        memory.call(
            _INDEX(_ROWS_AHEAD_SLOT),
            tile_function_type(memory.scalar, False, 1),
            [*memory.row_arguments(out, start, stride, left, step, right, inner, floor, mask), memory.pointer(ahead)],
        )
        return context.get_dummy_value()

    return types.void(workspace, tiles, *[types.intp] * 7, workspace.dtype, types.intp, types.intp), codegen


@emitted(naive.multiply_lanes_ahead)
def multiply_lanes_ahead(
    typingctx: Any,
    workspace: Any,
    tiles: Any,
    out: Any,
    left: Any,
    right: Any,
    inner: Any,
    weights: Any,
    first_moments: Any,
    second_moments: Any,
) -> Any:
    """C = A^T B for a whole tile; meanwhile ask for three tiles of parameters.

    Where there are fewer copies of the parameters, the same tile may be named more than once.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, _, out, left, right, inner, *ahead = args
        memory = Workspace(context, builder, sig, args)
        memory.call(
            _INDEX(_LANES_AHEAD_SLOT),
            tile_function_type(memory.scalar, True, N_AHEAD),
            [*map(memory.pointer, (out, left, right)), inner, *map(memory.pointer, ahead)],
        )
        return context.get_dummy_value()

    return types.void(workspace, tiles, *[types.intp] * 7), codegen
