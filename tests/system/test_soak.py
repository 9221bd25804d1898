"""Ten minutes of random work in one process, with the JIT and with a library: nothing leaks, and all results are exact.

``pytest --soak`` runs it. ``FASTMLP_SOAK_SECONDS`` sets another duration, ``FASTMLP_SOAK_SEED`` repeats a run,
``FASTMLP_SOAK_REPORT`` names a file that the reports are added to; they are printed otherwise.
"""

import os
import re
from pathlib import Path

import pytest

from tests.helpers.subprocesses import run_python

SECONDS = float(os.environ.get("FASTMLP_SOAK_SECONDS", "600"))

pytestmark = [
    pytest.mark.needs_jit,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads and handles are read from /proc"),
]


def run_soak(seconds, seed, way):
    # A process of its own: what other tests have left behind is no leak of this one's.
    code = f"from tests.helpers.soaking import soak; print(soak({seconds}, {seed}))"
    report, _ = run_python(code, timeout=seconds + 300, NUMBA_NUM_THREADS=2, **way.options)
    return report


@pytest.mark.soak
def test_ten_minutes_of_random_work(capsys, way):
    seed = os.environ.get("FASTMLP_SOAK_SEED", str(int.from_bytes(os.urandom(3), "big")))
    with capsys.disabled():
        print(f"\nsoak: {SECONDS:g} seconds, FASTMLP_SOAK_SEED={seed}", flush=True)
    report = run_soak(SECONDS, int(seed), way)
    where = os.environ.get("FASTMLP_SOAK_REPORT")
    if where:
        with open(where, "a") as file:
            print(f"{way.name}:\n{report}", file=file)
    else:
        with capsys.disabled():
            print(report)


def test_a_few_seconds_of_random_work(way):
    report = run_soak(6, 1, way)
    assert "memory" in report
    assert re.search(r"^[1-9]\d* refits", report, re.MULTILINE), report
