"""A digest of the package as it was loaded: machine code of one version must not serve another.

It is not always a folder of sources. Modules may come from a zip file, from compiled files whose sources were left out,
or from a program that holds them. Each is asked of the loader that Python has for it: the data that it reads, else the
code that it makes of them. Where a module that was loaded is not among those found, or can be had in neither form,
there is no digest.

The digest is made when the package is imported, so that an upgrade under a running process does not count as loaded.
"""

from __future__ import annotations

import hashlib
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType
from typing import Any

_PACKAGE = __name__.partition(".")[0]


def _specs(folders: Iterable[str], package: str) -> Iterator[ModuleSpec]:
    """Yield how each module in a package's folders, and in those of nested packages, is loaded."""
    for folder in folders:
        finder: Any = pkgutil.get_importer(folder)
        for name in sorted(found.name for found in pkgutil.iter_modules([folder])):
            try:
                spec = finder.find_spec(f"{package}.{name}")
            except Exception:  # a finder may be anybody's, and raise anything
                continue
            if spec is not None:
                yield spec
                if spec.submodule_search_locations is not None:
                    yield from _specs(spec.submodule_search_locations, spec.name)


def _own_spec(folders: Sequence[str], package: str) -> ModuleSpec | None:
    """Return how the package's own module is loaded, which is not among those in its folders."""
    found = PathFinder.find_spec(package, [os.path.dirname(folder) for folder in folders])
    return found or getattr(sys.modules[package], "__spec__", None)


def _content(spec: ModuleSpec) -> bytes | None:
    """Return what a module is loaded from, or None where the loader gives neither data nor code."""
    loader: Any = spec.loader
    for content in (
        lambda: loader.get_data(spec.origin),
        lambda: _facts(loader.get_code(spec.name)).encode("utf-8", "backslashreplace"),
    ):
        try:
            return content()
        except Exception:  # so may a loader
            continue
    return None


def _facts(code: CodeType) -> str:
    """Return what a code object does, spelled out: the same in every process."""
    constants = [_facts(value) if isinstance(value, CodeType) else _constant(value) for value in code.co_consts]
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return repr((names, numbers, code.co_code, constants))


def _constant(value: object) -> str:
    # The order of a set differs from process to process.
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)


class Loaded:
    """What was found of a package.

    Parameters
    ----------
    folders : sequence of str
        Where its modules are looked for: its ``__path__``.
    package : str
        Its name.

    Attributes
    ----------
    modules : frozenset of str
        The whole names of the modules that were found.
    """

    def __init__(self, folders: Sequence[str], package: str = _PACKAGE) -> None:
        digest, modules = hashlib.sha256(), set()
        own = _own_spec(folders, package)
        for spec in [*([own] if own else []), *_specs(folders, package)]:
            content = _content(spec)
            if content is not None:
                modules.add(spec.name)
                digest.update(f"{spec.name}\0{len(content)}\0".encode())
                digest.update(content)
        self._package, self.modules, self._digest = package, frozenset(modules), digest.hexdigest()

    def digest(self) -> str | None:
        """Return the digest, or None if a module has been loaded that does not count in it."""
        inside = f"{self._package}."
        loaded = {name for name in list(sys.modules) if name.startswith(inside)}
        return self._digest if loaded <= self.modules else None


LOADED = Loaded(list(sys.modules[_PACKAGE].__path__))
