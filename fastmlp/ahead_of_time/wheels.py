"""Whether wheels hold what they should: ``python -m fastmlp.ahead_of_time.wheels WHEEL...`` lists it, and complains.

A library for another system cannot be run here, but it can be read. It must export the kernels and nothing else, and
ask for no more than what its system has had for years; a forgotten name would show only on a user's machine. This
needs PyPI's ``lief``, which reads the libraries of all systems.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastmlp.ahead_of_time.building import DTYPES
from fastmlp.ahead_of_time.levels import SYSTEMS, System
from fastmlp.ahead_of_time.objects import all_kernels, exported_names
from fastmlp.simd.loaded_code import Loaded

ALLOWED: dict[str, dict[str, set[str]]] = {
    "linux": {"libc.so.6": {"memset", "sched_yield"}, "libm.so.6": {"pow"}},
    "darwin": {"/usr/lib/libSystem.B.dylib": {"_bzero", "_pow", "_sched_yield", "dyld_stub_binder"}},
    # The code of the kernels needs SwitchToThread and pow; the rest is what zig's start-up code of a library calls.
    "win32": {
        "KERNEL32.dll": {
            "DeleteCriticalSection", "EnterCriticalSection", "GetLastError", "InitializeCriticalSection",
            "LeaveCriticalSection", "Sleep", "SwitchToThread", "TlsGetValue", "VirtualProtect", "VirtualQuery",
        },
        "api-ms-win-crt-heap-l1-1-0.dll": {"free"},
        "api-ms-win-crt-math-l1-1-0.dll": {"pow"},
        "api-ms-win-crt-runtime-l1-1-0.dll": {
            "_execute_onexit_table", "_exit", "_initialize_onexit_table", "_initterm", "_initterm_e",
            "_register_onexit_function", "abort",
        },
        "api-ms-win-crt-stdio-l1-1-0.dll": {"__acrt_iob_func", "__stdio_common_vfprintf", "fwrite"},
    },
}  # fmt: skip
"""What a library may ask for, by ``sys.platform`` and by the system's own library that has it."""

# Apple's linker exports these two from every library: where its header is.
_OF_EVERY_DYLIB = {"___dso_handle", "__mh_dylib_header"}

_OLDEST_GLIBC, _OLDEST_MACOS = (2, 28), (11, 0, 0)

_MACHINES = {"X86_64": "x86_64", "AMD64": "x86_64", "AARCH64": "aarch64", "ARM64": "aarch64"}


@dataclass(frozen=True)
class Contents:
    """What a library says of itself.

    Attributes
    ----------
    system : str
        ``sys.platform`` where it can be loaded.
    machine : str
        The processor family.
    exports : frozenset of str
        The names that it has for others.
    imports : frozenset of str
        The names that it looks for in others.
    libraries : tuple of str
        Where it looks for them.
    complaints : tuple of str
        What else is wrong with it.
    """

    system: str
    machine: str
    exports: frozenset[str]
    imports: frozenset[str]
    libraries: tuple[str, ...]
    complaints: tuple[str, ...] = ()


def _elf(library: Any) -> Contents:
    versions = {
        version.name for needed in library.symbols_version_requirement for version in needed.get_auxiliary_symbols()
    }
    numbers = [tuple(map(int, name.removeprefix("GLIBC_").split("."))) for name in versions]
    newest = max(numbers, default=(0,))
    return Contents(
        "linux",
        library.header.machine_type.name,
        frozenset(symbol.name for symbol in library.exported_symbols),
        frozenset(symbol.name for symbol in library.imported_symbols),
        tuple(library.libraries),
        (f"it needs glibc {newest}",) if newest > _OLDEST_GLIBC else (),
    )


def _mach_o(library: Any) -> Contents:
    names = [command.name for command in library.libraries]
    own = [command.name for command in library.commands if command.command.name == "ID_DYLIB"]
    complaints = []
    if tuple(library.build_version.minos) > _OLDEST_MACOS:
        complaints.append(f"it needs macOS {library.build_version.minos}")
    if not library.has_code_signature:
        complaints.append("it is not signed")
    if not own or not own[0].startswith("@rpath/"):
        complaints.append(f"it calls itself {own}")
    return Contents(
        "darwin",
        library.header.cpu_type.name,
        frozenset({symbol.name for symbol in library.exported_symbols} - _OF_EVERY_DYLIB),
        frozenset(symbol.name for symbol in library.imported_symbols),
        tuple(name for name in names if name not in own),
        tuple(complaints),
    )


def _portable_executable(library: Any) -> Contents:
    return Contents(
        "win32",
        library.header.machine.name,
        frozenset(entry.name for entry in library.get_export().entries),
        frozenset(entry.name for imported in library.imports for entry in imported.entries),
        tuple(imported.name for imported in library.imports),
    )


def contents(path: Path) -> Contents:
    """Return what a library says of itself.

    Raises
    ------
    ValueError
        If it is no library of a system that wheels are made for.
    """
    import lief

    lief.logging.disable()  # what is wrong with a file is said here
    found = lief.parse(str(path))
    readers = {lief.ELF.Binary: _elf, lief.MachO.Binary: _mach_o, lief.PE.Binary: _portable_executable}
    for kind, reader in readers.items():
        if isinstance(found, kind):
            return reader(found)
    raise ValueError(f"{path} is no library for Linux, macOS or Windows")


def kernel_names() -> set[str]:
    """Return the names that a library must export."""
    import numpy as np

    return {name for kernel in all_kernels() for dtype in DTYPES for name in exported_names(kernel, np.dtype(dtype))}


def library_complaints(path: Path, system: System) -> Iterator[str]:
    """Yield what is wrong with a library."""
    found = contents(path)
    if (found.system, _MACHINES.get(found.machine)) != (system.python, system.machine):
        yield f"it is for {found.system} on {found.machine}"
        return
    prefix = "_" if system.python == "darwin" else ""
    wanted = {prefix + name for name in kernel_names()}
    if missing := wanted - found.exports:
        yield f"it does not export {', '.join(sorted(missing))}"
    if others := found.exports - wanted:
        yield f"it exports {', '.join(sorted(others))}"
    allowed = ALLOWED[system.python]
    if unknown := found.imports - set().union(*allowed.values()):
        yield f"it needs {', '.join(sorted(unknown))}"
    if strange := set(found.libraries) - set(allowed):
        yield f"it needs {', '.join(sorted(strange))}"
    if b"numba.dynamic.globals" in path.read_bytes():
        yield "it holds an address of the process that compiled it"
    yield from found.complaints


def _description_complaints(folder: Path, tile: str, system: System) -> Iterator[str]:
    library = folder / "fastmlp" / "_native" / f"{tile}{system.suffix}"
    description = json.loads(library.with_suffix(".json").read_text(encoding="utf-8"))
    facts = {
        "sources": Loaded([str(folder / "fastmlp")]).digest(),
        "system": system.python,
        "machine": system.machine,
        "tile": tile,
        "sha256": hashlib.sha256(library.read_bytes()).hexdigest(),
    }
    for name, fact in facts.items():
        if description.get(name) != fact:
            yield f"its description has {name} {description.get(name)}, and it should be {fact}"


def complaints(wheel: Path) -> Iterator[str]:
    """Yield what is wrong with a wheel; its libraries are listed on the way.

    Parameters
    ----------
    wheel : Path
        A wheel for one of `SYSTEMS`.
    """
    name, version, *tags = wheel.stem.split("-")
    system = next((system for system in SYSTEMS.values() if tags == ["py3", "none", system.wheel]), None)
    if system is None:
        yield f"its tag is {'-'.join(tags)}"
        return
    with tempfile.TemporaryDirectory(prefix="fastmlp-") as temporary, zipfile.ZipFile(wheel) as archive:
        folder = Path(temporary)
        archive.extractall(folder)
        about = f"{name}-{version}.dist-info"
        facts = (folder / about / "WHEEL").read_text(encoding="utf-8").splitlines()
        for fact in (f"Tag: {'-'.join(tags)}", "Root-Is-Purelib: false"):
            if fact not in facts:
                yield f"its metadata lack {fact!r}"
        if others := {path.name for path in folder.iterdir()} - {"fastmlp", about}:
            yield f"it holds {', '.join(sorted(others))} besides"
        files = {path.name for path in (folder / "fastmlp" / "_native").glob("*")}
        wanted = {f"{tile}{suffix}" for tile in system.tiles for suffix in (system.suffix, ".json")}
        if files != wanted:
            yield f"its libraries are {', '.join(sorted(files)) or 'none'}, and should be {', '.join(sorted(wanted))}"
        for tile in system.tiles:
            if {f"{tile}{system.suffix}", f"{tile}.json"} <= files:
                library = folder / "fastmlp" / "_native" / f"{tile}{system.suffix}"
                _list(library)
                for complaint in (
                    *library_complaints(library, system),
                    *_description_complaints(folder, tile, system),
                ):
                    yield f"{library.name}: {complaint}"


def _list(library: Path) -> None:
    found = contents(library)
    print(f"  {library.name}: {library.stat().st_size / 1e3:.0f} kB, {found.system} on {found.machine}")
    print(f"    exports {len(found.exports)} names: fastmlp_*, for each kernel and data type")
    print(f"    needs {', '.join(sorted(found.imports))}")
    print(f"    from {', '.join(sorted(found.libraries))}")


def main() -> int:
    """List what wheels hold; the exit status tells whether that is right."""
    parser = argparse.ArgumentParser(prog="python -m fastmlp.ahead_of_time.wheels", description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    n_complaints = 0
    for wheel in parser.parse_args().wheels:
        print(f"{wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB")
        for complaint in complaints(wheel):
            print(f"  WRONG: {complaint}")
            n_complaints += 1
    return 1 if n_complaints else 0


if __name__ == "__main__":
    sys.exit(main())
