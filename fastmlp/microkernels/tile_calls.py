"""How kernels multiply: the tile functions of the micro-kernel by their places in a table, and the calls of them.

A function is found by its height, its width and its form (see ``function_table``), so that a kernel which calls it
holds none of its machine code.

A call takes each operand by itself, as BLAS does: place, stride and size of every matrix, and what ends the tile. They
are the registers of one machine call, so there are more of them than elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastmlp.microkernels import naive
from fastmlp.microkernels.tile import MR, N_COPIES, VECTORS, TileFunction, row_counts, tile_function_type
from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import element_pointer, llvm_scalar
from fastmlp.simd.numba_modules import cgutils, types
from fastmlp.simd.tile_table import TILE

if TYPE_CHECKING:
    from fastmlp.simd.vector_type import Vector


_INDEX = ir.IntType(64)

# Of any tile function, a narrow network's or another's.
_MOST_ROWS = max(MR, *(TILE.most_rows(vectors) for vectors in range(1, VECTORS + 1)))


def tile_slot(rows: int, vectors: int, transposes_a: bool, prefetches: bool = False) -> int:
    """Return the place of a tile function in the table."""
    return ((2 * transposes_a + prefetches) * (_MOST_ROWS + 1) + rows) * (VECTORS + 1) + vectors


TILE_SLOTS = tile_slot(_MOST_ROWS, VECTORS, True, True) + 1
"""Places that the tile functions take in the table of functions."""


def tile_functions(vector: Vector) -> list[tuple[int, TileFunction]]:
    """Return all tile functions and their places in the table; all but the whole tile have one form, in two places."""
    return [
        (
            tile_slot(rows, vectors, transposes_a, prefetches),
            TileFunction(vector, rows, vectors, transposes_a, prefetches and (rows, vectors) == (MR, VECTORS)),
        )
        for transposes_a in (False, True)
        for prefetches in (False, True)
        for rows in row_counts(MR)
        for vectors in range(1, VECTORS + 1)
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
        return self.builder.select(self.is_place(offset), self.pointer(offset), self.null)

    def is_place(self, offset: ir.Value) -> ir.Value:
        """Emit whether an offset is one, and not negative for none."""
        return self.builder.icmp_signed(">=", offset, offset.type(0))

    def slot(self, rows: ir.Value, vectors: ir.Value, transposes_a: bool, prefetch: ir.Value | None = None) -> ir.Value:
        """Emit the place in the table of a tile function of a run-time size, which prefetches what is at an offset."""
        builder, first = self.builder, _INDEX(tile_slot(0, 0, transposes_a))
        if prefetch is not None:
            second = _INDEX(tile_slot(0, 0, transposes_a, True))
            first = builder.select(self.is_place(prefetch), second, first)
        return builder.add(first, builder.add(builder.mul(rows, _INDEX(VECTORS + 1)), vectors))

    def call(self, slot: ir.Value, function_type: ir.FunctionType, arguments: list[ir.Value]) -> None:
        """Call the function whose address stands at a place of the table."""
        builder = self.builder
        address = builder.load(element_pointer(self._context, builder, self._table_type, self._table, slot))
        builder.call(builder.inttoptr(address, function_type.as_pointer()), arguments)


@emitted(naive.gemm_nn)
def gemm_nn(
    typingctx: Any,
    workspace: Any,
    functions: Any,
    out: Any,
    start: Any,
    start_stride: Any,
    left: Any,
    panel_step: Any,
    right: Any,
    inner_size: Any,
    rows: Any,
    vectors: Any,
    floor: Any,
    activations: Any,
    prefetch: Any,
) -> Any:
    """C = start + A B where the rows of the tile are rows of A's panels (forward, backward data).

    `functions` has their addresses. All places are offsets into `workspace`: `out` (C), `start`, `left` (A), `right`
    (B), `activations` (negative: none) and `prefetch` (negative: none). This lies in the panel that will take B's place
    where `right` lies in this one, or some cache lines behind: one of every `PREFETCHING_TILES` lines is prefetched.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, _, out, start, stride, left, step, right, inner_size, rows, vectors, floor, mask, prefetch = args
        memory = Workspace(context, builder, sig, args)
        memory.call(
            memory.slot(rows, vectors, False, prefetch),
            tile_function_type(memory.scalar, False),
            [
                *map(memory.pointer, (out, left, right)), inner_size, memory.pointer(start), stride, step, floor,
                memory.pointer_or_null(mask), memory.pointer(prefetch),
            ],
        )  # fmt: skip
        return context.get_dummy_value()

    return types.void(workspace, functions, *[types.intp] * 9, workspace.dtype, *[types.intp] * 2), codegen


@emitted(naive.gemm_tn)
def gemm_tn(
    typingctx: Any,
    workspace: Any,
    functions: Any,
    out: Any,
    left: Any,
    right: Any,
    inner_size: Any,
    rows: Any,
    vectors: Any,
    prefetch: Any,
) -> Any:
    """C = A^T B, A being transposed: the rows of the tile are lanes of one of its panels (weight gradient).

    `prefetch` has the places of a tile of weights and of its moments (the first negative: none). Where there are fewer
    copies of the parameters, the same tile may be named more than once.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, _, out, left, right, inner_size, rows, vectors, prefetch = args
        memory = Workspace(context, builder, sig, args)
        copies = cgutils.unpack_tuple(builder, prefetch, N_COPIES)
        memory.call(
            memory.slot(rows, vectors, True, copies[0]),
            tile_function_type(memory.scalar, True),
            [*map(memory.pointer, (out, left, right)), inner_size, *map(memory.pointer, copies)],
        )
        return context.get_dummy_value()

    return types.void(workspace, functions, *[types.intp] * 6, types.UniTuple(types.intp, N_COPIES)), codegen
