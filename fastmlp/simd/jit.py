"""The only place where a Numba option is spelled out.

- ``inner`` functions are pieces of kernels: LLVM inlines them into the kernel that calls them, or calls its copy there.
- ``always_inline`` functions are inner ones that LLVM must inline.
- ``kernel`` functions are compiled once per data type, by signature, cached on disk, and called either from Python
  or, through their address, from other kernels, so that these share one copy of machine code.
- a ``parallel_kernel`` is a kernel that Python calls and several threads run.

Fast-math is the set ``contract`` and ``nsz`` and nothing else. ``nnan`` and ``ninf`` would optimise
a NaN away; ``reassoc``, ``arcp`` and ``afn`` would let two compilations of one formula round
differently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import config
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastmlp.process.interrupts import undisturbed
from fastmlp.simd.cache import attach_cache
from fastmlp.simd.compilers import IS_TRIED, InnerCompiler, KernelCompiler

FASTMATH = {"contract", "nsz"}
JIT_DISABLED = bool(config.DISABLE_JIT)

_COMMON: dict[str, Any] = {
    "fastmath": FASTMATH,
    "error_model": "numpy",
    "nogil": True,
    # No reference counting: kernels allocate nothing, and their arrays outlive the call.
    "_nrt": False,
    "no_cfunc_wrapper": True,
}


_INNER: dict[str, Any] = {"pipeline_class": InnerCompiler} if IS_TRIED else {}
_KERNEL: dict[str, Any] = {"pipeline_class": KernelCompiler} if IS_TRIED else {}


def inner(function: Callable) -> Any:
    """Compile a piece of a kernel, of whatever types it is called with; Python cannot call it."""
    return numba.njit(no_cpython_wrapper=True, **_INNER, **_COMMON)(function)


def always_inline(function: Callable) -> Any:
    """Compile an inner function that hands nearly all its arguments on: LLVM must inline it.

    The arrays of a phase are some 66 words, which each function on the way would write to the stack again.
    """
    return numba.njit(no_cpython_wrapper=True, forceinline=True, **_INNER, **_COMMON)(function)


def switch(functions: dict[int, Callable]) -> Any:
    """Return an inner function that calls one of several, chosen by its first argument at run time.

    Parameters
    ----------
    functions : dict of int to inner function
        What is called with the other arguments, by the number that chooses it; the last if no number fits. All return
        values of one type.
    """
    (code, function), *others = functions.items()
    if not others:

        @inner
        def call(selected, *arguments):
            return function(*arguments)

        return call
    otherwise = switch(dict(others))

    @inner
    def choose(selected, *arguments):
        if selected == code:
            return function(*arguments)
        return otherwise(selected, *arguments)

    return choose


def uncached(function: Callable) -> Any:
    """Compile a kernel that Python calls, apart from the cache on disk: for tests and measurements."""
    return numba.njit(**_KERNEL, **_COMMON)(function)


def _finished(dispatcher: Any) -> Any:
    """Give a dispatcher the compile cache, and have exceptions from outside wait for the kernel that is being compiled.

    While LLVM compiles it calls Python back. An exception that was raised in there would be lost, with the machine code
    that was to be cached, and elsewhere Numba would take it for a reason why the kernel cannot be compiled.
    """
    if not JIT_DISABLED:
        compile_one = dispatcher.compile

        def compile_whole(signature: Any) -> Any:
            if global_compiler_lock.is_locked():
                return compile_one(signature)  # for a kernel that this thread is compiling
            return undisturbed(lambda: compile_one(signature))

        dispatcher.compile = compile_whole
    return attach_cache(dispatcher)


def kernel(function: Callable) -> Any:
    """Compile a kernel whose machine code is cached and shared."""
    return _finished(uncached(function))


def parallel_kernel(function: Callable) -> Any:
    """Compile a kernel that Numba's threading layer runs on several threads."""
    return _finished(numba.njit(parallel=True, **_COMMON)(function))


def emitted(naive: Callable) -> Callable[[Callable], Any]:
    """Declare a function whose LLVM IR is emitted by hand; `naive` stands in with the JIT disabled."""

    def declare(function: Callable) -> Any:
        return naive if JIT_DISABLED else intrinsic(function)

    return declare


def as_records(array: np.ndarray) -> np.ndarray:
    """Return an array of records as kernels take it: interpreted, they read fields as attributes."""
    return array.view(np.recarray) if JIT_DISABLED else array


def kernel_address(dispatcher: Any, signature: Any) -> Any:
    """Return the address of a kernel's machine code for one signature, compiled or loaded from the cache if need be.

    With the JIT disabled it is the function itself.
    """
    if JIT_DISABLED:
        return dispatcher
    dispatcher.compile(signature)
    compiled = dispatcher.overloads[signature.args]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def _call_function(function: Callable, arguments: tuple) -> None:
    function(*arguments)


@emitted(_call_function)
def call_kernel(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the kernel at an address; the arguments, a tuple, must be of the types it was compiled for."""
    argument_types = tuple(arguments.types)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[1], len(argument_types))
        function_type = context.call_conv.get_function_type(types.none, argument_types)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        status, _ = context.call_conv.call_function(builder, function, types.none, argument_types, values)
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(address, arguments), codegen


def calls_of(dispatcher: Any) -> Any:
    """Return what calls a kernel at an address that is known at run time only; interpreted, it asks for no address."""

    def call(address: int, arguments: tuple) -> None:
        dispatcher(*arguments)

    return call if JIT_DISABLED else call_kernel
