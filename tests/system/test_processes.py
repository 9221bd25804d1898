"""Forked, spawned and joblib's processes, and systems without a threading layer: right results, and an end.

With a library of kernels a forked child makes threads of its own; under the JIT it works on one.
"""

import importlib.util
import json
import os

import joblib
import pytest

from tests.helpers.installed import Way
from tests.helpers.recorded_calls import FOLDER_VARIABLE, most_threads_at_once, read_records
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

SECONDS = 200  # what hangs is ended; even on a busy machine these take far less
JIT = Way("jit")
HAS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
PREAMBLE = """
    import json
    import multiprocessing
    import warnings
    import tests.helpers.refuse_numba
    from fastmlp.network import threads
    from tests.helpers.recorded_calls import calls, record, twins_used
    from tests.helpers.threaded import bits, fit_in_this_process, fit_quietly, model, samples, search

    # Later Pythons warn of any fork beside other threads.
    warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
    X, y = samples()
"""


def results_of(code, way=JIT, **variables):
    output, _ = run_python(PREAMBLE + code, timeout=SECONDS, **way.options, **variables)
    return json.loads(output)


def assert_shared_with_a_library_only(way, twins, n_threads):
    """Check what a forked child did: GNU OpenMP kills a child that enters it after its parent has."""
    if way.is_library:
        assert "parallel" in twins
        assert n_threads == 2
    else:
        assert (twins, n_threads) == (["serial"], 1)


# --- fork ---------------------------------------------------------------------------------------


@HAS_FORK
@pytest.mark.parametrize(("way", "layer"), [("jit", "omp"), ("jit", "workqueue"), ("library", "omp")], indirect=["way"])
def test_fork_after_a_fit(way, layer):
    before, before_twins, children, after, after_twins = results_of(
        """
    before = fit_in_this_process(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        children = pool.map(fit_in_this_process, [0, 0, 1, 1], chunksize=1)
        beside = fit_in_this_process(1)  # while the children are there
    after = fit_in_this_process(0)
    print(json.dumps([before[0], before[1], children, [after[0], beside[0]], after[1]]))
        """,
        way,
        NUMBA_NUM_THREADS=2,
        NUMBA_THREADING_LAYER=layer,
    )
    assert [child[0] for child in children] == [after[0]] * 2 + [after[1]] * 2
    assert before == after[0]
    for child in children:
        assert_shared_with_a_library_only(way, *child[1:])
    # Where others compete for the processors a run tries the serial twin too.
    assert ("parallel" in before_twins) == ("parallel" in after_twins) == (layer == "omp")


@HAS_FORK
def test_fork_before_any_fit_and_in_a_thread(way):
    parent, children = results_of(
        """
    import threading
    context = multiprocessing.get_context("fork")
    children = []

    def fork():
        with context.Pool(1) as pool:
            children.extend(pool.map(fit_in_this_process, [0]))

    fork()  # no threads have started: the child starts its own
    parent = fit_in_this_process(0)
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    print(json.dumps([parent, children]))
        """,
        way,
        NUMBA_NUM_THREADS=2,
    )
    assert [child[0] for child in children] == [parent[0]] * 2
    assert "parallel" in children[0][1]
    assert_shared_with_a_library_only(way, *children[1][1:])


@HAS_FORK
def test_fork_while_another_thread_is_in_a_compiled_call(way):
    """What that thread holds, nobody would ever give back in the child."""
    parent, child = results_of(
        """
    import threading
    from fastmlp.network.threads import compiled_call
    parent = fit_in_this_process(0)
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with compiled_call(2) as (n_threads, _):
            assert n_threads == 2
            entered.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        child = pool.apply(fit_in_this_process, (0,))
    leave.set()
    thread.join()
    print(json.dumps([parent, child]))
        """,
        way,
        NUMBA_NUM_THREADS=2,
        NUMBA_THREADING_LAYER="omp",
    )
    assert child[0] == parent[0]
    assert_shared_with_a_library_only(way, *child[1:])


# What another thread is doing when the process is forked, and gives back in the parent only. The limit of BLAS is a
# matter of Python alone, wherever the kernels come from.
MEANWHILE = {
    "nothing": ("nullcontext()", ["jit", "library"]),
    "a compiled call": ("threads.compiled_call(2)", ["jit", "library"]),
    "the limit of BLAS": ("blas.one_blas_thread()", ["jit"]),
    "the lock around the limit of BLAS": ("blas._process().choosing", ["jit"]),
}


@HAS_FORK
@pytest.mark.skipif(os.name == "nt", reason="libc's fork is a matter of POSIX")
@pytest.mark.parametrize(
    ("way", "meanwhile"), [(way, name) for name, (_, ways) in MEANWHILE.items() for way in ways], indirect=["way"]
)
def test_a_fork_that_python_does_not_see(way, meanwhile):
    """As uWSGI's: no hook runs in the child."""
    parent, child, grandchild, after = results_of(
        f"""
    import ctypes, os, threading
    from contextlib import nullcontext
    from fastmlp.process import blas

    def in_a_child(action):
        reading, writing = os.pipe()
        child = ctypes.PyDLL(None).fork()
        if child == 0:
            os.write(writing, json.dumps(action()).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as file:
            result = file.read()
        assert os.waitpid(child, 0)[1] == 0
        return json.loads(result)

    def work():
        are_right = fitted.predict(X).tolist() == labels
        few = bits(fit_quietly(model(solver="lbfgs", max_iter=2), X, y), X)
        return [are_right, few, fit_in_this_process(0), len(threads._process().callers)]

    def stay():
        with {MEANWHILE[meanwhile][0]}:
            entered.set()
            leave.wait()

    fitted = fit_quietly(model(), X, y)
    labels = fitted.predict(X).tolist()
    parent = work()
    entered, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait()
    child = in_a_child(work)
    grandchild = in_a_child(lambda: in_a_child(work))
    leave.set()
    thread.join()
    print(json.dumps([parent, child, grandchild, work()]))
        """,
        way,
        NUMBA_NUM_THREADS=2,
        NUMBA_THREADING_LAYER="omp",
    )
    labels_are_right, few, (digest, twins, _), n_callers = parent
    assert labels_are_right
    assert "parallel" in twins
    for forked in (child, grandchild):
        assert [*forked[:2], forked[2][0], forked[3]] == [True, few, digest, 0]
        assert_shared_with_a_library_only(way, *forked[2][1:])
    assert "parallel" in after[2][1]
    assert after[2][0] == digest
    assert n_callers == 0


@HAS_FORK
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_worker_of_a_torch_data_loader_predicts(way):
    expected, loaded, before, after, twins = results_of(
        """
    import torch
    from torch.utils.data import DataLoader, Dataset

    fitted = fit_quietly(model(), X, y)

    class Predictions(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, number):
            return bits(fitted, X) if number else fit_in_this_process(0)[0]

    loader = DataLoader(Predictions(), batch_size=None, num_workers=1, timeout=100, multiprocessing_context="fork")
    before = fit_in_this_process(0)[0]
    n_threads = torch.get_num_threads()
    loaded = list(loader)
    after, twins, _ = fit_in_this_process(0)
    assert torch.get_num_threads() == n_threads
    print(json.dumps([bits(fitted, X), loaded, before, after, twins]))
        """,
        way,
        NUMBA_NUM_THREADS=2,
    )
    assert before == after == expected
    assert loaded == [expected] * 3
    assert "parallel" in twins


# --- other processes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "method"), [("jit", "spawn"), ("jit", "forkserver"), ("library", "spawn")], indirect=["way"]
)
def test_other_ways_to_start_processes(method, way):
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    parent, children = results_of(
        f"""
    parent = fit_in_this_process(0)
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        print(json.dumps([parent, pool.map(fit_in_this_process, [0, 0], chunksize=1)]))
        """,
        way,
        NUMBA_NUM_THREADS=2,
    )
    # Each is a process like any other, with the same limit.
    for digest, _, n_threads in children:
        assert digest == parent[0]
        assert n_threads <= 2


@pytest.mark.parametrize(
    ("way", "backend"), [("jit", "loky"), ("jit", "threading"), ("library", "loky")], indirect=["way"]
)
def test_grid_search_runs_no_more_threads_than_there_are_processors(backend, way, tmp_path):
    one, two = results_of(
        f"""
    import joblib
    one = search(1)
    with joblib.parallel_config("{backend}"):
        print(json.dumps([one, search(2)]))
        """,
        way,
        **{FOLDER_VARIABLE: tmp_path},
    )
    assert one == two
    calls, n_processes = read_records(tmp_path)
    assert n_processes == (3 if backend == "loky" else 1)
    assert most_threads_at_once(calls) <= max(2, joblib.cpu_count())


def test_nested_searches_add_no_threads_of_their_own(tmp_path):
    one, several, parent = results_of(
        """
    import joblib, os
    one = search(1)
    several = joblib.Parallel(n_jobs=2)(joblib.delayed(search)(2) for _ in range(2))
    print(json.dumps([one, several, os.getpid()]))
        """,
        **{FOLDER_VARIABLE: tmp_path},
    )
    assert several == [one, one]
    for path in tmp_path.glob(f"{parent:08d}-*"):
        path.unlink()
    calls, n_processes = read_records(tmp_path)
    assert n_processes == 2
    # Of joblib's own threads there are two in each process; each gets this process's share of the processors.
    assert max(call["n_threads"] for call in calls) <= max(1, joblib.cpu_count() // 2)


# --- no threading layer -------------------------------------------------------------------------

WITHOUT_OPENMP_AND_TBB = """
    import sys
    sys.modules["numba.np.ufunc.omppool"] = None
    sys.modules["numba.np.ufunc.tbbpool"] = None
"""


@pytest.mark.parametrize("has_workqueue", [True, False])
def test_without_openmp_and_tbb(has_workqueue):
    blocked = WITHOUT_OPENMP_AND_TBB
    if not has_workqueue:
        blocked += '    sys.modules["numba.np.ufunc.workqueue"] = None\n'
    code = """
    from fastmlp.cli.main import main
    result = fit_in_this_process(0)
    main(["info"])
    print(json.dumps(result))
    """
    output, _ = run_python(blocked + PREAMBLE + code, timeout=SECONDS, NUMBA_NUM_THREADS=2)
    digest, twins, n_threads = json.loads(output.splitlines()[-1])
    assert (twins, n_threads) == (["serial"], 1)
    named = next(line for line in output.splitlines() if line.startswith("threading layer"))
    assert named.split()[-1] == ("workqueue" if has_workqueue else "none")
    assert digest == results_of("    print(json.dumps(fit_in_this_process(0)))", NUMBA_NUM_THREADS=2)[0]


def test_small_fits_are_one_call_of_the_serial_twin_and_start_no_threads(way):
    small, large, started_before, started_after = results_of(
        """
    from fastmlp import MLPClassifier

    def have_started():
        return any(helper._has_started for helper in threads._process().helpers) or threads._pool_has_started()

    record()
    fit_quietly(MLPClassifier((10,), max_iter=3, random_state=0), X[:100, :5], y[:100] % 2)
    small, started_before = twins_used(), have_started()
    record()
    fit_quietly(model(n_threads=None), X, y)
    print(json.dumps([small, twins_used(), started_before, have_started()]))
        """,
        way,
        NUMBA_NUM_THREADS=2,
    )
    assert small == ["serial"]
    assert not started_before
    assert "parallel" in large
    assert started_after
