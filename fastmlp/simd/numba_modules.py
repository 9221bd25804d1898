"""Numba's and LLVM's modules, each imported when something of it is first asked for.

Kernels are declared when their modules are imported. Where their machine code comes from a library (see ``native``),
nothing is ever compiled, and Numba, which takes a quarter of a second to import, is not needed.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


class _OnDemand:
    """A module that is imported when an attribute of it is first asked for; `changes`: whether its attributes do."""

    def __init__(self, name: str, changes: bool = False) -> None:
        self._name, self._changes = name, changes

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        if not self._changes:
            setattr(self, attribute, value)
        return value


# Typed as anything, as the modules are: Numba and llvmlite carry no types.
numba: Any = _OnDemand("numba", changes=True)
types: Any = _OnDemand("numba.core.types")
cgutils: Any = _OnDemand("numba.core.cgutils")
config: Any = _OnDemand("numba.core.config", changes=True)
errors: Any = _OnDemand("numba.core.errors")
llvm: Any = _OnDemand("llvmlite.binding")


def numba_setting(name: str) -> Any:
    """Return a setting of Numba's, such as ``CPU_NAME``; as text if Numba has not been imported, None if it is not set.

    Until then a setting can come from the environment only, or from a file which Numba has to read.
    """
    if "numba" in sys.modules or os.path.exists(".numba_config.yaml"):
        return getattr(config, name)
    return os.environ.get(f"NUMBA_{name}") or None
