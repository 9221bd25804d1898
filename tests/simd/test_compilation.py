"""The line that says that kernels are being compiled: where somebody sees it, and nowhere else."""

import contextlib
import os
import subprocess
import sys

import pytest

from fastmlp.simd.compilation import LINE
from tests.helpers.cache_probes import PACKAGE, SMALL_PROBE, bare_package
from tests.helpers.subprocesses import environment_with, run_python

pytestmark = pytest.mark.needs_jit

PROGRAM = bare_package(PACKAGE) + SMALL_PROBE


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_it_stands_while_kernels_are_compiled_and_goes(tmp_path):
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment_with(FASTMLP_CACHE_DIR=tmp_path),
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    )
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while part := os.read(leader, 1000):
            shown += part
    os.close(leader)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert float(output.split()[0]) == pytest.approx(1.9)
    assert shown.decode() == f"{LINE}\r{' ' * len(LINE)}\r"
    assert len(LINE) < 100  # on one line of most terminals, or it could not be taken away


def test_elsewhere_only_the_logger_has_it(tmp_path):
    logged = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
"""
    output, errors = run_python(PROGRAM, FASTMLP_CACHE_DIR=tmp_path / "silent")
    assert errors == ""
    assert LINE not in output
    output, errors = run_python(logged + PROGRAM, FASTMLP_CACHE_DIR=tmp_path / "logged")
    assert errors == ""
    assert output.splitlines()[0] == f"fastmlp INFO {LINE}"
    assert output.count(LINE) == 1
    # Loaded from the cache, nothing is compiled.
    output, _ = run_python(logged + PROGRAM, FASTMLP_CACHE_DIR=tmp_path / "logged")
    assert LINE not in output
