"""The second micro-kernel: inner products over samples, for networks so narrow that samples fill the lanes.

In the second orientation (see ``narrow.products``) A^T and delta^T are kept, samples along the vectors. A weight
gradient is then a table of inner products of their rows. One call computes a tile of them, one vector of partial sums
for each::

                    delta^T, row j       row j+1
                    |s0 s1 ... s15|      |s0 s1 ... s15|
     A^T
     row i    |s0 s1 ... s15|    [sum of i j  ]   [sum of i j+1  ]    rows x columns accumulators,
     row i+1  |s0 s1 ... s15|    [sum of i+1 j]   [sum of i+1 j+1]    each a vector, over all samples

At the end the vectors are folded in halves, two at a time: each step halves the numbers in a sum and doubles the sums
in a vector, so that sixteen vectors of sixteen lanes become one vector of sixteen sums in fifteen steps. The order of
additions depends on nothing but the number of samples and the size of the tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastmlp.microkernels import naive
from fastmlp.microkernels.tile_calls import TILE_SLOTS
from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import declare, element_pointer, llvm_scalar, llvm_vector, vector_suffix
from fastmlp.simd.numba_modules import cgutils, types
from fastmlp.simd.tile_table import TILE

if TYPE_CHECKING:
    from fastmlp.simd.vector_type import Vector


_INDEX, _INT32 = ir.IntType(64), ir.IntType(32)

DOT_ROWS, DOT_COLUMNS = TILE.dot_rows, TILE.dot_columns

# A multiply-add waits for the one before it in the same sum, some four cycles in which eight others could begin.
# Tiles of no more sums than these keep one for each vector of a panel, and add them up at the end.
_FEW_SUMS = 4

# The dot functions stand behind the tile functions in the table.
_FIRST_SLOT = TILE_SLOTS

DOT_SLOTS = (DOT_ROWS + 1) * (DOT_COLUMNS + 1)
"""Places that the dot functions take in the table of functions."""


def dot_function_type(scalar: ir.Type) -> ir.FunctionType:
    """Return the type of a dot function; see `DotFunction` for the arguments."""
    pointer = scalar.as_pointer()
    return ir.FunctionType(ir.VoidType(), [pointer, pointer, pointer, *[_INDEX] * 4])


class DotFunction:
    """One function of the generator: ``out[i, j] = sum over s of a[i, s] b[j, s]``.

    The LLVM function's arguments are pointers to the output and to row 0 of a and of b. Rows are NR apart, those of a
    and b within a panel of samples. Then come the steps from one panel of a and of b to the next, the number of vectors
    of samples, and the number of tiles, which lie below each other.
    """

    def __init__(self, vector: Vector, rows: int, columns: int) -> None:
        self.vector = vector
        self.rows = rows
        self.columns = columns
        self.vector_type = llvm_vector(vector)
        self.scalar_type = llvm_scalar(vector.dtype)
        self.alignment = vector.dtype.bitwidth // 8
        self.n_sums = rows * columns
        # One set of sums for the first vectors of all panels, one for the second ones, and so on; or a single one.
        self.n_chains = TILE.vectors if self.n_sums <= _FEW_SUMS else 1

    def get(self, module: ir.Module) -> ir.Function:
        """Return the function in `module`, emitted at the first request."""
        name = f"fastmlp.dot.{vector_suffix(self.vector)}.{self.rows}x{self.columns}"
        if name in module.globals:
            return module.globals[name]
        function = ir.Function(module, dot_function_type(self.scalar_type), name)
        function.linkage = "internal"
        function.attributes.add("nounwind")
        self._emit(function)
        return function

    def _load(self, builder: Any, base: ir.Value, offset: int) -> ir.Value:
        pointer = builder.bitcast(builder.gep(base, [_INDEX(offset)]), self.vector_type.as_pointer())
        return builder.load(pointer, align=self.alignment)

    def _add_products(self, builder: Any, fused: Any, a: ir.Value, b: ir.Value, vector: int, sums: list) -> list:
        """Emit the multiply-adds of one vector of samples, the one of this number in its panel; return all sums."""
        width, offset = self.vector.lanes * TILE.vectors, vector * self.vector.lanes
        a_rows = [self._load(builder, a, row * width + offset) for row in range(self.rows)]
        b_rows = [self._load(builder, b, column * width + offset) for column in range(self.columns)]
        first = vector % self.n_chains * self.n_sums
        results = [
            builder.call(fused, [a_row, b_row, sums[first + row * self.columns + column]])
            for row, a_row in enumerate(a_rows)
            for column, b_row in enumerate(b_rows)
        ]
        return [*sums[:first], *results, *sums[first + self.n_sums :]]

    def _emit(self, function: ir.Function) -> None:
        first_out, first_a, b, a_step, b_step, n_vectors, n_tiles = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        height = _INDEX(self.rows * self.vector.lanes * TILE.vectors)
        with cgutils.for_range(builder, n_tiles) as loop:
            out, a = (builder.gep(first, [builder.mul(loop.index, height)]) for first in (first_out, first_a))
            self._store_sums(builder, out, self._emit_sums(builder, a, b, a_step, b_step, n_vectors))
        builder.ret_void()

    def _emit_sums(
        self, builder: Any, a: ir.Value, b: ir.Value, a_step: ir.Value, b_step: ir.Value, n_vectors: ir.Value
    ) -> list[ir.Value]:
        """Emit the loop over all vectors of samples; return the sums, still spread over the lanes."""
        function, tile = builder.function, builder.block
        panel_loop = function.append_basic_block("panels")
        panel = function.append_basic_block("panel")
        # Behind the whole panels there are none of a panel's vectors left, or one, and so on to all but one: each block
        # but the first adds one of them.
        last_panel = [function.append_basic_block("last_panel") for _ in range(TILE.vectors)]
        done = function.append_basic_block("done")
        fused = declare(builder, f"llvm.fmuladd.{vector_suffix(self.vector)}", self.vector_type, [self.vector_type] * 3)
        zero = ir.Constant(self.vector_type, [0.0] * self.vector.lanes)
        builder.branch(panel_loop)

        builder.position_at_end(panel_loop)
        panel_a, panel_b, remaining = builder.phi(a.type), builder.phi(b.type), builder.phi(_INDEX)
        sums = [builder.phi(self.vector_type) for _ in range(self.n_chains * self.n_sums)]
        is_whole = builder.icmp_signed(">=", remaining, _INDEX(TILE.vectors))
        builder.cbranch(is_whole, panel, last_panel[0])

        builder.position_at_end(panel)
        results: list[Any] = sums
        for number in range(TILE.vectors):
            results = self._add_products(builder, fused, panel_a, panel_b, number, results)
        for phi, first, again in (
            (panel_a, a, builder.gep(panel_a, [a_step])),
            (panel_b, b, builder.gep(panel_b, [b_step])),
            (remaining, n_vectors, builder.sub(remaining, _INDEX(TILE.vectors))),
            *((phi, zero, result) for phi, result in zip(sums, results, strict=True)),
        ):
            phi.add_incoming(first, tile)
            phi.add_incoming(again, panel)
        builder.branch(panel_loop)

        builder.position_at_end(done)
        totals = [builder.phi(self.vector_type) for _ in sums]
        results = sums
        for number, block in enumerate(last_panel):
            builder.position_at_end(block)
            if number > 0:
                results = self._add_products(builder, fused, panel_a, panel_b, number - 1, results)
            for phi, result in zip(totals, results, strict=True):
                phi.add_incoming(result, block)
            if number + 1 < len(last_panel):
                builder.cbranch(builder.icmp_signed(">", remaining, _INDEX(number)), last_panel[number + 1], done)
            else:
                builder.branch(done)

        builder.position_at_end(done)
        return totals

    def _store_sums(self, builder: Any, out: ir.Value, sums: list[Any]) -> None:
        """Emit what makes numbers of the vectors of partial sums."""
        width = self.vector.lanes * TILE.vectors
        chains = [sums[first : first + self.n_sums] for first in range(0, len(sums), self.n_sums)]
        totals = chains[0]
        for chain in chains[1:]:
            totals = [builder.fadd(total, more) for total, more in zip(totals, chain, strict=True)]
        # Four columns of all rows, then what is left of them: so four sums leave a vector together.
        order = [
            (row, column)
            for first in range(0, self.columns, 4)
            for row in range(self.rows)
            for column in range(first, min(first + 4, self.columns))
        ]
        while order:
            # Powers of two fold into vectors of the same length.
            count = 1 << (len(order).bit_length() - 1)
            places, order = order[:count], order[count:]
            folded = self._fold(builder, [totals[row * self.columns + column] for row, column in places])
            lanes = [(vector, lane) for vector in folded for lane in range(vector.type.count)]
            for (row, column), (vector, lane) in zip(places, lanes, strict=True):
                place = builder.gep(out, [_INDEX(row * width + column)])
                builder.store(builder.extract_element(vector, _INT32(lane)), place)

    def _fold(self, builder: Any, sums: list[ir.Value]) -> list[ir.Value]:
        """Emit the folding of vectors of partial sums, a power of two of them, into sums in the order of the list."""
        spread = self.vector.lanes  # lanes over which each sum is still spread
        while spread > 1:
            half = spread // 2
            pairs = [sums[i : i + 2] for i in range(0, len(sums), 2)] if len(sums) > 1 else [sums]
            folded = []
            for pair in pairs:
                count = sum(vector.type.count for vector in pair)
                low = [g + lane for g in range(0, count, spread) for lane in range(half)]
                second = pair[1] if len(pair) > 1 else ir.Constant(pair[0].type, ir.Undefined)
                parts = [
                    builder.shuffle_vector(
                        pair[0], second, ir.Constant(ir.VectorType(_INT32, len(low)), [lane + shift for lane in low])
                    )
                    for shift in (0, half)
                ]
                folded.append(builder.fadd(*parts))
            sums, spread = folded, half
        return sums


def dot_functions(vector: Vector) -> list[tuple[int, DotFunction]]:
    """Return all dot functions and their places in the table."""
    return [
        (_FIRST_SLOT + rows * (DOT_COLUMNS + 1) + columns, DotFunction(vector, rows, columns))
        for rows in range(1, DOT_ROWS + 1)
        for columns in range(1, DOT_COLUMNS + 1)
    ]


@emitted(naive.gemm_nt)
def gemm_nt(
    typingctx: Any,
    workspace: Any,
    functions: Any,
    out: Any,
    a: Any,
    a_step: Any,
    b: Any,
    b_step: Any,
    n_vectors: Any,
    n_tiles: Any,
    rows: Any,
    columns: Any,
) -> Any:
    """Write C = A B^T, ``out[i, j] = sum over samples of a[i] b[j]``, for `n_tiles` tiles below each other.

    `functions` has their addresses. All places are offsets into `workspace`.
    """
    scalar = llvm_scalar(workspace.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, functions, out, a, a_step, b, b_step, n_vectors, n_tiles, rows, columns = args

        def pointer(offset: ir.Value) -> ir.Value:
            return element_pointer(context, builder, sig.args[0], args[0], offset)

        slot = builder.add(builder.mul(rows, _INDEX(DOT_COLUMNS + 1)), columns)
        slot = builder.add(slot, _INDEX(_FIRST_SLOT))
        address = builder.load(element_pointer(context, builder, sig.args[1], functions, slot))
        function = builder.inttoptr(address, dot_function_type(scalar).as_pointer())
        builder.call(function, [pointer(out), pointer(a), pointer(b), a_step, b_step, n_vectors, n_tiles])
        return context.get_dummy_value()

    return types.void(workspace, functions, *[types.intp] * 9), codegen
