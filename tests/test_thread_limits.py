"""How many threads a fit uses: `n_threads`, else the smallest of all other limits, never more than Numba's pool."""

import importlib.util
import json
import os

import joblib
import pytest

from tests.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

# Each row takes one limit below the pool's four threads; so all the others must be above it, on any machine.
PREAMBLE = """
    import functools
    import json
    import os
    import numba
    from pathlib import Path
    from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits
    from fastmlp import threads
    from tests.recorded_calls import calls, record, twins_used
    from tests.threaded import bits, fit_in_this_process, fit_quietly, model, samples

    def processors(count):
        os.sched_getaffinity = lambda process: set(range(count))

    def openmp_of(value):
        os.environ["OMP_NUM_THREADS"] = str(value)

    def container(**files):
        folder = Path(CGROUP)
        for name, content in files.items():
            path = folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)

    def most_threads(n_threads=None):
        record()
        bits(fit_quietly(model(n_threads=n_threads), X, y), X)
        return max(call["n_threads"] for call in calls)

    X, y = samples()
    processors(8)
    openmp = ThreadpoolController().select(user_api="openmp").limit(limits=8)
    threads._CGROUP = CGROUP
"""

ROWS = {
    "the pool": ("most_threads()", {}, 4),
    "a smaller pool": ("most_threads()", {"NUMBA_NUM_THREADS": 2}, 2),
    "n_threads": ("most_threads(3)", {}, 3),
    "n_threads=1": ("most_threads(1)", {}, 1),
    "n_threads above the pool": ("most_threads(99)", {}, 4),
    "n_threads above a smaller pool": ("most_threads(3)", {"NUMBA_NUM_THREADS": 2}, 2),
    "n_threads above all other limits": (
        "processors(1), threadpool_limits(1), numba.set_num_threads(1), openmp_of(1), most_threads(3)",
        {},
        3,
    ),
    "OMP_NUM_THREADS": ("most_threads()", {"OMP_NUM_THREADS": 3}, 3),
    "OMP_NUM_THREADS of nested regions": ("openmp_of('2,4'), most_threads()", {}, 2),
    "OMP_NUM_THREADS above the pool": ("openmp_of(64), most_threads()", {}, 4),
    "OMP_NUM_THREADS that says nothing": ("openmp_of(' '), most_threads()", {}, 4),
    "Numba's mask": ("numba.set_num_threads(3), most_threads()", {}, 3),
    "CPU affinity": ("processors(3), most_threads()", {}, 3),
    "quota": ("container(cpu_dot_max='250000 100000'), most_threads()", {}, 3),
    "quota below one processor": ("container(cpu_dot_max='5000 100000'), most_threads()", {}, 1),
    "quota without a limit": ("container(cpu_dot_max='max 100000'), most_threads()", {}, 4),
    "quota of cgroup version 1": (
        "container(cpu__cpu_dot_cfs_quota_us='200000', cpu__cpu_dot_cfs_period_us='100000'), most_threads()",
        {},
        2,
    ),
    "no quota in cgroup version 1": (
        "container(cpu__cpu_dot_cfs_quota_us='-1', cpu__cpu_dot_cfs_period_us='100000'), most_threads()",
        {},
        4,
    ),
    "threadpool_limits": ("threadpool_limits(2), most_threads()", {}, 2),
    "threadpool_limits of OpenMP": ("threadpool_limits(3, 'openmp'), most_threads()", {}, 3),
    "threadpool_limits of BLAS alone": ("threadpool_limits(1, 'blas'), most_threads()", {}, 4),
    "the smallest of several": (
        "processors(3), container(cpu_dot_max='200000 100000'), openmp_of(4), most_threads()",
        {},
        2,
    ),
}


def results_of(code, folder, **variables):
    variables = {"NUMBA_NUM_THREADS": 4} | variables
    preamble = f"    CGROUP = {str(folder)!r}\n{PREAMBLE}"
    output, _ = run_python(preamble + code, timeout=100, **variables)
    return json.loads(output)


# Rows that want the same environment share a process; each begins with all limits lifted.
ENVIRONMENTS = sorted({tuple(environment.items()) for _, environment, _ in ROWS.values()}, key=str)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system knows no CPU affinity")
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_every_limit_counts(environment, tmp_path):
    rows = {name: row for name, row in ROWS.items() if row[1] == dict(environment)}
    code = f"""
    found = {{}}
    for number, (name, expression) in enumerate({ {name: row[0] for name, row in rows.items()} }.items()):
        CGROUP = threads._CGROUP = f"{tmp_path}/{{number}}"
        os.mkdir(CGROUP)
        processors(8)
        if number:
            os.environ.pop("OMP_NUM_THREADS", None)
        threads._cpu_quota.cache_clear()
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        threadpool_limits(8)
        value = eval(expression)
        found[name] = value[-1] if isinstance(value, tuple) else value
    print(json.dumps(found))
    """
    assert results_of(code, tmp_path, **dict(environment)) == {name: row[2] for name, row in rows.items()}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system knows no CPU affinity")
def test_a_process_that_may_run_on_one_processor(tmp_path):
    code = """
    import importlib
    importlib.reload(os)  # the system's own function again
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps([most_threads(), most_threads(2)]))
    """
    assert results_of(code, tmp_path) == [1, 2]


@pytest.mark.parametrize("inner", [1, 3])
def test_limits_of_joblib_reach_its_workers(inner, tmp_path):
    code = f"""
    import joblib
    with joblib.parallel_config("loky", inner_max_num_threads={inner}):
        results = joblib.Parallel(n_jobs=2)(joblib.delayed(fit_in_this_process)(0) for _ in range(2))
    print(json.dumps([result[2] for result in results]))
    """
    assert results_of(code, tmp_path) == [min(inner, joblib.cpu_count())] * 2


def test_nothing_asks_for_the_slow_list_of_all_libraries(tmp_path):
    code = """
    import threadpoolctl

    def refuse(*arguments):
        raise AssertionError("threadpool_info takes milliseconds")

    threadpoolctl.threadpool_info = threadpoolctl.ThreadpoolController.info = refuse
    found = [most_threads(), most_threads(2)]
    for options in ({"solver": "lbfgs"}, {"n_threads": 1, "solver": "sgd"}, {"early_stopping": True}):
        bits(fit_quietly(model(**options), X, y), X)
    # The libraries are looked for once, not at every fit.
    threadpoolctl.ThreadpoolController.__init__ = refuse
    print(json.dumps([*found, most_threads()]))
    """
    assert results_of(code, tmp_path) == [4, 2, 4]


SETTINGS = """
    from fastmlp.network import Network
    run = Network.run

    def settings():
        libraries = [(library["filepath"], library["num_threads"]) for library in threadpool_info()]
        return [numba.get_num_threads(), libraries, torch.get_num_threads() if torch else None]

    def stopped_by(error):
        def stopped(network, n_threads, driver, *arguments):
            def then_stop(*arguments):
                driver(*arguments)
                during.append(numba.get_num_threads())
                raise error
            return run(network, n_threads, then_stop, *arguments)
        return stopped

    # Neither the defaults nor what fits set.
    threadpool_limits(5)
    numba.set_num_threads(3)
    if torch:
        torch.set_num_threads(5)
    fitted = fit_quietly(model(n_threads=2), X, y)
    fit_quietly(model(n_threads=2, solver="lbfgs"), X, y).predict(X[:5])
    before, during, changed = settings(), [], []
    for error in (None, MemoryError("no more"), KeyboardInterrupt()):
        Network.run = stopped_by(error) if error else run
        for options in ({}, {"solver": "lbfgs"}, {"n_threads": 1}, {"early_stopping": True}):
            for action in (
                lambda: fit_quietly(model(**options), X, y),
                lambda: fitted.set_params(n_threads=options.get("n_threads", 2)).predict(X),
                lambda: fitted.predict(X[:5]),
            ):
                try:
                    action()
                except (MemoryError, KeyboardInterrupt) as caught:
                    assert caught is error
                if settings() != before:
                    changed.append([str(options), repr(error), settings()])
    print(json.dumps([before[0], sorted(set(during)), changed]))
"""


@pytest.mark.parametrize("library", [None, "torch"])
def test_settings_are_as_before_after_a_fit_an_error_and_an_interrupt(library, tmp_path):
    if library is not None and importlib.util.find_spec(library) is None:
        pytest.skip("PyTorch is not installed")
    mask, during, changed = results_of(f"    {'import torch' if library else 'torch = None'}\n{SETTINGS}", tmp_path)
    assert mask == 3
    assert during == [2, 3]  # the fit's own number, and in serial calls the user's
    assert changed == []


def test_an_interrupt_while_the_number_is_set_is_no_exception(tmp_path):
    code = """
    set_num_threads = numba.set_num_threads
    numba.set_num_threads(3)

    def interrupted(n_threads):
        set_num_threads(n_threads)
        interrupts.append(n_threads)
        if len(interrupts) in moments:
            raise KeyboardInterrupt

    found = []
    for moments in ({1}, {2}, {1, 2}):
        interrupts = []
        numba.set_num_threads = interrupted
        try:
            with threads.compiled_call(2) as may_share:
                assert may_share
        except KeyboardInterrupt:
            found.append(numba.get_num_threads())
        numba.set_num_threads = set_num_threads
    assert not threads._process.callers
    print(json.dumps([*found, most_threads()]))
    """
    assert results_of(code, tmp_path) == [3, 3, 3, 3]
