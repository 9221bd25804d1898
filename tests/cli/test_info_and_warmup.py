"""``fastmlp info``, ``warmup``, ``--version`` and ``--help``."""

import re
from pathlib import Path

import pytest

import fastmlp
from tests.helpers.command_line import run, succeed
from tests.helpers.subprocesses import run_python


def test_info_names_what_is_in_use(tmp_path):
    output = succeed(tmp_path, "info", by=run, FASTMLP_CACHE_DIR=str(tmp_path / "cache"))
    facts = dict(line.split(None, 1) for line in output.splitlines() if line)
    assert facts["fastmlp"] == fastmlp.__version__
    for name in ["Python", "Numba", "NumPy", "processor", "tile", "threads"]:
        assert name in facts
    assert "features in use" in output
    assert re.search(r"^threading layer +\w+$", output, re.MULTILINE)
    assert str(tmp_path / "cache") in output


@pytest.mark.needs_jit
@pytest.mark.slow
def test_warmup_fills_the_cache_that_it_names(tmp_path):
    output = succeed(tmp_path, "warmup", by=run, FASTMLP_CACHE_DIR=str(tmp_path))
    assert re.search(r"^float32: ready after", output, re.MULTILINE)
    assert re.search(r"^float64: ready after", output, re.MULTILINE)
    cache = Path(re.search(r"^cached in (.*)$", output, re.MULTILINE)[1])
    assert tmp_path in cache.parents
    compiled = {path: path.read_bytes() for path in cache.iterdir()}
    assert compiled
    # What was warmed up is all that a later start needs.
    succeed(tmp_path, "demo", "digits", "--epochs", 1, by=run, FASTMLP_CACHE_DIR=str(tmp_path))
    assert {path: path.read_bytes() for path in cache.iterdir()} == compiled


def test_version_and_help(tmp_path):
    assert succeed(tmp_path, "--version", by=run) == f"fastmlp {fastmlp.__version__}\n"
    for command in [[], ["demo"], ["train"], ["predict"], ["info"], ["warmup"]]:
        assert "usage: fastmlp" in succeed(tmp_path, *command, "--help")


def in_process_with(way, *arguments, **variables):
    code = f"from fastmlp.cli.main import main; raise SystemExit(main({list(arguments)!r}))"
    output, errors = run_python(code, **way.options, **variables)
    assert errors == ""
    return output


@pytest.mark.needs_jit
def test_info_names_the_library_or_why_there_is_none(library_way):
    output = in_process_with(library_way, "info")
    assert f"library {library_way.folder / 'fastmlp' / '_native'}" in output
    assert re.search("^threading layer +threads of Python's$", output, re.MULTILINE)
    assert re.search("^cache folder +not needed$", output, re.MULTILINE)
    output = in_process_with(library_way, "info", FASTMLP_NATIVE=0)
    assert re.search("^kernels +compiled when needed: FASTMLP_NATIVE is 0$", output, re.MULTILINE)


@pytest.mark.needs_jit
def test_warmup_has_nothing_to_do_where_there_is_a_library(library_way, tmp_path):
    output = in_process_with(library_way, "warmup", FASTMLP_CACHE_DIR=tmp_path)
    assert output.startswith(f"nothing to compile: the kernels are in {library_way.folder}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["int8", "float16", "complex128", "nonsense", 3, [("a", "f4")]], ids=str)
def test_warmup_refuses_other_data_types(dtype):
    with pytest.raises(ValueError, match=r"^dtype is .*; it must be 'float32' or 'float64', or None for both\.$"):
        fastmlp.warmup(dtype)
