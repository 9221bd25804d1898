"""The package as a wheel would install it, with a library of kernels for this process's tile."""

import shutil
import sys
from pathlib import Path

from bench.machine import ROOT
from fastmlp.ahead_of_time.building import build, own_system
from fastmlp.simd.tile_table import TILE


def is_possible() -> bool:
    """Return whether a library can be made for this process's tile."""
    system = own_system()
    return system is not None and TILE.name in system.tiles


def install(folder: Path, package: Path = ROOT) -> Path:
    """Copy a package into a folder and build its library, half a minute on two cores; return the folder.

    Parameters
    ----------
    folder : Path
        Where the copy goes.
    package : Path
        The folder that holds ``fastmlp``.

    Raises
    ------
    RuntimeError
        If no library is made for this system and tile.
    """
    system = own_system()
    if system is None or not is_possible():
        raise RuntimeError(f"no library is made for {sys.platform} and the tile {TILE.name}")
    shutil.copytree(package / "fastmlp", folder / "fastmlp", ignore=shutil.ignore_patterns("__pycache__"))
    build(folder / "fastmlp" / "_native", system, [TILE.name])
    return folder
