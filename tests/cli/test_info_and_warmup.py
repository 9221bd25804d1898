"""``fastmlp info``, ``warmup``, ``--version`` and ``--help``."""

import re
from pathlib import Path

import pytest

import fastmlp
from tests.helpers.command_line import run, succeed


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
