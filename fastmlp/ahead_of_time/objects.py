"""One object file: all kernels for one tile and one data type.

    python -m fastmlp.ahead_of_time.objects avx2 float32 kernels.o

Numba compiles each kernel as it does when a fit needs it, only for the least processor of a level, and not for the one
at hand. Of the code that it hands to LLVM for that, everything is made internal but the kernel itself, and a function
by which Python enters it with one frame.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastmlp.ahead_of_time.levels import LEVELS

if TYPE_CHECKING:
    import numpy as np

    from fastmlp.simd.jit import Kernel


def _prepare_environment(tile: str) -> None:
    """Have Numba compile for the tile's level, and keep nothing of it in a cache; before anything of it is imported."""
    level = LEVELS[tile]
    os.environ.update(
        FASTMLP_TILE=tile, FASTMLP_NATIVE="0", NUMBA_CPU_NAME=level.processor, NUMBA_CPU_FEATURES=level.features,
        NUMBA_DISABLE_JIT="0", NUMBA_OPT="3", NUMBA_BOUNDSCHECK="0", NUMBA_DEBUGINFO="0", NUMBA_COLOR_SCHEME="no_color",
    )  # fmt: skip


def all_kernels() -> list[Kernel]:
    """Return all kernels that fits and predictions call."""
    import fastmlp.drivers.inference
    import fastmlp.drivers.region
    import fastmlp.microkernels.function_table  # noqa: F401 (declares the kernels that write it)
    from fastmlp.simd.jit import KERNELS

    return KERNELS


def _value(context: Any, builder: Any, kind: Any, argument: Any, words: list) -> Any:
    """Emit an argument, as Numba has it, from the next words of a frame."""
    from llvmlite import ir
    from numba.core import types
    from numba.np.arrayobj import populate_array

    if isinstance(kind, types.BaseTuple):
        members = [_value(context, builder, *member, words) for member in zip(kind, argument.members, strict=True)]
        return context.make_tuple(builder, kind, members)
    if not isinstance(kind, types.Array):
        return words.pop(0)
    index = ir.IntType(64)
    array = context.make_array(kind)(context, builder)
    itemsize = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    data, shape = words.pop(0), [words.pop(0) for _ in range(kind.ndim)]
    strides = [index(itemsize)]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(array, builder.inttoptr(data, array.data.type), shape, strides, index(itemsize), meminfo=None)
    return array._getvalue()


def _entry(kernel: Kernel, signature: Any, context: Any, name: str, entry: str) -> str:
    """Return the LLVM code of the function that takes a frame and calls a kernel."""
    from llvmlite import ir

    word = ir.IntType(64)
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(word, [word.as_pointer()]), entry)
    builder = ir.IRBuilder(function.append_basic_block())
    n_words = sum(argument.n_words for argument in kernel.arguments)
    words = [builder.load(builder.gep(function.args[0], [word(place)])) for place in range(n_words)]
    values = [
        _value(context, builder, kind, argument, words)
        for kind, argument in zip(signature.args, kernel.arguments, strict=True)
    ]
    conventions = context.call_conv
    callee = ir.Function(module, conventions.get_function_type(signature.return_type, signature.args), name)
    status, result = conventions.call_function(builder, callee, signature.return_type, signature.args, values)
    result = builder.zext(result, word) if kernel.returns is not None else word(0)
    builder.ret(builder.select(status.is_error, word(-1), result))
    return str(module)


def exported_names(kernel: Kernel, dtype: np.dtype) -> list[str]:
    """Return what a library calls a kernel's functions: itself, and where Python may call it, what takes a frame."""
    from fastmlp.simd.arguments import Record
    from fastmlp.simd.library import symbol

    names = [symbol(kernel.name, dtype)]
    if not any(isinstance(argument, Record) for argument in kernel.arguments):
        names.append(symbol(f"enter_{kernel.name}", dtype))
    return names


def _module(kernel: Kernel, dtype: np.dtype) -> Any:
    """Return the LLVM module of one kernel, in which nothing but its exported functions is visible."""
    import llvmlite.binding as llvm

    from fastmlp.simd.target import IS_WINDOWS

    compiled = kernel.compiled_apart(dtype)
    module = llvm.parse_bitcode(compiled.library._final_module.as_bitcode())
    name, *entries = exported = exported_names(kernel, dtype)
    module.get_function(compiled.fndesc.llvm_func_name).name = name
    for entry in entries:
        code = llvm.parse_assembly(_entry(kernel, compiled.signature, compiled.target_context, name, entry))
        code.triple, code.data_layout = module.triple, module.data_layout
        module.link_in(code)
    for item in [*module.functions, *module.global_variables]:
        if not item.is_declaration and item.name not in exported and item.linkage.name != "private":
            item.linkage = "internal"
    for function in map(module.get_function, exported):
        function.linkage = "external"
        if IS_WINDOWS:
            function.storage_class = "dllexport"
    return module


def write_object(tile: str, dtype_name: str, path: Path) -> None:
    """Compile all kernels, and write an object file."""
    import llvmlite.binding as llvm
    import numpy as np

    from fastmlp.ahead_of_time.code_generation import generate_for

    generator = generate_for(LEVELS[tile])
    whole = None
    for kernel in all_kernels():
        module = _module(kernel, np.dtype(dtype_name))
        if whole is None:
            whole = module
        else:
            whole.link_in(module)
    assert whole is not None
    whole.triple, whole.data_layout = generator.triple, str(generator.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=0)
    manager = llvm.create_new_module_pass_manager()
    manager.add_global_dead_code_eliminate_pass()
    manager.run(whole, llvm.create_pass_builder(generator.machine, options))
    path.write_bytes(generator.machine.emit_object(whole))


def main() -> None:
    """Write the object file that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m fastmlp.ahead_of_time.objects", description=__doc__)
    parser.add_argument("tile", choices=LEVELS)
    parser.add_argument("dtype", choices=["float32", "float64"])
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    _prepare_environment(arguments.tile)
    write_object(arguments.tile, arguments.dtype, arguments.path)


if __name__ == "__main__":
    main()
    sys.exit(0)
