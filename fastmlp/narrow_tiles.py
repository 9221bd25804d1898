"""Tiles of narrow networks, whose samples fill the lanes (see ``narrow``): one call for many panels of samples.

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

There is a function for each number of rows up to MR, not for the powers of two alone: nine units are five and four.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from fastmlp import microkernel_naive
from fastmlp._jit import emitted
from fastmlp.microkernel import MR, VECTORS, TileFunction
from fastmlp.tile_calls import Workspace, tile_slot
from fastmlp.vector_type import Vector

_INDEX = ir.IntType(64)


def narrow_tile_function_type(scalar: ir.Type) -> ir.FunctionType:
    """Return the type of a tile function; see `NarrowTileFunction` for the arguments."""
    pointer = scalar.as_pointer()
    return ir.FunctionType(ir.VoidType(), [*[pointer] * 3, _INDEX, _INDEX, scalar, pointer, *[_INDEX] * 4])


class NarrowTileFunction(TileFunction):
    """One function of the generator: ``C = A B`` for some panels of B and C.

    The LLVM function's arguments are pointers to C, to A and to B, the number of k, the step from one panel of A to the
    next, the floor, a pointer to activations or null, the number of panels of samples, and the steps from one of these
    to the next in C, in B and in the activations.
    """

    kind = "narrow_tile"

    def __init__(self, vector: Vector, rows: int, vectors: int, rows_are_lanes: bool) -> None:
        super().__init__(vector, rows, vectors, rows_are_lanes)
        self.is_unrolled = False  # loops over k are short

    def function_type(self) -> ir.FunctionType:
        """Return the type of the function."""
        return narrow_tile_function_type(self.scalar_type)

    def _emit(self, function: ir.Function) -> None:
        c, a, b, inner, panel_step, floor, activations, n_panels, c_step, b_step, activations_step = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        is_null = builder.icmp_unsigned("==", builder.ptrtoint(activations, _INDEX), _INDEX(0))
        activations_step = builder.select(is_null, _INDEX(0), activations_step)  # null for all panels
        zero = ir.Constant(self.vector_type, [0.0] * self.vector.lanes)
        with cgutils.for_range(builder, n_panels) as loop:
            panel_c, panel_b, panel_activations = (
                builder.gep(first, [builder.mul(loop.index, step)])
                for first, step in ((c, c_step), (b, b_step), (activations, activations_step))
            )
            stored = builder.append_basic_block("stored")
            self._emit_tile(
                builder, [zero] * (self.rows * self.vectors), panel_c, a, panel_b, inner, panel_step, floor,
                panel_activations, [], stored,
            )  # fmt: skip
            builder.position_at_end(stored)
        builder.ret_void()


def narrow_tile_functions(vector: Vector) -> list[tuple[int, TileFunction]]:
    """Return all tile functions of narrow networks and their places in the table."""
    return [
        (tile_slot(rows, vectors, rows_are_lanes), NarrowTileFunction(vector, rows, vectors, rows_are_lanes))
        for rows_are_lanes in (False, True)
        for rows in range(1, MR + 1)
        for vectors in range(1, VECTORS + 1)
    ]


def _multiply(rows_are_lanes: bool, naive: Callable) -> Any:
    """Return the intrinsic that calls the tile function for a run-time number of rows and vectors."""

    def multiply(
        typingctx: Any,
        workspace: Any,
        tiles: Any,
        out: Any,
        out_step: Any,
        left: Any,
        panel_step: Any,
        right: Any,
        right_step: Any,
        inner: Any,
        rows: Any,
        vectors: Any,
        n_panels: Any,
        floor: Any,
        activations: Any,
        activations_step: Any,
    ) -> Any:
        signature = types.void(workspace, tiles, *[types.intp] * 10, workspace.dtype, types.intp, types.intp)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            _, _, out, out_step, left, step, right, right_step, inner, *size, floor, mask, mask_step = args
            rows, vectors, n_panels = size
            memory = Workspace(context, builder, sig, args)
            memory.call(
                memory.slot(rows, vectors, rows_are_lanes),
                narrow_tile_function_type(memory.scalar),
                [
                    *map(memory.pointer, (out, left, right)), inner, step, floor, memory.pointer_or_null(mask),
                    n_panels, out_step, right_step, mask_step,
                ],
            )  # fmt: skip
            return context.get_dummy_value()

        return signature, codegen

    return emitted(naive)(multiply)


multiply_rows_of_panels = _multiply(False, microkernel_naive.multiply_rows_of_panels)
"""C = A B for some panels of samples, where the rows of the tile are rows of A's panels (backward data).

`tiles` is the table of addresses. All places are offsets into `workspace`: `out` (C), `left` (A), `right` (B) and
`activations` (negative: none). C, B and the activations have `n_panels` panels, so many numbers apart.
"""

multiply_lanes_of_panels = _multiply(True, microkernel_naive.multiply_lanes_of_panels)
"""C = A^T B for some panels of samples, where the rows of the tile are lanes of one panel of A (forward)."""
