"""How many threads a fit uses: `n_threads`, else the smallest of all other limits, never more than Numba's pool.

With a library of kernels there is no pool, and Numba is not imported: ``NUMBA_NUM_THREADS`` counts all the same.
"""

import importlib.util
import json
import os

import joblib
import pytest

from tests.helpers.installed import Way
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

JIT = Way("jit")

# Each row takes one limit below the pool's four threads; so all the others must be above it, on any machine.
PREAMBLE = """
    import functools
    import json
    import os
    from fastmlp.simd.library import LIBRARY
    if LIBRARY is None:
        import numba
    import tests.helpers.refuse_numba
    from pathlib import Path
    from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits
    from fastmlp.process import processors
    from fastmlp.network import threads
    from tests.helpers.recorded_calls import calls, record, twins_used
    from tests.helpers.threaded import bits, fit_in_this_process, fit_quietly, model, samples

    def affinity(count):
        os.sched_getaffinity = lambda process: set(range(count))

    def openmp_of(value):
        os.environ["OMP_NUM_THREADS"] = str(value)

    def groups(version, quotas, own="/", seen="/", point=None, controllers="cpu,cpuacct"):
        "Have Linux tell of control groups: their quotas by path below the mount point, this process's, the part seen."
        point = point or ("/sys/fs/cgroup" if version == 2 else f"/sys/fs/cgroup/{controllers}")
        listed = f"0::{own}" if version == 2 else f"3:{controllers}:{own}"
        kind = "cgroup2 cgroup2 rw" if version == 2 else f"cgroup cgroup rw,{controllers}"
        escaped = point.replace(" ", chr(92) + "040")
        write("/proc/self/cgroup", listed)
        write("/proc/self/mountinfo", f"31 23 0:28 {seen} {escaped} rw,nosuid shared:9 - {kind}")
        for path, quota in quotas.items():
            if version == 2:
                write(f"{point}/{path}/cpu.max", quota)
            else:
                for name, number in zip(("quota", "period"), quota.split()):
                    write(f"{point}/{path}/cpu.cfs_{name}_us", number)

    def write(name, line):
        path = Path(processors._ROOT + name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            print(line, file=file)

    def most_threads(n_threads=None):
        record()
        bits(fit_quietly(model(n_threads=n_threads), X, y), X)
        return max(call["n_threads"] for call in calls)

    X, y = samples()
    affinity(8)
    openmp = ThreadpoolController().select(user_api="openmp").limit(limits=8)
    processors._ROOT = ROOT
"""

ROWS = {
    "the pool": ("most_threads()", {}, 4),
    "a smaller pool": ("most_threads()", {"NUMBA_NUM_THREADS": 2}, 2),
    "n_threads": ("most_threads(3)", {}, 3),
    "n_threads=1": ("most_threads(1)", {}, 1),
    "n_threads above the pool": ("most_threads(99)", {}, 4),
    "n_threads above a smaller pool": ("most_threads(3)", {"NUMBA_NUM_THREADS": 2}, 2),
    "n_threads above all other limits": (
        "affinity(1), threadpool_limits(1), numba.set_num_threads(1), openmp_of(1), most_threads(3)",
        {},
        3,
    ),
    "OMP_NUM_THREADS": ("most_threads()", {"OMP_NUM_THREADS": 3}, 3),
    "OMP_NUM_THREADS of nested regions": ("openmp_of('2,4'), most_threads()", {}, 2),
    "OMP_NUM_THREADS above the pool": ("openmp_of(64), most_threads()", {}, 4),
    "OMP_NUM_THREADS that says nothing": ("openmp_of(' '), most_threads()", {}, 4),
    "Numba's mask": ("numba.set_num_threads(3), most_threads()", {}, 3),
    "CPU affinity": ("affinity(3), most_threads()", {}, 3),
    "quota": ("groups(2, {'': '250000 100000'}), most_threads()", {}, 3),
    "quota below one processor": ("groups(2, {'': '5000 100000'}), most_threads()", {}, 1),
    "quota without a limit": ("groups(2, {'': 'max 100000'}), most_threads()", {}, 4),
    "quota of cgroup version 1": ("groups(1, {'': '200000 100000'}), most_threads()", {}, 2),
    "no quota in cgroup version 1": ("groups(1, {'': '-1 100000'}), most_threads()", {}, 4),
    "quota of a folder for cpu alone": ("groups(1, {'': '200000 100000'}, controllers='cpu'), most_threads()", {}, 2),
    "quota of a systemd unit": (
        "groups(2, {'a.slice/b.service': '200000 100000', 'a.slice': 'max 100000'}, '/a.slice/b.service')"
        ", most_threads()",
        {},
        2,
    ),
    "quota of a systemd slice": (
        "groups(2, {'a.slice/b.service': '400000 100000', 'a.slice': '200000 100000'}, '/a.slice/b.service')"
        ", most_threads()",
        {},
        2,
    ),
    "quota of a unit of cgroup version 1": (
        "groups(1, {'a.slice/b.service': '200000 100000', '': '-1 100000'}, '/a.slice/b.service'), most_threads()",
        {},
        2,
    ),
    "quota of another unit": (
        "groups(2, {'a.slice/b.service': '100000 100000'}, '/a.slice/c.service'), most_threads()",
        {},
        4,
    ),
    "quota of a container that sees its part": (
        "groups(2, {'job': '300000 100000', '': '200000 100000'}, '/box/1/job', '/box/1'), most_threads()",
        {},
        2,
    ),
    "quota of a container whose group is out of sight": (
        "groups(1, {'': '200000 100000'}, '/../../elsewhere', '/box/1'), most_threads()",
        {},
        2,
    ),
    "quota of a mount point with a blank": (
        "groups(2, {'': '200000 100000'}, point='/my groups'), most_threads()",
        {},
        2,
    ),
    "quotas of both versions": (
        "groups(1, {'': '300000 100000'}), groups(2, {'': '200000 100000'}), most_threads()",
        {},
        2,
    ),
    "quota of something else than processors": (
        "groups(1, {'': '100000 100000'}, controllers='cpuset'), most_threads()",
        {},
        4,
    ),
    "threadpool_limits": ("threadpool_limits(2), most_threads()", {}, 2),
    "threadpool_limits of OpenMP": ("threadpool_limits(3, 'openmp'), most_threads()", {}, 3),
    "threadpool_limits of BLAS alone": ("threadpool_limits(1, 'blas'), most_threads()", {}, 4),
    "the smallest of several": (
        "affinity(3), groups(2, {'': '200000 100000'}), openmp_of(4), most_threads()",
        {},
        2,
    ),
}


def results_of(code, folder, way=JIT, **variables):
    variables = {"NUMBA_NUM_THREADS": 4} | way.options | variables
    preamble = f"    ROOT = {str(folder)!r}\n{PREAMBLE}"
    output, _ = run_python(preamble + code, timeout=100, **variables)
    return json.loads(output)


# Rows that want the same environment share a process; each begins with all limits lifted.
def is_about_numba(row):
    """Return whether a row asks Numba for something, which is not imported where there is a library."""
    return "numba." in row[0]


ENVIRONMENTS = sorted({tuple(environment.items()) for _, environment, _ in ROWS.values()}, key=str)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system knows no CPU affinity")
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_every_limit_counts(environment, way, tmp_path):
    rows = {name: row for name, row in ROWS.items() if row[1] == dict(environment)}
    if way.is_library:
        rows = {name: row for name, row in rows.items() if not is_about_numba(row)}
    code = f"""
    found = {{}}
    for number, (name, expression) in enumerate({ {name: row[0] for name, row in rows.items()} }.items()):
        processors._ROOT = f"{tmp_path}/{{number}}"
        affinity(8)
        if number:
            os.environ.pop("OMP_NUM_THREADS", None)
        processors._quota_of_process.cache_clear()
        if LIBRARY is None:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        threadpool_limits(8)
        value = eval(expression)
        found[name] = value[-1] if isinstance(value, tuple) else value
    print(json.dumps(found))
    """
    assert results_of(code, tmp_path, way, **dict(environment)) == {name: row[2] for name, row in rows.items()}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system knows no CPU affinity")
def test_a_process_that_may_run_on_one_processor(way, tmp_path):
    code = """
    import importlib
    importlib.reload(os)  # the system's own function again
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps([most_threads(), most_threads(2)]))
    """
    assert results_of(code, tmp_path, way) == [1, 2]


BOUND = """
    import json, os
    before = os.sched_getaffinity(0)
    import {first}
    import sklearn.cluster
    bound = os.sched_getaffinity(0)
    from fastmlp.simd.library import LIBRARY
    from fastmlp.network import threads
    from tests.helpers.threaded import fit_in_this_process

    if LIBRARY is None:
        import numba

        @numba.njit
        def mask_of(n_threads):
            numba.set_num_threads(n_threads)
            return numba.get_num_threads()
    else:
        import tests.helpers.refuse_numba
        mask_of = threads.resolve_n_threads

    _, twins, n_threads = fit_in_this_process(0)
    after = os.sched_getaffinity(0)
    tasks = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
    limits = [threads.resolve_n_threads(None), threads.resolve_n_threads(len(before)), mask_of(len(before))]
    print(json.dumps([limits, twins, n_threads, *map(len, (before, bound, after)), len(set().union(*tasks))]))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are bound, and listed, on Linux")
@pytest.mark.parametrize(
    ("way", "first"),
    [("jit", "numba"), ("jit", "sklearn.cluster"), ("jit", "fastmlp"), ("library", "sklearn.cluster")],
    indirect=["way"],
)
def test_threads_that_openmp_binds_to_processors(way, first):
    """It binds the one that loads it to a single processor, which is then all that Numba, or anybody, is told of."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process may run on one processor only")
    output, _ = run_python(BOUND.format(first=first), OMP_PROC_BIND="true", timeout=100, **way.options)
    limits, twins, n_threads, before, bound, after, in_use = json.loads(output)
    assert bound == after == 1
    assert limits == [before] * 3
    assert n_threads == before
    assert "parallel" in twins
    assert in_use == before


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system knows no CPU affinity")
def test_one_processor_is_one_even_where_openmp_binds_threads(way, tmp_path):
    one = """
    import os
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    """
    output, _ = run_python(f"{one}{BOUND.format(first='fastmlp')}", OMP_PROC_BIND="true", timeout=100, **way.options)
    limits, twins, n_threads, *_ = json.loads(output)
    assert (limits, twins, n_threads) == ([1, 1, 1], ["serial"], 1)


@pytest.mark.parametrize("inner", [1, 3])
def test_limits_of_joblib_reach_its_workers(inner, tmp_path):
    code = f"""
    import joblib
    with joblib.parallel_config("loky", inner_max_num_threads={inner}):
        results = joblib.Parallel(n_jobs=2)(joblib.delayed(fit_in_this_process)(0) for _ in range(2))
    print(json.dumps([result[2] for result in results]))
    """
    assert results_of(code, tmp_path) == [min(inner, joblib.cpu_count())] * 2


def test_nothing_asks_for_the_slow_list_of_all_libraries(way, tmp_path):
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
    assert results_of(code, tmp_path, way) == [4, 2, 4]


SETTINGS = """
    from fastmlp.network.network import Network
    run = Network.run

    def mask():
        return numba.get_num_threads() if LIBRARY is None else None

    def settings():
        libraries = [(library["filepath"], library["num_threads"]) for library in threadpool_info()]
        return [mask(), libraries, torch.get_num_threads() if torch else None]

    def stopped_by(error):
        def stopped(network, n_threads, driver, *arguments):
            def then_stop(*arguments):
                driver(*arguments)
                during.append(mask())
                raise error
            return run(network, n_threads, then_stop, *arguments)
        return stopped

    # Neither the defaults nor what fits set.
    threadpool_limits(5)
    if LIBRARY is None:
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
    print(json.dumps([before[0], sorted(set(during), key=str), changed]))
"""


@pytest.mark.parametrize(("way", "library"), [("jit", None), ("jit", "torch"), ("library", None)], indirect=["way"])
def test_settings_are_as_before_after_a_fit_an_error_and_an_interrupt(way, library, tmp_path):
    if library is not None and importlib.util.find_spec(library) is None:
        pytest.skip("PyTorch is not installed")
    code = f"    {'import torch' if library else 'torch = None'}\n{SETTINGS}"
    mask, during, changed = results_of(code, tmp_path, way)
    if not way.is_library:
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
            with threads.compiled_call(2) as (n_threads, _):
                assert n_threads == 2
        except KeyboardInterrupt:
            found.append(numba.get_num_threads())
        numba.set_num_threads = set_num_threads
    assert not threads._process().callers
    print(json.dumps([*found, most_threads()]))
    """
    assert results_of(code, tmp_path) == [3, 3, 3, 3]
