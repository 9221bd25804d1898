"""The step of the build: what it leaves out, and that the wheel says so."""

import importlib.util
import json
import shutil
import sys
import types
from types import SimpleNamespace

import pytest

from tests.helpers.installed import PACKAGE
from tests.helpers.subprocesses import ROOT, run_python

pytestmark = pytest.mark.skipif(not (ROOT / "hatch_build.py").exists(), reason="a wheel holds no hatch_build.py")


class BuildHookInterface:
    """What the hook takes from hatchling, which only builds have."""

    def __init__(self, root, target_name="wheel"):
        self.root, self.target_name = str(root), target_name
        self.app = SimpleNamespace(display_info=lambda message: None)


@pytest.fixture
def hook(monkeypatch):
    """Return the class of the hook."""
    name = "hatchling.builders.hooks.plugin.interface"
    module = types.ModuleType(name)
    module.BuildHookInterface = BuildHookInterface
    monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return build.KernelsHook


@pytest.mark.parametrize(("target", "version"), [("wheel", "editable"), ("sdist", "standard")])
def test_an_editable_install_and_an_archive_of_sources_hold_no_library(hook, monkeypatch, target, version):
    monkeypatch.setattr("subprocess.run", None)  # nothing is built
    build_data = {"force_include": {}}
    built = hook(ROOT, target)
    built.initialize(version, build_data)
    built.finalize(version, build_data, "")
    assert build_data == {"force_include": {}}


@pytest.mark.slow
@pytest.mark.needs_jit
def test_libraries_that_nobody_wants_are_left_out_and_the_wheel_says_so(hook, monkeypatch, tmp_path):
    monkeypatch.setenv("FASTMLP_NATIVE", "0")
    assert hook(ROOT).dependencies() == []
    build_data = {"force_include": {}}
    built = hook(ROOT)
    built.initialize("standard", build_data)
    assert "tag" not in build_data  # so it is py3-none-any
    shutil.copytree(PACKAGE, tmp_path / "fastmlp", ignore=shutil.ignore_patterns("_native", "__pycache__"))
    for source, place in build_data["force_include"].items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / place)
    built.finalize("standard", build_data, "")
    code = "from fastmlp.simd.library import FOUND, LIBRARY; import json; print(json.dumps([LIBRARY, FOUND]))"
    output, errors = run_python(code, folder=tmp_path, PYTHONPATH=tmp_path)
    assert json.loads(output) == [None, "FASTMLP_NATIVE was 0 when fastmlp was built"]
    assert errors == ""


def test_zig_is_asked_for_where_there_is_no_compiler(hook, monkeypatch):
    monkeypatch.delenv("FASTMLP_NATIVE", raising=False)
    monkeypatch.delenv("FASTMLP_WHEEL", raising=False)
    monkeypatch.setenv("CC", "a-compiler-that-nobody-has")
    assert [name.partition(">")[0] for name in hook(ROOT).dependencies()] == ["ziglang"]
    assert hook(ROOT, "sdist").dependencies() == []
    monkeypatch.setenv("CC", sys.executable)
    assert hook(ROOT).dependencies() == []
    monkeypatch.setenv("FASTMLP_WHEEL", "linux-aarch64")
    assert len(hook(ROOT).dependencies()) == 1
