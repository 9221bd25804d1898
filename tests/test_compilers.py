"""Kernels are compiled in a way of our own where that was tried, and else in Numba's."""

import json

import numpy as np
import pytest

from fastmlp import _compilers
from tests.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

TRAINING = """
    import json
    import numba

    if {is_other}:
        numba.version_info = numba.version_info._replace(short=(0, 9999))
    import numpy as np
    from fastmlp import step
    from tests.problems import SOLVERS, advance, make_problem

    losses = []
    for layer_units in ([3, 4, 2], [20, 50, 30]):
        problem = make_problem(layer_units, "tanh", "log_loss", np.float32)
        network = problem.network(n_threads=2, **SOLVERS["adam"])
        losses += advance(problem.epochs(network, n_blocks=network.n_threads), 3, 0.01).tolist()
    compiler = step.train._compiler.pipeline_class.__name__
    print(json.dumps([losses, compiler]))
"""


def trained(tmp_path, is_other):
    output, _ = run_python(TRAINING.format(is_other=is_other), FASTMLP_CACHE_DIR=tmp_path, NUMBA_NUM_THREADS=2)
    return json.loads(output)


def test_the_numba_at_hand_was_tried():
    assert _compilers.IS_TRIED, "see whether fastmlp/_compilers.py holds for this version, then name it there"


@pytest.mark.slow
def test_another_numba_compiles_as_it_does_and_trains_the_same(tmp_path):
    ours, our_compiler = trained(tmp_path / "ours", False)
    numbas, its_compiler = trained(tmp_path / "numba's", True)
    assert (our_compiler, its_compiler) == ("KernelCompiler", "Compiler")
    np.testing.assert_allclose(ours, numbas, rtol=1e-5)
    assert len(ours) == 6
