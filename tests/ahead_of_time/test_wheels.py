"""Wheels are read for what they hold: a name too many or too few, a foreign library, a wrong tag are found."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import llvmlite.binding as llvm
import pytest

import fastmlp
from fastmlp.ahead_of_time.levels import SYSTEMS
from fastmlp.ahead_of_time.linking import link, zig
from fastmlp.ahead_of_time.wheels import complaints, contents, kernel_names, library_complaints
from fastmlp.simd.loaded_code import LOADED

pytestmark = pytest.mark.needs_jit  # with the JIT disabled there are no kernels to be exported

LINUX = SYSTEMS["linux-x86_64"]
needs_zig = pytest.mark.skipif(zig() is None, reason="zig, which links for other systems, is not installed (ziglang)")


def object_for(system, path, names, called=()):
    """Write an object file with functions of these names, the first of which calls others."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    export = "dllexport" if system.python == "win32" else ""
    calls = "\n".join(f"call void @{name}()" for name in called)
    first, *others = sorted(names)
    code = [f"declare void @{name}()" for name in called]
    code += [f"define {export} i64 @{first}() {{\n{calls}\nret i64 0\n}}"]
    code += [f"define {export} i64 @{name}() {{\nret i64 0\n}}" for name in others]
    module = llvm.parse_assembly("\n".join(code))
    target = llvm.Target.from_triple(system.triple)
    path.write_bytes(target.create_target_machine(reloc="pic", codemodel="default").emit_object(module))
    return path


def linux_library(path, names, called=()):
    """Link a library for Linux with the C compiler that is there, without start-up code."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (cc) to link with")
    made = object_for(LINUX, path.with_suffix(".o"), names, called)
    subprocess.run(["cc", "-shared", "-nostartfiles", "-o", str(path), str(made), "-lc"], check=True)
    made.unlink()
    return path


@needs_zig
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_library_of_the_kernels_is_right(name, tmp_path):
    system = SYSTEMS[name]
    path = tmp_path / f"library{system.suffix}"
    give_way = "SwitchToThread" if system.python == "win32" else "sched_yield"
    made = object_for(system, tmp_path / "kernels.o", kernel_names(), ["pow", give_way])
    link([made], path, system, is_foreign=True)
    found = contents(path)
    assert found.system == system.python
    assert {name.removeprefix("_") for name in found.exports} == kernel_names()
    assert {"pow", give_way} <= {name.removeprefix("_") for name in found.imports}
    assert list(library_complaints(path, system)) == []
    others = [other for other in SYSTEMS.values() if other is not system]
    assert all("it is for" in next(library_complaints(path, other)) for other in others)


@needs_zig
@pytest.mark.parametrize("name", SYSTEMS)
def test_what_a_library_for_any_system_should_not_need_is_named(name, tmp_path):
    system = SYSTEMS[name]
    path = tmp_path / f"library{system.suffix}"
    link([object_for(system, tmp_path / "kernels.o", kernel_names(), ["rand"])], path, system, is_foreign=True)
    assert any("rand" in complaint for complaint in library_complaints(path, system))


def test_names_too_many_and_too_few_are_found(tmp_path):
    missing, *others = sorted(kernel_names())
    path = linux_library(tmp_path / "library.so", {*others, "fastmlp_stranger"})
    assert list(library_complaints(path, LINUX)) == [
        f"it does not export {missing}",
        "it exports fastmlp_stranger",
    ]


def test_names_that_the_system_does_not_have_are_found(tmp_path):
    path = linux_library(tmp_path / "library.so", kernel_names(), ["PyErr_Occurred", "sched_yield"])
    assert list(library_complaints(path, LINUX)) == ["it needs PyErr_Occurred"]


def test_an_address_of_the_compiling_process_is_found(tmp_path):
    path = linux_library(tmp_path / "library.so", kernel_names())
    path.write_bytes(path.read_bytes() + b"numba.dynamic.globals.7f0000000000")
    assert list(library_complaints(path, LINUX)) == ["it holds an address of the process that compiled it"]


def test_a_file_that_is_no_library_is_refused(tmp_path):
    path = tmp_path / "library.so"
    path.write_text("no library", encoding="utf-8")
    with pytest.raises(ValueError, match=r"library\.so is no library"):
        contents(path)


def wheel_with(folder, library=None, *, tag=f"py3-none-{LINUX.wheel}", tiles=LINUX.tiles, changes=None, more=()):
    """Write a wheel of the package, in which one library serves for all tiles; return its path."""
    path = folder / f"fastmlp-{fastmlp.__version__}-{tag}.whl"
    about = f"fastmlp-{fastmlp.__version__}.dist-info"
    package = Path(fastmlp.__file__).parent
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        for source in package.rglob("*.py"):
            archive.write(source, f"fastmlp/{source.relative_to(package).as_posix()}")
        for name in more:
            archive.writestr(name, "")
        for tile in tiles if library else ():
            description = {
                "sources": LOADED.digest(), "system": "linux", "machine": "x86_64", "tile": tile,
                "sha256": hashlib.sha256(library.read_bytes()).hexdigest(),
            }  # fmt: skip
            archive.write(library, f"fastmlp/_native/{tile}.so")
            archive.writestr(f"fastmlp/_native/{tile}.json", json.dumps(description | (changes or {})))
    return path


def test_a_wheel_is_right(tmp_path, capsys):
    library = linux_library(tmp_path / "library.so", kernel_names(), ["sched_yield"])
    assert list(complaints(wheel_with(tmp_path, library))) == []
    listed = capsys.readouterr().out
    assert f"exports {len(kernel_names())} names" in listed
    assert "needs sched_yield" in listed


def test_a_wheel_without_a_library_is_wrong(tmp_path):
    library = linux_library(tmp_path / "library.so", kernel_names())
    (complaint,) = complaints(wheel_with(tmp_path, library, tiles=("avx2", "zen")))
    assert complaint.startswith("its libraries are avx2.json, avx2.so, zen.json, zen.so, and should be")


def test_a_wheel_whose_libraries_were_made_from_other_sources_is_wrong(tmp_path):
    library = linux_library(tmp_path / "library.so", kernel_names())
    found = list(complaints(wheel_with(tmp_path, library, changes={"sources": "others", "sha256": "another"})))
    assert len(found) == 2 * len(LINUX.tiles)
    assert f"avx2.so: its description has sources others, and it should be {LOADED.digest()}" in found


def test_a_wheel_of_any_platform_is_wrong(tmp_path):
    assert list(complaints(wheel_with(tmp_path, tag="py3-none-any"))) == ["its tag is py3-none-any"]


def test_what_a_wheel_holds_besides_is_named(tmp_path):
    library = linux_library(tmp_path / "library.so", kernel_names())
    assert list(complaints(wheel_with(tmp_path, library, more=["tests/test_a.py"]))) == ["it holds tests besides"]
