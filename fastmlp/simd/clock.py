"""The processor's own clock, read inside a compiled call: how a call on several threads knows that it takes too long.

The number of steps of a call is chosen beforehand, from how long steps took before. Where another process suddenly
competes for a processor, though, a step on several threads may take a hundred times as long, and Python would not see a
Ctrl-C for as many calls' time.
"""

from __future__ import annotations

import time
from typing import Any

from llvmlite import ir

from fastmlp.simd.jit import emitted
from fastmlp.simd.llvm_types import declare
from fastmlp.simd.numba_modules import types
from fastmlp.simd.target import IS_X86

_INT64 = ir.IntType(64)
# x86's time-stamp counter, which a user may read; elsewhere what LLVM calls steady, and nought where there is none.
_INTRINSIC = "llvm.readcyclecounter" if IS_X86 else "llvm.readsteadycounter"


@emitted(time.perf_counter_ns)
def ticks(typingctx: Any) -> Any:
    """Return the ticks of the clock since some moment; their number a second is the processor's affair."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.call(declare(builder, _INTRINSIC, _INT64, []), [])

    return types.int64(), codegen
