"""Words of memory that several threads read and write, and what a thread does while it waits for one to change.

``load_acquire`` and ``store_release`` order all other memory too: who reads what was stored sees whatever the storing
thread wrote before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import declare, element_pointer
from fastmlp.simd.numba_modules import types
from fastmlp.simd.target import IS_ARM, IS_WINDOWS, IS_X86

_INT32 = ir.IntType(32)
_BYTES = 8
# By which a thread lets others run.
_GIVE_WAY = "SwitchToThread" if IS_WINDOWS else "sched_yield"


def _naive_load(array: np.ndarray, place: int) -> int:
    return int(array[place])


def _naive_store(array: np.ndarray, place: int, value: int) -> None:
    array[place] = value


def _naive_add(array: np.ndarray, place: int, value: int) -> int:
    former = int(array[place])
    array[place] += value
    return former


def _naive_exchange(array: np.ndarray, place: int, expected: int, value: int) -> bool:
    is_expected = bool(array[place] == expected)
    if is_expected:
        array[place] = value
    return is_expected


def _do_nothing() -> None:
    """Do nothing: interpreted, there is nobody to wait for."""


@emitted(_naive_load)
def load_acquire(typingctx: Any, array: Any, place: Any) -> Any:
    """Return ``array[place]``, of int64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(element_pointer(context, builder, array, *args), "acquire", _BYTES)

    return types.int64(array, place), codegen


@emitted(_naive_store)
def store_release(typingctx: Any, array: Any, place: Any, value: Any) -> Any:
    """Write a number to ``array[place]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], element_pointer(context, builder, array, *args[:2]), "release", _BYTES)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


@emitted(_naive_add)
def fetch_and_add(typingctx: Any, array: Any, place: Any, value: Any) -> Any:
    """Add a number to ``array[place]``, and return what was there."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", element_pointer(context, builder, array, *args[:2]), args[2], "acq_rel")

    return types.int64(array, types.int64, types.int64), codegen


@emitted(_naive_exchange)
def compare_and_exchange(typingctx: Any, array: Any, place: Any, expected: Any, value: Any) -> Any:
    """Write a number to ``array[place]`` if the expected one is there; return whether it was."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = element_pointer(context, builder, array, *args[:2])
        result = builder.cmpxchg(place, args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(array, types.int64, types.int64, types.int64), codegen


@emitted(_do_nothing)
def pause(typingctx: Any) -> Any:
    """Tell the processor that this thread waits: the other half of its core may have what it does not need."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if IS_X86:
            builder.call(declare(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        elif IS_ARM:
            builder.call(declare(builder, "llvm.aarch64.hint", ir.VoidType(), [_INT32]), [_INT32(1)])
        return context.get_dummy_value()

    return types.void(), codegen


@emitted(_do_nothing)
def give_way(typingctx: Any) -> Any:
    """Let another thread have this processor, if one is ready to run."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.call(declare(builder, _GIVE_WAY, _INT32, []), [])
        return context.get_dummy_value()

    return types.void(), codegen
