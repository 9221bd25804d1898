"""From object files to a library: the system's C compiler links it, or zig, which links for every system."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fastmlp.ahead_of_time.levels import System

# Seconds that a link may take. Where zig links for a system for the first time, it compiles that one's C runtime.
_LONGEST = 600

_OPTIONS = {"linux": ["-Wl,-z,noexecstack", "-lm"], "darwin": ["-lm"], "win32": []}


class LinkError(Exception):
    """There is no linker, or it failed; the message says which and why."""


def own_linker() -> list[str] | None:
    """Return the command of the C compiler that is there: ``CC``, or ``cc``; None if there is none."""
    named = shlex.split(os.environ.get("CC", "")) or ["cc"]
    return named if shutil.which(named[0]) else None


def zig() -> list[str] | None:
    """Return the command of zig's C compiler, if PyPI's package ``ziglang`` is installed."""
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else None


def link(objects: Sequence[Path], path: Path, system: System, *, is_foreign: bool) -> None:
    """Link a library.

    Parameters
    ----------
    objects : sequence of Path
        Object files.
    path : Path
        The library; its folder exists.
    system : System
        What it is for.
    is_foreign : bool
        Whether that is another system than this one, or an older C library is asked for: then zig links it.

    Raises
    ------
    LinkError
        If there is no linker, or it fails.
    """
    command = None if is_foreign else own_linker()
    if command is None:
        found = zig()
        if found is None:
            raise LinkError("there is neither a C compiler (cc) nor PyPI's ziglang to link with")
        command = [*found, "-target", system.zig]
    options = ["-shared", "-s", "-o", str(path), *_OPTIONS[system.python]]
    if system.python == "darwin":
        # Else it would be the folder in which it was linked.
        options += [f"-Wl,-install_name,@rpath/{path.name}"]
    try:
        done = subprocess.run(
            [*command, *map(str, objects), *options], capture_output=True, text=True, timeout=_LONGEST, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LinkError(f"{command[0]} could not be run: {error}") from error
    if done.returncode != 0:
        raise LinkError(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-500:]}")
