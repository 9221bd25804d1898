"""The same seed gives the same bits for any number of threads, in either twin, again and again."""

import json

import numpy as np
import pytest

from fastmlp import MLPRegressor
from tests.helpers.callbacks import Callback
from tests.helpers.estimators import fit_quietly
from tests.helpers.installed import Way
from tests.helpers.problems import DTYPES, advance, make_problem, parameters_of
from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

# With units along the lanes: wide, and deeper; with samples: wider than a panel, tiny, without a hidden layer. None is
# a multiple of a tile.
SHAPES = [[300, 200, 10], [100, 150, 70, 60], [70, 65, 50, 60], [2, 4, 1], [200, 3]]

JIT = Way("jit")
TRAINING = """
    import hashlib, json
    import numpy as np
    import tests.helpers.refuse_numba
    from fastmlp.network import threads
    from tests.helpers.problems import advance, make_problem, parameters_of

    def digest(layer_units, dtype, n_blocks=None, n_threads=8):
        problem = make_problem(layer_units, "tanh", "log_loss" if layer_units[-1] > 1 else "binary_log_loss",
                               dtype, n_samples=433, weighted=True)
        network = problem.network(solver="adam", batch_size=200, n_threads=n_threads, alpha=0.01)
        epochs = problem.epochs(network, batch_size=200, random_state=np.random.RandomState(0), n_blocks=n_blocks)
        losses = advance(epochs, 3, 0.01)
        bits = losses.tobytes() + b"".join(array.tobytes() for array in parameters_of(network))
        outputs = np.empty((433, layer_units[-1]), dtype)
        network.predict(problem.rows, outputs, n_blocks=n_blocks)
        return hashlib.sha256(bits + outputs.tobytes()).hexdigest()
"""


def digests(code, way=JIT, **variables):
    output, _ = run_python(TRAINING + code, **way.options, **variables)
    return json.loads(output)


def test_any_number_of_blocks_twenty_times(way):
    results = digests(
        f"""
    results = {{}}
    for layer_units in {SHAPES}:
        for dtype in (np.float32, np.float64):
            key = f"{{layer_units}} {{dtype.__name__}}"
            results[key] = []
            for n_blocks, repetitions in ((1, 1), (2, 3), (3, 20), (8, 3)):  # 1 is the serial twin
                results[key] += [digest(layer_units, dtype, n_blocks) for _ in range(repetitions)]
    print(json.dumps(results))
        """,
        way,
        NUMBA_NUM_THREADS=8,
    )
    assert len(results) == 2 * len(SHAPES)
    for key, bits in results.items():
        assert len(bits) == 27
        assert len(set(bits)) == 1, key


def test_one_two_and_three_threads_as_a_user_asks_for_them(way):
    results = digests(
        """
    results = []
    for dtype in (np.float32, np.float64):
        # Enough work to be shared out.
        results.append([digest([300, 200, 100, 10], dtype, n_threads=n_threads) for n_threads in (1, 2, 3)])
    print(json.dumps([results, threads.threading_layer()]))
        """,
        way,
        NUMBA_NUM_THREADS=3,
    )
    for bits in results[0]:
        assert len(set(bits)) == 1
    assert results[1] in (["threads of Python's"] if way.is_library else ["omp", "tbb", "workqueue"])


def test_without_parallel_regions_and_in_another_process():
    code = """
    print(json.dumps([digest(units, np.float32) for units in ([30, 100, 10], [2, 4, 1])]))
    """
    # Under workqueue it is always the serial twin.
    assert digests(code, NUMBA_NUM_THREADS=2) == digests(code, NUMBA_NUM_THREADS=2, NUMBA_THREADING_LAYER="workqueue")


@pytest.mark.parametrize("dtype", DTYPES)
def test_however_the_epochs_are_cut_into_calls(dtype):
    problem = make_problem([30, 50, 10], "relu", "log_loss", dtype, n_samples=57)
    results = []
    for steps in (None, 1, 2, 1000):
        network = problem.network(solver="adam", batch_size=16)
        epochs = problem.epochs(network, batch_size=16, random_state=np.random.RandomState(0))
        losses = []
        while len(losses) < 5:
            if steps is not None:
                epochs._steps_per_call = steps
            losses.extend(epochs.advance(np.full(5 - len(losses), 0.01)))
        results.append((losses, parameters_of(network)))
    for losses, parameters in results[1:]:
        assert losses == results[0][0]
        for array, expected in zip(parameters, results[0][1], strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_full_batch_is_computed_alike_whether_it_stays_or_is_gathered_anew(dtype):
    generator = np.random.RandomState(0)
    X, y = generator.standard_normal((100, 27)).astype(dtype), generator.standard_normal((100, 3)).astype(dtype)
    settings = {"hidden_layer_sizes": 9, "solver": "sgd", "random_state": 0, "max_iter": 20, "tol": 0, "momentum": 0}
    models = [MLPRegressor(**settings) for _ in range(3)]
    stays, watched, in_parts = models
    fit_quietly(stays, X, y)
    fit_quietly(watched.set_callbacks(Callback(lambda: None)), X, y)  # an epoch a call
    for _ in range(settings["max_iter"]):
        in_parts.partial_fit(X, y)
    for model in (watched, in_parts):
        assert model.loss_curve_ == stays.loss_curve_
        for array, expected in zip(model.coefs_ + model.intercepts_, stays.coefs_ + stays.intercepts_, strict=True):
            np.testing.assert_array_equal(array, expected)


def test_however_steps_are_cut_into_pieces():
    """On two threads, and in two pieces, phase 1 computes the halves of small gradients; else phase 2 does."""
    results = digests(
        f"""
    from fastmlp.network import epochs as module

    results = {{}}
    for layer_units in {SHAPES}:
        for dtype in (np.float32, np.float64):
            bits = []
            for n_blocks in (1, 2, 3):
                for n_pieces in (1, 2, 3):
                    module.pieces_of_step = lambda seconds: n_pieces
                    bits.append(digest(layer_units, dtype, n_blocks))
            results[f"{{layer_units}} {{dtype.__name__}}"] = bits
    print(json.dumps(results))
        """,
        NUMBA_NUM_THREADS=8,
    )
    assert len(results) == 2 * len(SHAPES)
    for key, bits in results.items():
        assert len(bits) == 9
        assert len(set(bits)) == 1, key


def test_a_call_on_several_threads_that_takes_too_long_ends_after_a_step(way):
    """Where other processes compete for the processors a shared step may take a hundred times as long."""
    results = digests(
        """
    from fastmlp.network import epochs as module

    def steps_and_bits(n_blocks):
        problem = make_problem([30, 50, 10], "relu", "log_loss", np.float32, n_samples=64)
        network = problem.network(solver="adam", batch_size=16, n_threads=2)
        epochs = problem.epochs(network, batch_size=16, n_blocks=n_blocks)
        steps = []
        for _ in range(4):
            epochs._steps_per_call = 4
            epochs.advance(np.full(1, 0.01))
            steps.append(int(epochs._run["steps"]))
            while epochs.mid_epoch:
                epochs._steps_per_call = 1
                epochs.advance(np.full(1, 0.01))
        return steps, [array.tobytes().hex() for array in parameters_of(network)]

    module._LONGEST_SHARED_CALL = 1e6
    free = steps_and_bits(2)
    module._Clock.ticks_per_second = 1e9
    module._LONGEST_SHARED_CALL = 1e-8
    print(json.dumps([free, steps_and_bits(2), steps_and_bits(1)]))
        """,
        way,
        NUMBA_NUM_THREADS=2,
    )
    assert [steps for steps, _ in results] == [[4] * 4, [1] * 4, [4] * 4]
    assert results[0][1] == results[1][1] == results[2][1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer_units", SHAPES, ids=str)
def test_a_minibatch_without_weight_does_nothing(layer_units, dtype):
    """As if its samples were not there: no update, no loss, no step of Adam's."""
    loss = "binary_log_loss" if layer_units[-1] == 1 else "log_loss"
    problem = make_problem(layer_units, "tanh", loss, dtype, n_samples=40, weighted=True)
    problem.sample_weight[10:20] = 0
    networks = [problem.network(solver="adam", batch_size=10) for _ in range(2)]
    some = np.r_[0:10, 20:40]
    losses = advance(problem.epochs(networks[0], batch_size=10), 2, 0.01)
    fewer = advance(problem.epochs(networks[1], batch_size=10, order=some), 2, 0.01)
    assert networks[0].t == networks[1].t == 6
    np.testing.assert_allclose(losses * 40, fewer * 30, rtol=1e-6)
    for array, expected in zip(parameters_of(networks[0]), parameters_of(networks[1]), strict=True):
        np.testing.assert_array_equal(array, expected)
