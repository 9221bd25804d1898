"""Denormal numbers are flushed to zero while a kernel runs, and the processor is left as it was.

A softmax tail that turns denormal makes a phase ten to twenty times slower. The setting belongs to
the thread, so each phase sets it on entry and restores it on exit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import declare
from fastmlp.simd.numba_modules import cgutils, types
from fastmlp.simd.target import IS_ARM, IS_X86

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
# Flush to zero and denormals are zero, in MXCSR; flush to zero, in FPCR.
_X86_BITS, _ARM_BITS = 0x8040, 1 << 24


def _emit_read(builder: Any) -> ir.Value:
    if IS_X86:
        place = cgutils.alloca_once(builder, _INT32)
        pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
        builder.call(declare(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [pointer.type]), [pointer])
        return builder.zext(builder.load(place), _INT64)
    if IS_ARM:
        return builder.call(declare(builder, "llvm.aarch64.get.fpcr", _INT64, []), [])
    return _INT64(0)


def _emit_write(builder: Any, value: ir.Value) -> None:
    if IS_X86:
        place = cgutils.alloca_once(builder, _INT32)
        builder.store(builder.trunc(value, _INT32), place)
        pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
        builder.call(declare(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [pointer.type]), [pointer])
    elif IS_ARM:
        builder.call(declare(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [_INT64]), [value])


def _leave_alone(*former: int) -> int:
    """Do nothing: NumPy's arithmetic is left as it is."""
    return 0


@emitted(_leave_alone)
def flush_denormals(typingctx: Any) -> Any:
    """Flush denormals to zero in this thread and return the former setting."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        former = _emit_read(builder)
        bits = _X86_BITS if IS_X86 else _ARM_BITS
        _emit_write(builder, builder.or_(former, _INT64(bits)))
        return former

    return types.int64(), codegen


@emitted(_leave_alone)
def restore_denormals(typingctx: Any, former: Any) -> Any:
    """Restore the setting that `flush_denormals` returned."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _emit_write(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
