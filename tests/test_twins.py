"""Both twins of a driver are compiled with the options that equal bits depend on, for each data type."""

from unittest import mock

import numba
import numpy as np
import pytest
from numba.core.cpu import ParallelOptions

from fastmlp import step
from fastmlp._jit import FASTMATH, twins
from fastmlp.warmup import warmup
from tests.problems import DTYPES

pytestmark = pytest.mark.needs_jit

DRIVERS = {"train": step.train, "evaluate": step.evaluate, "infer_all": step.infer_all}


def two_loops(first, second):
    for i in numba.prange(len(first)):
        first[i] = 1
    for i in numba.prange(len(first)):
        second[i] = 2


@pytest.mark.parametrize("name", DRIVERS)
def test_loops_are_not_fused(name):
    for dtype in DTYPES:
        warmup(dtype)
    serial, parallel = DRIVERS[name]
    # Compiling must not have used the option up. Between two fused loops there is no barrier: a block of weights would
    # be updated before all samples have been through the network, and the bits would depend on the threads.
    assert not ParallelOptions(parallel.targetoptions["parallel"]).fusion
    assert ParallelOptions(parallel.targetoptions["parallel"]).enabled
    assert "parallel" not in serial.targetoptions
    # The twins differ in this option alone: the same arithmetic.
    others = {key: value for key, value in parallel.targetoptions.items() if key != "parallel"}
    assert others == serial.targetoptions
    assert others["fastmath"] == FASTMATH


def test_numba_would_fuse_loops_but_is_told_not_to_for_every_data_type():
    with mock.patch("fastmlp._jit.attach_cache", lambda dispatcher: dispatcher):
        _, parallel = twins(two_loops)
    eager = numba.njit(parallel=True)(two_loops)
    for dtype in DTYPES:
        signature = tuple([numba.typeof(np.zeros(3, dtype))] * 2)
        loops = []
        for dispatcher in (parallel, eager):
            dispatcher.compile(signature)
            loops.append(dispatcher.get_metadata(signature)["parfor_diagnostics"].count_parfors())
        assert loops == [2, 1]
