"""The compile cache: where machine code is kept between processes, and why it is never stale or fatal.

Numba's own cache looks only at the file in which a function stands, so an edit in another file
would leave old machine code in use. Here the folder's name is a digest of the whole package as it
was loaded, of the versions of Numba, llvmlite and Python, and of the processor and the tile in use:
whatever changes, another folder is read.

Each file holds a digest of its content. A file that is truncated, damaged or unreadable counts as
absent. Where there is no such digest, or no folder that can be named, read and written, that costs
one log line, and kernels are compiled in memory.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
import stat
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import config
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from fastmlp.simd.loaded_code import LOADED
from fastmlp.simd.tile_table import TILE

_LOG = logging.getLogger("fastmlp")
_DIGEST_BYTES = hashlib.sha256().digest_size
_warned = False


def _warn_once(message: str, *arguments: object) -> None:
    global _warned
    if not _warned:
        _warned = True
        _LOG.warning(message, *arguments)


def cache_root() -> Path:
    """Return the folder above all versions: ``FASTMLP_CACHE_DIR`` or ``NUMBA_CACHE_DIR``, else the user's.

    Raises
    ------
    OSError
        If there is no such folder in this environment.
    """
    for variable in ("FASTMLP_CACHE_DIR", "NUMBA_CACHE_DIR"):
        if os.environ.get(variable):
            return _named(variable, os.environ[variable]) / "fastmlp"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        # Its specification has a path that is not absolute ignored.
        base = os.path.expanduser(os.environ.get("XDG_CACHE_HOME", ""))
        base = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    # Without a home folder expanduser returns its argument unchanged.
    return Path(base) / "fastmlp" if os.path.isabs(base) else _temporary_root()


@functools.cache
def _named(variable: str, name: str) -> Path:
    """Return the folder that a variable names, and go on with it if the process moves to another folder."""
    path = os.path.expanduser(name)
    if path.startswith("~"):
        raise FileNotFoundError(f"{variable}={name!r}: there is no such home folder")
    return Path(os.path.abspath(path))


@functools.cache
def _temporary_root() -> Path:
    """Return a folder under the system's temporary one, which other users may write to: nobody else's, nor a link."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    root = Path(tempfile.gettempdir()) / f"fastmlp-{user}"
    root.mkdir(mode=0o700, exist_ok=True)
    status = root.lstat()
    is_open_to_others = stat.S_IMODE(status.st_mode) & 0o022 and os.name != "nt"
    if stat.S_ISDIR(status.st_mode) and not is_open_to_others and (status.st_uid == user or os.name == "nt"):
        return root
    # Code from a folder that somebody else has made is not run.
    raise PermissionError(f"{root} belongs to another user, or others may write to it")


def _version_digest() -> str | None:
    """Return the digest of everything that the machine code depends on, or None if it can't be had."""
    loaded = LOADED.digest()
    return loaded and _digest_with_environment(loaded)


@functools.cache
def _digest_with_environment(loaded: str) -> str:
    digest = hashlib.sha256(loaded.encode())
    for fact in (
        sys.version,
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        config.OPT,
        llvmlite.binding.get_process_triple(),
        config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),
        config.CPU_FEATURES or llvmlite.binding.get_host_cpu_features().flatten(),
        str(config.BOUNDSCHECK),
        TILE.name,
    ):
        digest.update(str(fact).encode() + b"\0")
    return digest.hexdigest()[:20]


def cache_directory() -> str | None:
    """Return the folder of this version's machine code; None, with a log line, where there can be none."""
    digest = _version_digest()
    if digest is None:
        _warn_once("fastmlp: cannot tell which version of it is loaded; compiling in memory.")
        return None
    try:
        return str(cache_root() / digest)
    except OSError as error:
        _warn_once("fastmlp: cannot have a compile cache (%s); compiling in memory.", error)
        return None


class KernelCache(_Cache):
    """Machine code of one kernel, a file per signature."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def cache_path(self) -> str | None:
        """The folder of the files, or None."""
        return cache_directory()

    def _path(self, signature: object) -> Path | None:
        folder = cache_directory()
        if folder is None:
            return None
        # A call from Python has the arguments' types only; they say what is returned.
        types = getattr(signature, "args", signature)
        key = hashlib.sha256(repr(types).encode()).hexdigest()[:16]
        return Path(folder) / f"{self._name}.{key}.kernel"

    def load_overload(self, sig: object, target_context: Any) -> Any:
        """Return the compiled function, or None where there is none to be had.

        Numba's own cache first has all that Numba can compile registered. Machine code needs none of it: that is for
        the first function that is compiled.
        """
        path = self._path(sig)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _warn_once("fastmlp: cannot read the compile cache (%s); compiling in memory.", error)
            return None
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(payload))

    def save_overload(self, sig: object, data: Any) -> None:
        """Write the compiled function, atomically; a failure is logged once and otherwise harmless."""
        path = self._path(sig)
        if path is None:
            return
        payload = dumps(data._reduce())
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(hashlib.sha256(payload).digest() + payload)
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            _warn_once("fastmlp: cannot write the compile cache (%s); compiling in memory.", error)

    def enable(self) -> None:
        """Do nothing: the cache is always on."""

    def disable(self) -> None:
        """Do nothing: the cache is always on."""

    def flush(self) -> None:
        """Remove this kernel's files."""
        folder = cache_directory()
        if folder is not None:
            for path in Path(folder).glob(f"{self._name}.*.kernel"):
                path.unlink(missing_ok=True)


def attach_cache(dispatcher: Any) -> Any:
    """Give a dispatcher the compile cache; with the JIT disabled it is a plain function and needs none."""
    if config.DISABLE_JIT:
        return dispatcher
    function = dispatcher.py_func
    dispatcher._cache = KernelCache(f"{function.__module__}.{function.__qualname__}")
    return dispatcher
