"""How LLVM is put to work: once on each kernel, with all that is inlined into it.

By default Numba has LLVM optimise each function on its own, together with copies of all that it calls, and translate
the whole into machine code; then all of it again in whatever calls that function, and so on up to the kernels. Inner
functions are called by kernels alone, which hold copies of them. So here an inner function is typed and lowered, and
its code is handed on as it is.

A kernel goes through LLVM's passes three times by default, as Numba removes counting of references in between. There is
none in ours, and once is enough. Numba's own passes are as ever, less some that would find nothing.

Together that is two fifths of the time of a first fit. Types, lowering and LLVM's passes are Numba's.

These methods of Numba's libraries are not public, so other versions than those that were tried compile as Numba does.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager

IS_TRIED = numba.version_info.short == (0, 68)
"""Whether this version of Numba is known to work with what follows."""


class _KernelLibrary(JITCodeLibrary):
    """The LLVM code of a kernel."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        manager, builder = self._codegen._module_pass_manager()
        manager.run(self._final_module, builder)


class _EmittedLibrary(_KernelLibrary):
    """The LLVM code of a kernel that holds nothing but functions emitted by hand.

    Their loops are unrolled and their vectors chosen already: what LLVM would try besides takes a sixth of the time of
    compiling them, and finds nothing.
    """

    def _optimize_final_module(self) -> None:
        manager, builder = self._codegen._module_pass_manager(opt=1, loop_vectorize=False, slp_vectorize=False)
        manager.run(self._final_module, builder)


class _InnerLibrary(JITCodeLibrary):
    """The LLVM code of an inner function, of which no machine code is ever made."""

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self._called: list[_InnerLibrary] = []

    def add_linking_library(self, library: Any) -> None:
        """Take note of the library of a function that this one calls."""
        if isinstance(library, _InnerLibrary):
            self._called.append(library)
        else:
            super().add_linking_library(library)

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        """Do nothing."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        is_first = self._shared_module is None
        module = super()._get_module_for_linking()
        if is_first:
            for library in dict.fromkeys(self._called):
                module.link_in(library._get_module_for_linking(), preserve=True)
        return module

    def get_pointer_to_function(self, name: str) -> int:
        """Return 0, as Numba does where there is no machine code of that name."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """What Numba asks to set the function's environment: there is nothing to set."""
        return _NoEnvironment


class _NoEnvironment:
    """Python objects that come with a function's machine code: an inner function has neither."""

    @staticmethod
    def set_env(name: str, environment: Any) -> None:
        """Do nothing."""


# They look for closures, blocks of `with`, and expressions over whole arrays, which no kernel has, and for functions of
# Numba's own to inline, which LLVM does as well.
_UNUSED_PASSES = {"inline_closure_likes", "inline_overloads", "nopython_rewrites", "with_lifting"}


class KernelCompiler(CompilerBase):
    """Numba's compiler, but for the library that the code goes to."""

    library_class: type[JITCodeLibrary] = _KernelLibrary

    def define_pipelines(self) -> list[Any]:
        """Return Numba's usual passes, less those that have nothing to do."""
        state = self.state
        state.library = self.library_class(state.targetctx.codegen(), state.func_id.func_qualname)
        # The machine code can be written to the cache.
        state.library.enable_object_caching()
        usual = DefaultPassBuilder.define_nopython_pipeline(state)
        manager = PassManager("kernels")
        for compiler_pass, description in usual.passes:
            if compiler_pass.name() not in _UNUSED_PASSES:
                manager.add_pass(compiler_pass, description)
        manager.finalize()
        return [manager]


class EmittedCompiler(KernelCompiler):
    """The same for kernels that hold nothing but functions emitted by hand."""

    library_class = _EmittedLibrary


class InnerCompiler(KernelCompiler):
    """The same for inner functions."""

    library_class = _InnerLibrary
