"""Read the machine code of a kernel: ``python -m bench.assembly tiles`` (or ``propagate``, ``update``).

Prints a line for each function: instructions, fused multiply-adds, and instructions that touch the
stack, which in an innermost loop means registers that were spilled. ``--text NAME`` prints the
assembly of the functions whose name contains NAME. ``--tile avx512 --cpu sapphirerapids`` shows the code that another
processor gets.
"""

import argparse
import os
import re
import tempfile
from typing import Any

SPARSE_KERNELS = ("sparse_forward", "sparse_gradient", "write_sample_lists")
ENTRY_KERNELS = ("entry_forward", "entry_inference", "entry_update")
KERNELS = (
    "tiles", "narrow_tiles", "sparse_tiles", "propagate", "propagate_narrow", "update", "update_narrow", "infer",
    *SPARSE_KERNELS, *ENTRY_KERNELS,
)  # fmt: skip


def compile_kernel(name: str, dtype: str) -> Any:
    """Compile one kernel apart from the cache, and return it."""
    import numpy as np

    from fastmlp.drivers import blocks
    from fastmlp.kernels.narrow import phases as narrow_phases
    from fastmlp.kernels.wide import entry_products, phases, sparse_products
    from fastmlp.microkernels import function_table

    own = np.dtype(dtype)
    if name == "tiles":
        function_table.function_table(own, False)
        return function_table.write_tile_addresses
    if name == "narrow_tiles":
        function_table.function_table(own, True)
        return function_table.write_narrow_addresses
    if name == "sparse_tiles":
        function_table.function_table(own, False, True)
        return function_table.write_sparse_addresses
    if name in SPARSE_KERNELS:
        blocks.sparse_kernels(own)
        return getattr(sparse_products, name)
    if name in ENTRY_KERNELS:
        blocks.entry_kernels(own)
        return getattr(entry_products, name)
    if name == "infer":
        phases.infer.compiled(own)
    else:
        blocks.training_phases(own, name.endswith("_narrow"), np.zeros(1, np.int64))
    return getattr(narrow_phases if name.endswith("_narrow") else phases, name)


def assembly_of(kernel: Any, cpu: str | None) -> str:
    """Return the listing of a compiled kernel, as this processor runs it, or as LLVM translates it for another."""
    if cpu is None:
        (assembly,) = kernel.of_numba.inspect_asm().values()
        return str(assembly)
    from llvmlite import binding

    (source,) = kernel.of_numba.inspect_llvm().values()
    target = binding.Target.from_triple(binding.get_process_triple())
    machine = target.create_target_machine(cpu=cpu, opt=3)
    return str(machine.emit_assembly(binding.parse_assembly(source)))


def functions(assembly: str) -> dict[str, list[str]]:
    """Cut an assembly listing into its functions."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in assembly.splitlines():
        label = re.match(r'^"?([A-Za-z_][^:"]*)"?:', line)
        if label and not label.group(1).startswith(".L"):
            current = found.setdefault(label.group(1), [])
        elif line.startswith(("\t.size", ".Lfunc_end")):
            current = None
        elif current is not None:
            current.append(line)
    return {name: lines for name, lines in found.items() if any(is_instruction(line) for line in lines)}


def short_name(mangled: str) -> str:
    """Return the dotted name in one of Numba's symbols, without the types."""
    if not mangled.startswith("_ZN"):
        return mangled
    parts, place = [], 3
    while length := re.match(r"\d+", mangled[place:]):
        place += length.end()
        parts.append(mangled[place : place + int(length.group())])
        place += int(length.group())
    return ".".join(parts)


def is_instruction(line: str) -> bool:
    """Whether a line is an instruction and not a directive, a label or a comment."""
    return bool(re.match(r"^\t[a-z]", line))


def main() -> None:
    """Print the listing or the summary."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.assembly", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kernel", choices=KERNELS)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--tile", help="avx512, zen, avx2, neon or generic; default: this processor's")
    parser.add_argument("--cpu", help="LLVM's name for a processor, such as znver5; default: this one")
    parser.add_argument("--text", metavar="NAME", help="print the functions whose name contains NAME")
    arguments = parser.parse_args()
    if arguments.tile:
        os.environ["FASTMLP_TILE"] = arguments.tile
    with tempfile.TemporaryDirectory() as empty:
        os.environ["FASTMLP_CACHE_DIR"] = empty
        kernel = compile_kernel(arguments.kernel, arguments.dtype)
        assembly = assembly_of(kernel, arguments.cpu)
    for symbol, lines in functions(assembly).items():
        name = short_name(symbol)
        instructions = [line for line in lines if is_instruction(line)]
        if arguments.text is None:
            fused = sum("fmadd" in line or "fmla" in line for line in instructions)
            stack = sum("(%rsp" in line or "[sp" in line for line in instructions)
            print(f"{len(instructions):6} instructions, {fused:5} fused, {stack:5} on the stack  {name}")
        elif arguments.text in name:
            print("\n".join([f"{name}:", *lines]))


if __name__ == "__main__":
    main()
