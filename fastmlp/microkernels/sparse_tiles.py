"""Tiles of products that leave terms out: k runs over a list, which has those k whose numbers of A are not all zero.

Which these are, and who writes the lists, is told in ``wide.nonzero_lists``. The loop over k is the micro-kernel's, but
for where the numbers of a k lie: that is read from two lists, one for A and one for B::

          k  0  1  2  3  4  5  6  7                                B
           +------------------------+                       k = 1  | vectors |
    row 0  | .  a  .  .  a  .  .  . |                       k = 4  | vectors |
    row 1  | .  .  .  .  a  .  .  . |     list: 1, 4, 5     k = 5  | vectors |
    row 2  | .  .  .  .  .  a  .  . |
           +------------------------+     a: not zero

A term that is left out would have added zero, so each number is the same sum as without a list. A tile is
lower than the micro-kernel's, because fewer terms are then left in the lists: with 4 x 3 registers there are 12 FMAs to
7 loads, and as many sums as it takes that none waits for the one before. What is lower still is multiplied with all its
zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastmlp.microkernels import naive
from fastmlp.microkernels.tile import N_COPIES, VECTORS, TileFunction
from fastmlp.microkernels.tile_calls import TILE_SLOTS, Workspace
from fastmlp.simd.jit import emitted
from fastmlp.simd.numba_modules import cgutils, types
from fastmlp.simd.tile_table import ALIGNMENT, SPARSE_TILE_ROWS

if TYPE_CHECKING:
    from fastmlp.simd.vector_type import Vector


_INDEX = ir.IntType(64)

SPARSE_SLOTS = 3 * (VECTORS + 1)
"""Places that these functions take in the table of functions, behind the others."""


def _slot(vectors: int, transposes_a: bool, prefetches: bool = False) -> int:
    return TILE_SLOTS + (2 * transposes_a + prefetches) * (VECTORS + 1) + vectors


def sparse_tile_function_type(scalar: ir.Type, index: ir.Type, transposes_a: bool) -> ir.FunctionType:
    """Return the type of a tile function; see `SparseTileFunction` for the arguments."""
    pointer = scalar.as_pointer()
    own = [pointer] * N_COPIES if transposes_a else [pointer, _INDEX, scalar, pointer]
    return ir.FunctionType(ir.VoidType(), [*[pointer] * 3, _INDEX, *[index.as_pointer()] * 2, *own])


class SparseTileFunction(TileFunction):
    """One function of the generator: ``C = start + A B`` over the k of a list, for a number of vectors.

    The LLVM function's arguments are pointers to C, to A and to B, the number of k in the list, and two lists of where
    the numbers of these k begin, in A and in B. A weight gradient starts with zeros and ends as it is; for it there
    follow tiles of parameters that will be needed next, which a tile of all vectors prefetches in its first turns, a
    line of each in a turn. For forward, they are a pointer to the starting values, the stride between their rows, the
    floor, and a pointer into the next panel of B, of which a second form (`prefetches`) takes a line with each k.
    """

    kind = "sparse_tile"

    def __init__(self, vector: Vector, vectors: int, transposes_a: bool, prefetches: bool = False) -> None:
        super().__init__(vector, SPARSE_TILE_ROWS, vectors, transposes_a, prefetches)
        self.index_type = ir.IntType(vector.dtype.bitwidth)

    def function_type(self) -> ir.FunctionType:
        """Return the type of the function."""
        return sparse_tile_function_type(self.scalar_type, self.index_type, self.transposes_a)

    def _emit(self, function: ir.Function) -> None:
        c, a, b, count, a_places, b_places, *own = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        end = function.append_basic_block("end")
        operands = (a, b, (a_places, b_places))
        first, floor, next_panel = _INDEX(0), None, None
        if self.transposes_a:
            sums = self._zeros()
            if self.vectors == VECTORS:
                lines = _INDEX(self.rows * self.panel_width * self.alignment // ALIGNMENT)
                first = builder.select(builder.icmp_signed("<", count, lines), count, lines)
                parameters = self._prefetched_parameters(own)
                sums = self._sum_sparse(builder, *operands, sums, _INDEX(0), first, parameters, None)
        else:
            start, start_stride, floor, prefetched = own
            sums = self._starting_values(builder, start, start_stride)
            next_panel = prefetched if self.prefetches else None
        sums = self._sum_sparse(builder, *operands, sums, first, count, [], next_panel)
        self._epilogue(builder, sums, c, floor, None, end)
        builder.position_at_end(end)
        builder.ret_void()

    def _sum_sparse(
        self,
        builder: Any,
        a: ir.Value,
        b: ir.Value,
        lists: tuple[ir.Value, ir.Value],
        sums: list[ir.Value],
        first: ir.Value,
        last: ir.Value,
        prefetched: list[tuple[ir.Value, bool]],
        next_panel: ir.Value | None,
    ) -> list[ir.Value]:
        """Emit the loop over the entries `first` to `last` of the list; return the sums behind it."""
        before = builder.block
        loop = builder.append_basic_block("sparse")
        after = builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed("<", first, last), loop, after)

        builder.position_at_end(loop)
        number = builder.phi(_INDEX)
        phis = [builder.phi(self.vector_type) for _ in sums]
        a_place, b_place = (builder.sext(builder.load(builder.gep(places, [number])), _INDEX) for places in lists)
        results = self._add_products(builder, builder.gep(a, [a_place]), builder.gep(b, [b_place]), phis)
        if next_panel is not None:
            self._prefetch(builder, builder.gep(next_panel, [b_place]), _INDEX(0), to_write=False, cache_level=2)
        for tile, to_write in prefetched:
            self._prefetch(builder, tile, builder.mul(number, _INDEX(ALIGNMENT)), to_write, cache_level=1)
        next_number = builder.add(number, _INDEX(1))
        builder.cbranch(builder.icmp_signed("<", next_number, last), loop, after)
        for phi, value, again in ((number, first, next_number), *zip(phis, sums, results, strict=True)):
            phi.add_incoming(value, before)
            phi.add_incoming(again, loop)

        builder.position_at_end(after)
        final = [builder.phi(self.vector_type) for _ in sums]
        for phi, value, result in zip(final, sums, results, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(result, loop)
        return final


def sparse_tile_functions(vector: Vector) -> list[tuple[int, TileFunction]]:
    """Return all tile functions that go over lists, and their places in the table."""
    return [
        (
            _slot(vectors, transposes_a, prefetches),
            SparseTileFunction(vector, vectors, transposes_a, prefetches and vectors == VECTORS),
        )
        for transposes_a, prefetches in ((False, False), (False, True), (True, False))
        for vectors in range(1, VECTORS + 1)
    ]


def _call_tile(memory: Workspace, first_slot: ir.Value, transposes_a: bool, args: Any, own: list[ir.Value]) -> None:
    """Emit the call of a tile function: what both kinds are given from `args`, then their own."""
    _, _, out, left, right, left_places, right_places, count, vectors, *_ = args
    lists = [memory.index_pointer(places) for places in (left_places, right_places)]
    function_type = sparse_tile_function_type(memory.scalar, memory.index, transposes_a)
    slot = memory.builder.add(first_slot, vectors)
    memory.call(slot, function_type, [*map(memory.pointer, (out, left, right)), count, *lists, *own])


@emitted(naive.sparse_gemm_nn)
def sparse_gemm_nn(
    typingctx: Any,
    workspace: Any,
    functions: Any,
    out: Any,
    left: Any,
    right: Any,
    left_places: Any,
    right_places: Any,
    count: Any,
    vectors: Any,
    start: Any,
    start_stride: Any,
    floor: Any,
    prefetch: Any,
) -> Any:
    """C = start + A B over the k of a list, where the rows of the tile are rows of A's panels (forward).

    `functions` has their addresses. All places are offsets into `workspace`, those of the lists too, whose numbers
    are offsets from `left` (A) and `right` (B). `prefetch` (negative: none) lies in the next panel of B, some cache
    lines behind the place that `right` has in this one.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        memory = Workspace(context, builder, sig, args)
        *_, start, stride, floor, prefetch = args
        slots = [_INDEX(_slot(0, False, prefetches)) for prefetches in (True, False)]
        slot = builder.select(memory.is_place(prefetch), *slots)
        _call_tile(memory, slot, False, args, [memory.pointer(start), stride, floor, memory.pointer(prefetch)])
        return context.get_dummy_value()

    return types.void(workspace, functions, *[types.intp] * 9, workspace.dtype, types.intp), codegen


@emitted(naive.sparse_gemm_tn)
def sparse_gemm_tn(
    typingctx: Any,
    workspace: Any,
    functions: Any,
    out: Any,
    left: Any,
    right: Any,
    left_places: Any,
    right_places: Any,
    count: Any,
    vectors: Any,
    prefetch: Any,
) -> Any:
    """C = A^T B over the k of a list, where the rows of the tile are lanes of one panel of A (weight gradient).

    As above, but that `prefetch` has the places of a tile of weights and of its moments. If the first is negative, C
    is prefetched in their place.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        memory = Workspace(context, builder, sig, args)
        copies = cgutils.unpack_tuple(builder, args[-1], N_COPIES)
        places = [builder.select(memory.is_place(copies[0]), place, args[2]) for place in copies]
        _call_tile(memory, _INDEX(_slot(0, True)), True, args, list(map(memory.pointer, places)))
        return context.get_dummy_value()

    return types.void(workspace, functions, *[types.intp] * 7, types.UniTuple(types.intp, N_COPIES)), codegen
