"""The register-tile micro-kernel: every matrix product of training is this one loop.

All matrices are column panels, ``[columns / NR][rows][NR]``, so a row of a panel is `vectors`
registers wide and
contiguous. One call computes a micro-tile of the product ``C = start + A B``::

                      B: one panel, NR columns wide
                      +-----------+-----------+-----------+
                   k  | vector 0  | vector 1  | vector 2  |  <- loaded once per k
                      +-----------+-----------+-----------+
          k
        +---+         +-----------+-----------+-----------+
  row 0 | a |-------> | C00       | C01       | C02       |
  row 1 | a |-------> | C10       | C11       | C12       |   MR x vectors accumulators, in registers
   ...  |   |         |           |           |           |   from the first k to the last
  row 7 | a |-------> | C70       | C71       | C72       |
        +---+         +-----------+-----------+-----------+
          ^ one number, broadcast to all lanes

For each k: `vectors` loads, `rows` broadcasts and ``rows * vectors`` fused multiply-adds. With 8 x
3 registers that is 24 FMAs to 11 loads, and 28 of the 32 registers of AVX-512 are in use. Nothing
is stored before the last k.

The three products of training differ only in how A is read:

====================  ===================  ======================  =====================
product               rows                 k runs over             A[row, k] lies at
====================  ===================  ======================  =====================
forward               samples              units of layer l        ``row * NR + k``
backward data         samples              units of layer l + 1    ``row * NR + k``
weight gradient       units of layer l     samples                 ``k * NR + row``
====================  ===================  ======================  =====================

In BLAS's terms the first two are GEMMs of kind NN, and the third is of kind TN: A is transposed. In the first two, k
crosses from one panel of A to the next after NR steps: the loop over k is a loop over panels with a loop over their
columns inside. In the third, the rows are lanes of one panel, and k walks down its rows.

Prefetching. Each call names what will be needed next, or nothing; a whole tile then prefetches a cache line of it with
every fourth k. (It has a second form for that, with the prefetches in its loop; smaller tiles pay no attention.) For a
weight gradient these are the parameters and moments that it will update, taken from other cores for writing. For the
other products it is the next panel of a large W. In four k the loop passes twelve lines of B, and prefetches one of the
same twelve in the next panel: the first tile the first of them, the tile below it the second, and twelve tiles together
all::

              panel of W      the next one
            k |||||||||||| ─▸ 0123456789ab    which tile of the panel, counted from the top, prefetches the line
          k+4 |||||||||||| ─▸ 0123456789ab

Where nothing is named, on processors with AVX-512, the first two products prefetch the tile below in C, whose sums are
taken up again after a block of k. (On a Zen 3 all this costs more than it brings.)

Edges. A tile with fewer rows or vectors is another, smaller function of the same generator: rows 8,
4, 2 and 1 by 1, 2 or 3 vectors, found by its address in a table. Each number is the same chain of
fused multiply-adds in the order of k whatever the tile it falls into, so how the work is cut never
shows in the bits.

The loop is emitted as LLVM vector IR, because Numba's auto-vectoriser does not keep a tile in
registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastmlp.simd.llvm_types import declare, llvm_scalar, llvm_vector, splat, vector_suffix
from fastmlp.simd.tile_table import ALIGNMENT, TILE

if TYPE_CHECKING:
    from fastmlp.simd.vector_type import Vector


MR = TILE.rows
VECTORS = TILE.vectors

_INDEX = ir.IntType(64)

# The whole tile's loop takes so many k in each turn. What a turn costs besides, prefetching and counting, is then a
# few per cent of its instructions: where another program runs on the other half of a core, they are what is scarce.
_UNROLLED = 4

PREFETCHING_TILES = _UNROLLED * TILE.vectors * TILE.vector_bytes // ALIGNMENT
"""So many whole tiles below each other, each beginning one line further, prefetch all of the next panel of B."""


def row_counts(rows: int) -> list[int]:
    """Return the heights of tiles that are generated: MR, and the powers of two below it."""
    powers = [1 << i for i in range(rows.bit_length()) if 1 << i < rows]
    return [rows, *reversed(powers)]


NO_PREFETCH = -1
"""Place of what a tile function prefetches if that is nothing."""

N_COPIES = 3
"""Tiles of parameters that a weight gradient prefetches: weights and up to two moments."""


def tile_function_type(scalar: ir.Type, transposes_a: bool) -> ir.FunctionType:
    """Return the type of a tile function; see `TileFunction` for the arguments."""
    pointer = scalar.as_pointer()
    own = [pointer] * N_COPIES if transposes_a else [pointer, _INDEX, _INDEX, scalar, pointer, pointer]
    return ir.FunctionType(ir.VoidType(), [*[pointer] * 3, _INDEX, *own])


class TileFunction:
    """One function of the generator: ``C = start + A B`` for a fixed number of rows and vectors.

    The LLVM function's arguments are pointers to C, to A and to B, and the number of k. A weight gradient starts with
    zeros and ends as it is. For the other products there follow a pointer to the tile of starting values and the stride
    between its rows, 0 for a bias, which all rows share. Then come the step from one panel of A to the next, the floor,
    and a pointer to activations or null; see `_epilogue` for the last two.

    Last come pointers to what is prefetched, if `prefetches`. For a weight gradient these are `N_COPIES` tiles of the
    same shape: weights, then moments. For the other products it is one into the next panel of B, of which a line is
    prefetched with every fourth k, at the pace at which the loop passes over this one.
    """

    kind = "tile"

    def __init__(self, vector: Vector, rows: int, vectors: int, transposes_a: bool, prefetches: bool = False) -> None:
        self.vector = vector
        self.rows = rows
        self.vectors = vectors
        self.panel_width = TILE.vectors * vector.lanes
        self.transposes_a = transposes_a
        self.is_unrolled = (rows, vectors) == (MR, VECTORS)
        self.prefetches_below = TILE.prefetches and not transposes_a
        self.prefetches = prefetches
        self.scalar_type = llvm_scalar(vector.dtype)
        self.vector_type = llvm_vector(vector)
        self.alignment = vector.dtype.bitwidth // 8

    def get(self, module: ir.Module) -> ir.Function:
        """Return the function in `module`, emitted at the first request."""
        layout = "tn" if self.transposes_a else "nn"
        form = ".prefetching" if self.prefetches else ""
        name = f"fastmlp.{self.kind}.{vector_suffix(self.vector)}.{self.rows}x{self.vectors}.{layout}{form}"
        if name in module.globals:
            return module.globals[name]
        function = ir.Function(module, self.function_type(), name)
        function.linkage = "internal"
        function.attributes.add("nounwind")
        self._emit(function)
        return function

    def function_type(self) -> ir.FunctionType:
        """Return the type of the function."""
        return tile_function_type(self.scalar_type, self.transposes_a)

    def _zeros(self) -> list[ir.Value]:
        """Return a tile of zeros."""
        return [ir.Constant(self.vector_type, [0.0] * self.vector.lanes)] * (self.rows * self.vectors)

    def _starting_values(self, builder: Any, start: ir.Value, stride: ir.Value) -> list[ir.Value]:
        """Emit the loads of a tile whose rows are `stride` apart."""
        rows = [self._address(builder, start, builder.mul(stride, _INDEX(row))) for row in range(self.rows)]
        return [self._load_vector(builder, row, v * self.vector.lanes) for row in rows for v in range(self.vectors)]

    def _prefetched_parameters(self, tiles: list[ir.Value]) -> list[tuple[ir.Value, bool]]:
        """Return weights and moments that a weight gradient prefetches, and whether each will be written.

        What will be written with non-temporal stores is only read (see ``wide.phases``); moments are written.
        """
        return [(tile, number > 0 or not TILE.stores_nontemporal) for number, tile in enumerate(tiles)]

    def _address(self, builder: Any, base: ir.Value, offset: Any) -> ir.Value:
        if isinstance(offset, int):
            offset = _INDEX(offset)
        return builder.gep(base, [offset])

    def _load_vector(self, builder: Any, base: ir.Value, offset: Any) -> ir.Value:
        pointer = builder.bitcast(self._address(builder, base, offset), self.vector_type.as_pointer())
        return builder.load(pointer, align=self.alignment)

    def _store_vector(self, builder: Any, value: ir.Value, base: ir.Value, offset: int) -> None:
        pointer = builder.bitcast(self._address(builder, base, offset), self.vector_type.as_pointer())
        builder.store(value, pointer, align=self.alignment)

    def _emit(self, function: ir.Function) -> None:
        c, a, b, inner_size, *more = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        end = function.append_basic_block("end")
        if self.transposes_a:
            self._emit_tile(builder, self._zeros(), c, a, b, inner_size, _INDEX(0), None, None, more, end)
        else:
            start, start_stride, panel_step, floor, activations, *prefetched = more
            initial = self._starting_values(builder, start, start_stride)
            self._emit_tile(builder, initial, c, a, b, inner_size, panel_step, floor, activations, prefetched, end)
        builder.position_at_end(end)
        builder.ret_void()

    def _emit_tile(
        self,
        builder: Any,
        initial: list[ir.Value],
        c: ir.Value,
        a: ir.Value,
        b: ir.Value,
        inner_size: ir.Value,
        panel_step: ir.Value,
        floor: ir.Value | None,
        activations: ir.Value | None,
        prefetched: list[ir.Value],
        end: ir.Block,
    ) -> None:
        """Emit a whole product that begins with the `initial` sums, and goes on to `end` when it is stored."""
        width = self.panel_width
        entry = builder.block
        panel_loop = builder.append_basic_block("panel")
        done = builder.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", inner_size, _INDEX(0)), panel_loop, done)

        # One pass per panel of A; a weight gradient has one panel, as long as the minibatch.
        builder.position_at_end(panel_loop)
        panel_a = builder.phi(a.type)
        panel_b = builder.phi(b.type)
        remaining = builder.phi(_INDEX)
        panel_sums = [builder.phi(self.vector_type) for _ in initial]
        if self.transposes_a:
            steps = remaining
        else:
            is_last = builder.icmp_signed("<", remaining, _INDEX(width))
            steps = builder.select(is_last, remaining, _INDEX(width))
        state, rest = (panel_a, panel_b, panel_sums), steps
        if self.is_unrolled:
            tiles, distance = [], None
            if self.prefetches and self.transposes_a:
                tiles = self._prefetched_parameters(prefetched)
            elif self.prefetches:
                distance = builder.sub(builder.ptrtoint(prefetched[0], _INDEX), builder.ptrtoint(b, _INDEX))
            elif self.prefetches_below:
                tiles = [(self._address(builder, c, MR * width), True)]
            turns = builder.udiv(steps, _INDEX(_UNROLLED))
            state = self._sum_products(builder, *state, turns, _UNROLLED, tiles, distance)
            rest = builder.urem(steps, _INDEX(_UNROLLED))
        _, next_b, results = self._sum_products(builder, *state, rest, 1, [], None)
        panel_end = builder.block
        next_panel_a = builder.gep(panel_a, [panel_step])
        next_remaining = builder.sub(remaining, steps)
        builder.cbranch(builder.icmp_signed(">", next_remaining, _INDEX(0)), panel_loop, done)

        for phi, first, again in (
            (panel_a, a, next_panel_a),
            (panel_b, b, next_b),
            (remaining, inner_size, next_remaining),
            *zip(panel_sums, initial, results, strict=True),
        ):
            phi.add_incoming(first, entry)
            phi.add_incoming(again, panel_end)

        builder.position_at_end(done)
        final = [builder.phi(self.vector_type) for _ in initial]
        for phi, first, last in zip(final, initial, results, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(last, panel_end)
        self._epilogue(builder, final, c, floor, activations, end)

    def _sum_products(
        self,
        builder: Any,
        a: ir.Value,
        b: ir.Value,
        sums: list[ir.Value],
        count: ir.Value,
        unrolled: int,
        prefetched: list[tuple[ir.Value, bool]],
        distance: ir.Value | None,
    ) -> tuple[ir.Value, ir.Value, list[ir.Value]]:
        """Emit a loop over ``count * unrolled`` k from `a` and `b` on; return these, and the sums, as they are then.

        Each turn prefetches a line of each tile in `prefetched`, and the one `distance` bytes behind its place in B.
        """
        width = self.panel_width
        before = builder.block
        loop = builder.append_basic_block("inner")
        after = builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed(">", count, _INDEX(0)), loop, after)

        builder.position_at_end(loop)
        a_k, b_k, left = builder.phi(a.type), builder.phi(b.type), builder.phi(_INDEX)
        line = builder.phi(_INDEX)  # of the tiles that are prefetched, in bytes
        phis = [builder.phi(self.vector_type) for _ in sums]
        results: list[ir.Value] = list(phis)
        a_step = width if self.transposes_a else 1
        for k in range(unrolled):
            a_place = self._address(builder, a_k, k * a_step)
            results = self._add_products(builder, a_place, self._address(builder, b_k, k * width), results)
        next_a = self._address(builder, a_k, unrolled * a_step)
        next_b = self._address(builder, b_k, unrolled * width)
        if distance is not None:
            self._prefetch(builder, b_k, distance, to_write=False, cache_level=2)
        next_line = self._prefetch_line(builder, prefetched, line)
        next_left = builder.sub(left, _INDEX(1))
        builder.cbranch(builder.icmp_signed(">", next_left, _INDEX(0)), loop, after)
        for phi, first, again in (
            (a_k, a, next_a),
            (b_k, b, next_b),
            (left, count, next_left),
            (line, _INDEX(0), next_line),
            *zip(phis, sums, results, strict=True),
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(again, loop)

        builder.position_at_end(after)
        ends = []
        for first, last in ((a, next_a), (b, next_b), *zip(sums, results, strict=True)):
            end = builder.phi(first.type)
            end.add_incoming(first, before)
            end.add_incoming(last, loop)
            ends.append(end)
        return ends[0], ends[1], ends[2:]

    def _add_products(self, builder: Any, a_k: ir.Value, b_k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        """Emit the multiply-adds of one k, whose numbers begin at `a_k` and at `b_k`; return the sums with them."""
        fused = declare(builder, f"llvm.fmuladd.{vector_suffix(self.vector)}", self.vector_type, [self.vector_type] * 3)
        row_step = 1 if self.transposes_a else self.panel_width
        b_vectors = [self._load_vector(builder, b_k, v * self.vector.lanes) for v in range(self.vectors)]
        results: list[ir.Value] = []
        for row in range(self.rows):
            a_row = splat(builder, self.vector, builder.load(self._address(builder, a_k, row * row_step)))
            for b_vector in b_vectors:
                results.append(builder.call(fused, [a_row, b_vector, sums[len(results)]]))
        return results

    def _prefetch_line(self, builder: Any, tiles: list[tuple[ir.Value, bool]], line: ir.Value) -> ir.Value:
        """Prefetch the cache line `line` bytes into each tile; return the next.

        With each tile comes whether it will be written. The last line is prefetched again and again: that costs less
        than a branch.
        """
        for tile, to_write in tiles:
            self._prefetch(builder, tile, line, to_write, cache_level=1)
        last = _INDEX(max(0, self.rows * self.panel_width * self.alignment - ALIGNMENT))
        after = builder.add(line, _INDEX(ALIGNMENT))
        return builder.select(builder.icmp_signed("<", after, last), after, last)

    def _prefetch(self, builder: Any, base: ir.Value, offset: ir.Value, to_write: bool, cache_level: int) -> None:
        """Prefetch the cache line `offset` bytes behind `base`."""
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = declare(builder, "llvm.prefetch.p0", ir.VoidType(), [byte, flag, flag, flag])
        place = builder.gep(builder.bitcast(base, byte), [offset])
        builder.call(prefetch, [place, flag(int(to_write)), flag(4 - cache_level), flag(1)])

    def _epilogue(
        self,
        builder: Any,
        sums: list[ir.Value],
        c: ir.Value,
        floor: ir.Value | None,
        activations: ir.Value | None,
        end: ir.Block,
    ) -> None:
        """Store the tile, finished while it is in registers, and go on to `end`.

        With a null `activations`, the numbers are raised to at least `floor`: 0 makes the tile a
        relu layer's output, minus infinity leaves it as it is. Otherwise a number passes where the
        activation at its place is not zero, and becomes 0 elsewhere: the derivative of relu.
        A function that never has one of the two is emitted without it.
        """
        width, lanes = self.panel_width, self.vector.lanes
        places = [row * width + v * lanes for row in range(self.rows) for v in range(self.vectors)]
        tile = list(zip(places, sums, strict=True))
        if activations is not None:
            masked = builder.append_basic_block("masked")
            unmasked = builder.append_basic_block("unmasked")
            is_null = builder.icmp_unsigned("==", builder.ptrtoint(activations, _INDEX), _INDEX(0))
            builder.cbranch(is_null, unmasked, masked)
            builder.position_at_end(masked)
            zero = ir.Constant(self.vector_type, [0.0] * lanes)
            for place, total in tile:
                activation = self._load_vector(builder, activations, place)
                passes = builder.fcmp_unordered("!=", activation, zero)
                self._store_vector(builder, builder.select(passes, total, zero), c, place)
            builder.branch(end)
            builder.position_at_end(unmasked)

        low = None if floor is None else splat(builder, self.vector, floor)
        for place, total in tile:
            # Written so that a NaN passes.
            raised = total if low is None else builder.select(builder.fcmp_ordered(">", low, total), low, total)
            self._store_vector(builder, raised, c, place)
        builder.branch(end)
