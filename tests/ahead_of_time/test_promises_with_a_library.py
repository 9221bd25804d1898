"""Tests of promises that run in one process run once more in one whose kernels come from a library."""

import pytest

from tests.helpers.subprocesses import ROOT, run_python

pytestmark = pytest.mark.needs_jit

SELECTED = [
    "network/test_trajectories.py::test_an_interrupt_that_is_noticed_after_the_call_loses_no_step",
    "process/test_helper_threads.py::test_a_prediction_waits_for_no_helper_that_has_not_begun",
    "training/test_lbfgs.py::test_keyboard_interrupt_of_lbfgs",
    "training/test_lbfgs.py::test_lbfgs_leaves_the_threads_of_blas_as_they_were",
    "training/test_stochastic.py::test_keyboard_interrupt_leaves_a_usable_model",
]


def test_selected_tests_pass_with_a_library(library_way):
    options = ["-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-q"]
    code = f"""
    import sys
    import pytest
    from fastmlp.simd.library import LIBRARY

    assert LIBRARY is not None
    status = pytest.main({options + [str(ROOT / "tests" / name) for name in SELECTED]!r})
    from fastmlp.network import network
    assert network.__file__.startswith({str(library_way.folder)!r})
    raise SystemExit(status)
    """
    output, _ = run_python(code, **library_way.options)
    assert "passed" in output, output
