"""Kernels are compiled in a way of our own where that was tried, and else in Numba's."""

import json

import numba
import numpy as np
import pytest

from fastmlp.simd import compilers
from fastmlp.simd.jit import inner, uncached
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

TRAINING = """
    import json
    import numba

    if {is_other}:
        numba.version_info = numba.version_info._replace(short=(0, 9999))
    import numpy as np
    from fastmlp.drivers import steps
    from tests.helpers.problems import SOLVERS, advance, make_problem

    losses = []
    for layer_units in ([3, 4, 2], [20, 50, 30]):
        problem = make_problem(layer_units, "tanh", "log_loss", np.float32)
        network = problem.network(n_threads=2, **SOLVERS["adam"])
        losses += advance(problem.epochs(network, n_blocks=network.n_threads), 3, 0.01).tolist()
    compiler = steps.train.of_numba._compiler.pipeline_class.__name__
    print(json.dumps([losses, compiler]))
"""


def trained(is_other, **variables):
    output, _ = run_python(TRAINING.format(is_other=is_other), NUMBA_NUM_THREADS=2, **variables)
    return json.loads(output)


def test_the_numba_at_hand_was_tried():
    assert compilers.IS_TRIED, "see whether fastmlp/simd/compilers.py holds for this version, then name it there"


def twice(x):
    return x + x


double = inner(twice)


def four_times(x):
    return double(double(x))


def passes(compiled):
    """Return the names of the passes that a function went through."""
    (times,) = compiled.metadata["pipeline_times"].values()
    return {name.split("_", 1)[1] for name in times}


def test_kernels_go_through_all_of_numbas_passes_but_those_that_are_named():
    kernel, usual = uncached(four_times), numba.njit(four_times)
    assert kernel(1) == usual(1) == 4
    ours, numbas = (passes(dispatcher.overloads[(numba.int64,)]) for dispatcher in (kernel.of_numba, usual))
    assert numbas - ours == compilers._UNUSED_PASSES
    assert ours <= numbas


def test_machine_code_is_made_of_kernels_alone():
    kernel = uncached(four_times)
    assert kernel(2.0) == 8.0
    for dispatcher, has_code in ((kernel.of_numba, True), (double.of_numba, False)):
        compiled = dispatcher.overloads[(numba.float64,)]
        name = compiled.fndesc.llvm_func_name
        assert compiled.library._codegen._engine.is_symbol_defined(name) == has_code
        assert (compiled.library.get_pointer_to_function(name) != 0) == has_code


@pytest.mark.slow
def test_another_numba_compiles_as_it_does_and_trains_the_same(tmp_path):
    ours, our_compiler = trained(False)
    numbas, its_compiler = trained(True, FASTMLP_CACHE_DIR=tmp_path)  # the cache does not tell the two apart
    assert (our_compiler, its_compiler) == ("KernelCompiler", "Compiler")
    np.testing.assert_allclose(ours, numbas, rtol=1e-5)
    assert len(ours) == 6
