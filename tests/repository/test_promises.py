"""Every promise in docs/promises.md names a test that exists."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "promises.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
PROMISES = [row for row in ROWS if not row.startswith(("| promise |", "| --- |"))]


def names_in(file):
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_promise_is_proven_by_a_test_that_exists(row):
    _, promise, proof, _ = row.split("|")
    assert promise.strip()
    named = re.findall(r"`(\w+/test_\w+\.py)(?:::(\w+))?`", proof)
    assert named, "no test is named"
    for file, test in named:
        assert (TESTS / file).is_file(), file
        if test:
            assert test.startswith("test_")
            assert test in names_in(TESTS / file), f"{file}::{test}"


def test_all_kinds_of_promises_are_there():
    assert len(PROMISES) > 40
    files = set(re.findall(r"`\w+/(test_\w+)\.py", PAGE.read_text()))
    assert files >= {
        "test_processes", "test_python_threads", "test_thread_limits", "test_interrupts", "test_bad_input",
        "test_cache", "test_determinism", "test_guards", "test_allocations", "test_persistence", "test_checkpoints",
        "test_checkpoint_saving", "test_checkpoint_files", "test_memory", "test_memory_limit", "test_soak",
        "test_races", "test_bits", "test_library", "test_region",
    }  # fmt: skip
