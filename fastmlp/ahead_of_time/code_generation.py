"""Numba's code generator, for whatever processor and system a library is made for.

Numba compiles for the process that it runs in: it asks LLVM for this process's triple, and makes machine code of each
kernel at once, in order to run it. Here neither is wanted. LLVM's passes must know the library's own target, and the
machine code of all kernels is made in one go, at the end (see ``objects``).
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import codegen
from numba.core.registry import cpu_target

from fastmlp.ahead_of_time.levels import Level
from fastmlp.simd.jit import Deferred
from fastmlp.simd.target import IS_FOREIGN, TRIPLE


class _NothingRuns:
    """What stands where Numba has LLVM's engine, which runs machine code."""

    def add_module(self, module: Any) -> None:
        """Do nothing."""

    def finalize_object(self) -> None:
        """Do nothing."""

    def is_symbol_defined(self, name: str) -> bool:
        """Return False: nothing has an address."""
        return False


class CodeGenerator(codegen.JITCPUCodegen):
    """Numba's code generator without its engine.

    Parameters
    ----------
    level : Level
        What it generates code for.
    triple : str
        LLVM's name of the system.

    Attributes
    ----------
    machine : TargetMachine
        What makes machine code for it.
    """

    def __init__(self, level: Level, triple: str) -> None:
        self._level, self.triple = level, triple
        super().__init__("fastmlp")

    def _init(self, llvm_module: Any) -> None:
        self.machine = self._tm = llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self._level.processor, features=self._level.features, opt=3, reloc="pic", codemodel="default"
        )
        self._tm_features = self._level.features
        self._engine = _NothingRuns()
        self._target_data = self._tm.target_data
        self._data_layout = str(self._target_data)
        # As in Numba's own.
        self._loopvect, self._opt_level = False, 0

    def _create_empty_module(self, name: str) -> Any:
        module = super()._create_empty_module(name)
        module.triple = self.triple
        return module

    def _scan_and_fix_unresolved_refs(self, module: Any) -> None:
        """Do nothing: the linker finds what is missing."""

    def set_env(self, env_name: str, env: Any) -> None:
        """Do nothing: no Python object belongs to this code."""


def _no_address(builder: Any, address: int, info: str) -> Any:
    """Emit null where Numba has the address of an object of this process, which no other process has.

    Numba hands a function that is an argument of another one on by its type. Its address is there, but nobody reads it.
    """
    if info != Deferred.__name__:
        raise TypeError(f"a kernel needs the address of an object of the process that compiles it: {info}")
    return ir.Constant(ir.IntType(8).as_pointer(), None)


def generate_for(level: Level) -> CodeGenerator:
    """Have Numba generate code for a level of this process's target, from now on."""
    if IS_FOREIGN:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    else:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    context = cpu_target.target_context
    context.add_dynamic_addr = _no_address
    context._internal_codegen = generator = CodeGenerator(level, TRIPLE if IS_FOREIGN else llvm.get_process_triple())
    return generator
