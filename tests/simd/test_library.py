"""Which library is used, which is left alone and with what words, and that kernels are compiled then."""

import json
import os
import shutil

import pytest

from tests.helpers.installed import Way, install, native_files, own_tile, with_library
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

PROBE = """
    import json
    from fastmlp.simd.library import FOUND, LIBRARY
    print(json.dumps([LIBRARY is not None, FOUND]))
"""

FIT = """
    import json, sys
    from tests.helpers.threaded import bits, fit_quietly, model, samples

    X, y = samples()
    print(json.dumps([bits(fit_quietly(model(max_iter=1), X, y), X), "numba" in sys.modules]))
"""


@pytest.fixture
def installed(tmp_path, library_way):
    """Return the way of an installation of this test's own, to be spoiled."""
    return with_library(install(tmp_path))


@pytest.fixture(scope="module")
def right_bits():
    return json.loads(run_python(FIT, **Way("jit").options)[0])[0]


def found_in(way, **variables):
    """Return whether a library is used, the words about it, and what was logged."""
    output, errors = run_python(PROBE, **way.options, **variables)
    return *json.loads(output), errors.splitlines()


def change(name, value):
    def write(library, description):
        facts = json.loads(description.read_text())
        assert facts[name] != value
        description.write_text(json.dumps(facts | {name: value}))

    return write


def flip_a_bit(library, description):
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)


def replace_by_something_else(library, description):
    """Put a file that is no library in its place, and describe it as what it is."""
    import hashlib

    library.write_bytes(b"#!/bin/sh\nexit 1\n")
    change("sha256", hashlib.sha256(library.read_bytes()).hexdigest())(library, description)


SPOILED = {
    "a bit": (flip_a_bit, "it is damaged"),
    "half of it": (lambda library, _: os.truncate(library, library.stat().st_size // 2), "it is damaged"),
    "nothing in it": (lambda library, _: os.truncate(library, 0), "it is damaged"),
    "no library": (replace_by_something_else, "file too short|invalid ELF|not a mach-o|not a valid Win32|slice"),
    "another system": (change("system", "beos"), "it is for another system"),
    "another processor": (change("machine", "m68k"), "it is for another processor"),
    "another tile": (change("tile", "wide"), "it is for another tile"),
    "another version": (change("sources", "0" * 64), "it was made from another version of fastmlp"),
    "a description that is no JSON": (lambda _, description: description.write_text("{"), "Expecting"),
    "a description of nothing": (lambda _, description: description.write_text("{}"), "another version"),
    "a description that is a list": (lambda _, description: description.write_text("[]"), "list"),
    "a description that is no text": (lambda _, description: description.write_bytes(b"\xff\xfe{}"), "decode"),
    "a bottomless description": (lambda _, description: description.write_text("[" * 100_000), "recursion"),
    "no description": (lambda _, description: description.unlink(), "No such file"),
    "a description alone": (lambda library, _: library.unlink(), "No such file"),
    "a folder": (lambda library, _: (library.unlink(), library.mkdir()), "directory|denied"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_library_that_does_not_fit_is_left_alone_with_one_log_line(what, installed):
    spoil, reason = SPOILED[what]
    library, description = native_files(installed.folder)
    spoil(library, description)
    is_used, found, lines = found_in(installed)
    assert not is_used
    assert len(lines) == 1
    assert lines[0].startswith(f"fastmlp: {library} is left alone (")
    assert lines[0].endswith("); compiling what is needed.")
    for text in (found, lines[0]):
        assert any(part in text for part in reason.split("|")), text


def test_an_edit_of_any_file_makes_it_another_version(installed):
    with open(installed.folder / "fastmlp" / "cli" / "display.py", "a") as file:
        file.write("# edited\n")
    is_used, found, lines = found_in(installed)
    assert not is_used
    assert "another version" in found
    assert len(lines) == 1


def test_where_a_library_is_left_alone_a_fit_compiles(installed, right_bits):
    library, description = native_files(installed.folder)
    flip_a_bit(library, description)
    output, errors = run_python(FIT, **installed.options)
    assert json.loads(output) == [right_bits, True]
    assert len(errors.splitlines()) == 1


ASKED_FOR = {
    "FASTMLP_NATIVE": ("0", "FASTMLP_NATIVE is 0"),
    "NUMBA_CPU_NAME": ("generic", "NUMBA_CPU_NAME is set"),
    "NUMBA_DISABLE_JIT": ("1", "NUMBA_DISABLE_JIT is set"),
    "FASTMLP_TILE": ("generic", "none was built for the tile generic"),
}


@pytest.mark.parametrize("variable", ASKED_FOR)
def test_what_was_asked_for_needs_no_warning(variable, library_way):
    value, reason = ASKED_FOR[variable]
    assert found_in(library_way, **{variable: value}) == (False, reason, [])


def test_a_tile_that_no_library_is_made_for_is_no_error(installed):
    for path in native_files(installed.folder):
        shutil.copy(path, path.with_name(f"generic{path.suffix}"))
    is_used, found, lines = found_in(installed, FASTMLP_TILE="generic")
    assert not is_used
    assert "it is for another tile" in found
    assert len(lines) == 1


def test_without_a_library_the_reason_of_the_build_is_told(installed):
    shutil.rmtree(installed.folder / "fastmlp" / "_native")
    assert found_in(installed) == (False, f"none was built for the tile {own_tile()}", [])
    (installed.folder / "fastmlp" / "_native").mkdir()
    (installed.folder / "fastmlp" / "_native" / "none.txt").write_text("nobody asked for one\n")
    assert found_in(installed) == (False, "nobody asked for one", [])


def test_where_nothing_can_be_written_nothing_has_to_be(installed, right_bits):
    """A read-only installation, no home, no cache folder: works, and compiles nothing."""
    files = sorted(path for path in installed.folder.rglob("*") if "__pycache__" not in path.parts)
    for path in [installed.folder, *files]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    nowhere = dict.fromkeys(["FASTMLP_CACHE_DIR", "HOME", "NUMBA_CACHE_DIR", "TMPDIR", "XDG_CACHE_HOME"], "/dev/null")
    code = "    import tests.helpers.refuse_numba\n" + FIT
    output, errors = run_python(code, **installed.options, **nowhere, PYTHONDONTWRITEBYTECODE=1)
    assert json.loads(output) == [right_bits, False]
    assert errors == ""
    assert sorted(path for path in installed.folder.rglob("*") if "__pycache__" not in path.parts) == files
