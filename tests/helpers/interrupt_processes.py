"""Processes in which fits are interrupted, and what an interrupt must not leave there."""

import json

from tests.helpers.installed import Way
from tests.helpers.subprocesses import run_python

JIT = Way("jit")

PREAMBLE = """
    import hashlib, json, os, signal, threading, time, warnings
    import numpy as np
    import fastmlp
    import tests.helpers.refuse_numba
    from fastmlp.process import blas
    from fastmlp.network import epochs
    from fastmlp.network import network
    from fastmlp.network import threads
    from fastmlp.process.blas import _controller
    from fastmlp.simd.library import LIBRARY
    from tests.helpers.recorded_calls import calls, record

    warnings.simplefilter("ignore")
    generator = np.random.RandomState(0)

    def digest(model):
        return hashlib.sha256(b"".join(array.tobytes() for array in model.coefs_ + model.intercepts_)).hexdigest()

    def left_behind():
        "What an interrupt must not leave: calls that seem to go on, locks, limits."
        n_blas_threads = [library.num_threads for library in _controller().select(user_api="blas").lib_controllers]
        return [
            len(threads._process().callers), threads._process().sharing._is_owned(), len(blas._process().limiting),
            numba.get_num_threads() if LIBRARY is None else None, n_blas_threads,
        ]

    if LIBRARY is None:
        import numba
"""


def results_of(code, way=JIT, **variables):
    output, _ = run_python(PREAMBLE + code, timeout=250, **({"NUMBA_NUM_THREADS": 2} | way.options | variables))
    return json.loads(output.splitlines()[-1])
