"""Processes that compile a kernel, and say how often Numba compiled and what was logged."""

from pathlib import Path

import pytest

import fastmlp
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

PACKAGE = Path(fastmlp.__file__).parent


def bare_package(folder):
    """Return code that makes fastmlp a bare folder: its own __init__ would bring in scikit-learn, which takes time."""
    return f"""
import sys, types
package = types.ModuleType("fastmlp")
package.__path__ = [{str(folder)!r}]
sys.modules["fastmlp"] = package
"""


# One small kernel, with a helper in another file of the package: prints its result, and how often Numba compiled.
PROBE = """
import numpy as np
from numba.core import event

with event.install_recorder("numba:compile") as recorder:
    from fastmlp.simd.arguments import NUMBERS
    from fastmlp.simd.jit import kernel
    from fastmlp.kernels.vector_maths import tanh
    from fastmlp.simd.vectors import load, store

    @kernel(NUMBERS)
    def probe(out):
        store(out, 0, tanh(load(out, 0)))

    numbers = np.full(64, 0.9, np.float32)
    probe(numbers)
print(float(numbers[0]), len(recorder.buffer))
"""

# The same with less to compile.
SMALL_PROBE = PROBE.replace("tanh(load(out, 0))", "load(out, 0) + 1.0")


def log_lines(errors):
    """Return the lines that fastmlp logged; nothing else may have been written."""
    lines = errors.splitlines()
    assert all(line.startswith("fastmlp: cannot") for line in lines), errors
    return lines


def probe(folder=PACKAGE, **variables):
    """Run the probe and return (result, number of compilations, log lines)."""
    output, errors = run_python(bare_package(folder) + PROBE, **variables)
    result, compilations = output.split()
    return float(result), int(compilations), log_lines(errors)


def kernel_files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())
