"""Whether each compiled call was shared by threads, by how many and when, written down as it happens.

Two calls that overlap in time run together, in one process or in several: their clock is the system's.
"""

import json
import os
import threading
import time
import uuid
from pathlib import Path

import fastmlp
import fastmlp.network.network
from fastmlp.drivers.inference import run_inference
from fastmlp.network.network import Network
from fastmlp.network.sharing import experience_of
from fastmlp.simd.library import LIBRARY
from fastmlp.simd.numba_modules import numba

FOLDER_VARIABLE = "FASTMLP_TEST_RECORDS"
_run = Network.run
calls = []


def _recorded(name, n_threads, call, *arguments):
    begin = time.perf_counter()
    try:
        return call(*arguments)
    finally:
        record = {"twin": "parallel" if n_threads > 1 else "serial", "driver": name, "n_threads": n_threads}
        calls.append(record | {"begin": begin, "end": time.perf_counter(), "thread": threading.get_ident()})


def _run_recorded(network, n_threads, driver, *arguments):
    def recorded(own_threads, *arguments):
        n_threads = 1
        if network.fields["on_several_threads"]:
            # Of a team under the JIT Numba has the last word; else the helpers are handed over.
            n_threads = numba.get_num_threads() if LIBRARY is None else 1 + len(arguments[-1])
        return _recorded(driver.name, n_threads, driver, own_threads, *arguments)

    return _run(network, n_threads, recorded, *arguments)


def _run_inference_recorded(helpers, *arguments):
    return _recorded("infer_blocks", 1 + len(helpers), run_inference, helpers, *arguments)


def _patch():
    Network.run = _run_recorded
    fastmlp.network.network.run_inference = _run_inference_recorded


def record():
    """Begin to write down this process's compiled calls.

    What earlier fits found out is forgotten: where one thread is the faster, a fit of their shape would use no other.
    """
    _patch()
    experience_of.cache_clear()
    calls.clear()


def twins_used():
    """Return the names of the twins that ran."""
    return sorted({call["twin"] for call in calls})


def most_threads_at_once(some_calls):
    """Return how many threads ran compiled code at the same moment."""
    events = [(call["begin"], call["n_threads"]) for call in some_calls]
    events += [(call["end"], -call["n_threads"]) for call in some_calls]
    running = most = 0
    # Where one ends in the instant in which another begins, the end comes first.
    for _, change in sorted(events):
        running += change
        most = max(most, running)
    return most


def read_records(folder):
    """Return the calls of all processes that wrote into a folder, and how many processes there were."""
    files = list(Path(folder).glob("*.json"))
    return [call for file in files for call in json.loads(file.read_text())], len({file.name[:8] for file in files})


class Recorded(fastmlp.MLPClassifier):
    """A classifier whose fits leave a file with the calls that they made."""

    def fit(self, X, y, sample_weight=None):
        _patch()
        first = len(calls)
        super().fit(X, y, sample_weight)
        own = [call for call in calls[first:] if call["thread"] == threading.get_ident()]
        path = Path(os.environ[FOLDER_VARIABLE]) / f"{os.getpid():08d}-{uuid.uuid4().hex}.json"
        path.write_text(json.dumps(own))
        return self
