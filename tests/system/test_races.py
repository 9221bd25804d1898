"""A team of threads on three and on eight threads, more than most machines have processors: no race shows.

Every network has guard bands, and every result must be that of the serial twin, bit for bit, again and again.
"""

import json

import pytest

from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit


@pytest.mark.parametrize("n_threads", [3, 8])
def test_guard_bands_and_bits_on_more_threads_than_processors(n_threads, way):
    output, _ = run_python(
        f"""
        import json
        import numpy as np
        import tests.helpers.refuse_numba
        from fastmlp.network import threads
        from fastmlp.simd.library import LIBRARY
        from fastmlp.simd.numba_modules import numba
        from tests.helpers.panels import BY_ROWS, GuardedNetwork, guards_checked
        from tests.helpers.problems import SOLVERS, advance, make_problem, parameters_of

        n_threads = {n_threads}

        def bits(problem, n_blocks, solver, narrow):
            options = {{"n_threads": n_blocks, "alpha": 0.01, "batch_size": 37, "narrow": narrow}}
            with guards_checked():
                network = problem.network(GuardedNetwork, **SOLVERS[solver], **options)
                epochs = problem.epochs(
                    network, batch_size=37, random_state=np.random.RandomState(0), n_blocks=n_blocks
                )
                losses = advance(epochs, 2, 0.01)
                outputs = np.empty((problem.n_samples, problem.layer_units[-1]), problem.dtype)
                network.predict(problem.rows, outputs, n_blocks=n_blocks)
                evaluated = problem.network(GuardedNetwork, solver="lbfgs", n_threads=n_blocks)
                evaluated.n_blocks = lambda rows: n_blocks  # however little work it is
                gradient = problem.flat_parameters()
                loss = evaluated.loss_and_gradient(
                    problem.rows, problem.targets, problem.sample_weight, problem.flat_parameters(), gradient
                )
            return b"".join(
                array.tobytes() for array in (losses, outputs, gradient, np.array(loss), *parameters_of(network))
            )

        # Which twin ran, and on how many threads.
        masks = set()
        run = GuardedNetwork.run

        def noted(self, n_threads, driver, *arguments):
            def on_threads(*arguments):
                if self.fields["on_several_threads"]:
                    masks.add(numba.get_num_threads() if LIBRARY is None else 1 + len(arguments[-1]))
                return driver(*arguments)
            return run(self, n_threads, on_threads, *arguments)

        GuardedNetwork.run = noted

        compared = 0
        for layer_units in ([5, 70, 9], [30, 17, 33, 3]):
            for dtype in (np.float32, np.float64):
                for narrow, solver in ((False, "adam"), (True, "nesterov"), (BY_ROWS, "adam")):
                    problem = make_problem(
                        layer_units, "tanh", "log_loss", dtype, n_samples=101, weighted=True, seed=compared
                    )
                    expected = bits(problem, 1, solver, narrow)
                    for _ in range(10):
                        assert bits(problem, n_threads, solver, narrow) == expected
                        compared += 1
        print(json.dumps([threads.threading_layer(), sorted(masks), compared]))
        """,
        NUMBA_NUM_THREADS=8,
        **way.options,
    )
    layer, masks, compared = json.loads(output)
    assert compared == 120
    if way.is_library or layer in ("omp", "tbb"):
        assert masks == [n_threads]
