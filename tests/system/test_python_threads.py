"""Many Python threads fit and predict at once, under every threading layer of Numba's, and with a library."""

import json
import os
import sys

import pytest

from tests.helpers.subprocesses import run_python

pytestmark = pytest.mark.needs_jit

LIBRARY = "library"  # which needs no layer
LAYERS = pytest.mark.parametrize("layer", ["omp", "workqueue", "tbb", LIBRARY])
PREAMBLE = """
    import json
    import threading
    import numpy as np
    import warnings
    import tests.helpers.refuse_numba
    from concurrent.futures import ThreadPoolExecutor
    from fastmlp.network import threads
    from tests.helpers.recorded_calls import calls, most_threads_at_once, record, twins_used
    from tests.helpers.threaded import assert_worth_sharing, bits, fit_quietly, model, samples

    if threads.threading_layer() == "none":
        print("none")
        raise SystemExit
    assert_worth_sharing()
    X, y = samples()
"""


@pytest.fixture
def run_under(request):
    """Return a function that runs some code under one threading layer, or with a library."""

    def run_with_library(layer, code):
        way = request.getfixturevalue("library_way")
        return json.loads(run_python(PREAMBLE + code, NUMBA_NUM_THREADS=2, **way.options)[0])

    return lambda layer, code: (run_with_library if layer == LIBRARY else run_with_layer)(layer, code)


def run_with_layer(layer, code):
    """Run some code under one threading layer; skip where Numba cannot load it."""
    # Where pip puts TBB's library, the linker doesn't look.
    library_path = os.pathsep.join(filter(None, [f"{sys.prefix}/lib", os.environ.get("LD_LIBRARY_PATH")]))
    variables = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": 2, "LD_LIBRARY_PATH": library_path}
    output, _ = run_python(PREAMBLE + code, **variables)
    if output == "none\n":
        assert layer != "workqueue"  # which is a part of Numba
        pytest.skip(f"Numba cannot load the threading layer {layer} here (tbb comes with pip install tbb)")
    return json.loads(output)


@LAYERS
def test_eight_threads_fit_and_predict_at_once(layer, run_under):
    results = run_under(
        layer,
        """
    record()
    expected = [bits(fit_quietly(model(number), X, y), X) for number in range(4)]
    alone = twins_used()
    one_thread = [bits(fit_quietly(model(number, n_threads=1), X, y), X) for number in range(4)]

    record()
    warnings.simplefilter("ignore")
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        return [bits(model(number).fit(X, y), X) for _ in range(2)]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(work, range(8)))
    overlapping = most_threads_at_once([call | {"n_threads": 1} for call in calls])
    shared = [call for call in calls if call["twin"] == "parallel"]
    beside_shared = [
        other for one in shared for other in calls
        if other is not one and other["begin"] < one["end"] and one["begin"] < other["end"]
    ]
    print(json.dumps([expected, alone, one_thread, together, overlapping, len(beside_shared)]))
        """,
    )
    expected, alone, one_thread, together, overlapping, n_beside_shared = results
    assert expected == one_thread
    assert len(set(expected)) == 4
    assert together == [[expected[number % 4]] * 2 for number in range(8)]
    # Under workqueue it is always the serial twin; else a call alone is shared out, or this test would show nothing.
    assert "parallel" not in alone if layer == "workqueue" else "parallel" in alone
    assert overlapping > 1
    assert n_beside_shared == 0


@LAYERS
def test_eight_threads_predict_with_one_model(layer, run_under):
    results = run_under(
        layer,
        """
    fitted = fit_quietly(model(activation="logistic"), X, y)
    X = np.resize(X, (6000, X.shape[1]))
    record()
    expected = [fitted.predict_proba(X[:n_rows]).tobytes() for n_rows in (6000, 3000, 7)]
    alone = twins_used()
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        return all(
            [fitted.predict_proba(X[:n_rows]).tobytes() for n_rows in (6000, 3000, 7)] == expected
            for _ in range(3)
        )

    with ThreadPoolExecutor(8) as pool:
        print(json.dumps([alone, list(pool.map(work, range(8)))]))
        """,
    )
    alone, right = results
    assert "parallel" in alone  # helpers need no threading layer
    assert right == [True] * 8
