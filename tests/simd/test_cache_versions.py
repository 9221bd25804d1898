"""The compile cache is never stale: every file, version and processor counts."""

import compileall
import functools
import importlib
import json
import re
import shutil
from pathlib import Path

import pytest

from fastmlp.simd import cache as _cache
from fastmlp.simd.loaded_code import Loaded
from tests.helpers.cache_probes import PACKAGE, PROBE, bare_package, kernel_files, log_lines, probe
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit


def test_an_edit_in_another_file_is_seen(tmp_path):
    folder = tmp_path / "fastmlp"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    result, compilations, _ = probe(folder, FASTMLP_CACHE_DIR=cache)
    assert compilations > 0
    assert probe(folder, FASTMLP_CACHE_DIR=cache)[:2] == (result, 0)
    path = folder / "kernels" / "vector_maths.py"
    source = path.read_text()
    edited, count = re.subn(r"return (.*)_with_sign_of\(x, ", r"return \1_with_sign_of(-x, ", source)
    assert count > 0
    path.write_text(edited)
    assert probe(folder, FASTMLP_CACHE_DIR=cache)[0] == -result
    # And back again: the first machine code is still there.
    path.write_text(source)
    assert probe(folder, FASTMLP_CACHE_DIR=cache)[:2] == (result, 0)


# A package with nested packages: two of them have a file and a kernel of the same name.
NESTED = {
    "one/pieces.py": "@kernel(NUMBERS)\ndef probe(out):\n    out[0] = 1.0 + shift()\n",
    "two/pieces.py": "@kernel(NUMBERS)\ndef probe(out):\n    out[0] = 2.0 + shift()\n",
    "deep/deeper/shifts.py": "from fastmlp.simd.jit import inner\n@inner\ndef shift():\n    return 0.5\n",
}

NESTED_PROBE = """
import numpy as np
from numba.core import event

with event.install_recorder("numba:compile") as recorder:
    from fastmlp.one import pieces as one
    from fastmlp.two import pieces as two

    numbers = np.zeros(2)
    one.probe(numbers[:1])
    two.probe(numbers[1:])
print(numbers.tolist(), len(recorder.buffer), sep=";")
"""


def copied_package(folder):
    """Copy the package, and add nested ones; return where it is."""
    package = Path(folder) / "fastmlp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in NESTED.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        imports = (
            "from fastmlp.simd.arguments import NUMBERS\n"
            "from fastmlp.simd.jit import kernel\n"
            "from fastmlp.deep.deeper.shifts import shift\n"
        )
        path.write_text(imports + source if "kernel" in source else source)
        for parent in path.parents:
            if parent == package:
                break
            (parent / "__init__.py").touch()
    return package


def as_sources(package, target):
    return shutil.copytree(package, target / "fastmlp")


def as_zip_file(package, target):
    shutil.make_archive(target / "archive", "zip", package.parent, "fastmlp")
    return target / "archive.zip" / "fastmlp"


def without_sources(package, target):
    folder = as_sources(package, target)
    assert compileall.compile_dir(folder, quiet=1, legacy=True, ddir="fastmlp")
    for path in folder.rglob("*.py"):
        path.unlink()
    return folder


def as_zip_file_without_sources(package, target):
    return as_zip_file(without_sources(package, target / "compiled"), target)


FORMS = [as_sources, as_zip_file, without_sources, as_zip_file_without_sources]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_two_versions_share_a_cache_whatever_they_are_imported_from(form, tmp_path):
    package, cache = copied_package(tmp_path), tmp_path / "cache"
    edits = {
        "deep/deeper/shifts.py": ("return 0.5", "return 0.25", [1.25, 2.25]),
        "two/pieces.py": ("2.0 +", "3.0 +", [1.25, 3.25]),
    }
    versions = [("first", [1.5, 2.5])]
    form(package, tmp_path / "first")
    for name, (before, after, expected) in edits.items():
        source = (package / name).read_text()
        assert before in source
        (package / name).write_text(source.replace(before, after))
        versions.append((name.replace("/", "-"), expected))
        form(package, tmp_path / versions[-1][0])
    for version, expected in [*versions, versions[0]]:
        is_new = not (tmp_path / version / "seen").exists()
        (tmp_path / version / "seen").touch()
        place = tmp_path / version / ("archive.zip/fastmlp" if "zip" in form.__name__ else "fastmlp")
        for compiles in (True, False) if is_new else (False,):
            output, errors = run_python(bare_package(place) + NESTED_PROBE, FASTMLP_CACHE_DIR=cache)
            numbers, compilations = output.split(";")
            assert json.loads(numbers) == expected
            assert (int(compilations) > 0) == compiles
            assert errors == ""
    names = {path.name.rsplit(".", 2)[0] for path in kernel_files(cache)}
    assert names == {"fastmlp.one.pieces.probe", "fastmlp.two.pieces.probe"}
    assert len(kernel_files(cache)) == 2 * len(versions)


# Importers as programs have them that hold their modules: they give code, or nothing but the finished module.
IMPORTERS = """
import importlib.abc, importlib.machinery, importlib.util, os, sys
FOLDER = {folder!r}

def path_of(name):
    path = os.path.join(FOLDER, *name.split(".")[1:])
    return (path + "/__init__.py", True) if os.path.isdir(path) else (path + ".py", False)

class Loader(importlib.abc.Loader):
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        with open(path_of(module.__name__)[0]) as file:
            exec(compile(file.read(), "program", "exec"), vars(module))

class LoaderWithCode(Loader):
    def get_code(self, name):
        with open(path_of(name)[0]) as file:
            return compile(file.read(), "program", "exec")

class Finder:
    def __init__(self, place, loader):
        self.place, self.loader = place, loader
    def find_spec(self, name, path=None, target=None):
        if not name.startswith("fastmlp.") or not os.path.exists(path_of(name)[0]):
            return None
        spec = importlib.machinery.ModuleSpec(name, self.loader(), origin="program", is_package=path_of(name)[1])
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(self.place + "/" + name.rpartition(".")[2])
        return spec
    def iter_modules(self, prefix=""):
        folder = os.path.join(FOLDER, *self.place.split("/")[1:])
        for entry in os.scandir(folder):
            if entry.name.endswith(".py") and entry.name != "__init__.py" or entry.is_dir():
                yield prefix + entry.name.removesuffix(".py"), entry.is_dir()

def hook(place):
    if not place.startswith("program:"):
        raise ImportError
    return Finder(place, {loader})

sys.path_hooks.insert(0, hook)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("loader", "is_cached"), [("LoaderWithCode", True), ("Loader", False)])
def test_a_program_that_holds_its_modules(loader, is_cached, tmp_path):
    package, cache = copied_package(tmp_path), tmp_path / "cache"
    code = IMPORTERS.format(folder=str(package), loader=loader) + bare_package("program:") + NESTED_PROBE
    path = package / "deep" / "deeper" / "shifts.py"
    for shift, is_compiled in ((0.5, True), (0.5, not is_cached), (0.25, True)):
        path.write_text(path.read_text().replace("0.5", str(shift)))
        output, errors = run_python(code, FASTMLP_CACHE_DIR=cache)
        numbers, compilations = output.split(";")
        assert json.loads(numbers) == [1 + shift, 2 + shift]
        assert (int(compilations) > 0) == is_compiled
        assert len(log_lines(errors)) == (not is_cached)
    assert len(kernel_files(cache)) == 4 * is_cached


def test_a_module_from_elsewhere_keeps_the_package_out_of_the_cache(tmp_path):
    """Such as one that a program puts in by hand: nobody knows what version it is."""
    stray = "\nsys.modules['fastmlp.stray'] = types.ModuleType('fastmlp.stray')\n"
    _, errors = run_python(bare_package(PACKAGE) + stray + PROBE, FASTMLP_CACHE_DIR=tmp_path)
    assert len(log_lines(errors)) == 1
    assert kernel_files(tmp_path) == []


def test_an_upgrade_under_a_running_process_does_not_count_as_loaded(tmp_path):
    """What it compiles is what it has imported, whatever lies there by then."""
    package, cache = copied_package(tmp_path), tmp_path / "cache"
    path = package / "deep" / "deeper" / "shifts.py"
    upgrade = f"""
from pathlib import Path
import fastmlp.one.pieces, fastmlp.two.pieces
path = Path({str(path)!r})
path.write_text(path.read_text().replace("0.5", "0.25"))
"""
    for more, expected in ((upgrade, [1.5, 2.5]), ("", [1.25, 2.25])):
        output, _ = run_python(bare_package(package) + more + NESTED_PROBE, FASTMLP_CACHE_DIR=cache)
        numbers, compilations = output.split(";")
        assert json.loads(numbers) == expected
        assert int(compilations) > 0


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_file_counts(form, tmp_path):
    package = copied_package(tmp_path)
    sources = sorted(package.rglob("*.py"))
    assert len(sources) > 80
    assert sum(path.parent != package for path in sources) > 80
    few = [*(package / name for name in NESTED), *sources[::20]]

    def loaded(number):
        importlib.invalidate_caches()
        return Loaded([str(form(package, tmp_path / str(number)))])

    before = loaded("before")
    assert len(before.modules) == len(sources)
    assert loaded("again").digest() == before.digest()
    for number, path in enumerate(sources if form is as_sources else few):
        source = path.read_text()
        path.write_text(f"{source}\nedited = True\n")
        assert loaded(number).digest() != before.digest(), path
        path.write_text(source)
    (package / "deep" / "another.py").touch()
    assert loaded("another").digest() != before.digest()


def test_every_version_and_processor_counts(monkeypatch):
    digest = functools.partial(_cache._digest_with_environment.__wrapped__, "loaded")
    before = digest()
    assert functools.partial(_cache._digest_with_environment.__wrapped__, "another")() != before
    for owner, name, value in (
        (_cache.numba, "__version__", "0.99"),
        (_cache.llvmlite, "__version__", "0.99"),
        (_cache.sys, "version", "4.0"),
        (_cache.config, "CPU_NAME", "another"),
        (_cache.config, "CPU_FEATURES", "+another"),
        (_cache.config, "BOUNDSCHECK", 7),
        (_cache, "TILE", type("Tile", (), {"name": "another"})),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert digest() != before, name
    assert digest() == before
