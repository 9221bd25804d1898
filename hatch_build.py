"""The step of the build that compiles the kernels into a wheel: one library for each tile that can be used.

Without it, and wherever it fails, fastmlp compiles the kernels when they are first needed, and works just as well.
These variables have a say:

- ``FASTMLP_NATIVE=0`` leaves the libraries out.
- ``FASTMLP_WHEEL`` names another system, such as ``linux-aarch64`` (see ``fastmlp/ahead_of_time/levels.py``), for
  which zig links them; by default they are for this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _has_compiler() -> bool:
    return shutil.which((os.environ.get("CC", "").split() or ["cc"])[0]) is not None


def _own_platform() -> str:
    """Return what wheels call this machine."""
    if sys.platform == "darwin":
        from packaging.tags import mac_platforms

        return next(iter(mac_platforms()))
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")


class KernelsHook(BuildHookInterface):
    """Compiles the kernels before a wheel is written."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what the build needs besides: something to link with, if there is no C compiler."""
        is_wanted = os.environ.get("FASTMLP_NATIVE") != "0" and self.target_name == "wheel"
        return ["ziglang>=0.13"] if is_wanted and (os.environ.get("FASTMLP_WHEEL") or not _has_compiler()) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the libraries, unless the install is editable: its kernels may change."""
        if self.target_name != "wheel" or version == "editable":
            return
        self._folder = tempfile.mkdtemp(prefix="fastmlp-")
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join([self.root, *filter(None, sys.path)]))
        command = [sys.executable, "-m", "fastmlp.ahead_of_time", self._folder]
        if system := os.environ.get("FASTMLP_WHEEL"):
            command += ["--system", system]
        self.app.display_info("compiling the kernels, for a minute or so ...")
        subprocess.run(command, cwd=self._folder, env=environment, check=bool(system))
        files = [path for path in Path(self._folder).iterdir() if path.suffix != ".pyc"]
        for path in files:
            build_data["force_include"][str(path)] = f"fastmlp/_native/{path.name}"
        if any(path.suffix == ".json" for path in files):
            platform = _own_platform()
            if system:
                sys.path.insert(0, self.root)
                from fastmlp.ahead_of_time.levels import SYSTEMS

                platform = SYSTEMS[system].wheel
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was built: it is in the wheel."""
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)
