"""What comes from outside while kernels are compiled waits for the kernel at hand."""

import json
import os
import shutil

import pytest

from fastmlp.process import interrupts
from tests.helpers.interrupt_processes import PREAMBLE, results_of
from tests.helpers.subprocesses import run_python

pytestmark = [
    pytest.mark.needs_jit,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process"),
]

FIT = """
    X = generator.standard_normal((300, 5))
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(6,), max_iter=3, random_state=0)
"""

# In each fit an exception from outside comes once: at the first moment of its kind in which a kernel is compiled.
COME_WHILE_COMPILING = """
    import ctypes, os, signal, sys, threading
    from numba.core import typeinfer
    from numba.core.codegen import CPUCodeLibrary

    class TimesUp(Exception):
        "What a handler of SIGALRM raises, or what is sent to a thread: not KeyboardInterrupt, which fits catch."

    def time_is_up(number, frame):
        raise TimesUp

    signal.signal(signal.SIGALRM, time_is_up)
    fitting = threading.get_ident()
    come = {
        "Ctrl-C": lambda: os.kill(os.getpid(), signal.SIGINT),
        "SIGALRM": lambda: os.kill(os.getpid(), signal.SIGALRM),
        "both at once": lambda: [os.kill(os.getpid(), number) for number in (signal.SIGINT, signal.SIGALRM)],
        "sent": lambda: ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(fitting), ctypes.py_object(TimesUp)),
    }[WHAT]
    came, ending = [], False

    def let_it_come():
        if not came and not ending:
            came.append(True)
            come()

    # LLVM calls this when machine code is ready, and is told of it when Numba starts LLVM, on fastmlp's import.
    ready = CPUCodeLibrary._object_compiled_hook.__func__

    def come_when_code_is_ready(library_class, *arguments):
        let_it_come()
        ready(library_class, *arguments)

    # Numba takes any exception in here for a reason to try another way.
    propagate = typeinfer.TypeInferer.propagate

    def come_when_types_are_inferred(*arguments, **options):
        let_it_come()
        return propagate(*arguments, **options)

    if WHEN == "code is ready":
        CPUCodeLibrary._object_compiled_hook = classmethod(come_when_code_is_ready)
    else:
        typeinfer.TypeInferer.propagate = come_when_types_are_inferred
"""

# (what comes, when, whether the thread that fits is the main one, how many kernels are left to compile): of the four
# kernels of this fit all, or the two that take a tenth of the time.
WHILE_COMPILING = [
    ("Ctrl-C", "code is ready", True, 4),
    ("SIGALRM", "code is ready", True, 2),
    ("SIGALRM", "types are inferred", True, 2),
    ("both at once", "code is ready", True, 2),
    ("sent", "code is ready", True, 2),
    ("sent", "types are inferred", False, 4),
]
SLOW_KERNELS = ("write_narrow_addresses", "propagate_narrow")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return a cache folder with all kernels of the fit."""
    folder = tmp_path_factory.mktemp("compiled")
    results_of(f"{FIT}    print(json.dumps(digest(model.fit(X, X[:, 0]))))\n", FASTMLP_CACHE_DIR=folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("what", "when", "is_main", "n_left"), WHILE_COMPILING)
def test_what_comes_while_the_kernels_are_compiled_for_the_first_time(what, when, is_main, n_left, tmp_path, request):
    if n_left < 4:
        kernels = list(request.getfixturevalue("compiled").rglob("*.kernel"))
        assert len(kernels) == 4
        for path in kernels:
            if any(name in path.name for name in SLOW_KERNELS):
                copy = tmp_path / path.relative_to(request.getfixturevalue("compiled"))
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
    code = """
    def fit():
        global ending, fitting
        fitting = threading.get_ident()
        while len(raised) < N_LEFT:
            came.clear()
            is_raised = False
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    model.fit(X, X[:, 0])
            except (KeyboardInterrupt, TimesUp):
                is_raised = True
            is_raised |= any("interrupted" in str(warning.message) for warning in caught)
            if came:
                raised.append(is_raised)
            elif not is_raised:  # of two that come at once, one may be raised in the next fit
                break
        ending = True
        model.fit(X, X[:, 0])

    raised = []
    if IS_MAIN:
        fit()
    else:
        thread = threading.Thread(target=fit)
        thread.start()
        thread.join()
    print(json.dumps([raised, digest(model), left_behind()[:3]]))
    """
    variables = {"FASTMLP_CACHE_DIR": tmp_path, "NUMBA_NUM_THREADS": 2}
    head = f"    WHAT, WHEN, IS_MAIN, N_LEFT = {what!r}, {when!r}, {is_main}, {n_left}\n"
    output, errors = run_python(head + COME_WHILE_COMPILING + PREAMBLE + FIT + code, timeout=250, **variables)
    raised, bits, left = json.loads(output)
    assert raised == [True] * n_left
    assert errors == ""  # nothing that Python could only mention
    assert left == [0, False, 0]
    assert not list(tmp_path.rglob("*.tmp"))
    code = """
    from numba.core.compiler import CompilerBase

    def refuse(*arguments):
        raise AssertionError("compiled anew")

    CompilerBase._compile_core = refuse
    """
    fitted = f"{FIT}    print(json.dumps(digest(model.fit(X, X[:, 0]))))\n"
    assert results_of(code + fitted, **variables) == bits


@pytest.mark.parametrize("threads", ["begin", "never begin", "are refused", "find no memory"])
def test_work_that_nothing_disturbs_is_done_once_and_its_outcome_is_handed_over(monkeypatch, threads):
    """Whether there can be a further thread or not, and whatever the work does."""

    def fail():
        raise ZeroDivisionError

    def start(*arguments):
        if threads == "are refused":
            raise RuntimeError("can't start new thread")
        if threads == "find no memory":
            raise MemoryError

    if threads != "begin":
        monkeypatch.setattr(interrupts, "_SECONDS_TO_BEGIN", 0.01)
        monkeypatch.setattr(interrupts._thread, "start_new_thread", start)
    done = []
    assert interrupts.undisturbed(lambda: done.append(1) or 7) == 7
    assert done == [1]
    with pytest.raises(ZeroDivisionError):
        interrupts.undisturbed(fail)
