"""Both twins of a loop over blocks are compiled with the options that equal bits depend on, for each data type."""

import numba
import pytest

from fastmlp import blocks
from fastmlp._jit import FASTMATH
from fastmlp.warmup import warmup
from tests.problems import DTYPES

pytestmark = pytest.mark.needs_jit

LOOPS = {
    "propagate": (blocks._propagate_in_turn, blocks._propagate_on_threads),
    "update": (blocks._update_in_turn, blocks._update_on_threads),
    "infer": (blocks._infer_in_turn, blocks._infer_on_threads),
}


@pytest.mark.parametrize("name", LOOPS)
def test_the_twins_differ_in_threads_and_in_where_their_code_stands(name):
    serial, parallel = LOOPS[name]
    others = {key: value for key, value in parallel.targetoptions.items() if key != "parallel"}
    assert serial.targetoptions == {**others, "forceinline": True}
    assert others["fastmath"] == FASTMATH
    for dtype in DTYPES:
        warmup(dtype)
    assert len(parallel.signatures) == len(DTYPES)
    # Two loops in one function would be fused: a block of weights could be updated before all samples have been through
    # the network, and the bits would depend on the threads.
    anew = numba.jit(**parallel.targetoptions)(parallel.py_func)  # what comes from the cache has no diagnostics
    for signature in parallel.signatures:
        anew.compile(signature)
        assert anew.get_metadata(signature)["parfor_diagnostics"].count_parfors() == 1
