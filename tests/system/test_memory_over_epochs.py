"""Memory does not grow with epochs."""

import tracemalloc
from pathlib import Path
from unittest import mock

import pytest

from fastmlp import MLPClassifier
from fastmlp.training import stochastic
from tests.helpers.random_data import draw, labels
from tests.helpers.subprocesses import run_python
from tests.helpers.traced_memory import held_bytes, tracing

# Interpreted kernels are slow, and NumPy's temporary arrays in them are not the product's memory.
pytestmark = [
    pytest.mark.needs_jit,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size`"),
]

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


@pytest.mark.parametrize(
    "options",
    [{}, {"early_stopping": True}, {"solver": "sgd", "learning_rate": "adaptive"}, {"batch_size": 10}],
    ids=["adam", "early stopping", "adaptive", "small minibatches"],
)
@pytest.mark.parametrize("layer_units", [(150, 150), (4,)], ids=["wide", "narrow"])
def test_epochs_leave_nothing_but_their_losses(layer_units, options):
    X = draw(200, 5)
    model = MLPClassifier(layer_units, max_iter=200, tol=0.0, n_iter_no_change=10_000, **options)
    model.fit(X, labels(200, 3))
    held = {}
    record = stochastic._record_losses

    def record_and_measure(model, losses, n_samples):
        record(model, losses, n_samples)
        if model.n_iter_ in (20, 200):
            lists = [model.loss_curve_, model.validation_scores_ or []]
            floats = sum(values.__sizeof__() + 24 * len(values) for values in lists)
            held[model.n_iter_] = held_bytes() - floats

    # One epoch is offered at a time, so that there are many calls in between.
    with tracing(), mock.patch.multiple(stochastic, _record_losses=record_and_measure, MAX_EPOCHS_A_CALL=1):
        model.fit(X, labels(200, 3))
    # A single number that every epoch left would come to 4,320; 350 are usual.
    assert held[200] - held[20] < 2000


@pytest.mark.parametrize("early_stopping", [False, True])
def test_many_epochs_need_no_higher_peak_than_ten(early_stopping):
    X, y = draw(200, 5), labels(200, 3)
    peaks = []
    record = stochastic._record_losses

    def record_and_tidy_up(model, losses, n_samples):
        record(model, losses, n_samples)
        held_bytes()  # what Python keeps to use again is no part of a fit, and grows with the number of its calls

    with tracing(), mock.patch.object(stochastic, "_record_losses", record_and_tidy_up):
        # The first fit is for what lasts as long as the process.
        for n_epochs in (300, 10, 300):
            model = MLPClassifier((30, 20), max_iter=n_epochs, tol=0.0, n_iter_no_change=10_000)
            before = held_bytes()
            tracemalloc.reset_peak()
            model.set_params(early_stopping=early_stopping).fit(X, y)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    # A loss is an object of 24 bytes and a place in a list; so is a score.
    curves = (1 + early_stopping) * 290 * (24 + 2 * 8)
    # The core is offered up to so many epochs a call, but one before each score: room for rates and losses.
    offered = 0 if early_stopping else 3 * 8 * 300
    print(f"{peaks[2] - peaks[1]:,} bytes more, {curves:,} of them losses and scores")
    assert peaks[2] - peaks[1] < curves + offered + 2000


@needs_proc
def test_the_process_does_not_grow_over_a_thousand_epochs():
    output, _ = run_python(
        """
        import os, warnings
        from pathlib import Path
        import numpy as np
        from fastmlp import MLPClassifier, MLPRegressor
        warnings.simplefilter("ignore")

        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        X = np.random.RandomState(0).standard_normal((300, 20)).astype(np.float32)
        y = (X[:, 0] > 0).astype(int)
        grown = []
        for model in (MLPClassifier((50,)), MLPRegressor(hidden_layer_sizes=(3,), early_stopping=True)):
            model.set_params(tol=0.0, n_iter_no_change=10_000)
            # The allocator comes to rest only after a while.
            model.set_params(max_iter=100)
            for _ in range(3):
                model.fit(X, y)
            before = resident()
            model.set_params(max_iter=1000).fit(X, y)
            grown.append(resident() - before)
            model.set_params(early_stopping=False)
            for _ in range(100):
                model.partial_fit(X, y)
            before = resident()
            for _ in range(1000):
                model.partial_fit(X, y)
            grown.append(resident() - before)
        print(*grown)
        """
    )
    assert max(map(int, output.split())) < 1_000_000, output
