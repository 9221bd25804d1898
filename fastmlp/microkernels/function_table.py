"""The table of micro-kernels: the address of each generated function, by its place.

The functions are compiled apart from the kernels that call them, so that each exists once however many kernels there
are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir

from fastmlp.microkernels.dot_products import DOT_SLOTS, dot_functions
from fastmlp.microkernels.narrow_tiles import narrow_tile_functions
from fastmlp.microkernels.sparse_tiles import SPARSE_SLOTS, sparse_tile_functions
from fastmlp.microkernels.tile_calls import TILE_SLOTS, tile_functions
from fastmlp.simd.arguments import INTEGERS, NUMBERS
from fastmlp.simd.jit import JIT_DISABLED, callable_from_python, emitted, kernel
from fastmlp.simd.llvm_types import element_pointer, vector_of
from fastmlp.simd.numba_modules import types

if TYPE_CHECKING:
    from fastmlp.simd.vector_type import Vector


def _write_nothing(example: np.ndarray, table: np.ndarray) -> None:
    """Do nothing: interpreted, no kernel reads the table."""


def _writer(functions: Callable) -> Any:
    """Return an intrinsic that emits functions for `example`'s data type and writes their addresses to `table`."""

    def write(typingctx: Any, example: Any, table: Any) -> Any:
        vector = vector_of(example.dtype)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            index = ir.IntType(64)
            for slot, function in functions(vector):
                address = builder.ptrtoint(function.get(builder.module), index)
                builder.store(address, element_pointer(context, builder, sig.args[1], args[1], index(slot)))
            return context.get_dummy_value()

        return types.void(example, table), codegen

    return emitted(_write_nothing)(write)


def _narrow_functions(vector: Vector) -> list:
    return [*narrow_tile_functions(vector), *dot_functions(vector)]


_write_tiles = _writer(tile_functions)
_write_narrow = _writer(_narrow_functions)
_write_sparse = _writer(sparse_tile_functions)


@kernel(NUMBERS, INTEGERS, is_emitted=True)
def write_tile_addresses(example, table):
    """Write the addresses of the functions that networks which aren't narrow need into `table`."""
    _write_tiles(example, table)


@kernel(NUMBERS, INTEGERS, is_emitted=True)
def write_narrow_addresses(example, table):
    """Write the addresses of the functions that narrow networks need into `table`."""
    _write_narrow(example, table)


@kernel(NUMBERS, INTEGERS, is_emitted=True)
def write_sparse_addresses(example, table):
    """Write the addresses of the functions that networks which leave zeros out need besides into `table`."""
    _write_sparse(example, table)


@functools.cache
def function_table(dtype: np.dtype, narrow: bool, sparse: bool = False) -> np.ndarray:
    """Return the table for a data type, compiled or loaded from the cache at the first call.

    Narrow networks have tile functions of their own, and only they need the dot functions. Only networks that leave
    zeros out need those that go over lists, and they are not narrow.
    """
    table = np.zeros(TILE_SLOTS + max(DOT_SLOTS, SPARSE_SLOTS), dtype=np.int64)
    if not JIT_DISABLED:
        example = np.empty(0, dtype)
        write = write_narrow_addresses if narrow else write_tile_addresses
        callable_from_python(write, dtype)(example, table)
        if sparse:
            callable_from_python(write_sparse_addresses, dtype)(example, table)
    return table
