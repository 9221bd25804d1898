"""Fixtures and options that every test module shares."""

import functools
import inspect
import multiprocessing
import os
import signal
import subprocess
import types
from pathlib import Path

import pytest

from tests.helpers.compile_ahead import compile_ahead
from tests.helpers.installed import Way, install, with_library
from tests.helpers.subprocesses import run_python, start_python

DATA_VARIABLE = "FASTMLP_DATA"
MANY_TESTS = 2000


def pytest_configure(config):
    """Have Ctrl-C raise KeyboardInterrupt: what a script or nohup starts in the background ignores it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--full-grid", action="store_true", help="also run the whole grid of parity, and every float32 (many minutes)"
    )
    parser.addoption("--soak", action="store_true", help="also run the ten-minute soak test")


@functools.cache
def starts_processes(function):
    """Return whether a function of the tests, or one that it calls, starts a process of its own."""
    codes = [function.__code__]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    values = [function.__globals__.get(name) for code in codes for name in code.co_names]
    if any(value is starter for value in values for starter in (subprocess, multiprocessing, start_python)):
        return True
    helpers = [value for value in values if isinstance(value, types.FunctionType) and value is not function]
    return any(starts_processes(helper) for helper in helpers if helper.__module__.startswith("tests."))


def pytest_collection_modifyitems(config, items):
    """Mark what starts processes as slow; leave out what is asked for by name only, and say how to ask for it."""
    options = {"full_grid": "--full-grid", "soak": "--soak"}
    jit_disabled = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    for item in items:
        if isinstance(item, pytest.Function) and starts_processes(inspect.unwrap(item.function)):
            item.add_marker(pytest.mark.slow)
        for marker, option in options.items():
            if marker in item.keywords and not config.getoption(option):
                item.add_marker(pytest.mark.skip(reason=f"runs with {option} only"))
        if jit_disabled and "needs_jit" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="NUMBA_DISABLE_JIT is set"))


def pytest_collection_finish(session):
    """Compile ahead what a run of nearly all tests needs."""
    if len(session.items) > MANY_TESTS and not session.config.option.collectonly:
        compile_ahead()


def data_folder(name):
    """Return the folder of one data set below FASTMLP_DATA, or skip the test."""
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        pytest.skip(f"{DATA_VARIABLE} is not set: it names the folder that holds {name}/")
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist ({DATA_VARIABLE} names the folder above it)")
    return folder


@pytest.fixture(scope="session")
def data_home():
    """Return the folder that FASTMLP_DATA names, or skip the test."""
    root = os.environ.get(DATA_VARIABLE)
    if not root or not Path(root).is_dir():
        pytest.skip(f"{DATA_VARIABLE} does not name a folder: this test needs real data")
    return Path(root)


@pytest.fixture(scope="session")
def mnist_folder():
    return data_folder("mnist")


@pytest.fixture(scope="session")
def california_housing_folder():
    return data_folder("california-housing")


@pytest.fixture(scope="session")
def covertype_folder():
    return data_folder("covertype")


@pytest.fixture(scope="session")
def library_way(tmp_path_factory):
    """Return the way of processes whose kernels come from a library: fastmlp is installed for them, once for all."""
    way = with_library(install(tmp_path_factory.mktemp("installed")))
    code = "import sys; from fastmlp.simd.library import LIBRARY; print(LIBRARY is not None, 'numba' in sys.modules)"
    assert run_python(code, **way.options)[0] == "True False\n"
    return way


@pytest.fixture(params=["jit", "library"])
def way(request):
    """Return one way after the other in which processes come by their kernels."""
    return Way("jit") if request.param == "jit" else request.getfixturevalue("library_way")
