"""fastmlp as a wheel installs it, with a library of its kernels, for processes that import that one.

A library takes half a minute to build. It is kept beside the machine code of the same version, where the next run of
the tests finds it.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import llvmlite
import numba
import numpy as np
import pytest

import fastmlp
from fastmlp.ahead_of_time.building import build, own_system
from fastmlp.simd import tile_table
from fastmlp.simd.cache import cache_root
from fastmlp.simd.library import SUFFIX
from fastmlp.simd.loaded_code import LOADED
from tests.helpers.subprocesses import ROOT

PACKAGE = Path(fastmlp.__file__).parent


def own_tile():
    """Return the name of the tile that processes of tests have: they inherit no ``FASTMLP_TILE``."""
    with mock.patch.dict(os.environ):
        os.environ.pop("FASTMLP_TILE", None)
        return tile_table._choose().name


def library_folder():
    """Return a folder that holds the library for this machine and its description, built if there is none."""
    system, tile = own_system(), own_tile()
    if system is None or tile not in system.tiles:
        pytest.skip(f"no library is made for the tile {tile} on this system")
    versions = (LOADED.digest(), tile, numba.__version__, llvmlite.__version__, np.__version__)
    folder = cache_root() / "libraries" / hashlib.sha256("\0".join(versions).encode()).hexdigest()[:20]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            build(Path(temporary) / "built", system, [tile])
            try:
                os.rename(Path(temporary) / "built", folder)
            except OSError:  # another run of the tests has been faster
                assert folder.exists()
    return folder


def install(folder):
    """Copy the package into a folder, with a library, as a wheel would."""
    shutil.copytree(PACKAGE, folder / "fastmlp", ignore=shutil.ignore_patterns("_native"))
    shutil.copytree(library_folder(), folder / "fastmlp" / "_native")
    return folder


@dataclass(frozen=True)
class Way:
    """Where kernels come from in a process.

    Attributes
    ----------
    name : {"jit", "library"}
        Compiled when needed, or from a library.
    folder : Path
        Where the process looks for fastmlp first.
    options : dict
        What `start_python` has to be told for that.
    """

    name: str
    folder: Path = ROOT
    options: dict = field(default_factory=dict)

    @property
    def is_library(self):
        return self.name == "library"


def with_library(folder):
    """Return the way of processes that import the package in a folder, which has a library."""
    paths = [str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return Way("library", folder, {"folder": folder, "PYTHONPATH": os.pathsep.join(paths)})


def native_files(folder):
    """Return the library of an installed package, and its description."""
    library = folder / "fastmlp" / "_native" / f"{own_tile()}{SUFFIX}"
    return library, library.with_suffix(".json")
