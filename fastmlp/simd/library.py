"""The library of kernels that were compiled when fastmlp was built: which there is, whether it fits, and calls into it.

A wheel may hold a library for each tile in the folder ``_native`` (see ``ahead_of_time``), and a description beside it.
The one for this process's tile is loaded if it was made from the very sources that are loaded, for this system, and for
instructions that the processor has. Any other is left alone: then kernels are compiled as they are needed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.simd import processor
from fastmlp.simd.arguments import Argument
from fastmlp.simd.loaded_code import LOADED
from fastmlp.simd.numba_modules import numba_setting
from fastmlp.simd.tile_table import TILE

_LOG = logging.getLogger("fastmlp")

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
"""How the name of a library ends on this system."""

LEVELS = {"avx512": "X86_V4", "zen": "X86_V4", "avx2": "X86_V3", "neon": ""}
"""The instructions that a tile's library needs, as `processor.features` names them."""


def folder() -> Path:
    """Return the folder in which libraries lie, if there are any; a package need not be a folder itself."""
    return Path(next(iter(sys.modules[__name__.partition(".")[0]].__path__), "")) / "_native"


def machine() -> str:
    """Return the processor family of this process, by the name that a description has for it."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


def symbol(name: str, dtype: np.dtype) -> str:
    """Return what a library calls a kernel for float32 or float64."""
    return f"fastmlp_{name}_{np.dtype(dtype).name}"


class Entry:
    """A kernel of a library, as Python calls it.

    Parameters
    ----------
    function : ctypes function
        Takes the address of a frame.
    arguments : sequence of Argument
        What the kernel takes.
    name : str
        The kernel's.
    """

    def __init__(self, function: Any, arguments: Sequence[Argument], name: str) -> None:
        self._function, self._arguments, self._name = function, arguments, name
        self._frame = ctypes.c_int64 * sum(argument.n_words for argument in arguments)

    def __call__(self, *values: Any) -> int:
        """Call the kernel with the GIL released; return its result, 0 if it has none."""
        words: list[int] = []
        for argument, value in zip(self._arguments, values, strict=True):
            words += argument.words(value)
        result = self._function(self._frame(*words))
        if result < 0:
            raise SystemError(f"the kernel {self._name} of fastmlp's library failed")
        return result


class Library:
    """A library that has been loaded.

    Parameters
    ----------
    path : Path
        Its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._code = ctypes.CDLL(str(path))

    def address(self, name: str, dtype: np.dtype) -> int:
        """Return the address of a kernel's machine code, as other kernels call it."""
        return int(ctypes.cast(self._code[symbol(name, dtype)], ctypes.c_void_p).value or 0)

    def entry(self, name: str, dtype: np.dtype, arguments: Sequence[Argument]) -> Entry:
        """Return a kernel as Python calls it."""
        function = self._code[symbol(f"enter_{name}", dtype)]
        function.restype = ctypes.c_int64
        return Entry(function, arguments, name)


def description_of(path: Path) -> dict[str, Any]:
    """Return what a library on this machine must have been made from, and for, to be used by this process."""
    return {
        "sources": LOADED.digest(),
        "system": sys.platform,
        "machine": machine(),
        "tile": TILE.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


_DIFFERENCES = {
    "sources": "it was made from another version of fastmlp",
    "system": "it is for another system",
    "machine": "it is for another processor",
    "tile": "it is for another tile",
    "sha256": "it is damaged",
}


def _load() -> tuple[Library | None, str]:
    """Return the library for this process, or None and the reason why there is none."""
    if os.environ.get("FASTMLP_NATIVE") == "0":
        return None, "FASTMLP_NATIVE is 0"
    for setting in ("CPU_NAME", "CPU_FEATURES", "DISABLE_JIT"):
        if numba_setting(setting) not in (None, 0, "0"):
            return None, f"NUMBA_{setting} is set"
    path = folder() / f"{TILE.name}{SUFFIX}"
    described = path.with_suffix(".json")
    try:
        if not path.exists() and not described.exists():
            return None, _why_not_built()
        level = LEVELS.get(TILE.name)
        if level and level not in processor.features():
            return None, f"the processor has not all instructions of {level}"
        found, wanted = json.loads(described.read_text(encoding="utf-8")), description_of(path)
        for name, difference in _DIFFERENCES.items():
            if found.get(name) != wanted[name] or wanted[name] is None:
                return None, _left_alone(path, difference)
        return Library(path), str(path)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return None, _left_alone(path, str(error))


def _left_alone(path: Path, reason: str) -> str:
    _LOG.warning("fastmlp: %s is left alone (%s); compiling what is needed.", path, reason)
    return f"{path}: {reason}"


def _why_not_built() -> str:
    """Return why there is no library for this tile, as the build has noted it."""
    try:
        return (folder() / "none.txt").read_text(encoding="utf-8").strip()
    except OSError:
        return f"none was built for the tile {TILE.name}"


LIBRARY, FOUND = _load()
"""The library of this process, or None; and where it is, or why there is none."""
