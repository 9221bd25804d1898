"""The only place where a Numba option is spelled out.

- ``inner`` functions are pieces of kernels: LLVM inlines them into the kernel that calls them, or calls its copy there.
- ``always_inline`` functions are inner ones that LLVM must inline.
- ``kernel`` functions are compiled once per data type, by the arguments that they are declared with, cached on disk,
  and called either from Python or, through their address, from other kernels, so that these share one copy of machine
  code.
- a ``parallel_kernel`` is a kernel that Python calls and several threads run.

A function is handed to Numba when it is first needed, and Numba is not imported before: where the machine code of all
kernels comes from a library (see ``native``), it never is.

Fast-math is the set ``contract`` and ``nsz`` and nothing else. ``nnan`` and ``ninf`` would optimise
a NaN away; ``reassoc``, ``arcp`` and ``afn`` would let two compilations of one formula round
differently.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastmlp.process.interrupts import undisturbed
from fastmlp.simd.arguments import Argument
from fastmlp.simd.compilation import COMPILATION
from fastmlp.simd.library import LIBRARY
from fastmlp.simd.numba_modules import cgutils, numba, numba_setting, types

FASTMATH = {"contract", "nsz"}
JIT_DISABLED = bool(int(numba_setting("DISABLE_JIT") or 0))

_COMMON: dict[str, Any] = {
    "fastmath": FASTMATH,
    "error_model": "numpy",
    "nogil": True,
    # No reference counting: kernels allocate nothing, and their arrays outlive the call.
    "_nrt": False,
    "no_cfunc_wrapper": True,
}


def register_vectors() -> None:
    """Make the type of vectors and its operators, which all kernels compute with, known to Numba."""
    importlib.import_module("fastmlp.simd.vector_type")


class Deferred:
    """A function that is handed to Numba when it is first called, or when a kernel that calls it is compiled.

    Parameters
    ----------
    function : callable
        What is compiled.
    hand_over : callable
        Makes Numba's object of it.

    Attributes
    ----------
    py_func : callable
        The function.
    """

    def __init__(self, function: Callable, hand_over: Callable[[Callable], Any]) -> None:
        self.py_func = function
        self._hand_over = hand_over
        functools.update_wrapper(self, function)

    @functools.cached_property
    def of_numba(self) -> Any:
        """Numba's dispatcher or intrinsic."""
        register_vectors()
        COMPILATION.watch()
        return self._hand_over(self.py_func)

    @property
    def _numba_type_(self) -> Any:
        """What Numba asks of a value that a compiled function finds among its globals."""
        return self.of_numba._numba_type_

    def __call__(self, *arguments: Any) -> Any:
        """Call the compiled function."""
        return self.of_numba(*arguments)


def _deferred(hand_over: Callable[[Callable], Any]) -> Callable[[Callable], Any]:
    """Return a decorator that leaves a function to Numba, or as it is with the JIT disabled."""
    return lambda function: function if JIT_DISABLED else Deferred(function, hand_over)


def _hand_over_inner(function: Callable, **options: Any) -> Any:
    from fastmlp.simd.compilers import IS_TRIED, InnerCompiler

    own = {"pipeline_class": InnerCompiler} if IS_TRIED else {}
    return numba.njit(no_cpython_wrapper=True, **options, **own, **_COMMON)(function)


def _hand_over_kernel(function: Callable, is_emitted: bool = False) -> Any:
    from fastmlp.simd.compilers import IS_TRIED, EmittedCompiler, KernelCompiler

    own = {"pipeline_class": EmittedCompiler if is_emitted else KernelCompiler} if IS_TRIED else {}
    return numba.njit(**own, **_COMMON)(function)


def inner(function: Callable) -> Any:
    """Compile a piece of a kernel, of whatever types it is called with; Python cannot call it."""
    return _deferred(_hand_over_inner)(function)


def always_inline(function: Callable) -> Any:
    """Compile an inner function that hands nearly all its arguments on: LLVM must inline it.

    The arrays of a phase are some 66 words, which each function on the way would write to the stack again.
    """
    return _deferred(functools.partial(_hand_over_inner, forceinline=True))(function)


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
    return _deferred(_hand_over_kernel)(function)


def _finished(dispatcher: Any) -> Any:
    """Give a dispatcher the compile cache, and have exceptions from outside wait for the kernel that is being compiled.

    While LLVM compiles it calls Python back. An exception that was raised in there would be lost, with the machine code
    that was to be cached, and elsewhere Numba would take it for a reason why the kernel cannot be compiled.
    """
    from numba.core.compiler_lock import global_compiler_lock

    from fastmlp.simd.cache import attach_cache

    compile_one = dispatcher.compile

    def compile_whole(signature: Any) -> Any:
        if global_compiler_lock.is_locked():
            return compile_one(signature)  # for a kernel that this thread is compiling
        return undisturbed(lambda: compile_one(signature))

    dispatcher.compile = compile_whole
    return attach_cache(dispatcher)


class Kernel(Deferred):
    """A kernel, whose machine code is cached and shared.

    Parameters
    ----------
    function : callable
        What is compiled.
    arguments : sequence of Argument
        What it takes.
    returns : Argument or None
        What it returns, if it does.
    is_emitted : bool
        Whether it holds nothing but functions emitted by hand, of which LLVM can make nothing better.
    """

    def __init__(
        self, function: Callable, arguments: Sequence[Argument], returns: Argument | None, is_emitted: bool
    ) -> None:
        super().__init__(function, lambda function: _finished(_hand_over_kernel(function, is_emitted)))
        self._is_emitted = is_emitted
        self.name = function.__name__
        self.arguments, self.returns = tuple(arguments), returns

    def signature(self, dtype: np.dtype) -> Any:
        """Return Numba's signature of the kernel for float32 or float64."""
        returned = types.none if self.returns is None else self.returns.numba_type(dtype)
        return returned(*[argument.numba_type(dtype) for argument in self.arguments])

    def compiled(self, dtype: np.dtype) -> Any:
        """Return what Numba knows of the kernel for float32 or float64, compiled or loaded if need be."""
        signature = self.signature(dtype)
        self.of_numba.compile(signature)
        return self.of_numba.overloads[signature.args]

    def compiled_apart(self, dtype: np.dtype) -> Any:
        """Return what Numba makes of the kernel apart from the cache, to be written to an object file."""
        signature = self.signature(dtype)
        register_vectors()
        dispatcher = _hand_over_kernel(self.py_func, self._is_emitted)
        dispatcher.compile(signature)
        return dispatcher.overloads[signature.args]

    def address(self, dtype: np.dtype) -> int:
        """Return the address of its machine code for float32 or float64, compiled or loaded if need be."""
        if LIBRARY is not None:
            return LIBRARY.address(self.name, dtype)
        compiled = self.compiled(dtype)
        return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)

    def bound(self, dtype: np.dtype) -> Callable:
        """Return what Python calls for float32 or float64."""
        if LIBRARY is not None:
            return LIBRARY.entry(self.name, dtype, self.arguments)
        return self.of_numba


KERNELS: list[Kernel] = []
"""All kernels of the modules that have been imported."""


def kernel(
    *arguments: Argument, returns: Argument | None = None, is_emitted: bool = False
) -> Callable[[Callable], Any]:
    """Declare a kernel that takes these arguments; see `Kernel`."""

    def declare(function: Callable) -> Any:
        if JIT_DISABLED:
            return function
        declared = Kernel(function, arguments, returns, is_emitted)
        KERNELS.append(declared)
        return declared

    return declare


def kernel_address(kernel: Any, dtype: np.dtype) -> Any:
    """Return the address of a kernel for float32 or float64; with the JIT disabled it is the function itself."""
    return kernel if JIT_DISABLED else kernel.address(dtype)


def callable_from_python(kernel: Any, dtype: np.dtype) -> Any:
    """Return what calls a kernel for float32 or float64."""
    return kernel if JIT_DISABLED else kernel.bound(dtype)


def parallel_kernel(function: Callable) -> Any:
    """Compile a kernel that Numba's threading layer runs on several threads."""
    return _deferred(lambda function: _finished(numba.njit(parallel=True, **_COMMON)(function)))(function)


class Emitted(Deferred):
    """A function whose LLVM IR is emitted by hand.

    Parameters
    ----------
    function : callable
        Emits it, as ``numba.extending.intrinsic`` has it.
    options : dict
        Those of ``intrinsic``.
    """

    def __init__(self, function: Callable, options: dict[str, Any]) -> None:
        super().__init__(function, self._hand_over_emitted)
        self._options = options

    def _hand_over_emitted(self, function: Callable) -> Any:
        from numba.extending import intrinsic

        return intrinsic(**self._options)(function) if self._options else intrinsic(function)

    @functools.cached_property
    def _numba_type_(self) -> Any:
        # Numba has it in its list of what is new, and looks for that only before it compiles a kernel.
        from numba.core.typing.templates import builtin_registry

        handed_over = self.of_numba
        return next(kind for value, kind in reversed(builtin_registry.globals) if value is handed_over)


def emitted(naive: Callable, **options: Any) -> Callable[[Callable], Any]:
    """Declare a function whose LLVM IR is emitted by hand; `naive` stands in with the JIT disabled.

    options: those of ``numba.extending.intrinsic``.
    """
    return lambda function: naive if JIT_DISABLED else Emitted(function, options)


def as_records(array: np.ndarray) -> np.ndarray:
    """Return an array of records as kernels take it: interpreted, they read fields as attributes."""
    return array.view(np.recarray) if JIT_DISABLED else array


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
