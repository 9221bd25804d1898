"""Teams of helper threads, where kernels come from a library: late or missing, interrupted, forked, at the very end."""

import json
import os

import pytest

from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

PREAMBLE = """
    import json, os, signal, sys, threading, time, warnings
    import tests.helpers.refuse_numba
    from fastmlp.network import sharing, threads
    from tests.helpers.recorded_calls import calls, most_threads_at_once, record, twins_used
    from tests.helpers.threaded import bits, fit_in_this_process, fit_quietly, model, samples

    warnings.simplefilter("ignore")
    X, y = samples()
    PATIENCE = 30

    def fit_on_two_threads(**options):
        "Return the bits of a fit that runs on two threads, or does all that two would do."
        record()
        digest = bits(model(**options).fit(X, y), X)
        assert "parallel" in twins_used()
        return digest

    def helper():
        return threads._process().helpers[0]

    def is_free():
        "Return whether the helper is done with all that it was given."
        free = threading.Event()
        helper().assign(free.set)
        return free.wait(PATIENCE)

    alone = bits(model(n_threads=1).fit(X, y), X)
"""


@pytest.fixture
def results_of(library_way):
    """Return a function that runs some code with a library, and returns what it prints."""

    def run(code):
        output, errors = run_python(PREAMBLE + code, timeout=100, NUMBA_NUM_THREADS=2, **library_way.options)
        assert errors == ""
        return json.loads(output)

    return run


@pytest.mark.parametrize("obstacle", ["late", "cannot start", "never begins"])
def test_a_fit_waits_for_no_helper_that_has_not_begun(results_of, obstacle):
    obstacles = {
        "late": """
    begun, release = threading.Event(), threading.Event()
    threads._helpers(1)
    helper().assign(lambda: [begun.set(), release.wait(PATIENCE)])
    begun.wait()
        """,
        "cannot start": """
    from fastmlp.process import helper_threads
    def refuse(function, arguments):
        raise RuntimeError("can't start new thread")
    helper_threads._thread.start_new_thread, release = refuse, threading.Event()
        """,
        "never begins": """
    from fastmlp.process import helper_threads
    helper_threads._thread.start_new_thread, release = lambda function, arguments: None, threading.Event()
        """,
    }
    code = """
    held_up = fit_on_two_threads()
    assert not release.is_set()
    assert helper()._work is None  # nothing is kept alive for it
    release.set()
    print(json.dumps([alone, held_up]))
    """
    alone, held_up = results_of(obstacles[obstacle] + code)
    assert held_up == alone


def test_an_interrupt_at_any_moment_leaves_no_thread_that_waits(results_of):
    """Each moment comes twice: when the helper has yet to be started, and when it has been."""
    n_moments, alone, afterwards, is_free = results_of("""
    class Interrupt:
        "Raises KeyboardInterrupt at one of the moments of a Ctrl-C: a function is entered, a compiled one returns."

        def __init__(self, number):
            self.left = number

        def __call__(self, frame, event, argument):
            if event not in ("call", "c_return"):
                return
            while frame is not None and frame.f_code.co_name != "_run_with_helpers":
                frame = frame.f_back
            if frame is not None:
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt

    def is_interrupted(number):
        sharing.experience_of.cache_clear()
        interrupt = Interrupt(number)
        try:
            sys.setprofile(interrupt)
            model(max_iter=1).fit(X, y)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        return interrupt.left <= 0

    number = 1
    while True:
        threads._process().helpers.clear()
        if not all(is_interrupted(number) and is_free() for _ in range(2)):
            break
        number += 2
    print(json.dumps([number, alone, fit_on_two_threads(), is_free()]))
    """)
    assert n_moments > 30
    assert afterwards == alone
    assert is_free


def test_signals_during_calls_and_fits_in_their_handlers(results_of):
    alone, found, n_signals, wrong = results_of("""
    expected = bits(model(n_threads=2, max_iter=1).fit(X, y), X)
    came, wrong, is_busy = [], [], []

    def fit_in_between(number, frame):
        if is_busy:
            return
        is_busy.append(1)
        came.append(1)
        if bits(model(n_threads=2, max_iter=1).fit(X, y), X) != expected:
            wrong.append(len(came))
        is_busy.clear()

    signal.signal(signal.SIGALRM, fit_in_between)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    found = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < 3 or (len(came) < 3 and time.monotonic() < deadline):
        found.append(bits(model().fit(X, y), X))
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps([alone, sorted(set(found)), len(came), wrong]))
    """)
    assert found == [alone]
    assert n_signals >= 3
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forks_while_helpers_work(results_of):
    alone, children, parent = results_of("""
    stop, found = threading.Event(), []

    def fit_on():
        while not stop.is_set():
            # No prediction: a process that is forked while another thread is in OpenBLAS can't use that any more.
            found.append(model(number=1, max_iter=20).fit(X, y).coefs_[0].tobytes())

    def in_a_child():
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                digest = fit_on_two_threads()
                is_idle = is_free()
                os.write(writing, json.dumps([digest, is_idle]).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading) as file:
            result = file.read()
        assert os.waitpid(child, 0)[1] == 0
        return json.loads(result)

    fit_on_two_threads()
    thread = threading.Thread(target=fit_on)
    thread.start()
    children = [in_a_child() for _ in range(6)]
    stop.set()
    thread.join()
    print(json.dumps([alone, children, len(set(found))]))
    """)
    assert children == [[alone, True]] * 6
    assert parent == 1


@pytest.mark.parametrize("at_exit", [False, True], ids=["in the midst of it", "once more at exit"])
def test_a_process_ends_while_a_team_works(library_way, at_exit):
    """In a thread that nobody waits for; what it computes with must stay until the very end."""
    code = """
    import atexit
    calls.clear()

    def fit_on():
        while True:
            model(number=0, max_iter=1000, tol=0, n_iter_no_change=1000).fit(X, y)

    record()
    threading.Thread(target=fit_on, daemon=True).start()
    while not any(call["twin"] == "parallel" for call in calls):
        time.sleep(0.001)
    """
    if at_exit:
        code += """
    atexit.register(lambda: print(bits(model().fit(X, y), X) == alone, flush=True))
    """
    output, errors = run_python(PREAMBLE + code, NUMBA_NUM_THREADS=2, **library_way.options)
    assert (output, errors) == ("True\n" if at_exit else "", "")
