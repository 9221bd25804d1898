"""Imported in a process whose kernels come from a library: there Numba can't be imported from now on, nor need be."""

import sys

from fastmlp.simd.library import LIBRARY


class _Refusal:
    """Finds no module of Numba's."""

    def find_spec(self, name, path=None, target=None):
        if name in ("numba", "llvmlite.binding"):
            raise AssertionError(f"{name} is imported though all kernels are compiled")


if LIBRARY is not None:
    assert "numba" not in sys.modules
    sys.meta_path.insert(0, _Refusal())
