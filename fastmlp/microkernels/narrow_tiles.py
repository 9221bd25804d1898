"""Tiles of narrow networks, whose samples fill the lanes (see ``narrow.products``): one call for many panels.

Such a network's products are so small that calling a tile function may take longer than what it does. So here one call
goes over many panels, with the same tile of weights A::

                     B, panel 0     B, panel 1
                     |           |  |           |
                   k |  samples  |  |  samples  |   ...
                     |           |  |           |
         k
       +---+         +-----------+  +-----------+
       | A |  -----> | C         |  | C         |   ...
       +---+         +-----------+  +-----------+

There is a function for each number of rows, not for the powers of two alone, up to as many as the registers have room
for (`Tile.most_rows`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastmlp.microkernels import naive
from fastmlp.microkernels.tile import VECTORS, TileFunction
from fastmlp.microkernels.tile_calls import Workspace, tile_slot
from fastmlp.simd.jit import emitted
from fastmlp.simd.numba_modules import cgutils, types
from fastmlp.simd.tile_table import TILE

if TYPE_CHECKING:
    from fastmlp.simd.vector_type import Vector


_INDEX = ir.IntType(64)

MOST_ROWS = tuple(TILE.most_rows(vectors) if vectors else 0 for vectors in range(VECTORS + 1))
"""Rows of the highest tile of so many vectors."""


def narrow_tile_function_type(scalar: ir.Type, transposes_a: bool) -> ir.FunctionType:
    """Return the type of a tile function; see `NarrowTileFunction` for the arguments."""
    pointer = scalar.as_pointer()
    own = [scalar] if transposes_a else [_INDEX, pointer, _INDEX]
    return ir.FunctionType(ir.VoidType(), [*[pointer] * 3, *[_INDEX] * 4, *own])


class NarrowTileFunction(TileFunction):
    """One function of the generator: ``C = A B`` for some panels of B and C.

    The LLVM function's arguments are pointers to C, to A and to B, the number of k, the number of panels of samples,
    and the steps from one of these to the next in C and in B. Where rows are lanes, as in forward, the floor follows.
    Else it is the step from one panel of A to the next, a pointer to activations or null, and the step of these.
    """

    kind = "narrow_tile"

    def __init__(self, vector: Vector, rows: int, vectors: int, transposes_a: bool) -> None:
        super().__init__(vector, rows, vectors, transposes_a)
        # Where rows are lanes the loop gains nothing from it; and of 9 x 3 sums the compiler spills one then.
        self.is_unrolled = not transposes_a and rows * vectors <= 24
        self.prefetches_below = False

    def function_type(self) -> ir.FunctionType:
        """Return the type of the function."""
        return narrow_tile_function_type(self.scalar_type, self.transposes_a)

    def _emit(self, function: ir.Function) -> None:
        c, a, b, inner_size, n_panels, c_step, b_step, *own = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        panel_step, floor, activations = _INDEX(0), None, None
        if self.transposes_a:
            (floor,) = own
        else:
            panel_step, activations, activations_step = own
            is_null = builder.icmp_unsigned("==", builder.ptrtoint(activations, _INDEX), _INDEX(0))
            activations_step = builder.select(is_null, _INDEX(0), activations_step)  # null for all panels
        with cgutils.for_range(builder, n_panels) as loop:
            panel_c = builder.gep(c, [builder.mul(loop.index, c_step)])
            panel_b = builder.gep(b, [builder.mul(loop.index, b_step)])
            mask = None
            if activations is not None:
                mask = builder.gep(activations, [builder.mul(loop.index, activations_step)])
            stored = builder.append_basic_block("stored")
            self._emit_tile(
                builder, self._zeros(), panel_c, a, panel_b, inner_size, panel_step, floor, mask, [], stored
            )
            builder.position_at_end(stored)
        builder.ret_void()


def narrow_tile_functions(vector: Vector) -> list[tuple[int, TileFunction]]:
    """Return all tile functions of narrow networks and their places in the table."""
    return [
        (tile_slot(rows, vectors, transposes_a), NarrowTileFunction(vector, rows, vectors, transposes_a))
        for transposes_a in (False, True)
        for vectors in range(1, VECTORS + 1)
        for rows in range(1, MOST_ROWS[vectors] + 1)
    ]


def _call_tile(memory: Workspace, transposes_a: bool, args: Any, own: list[ir.Value]) -> None:
    """Emit the call of a tile function of a run-time size: what both kinds are given from `args`, then their own."""
    _, _, out, out_step, left, right, right_step, inner_size, rows, vectors, n_panels, *_ = args
    memory.call(
        memory.slot(rows, vectors, transposes_a),
        narrow_tile_function_type(memory.scalar, transposes_a),
        [*map(memory.pointer, (out, left, right)), inner_size, n_panels, out_step, right_step, *own],
    )


@emitted(naive.batched_gemm_nn)
def batched_gemm_nn(
    typingctx: Any,
    workspace: Any,
    functions: Any,
    out: Any,
    out_step: Any,
    left: Any,
    right: Any,
    right_step: Any,
    inner_size: Any,
    rows: Any,
    vectors: Any,
    n_panels: Any,
    panel_step: Any,
    activations: Any,
    activations_step: Any,
) -> Any:
    """C = A B for some panels of samples, where the rows of the tile are rows of A's panels (backward data).

    `functions` has their addresses. All places are offsets into `workspace`: `out` (C), `left` (A), `right` (B) and
    `activations` (negative: none). C, B and the activations have `n_panels` panels, so many numbers apart; those of A
    are `panel_step` apart.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        memory = Workspace(context, builder, sig, args)
        *_, step, mask, mask_step = args
        _call_tile(memory, False, args, [step, memory.pointer_or_null(mask), mask_step])
        return context.get_dummy_value()

    return types.void(workspace, functions, *[types.intp] * 12), codegen


@emitted(naive.batched_gemm_tn)
def batched_gemm_tn(
    typingctx: Any,
    workspace: Any,
    functions: Any,
    out: Any,
    out_step: Any,
    left: Any,
    right: Any,
    right_step: Any,
    inner_size: Any,
    rows: Any,
    vectors: Any,
    n_panels: Any,
    floor: Any,
) -> Any:
    """C = A^T B for some panels of samples, where the rows of the tile are lanes of one panel of A (forward).

    As above, but that numbers are raised to at least `floor`.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _call_tile(Workspace(context, builder, sig, args), True, args, [args[-1]])
        return context.get_dummy_value()

    return types.void(workspace, functions, *[types.intp] * 9, workspace.dtype), codegen
