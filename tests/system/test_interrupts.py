"""Ctrl-C at any moment: back at once, with a model of whole steps, and everything goes on afterwards."""

import os

import numpy as np
import pytest

from fastmlp.network.epochs import SECONDS_PER_CALL
from fastmlp.network.network import Network
from tests.helpers.interrupt_processes import results_of
from tests.helpers.problems import make_problem

pytestmark = [
    pytest.mark.needs_jit,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process"),
]

# It is half a second where nothing else runs; a busy machine may be ten times as slow.
MOST_SECONDS = 5


@pytest.mark.parametrize("estimator", ["MLPRegressor", "MLPClassifier"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_in_scikit_learns_context_leaves_its_settings_as_they_were(method, estimator):
    """A classifier's fit calls a fit of scikit-learn's, whose context may be left half entered, and close later."""
    results = results_of(
        f"""
    import sys
    from sklearn import get_config

    X = generator.standard_normal((20, 3))
    model = fastmlp.{estimator}(hidden_layer_sizes=(2,), max_iter=1, batch_size=20, random_state=0)
    y = np.arange(20) % 3
    if "{method}" == "partial_fit" and "{estimator}" == "MLPClassifier":
        def fit(X, y):
            model.partial_fit(X, y, classes=[0, 1, 2])
    else:
        fit = model.{method}
    fit(X, y)
    before = get_config()
    FUNCTIONS = {{"wrapper", "config_context", "set_config", "callback_management_context", "__enter__", "__exit__"}}

    class Interrupter:
        "Raise KeyboardInterrupt where one of the lines around a fit begins."
        def __init__(self, line):
            self.line, self.remaining = None, line

        def __call__(self, frame, event, argument):
            path = frame.f_code.co_filename
            if frame.f_code.co_name not in FUNCTIONS or not ("sklearn" in path or path.endswith("contextlib.py")):
                return self if "fastmlp" in path or "contextlib" in path else None
            if event == "line":
                self.remaining -= 1
                if self.remaining == 0:
                    self.line = f"{{frame.f_code.co_name}} {{frame.f_lineno}}"
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return self

    lines, changed, raised = [], [], 0
    while True:
        interrupter = Interrupter(len(lines) + 1)
        try:
            sys.settrace(interrupter)
            fit(X, y)
        except KeyboardInterrupt:
            raised += 1
        finally:
            sys.settrace(None)
        if interrupter.line is None:
            break
        lines.append(interrupter.line)
        if get_config() != before:
            changed.append(interrupter.line)
    print(json.dumps([lines, changed, raised]))
    """
    )
    lines, changed, raised = results
    assert {line.split()[0] for line in lines} >= {"wrapper", "config_context", "set_config", "__exit__"}
    assert len(lines) > 40
    assert raised > 30
    assert not changed


AT_EVERY_MOMENT = """
    import sys
    from fastmlp.training import lbfgs

    X = generator.standard_normal((60, 5))
    y = X[:, 0] - X[:, 1]
    folder = os.path.dirname(fastmlp.__file__)
    whole = set()  # digests of the parameters after whole steps, and before the first

    def parameters(run):
        units = run._network.layer_units
        coefs = [np.empty(pair) for pair in zip(units, units[1:])]
        intercepts = [np.empty(n_units) for n_units in units[1:]]
        run._network.get_parameters(coefs, intercepts)
        return hashlib.sha256(b"".join(array.tobytes() for array in coefs + intercepts)).hexdigest()

    def note_whole_steps(model):
        "Fit; on the way write down the parameters after every step."
        advance, ended = epochs.Epochs.advance, lbfgs._Objective.iteration_ended

        def noting(run, rates):
            whole.add(parameters(run))
            losses = advance(run, rates)
            whole.add(parameters(run))
            return losses

        def noting_iterations(objective, flat):
            whole.add(hashlib.sha256(objective.parameters.tobytes()).hexdigest())
            ended(objective, flat)
            whole.add(hashlib.sha256(objective.parameters.tobytes()).hexdigest())

        epochs.Epochs.advance, lbfgs._Objective.iteration_ended = noting, noting_iterations
        model.fit(X, y)
        epochs.Epochs.advance, lbfgs._Objective.iteration_ended = advance, ended
        assert digest(model) in whole
        return model

    class Interrupt:
        "Raises KeyboardInterrupt at one of the moments of a Ctrl-C: a function is entered, a compiled one returns."

        def __init__(self, number):
            self.left = number

        def __call__(self, frame, event, argument):
            code = frame.f_code
            # What is not begun is not half done: entering to_the_end is no place to be interrupted in.
            if event in ("call", "c_return") and code.co_filename.startswith(folder) and code.co_name != "to_the_end":
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt

    def interrupted(action, number):
        "Return whether there are so many such moments."
        interrupt = Interrupt(number)
        try:
            sys.setprofile(interrupt)
            action()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        return interrupt.left <= 0

    def check(options, stride):
        "Interrupt a fit, and a second fit, at one moment after another; return what was wrong, and how many moments."
        settings = {"hidden_layer_sizes": (7, 6), "batch_size": 60, "random_state": 0, "max_iter": 3} | options
        expected = digest(note_whole_steps(fastmlp.MLPRegressor(**settings)))
        other = fastmlp.MLPRegressor(**settings, tol=0.0).set_params(random_state=1).fit(X, y)
        note_whole_steps(other)
        clean, wrong, number = left_behind(), [], 1
        while True:
            for model in (fastmlp.MLPRegressor(**settings), other.set_params(random_state=0)):
                if not interrupted(lambda: model.fit(X, y), number):
                    return [wrong, number]
                if left_behind() != clean:
                    wrong.append([number, left_behind(), clean])
                if hasattr(model, "coefs_"):
                    if digest(model) not in whole or not np.isfinite(model.predict(X)).all():
                        wrong.append([number, "not a whole step"])
                if digest(model.fit(X, y)) != expected:
                    wrong.append([number, "another fit afterwards"])
            number += stride
"""

FITS = {
    "steps": ({}, "", 5),
    "early stopping": ({"early_stopping": True}, "", 7),
    "L-BFGS": ({"solver": "lbfgs"}, "", 11),
    "a step in pieces": (
        {"solver": "sgd"},
        "    epochs.pieces_of_step = lambda seconds: 3",
        7,
    ),
    "a step in many pieces": (
        {"solver": "sgd"},
        "    epochs.pieces_of_step = lambda seconds: 6",
        7,
    ),
}


# What comes between whole steps is the same however steps are computed, so a library is tried with the plainest.
@pytest.mark.parametrize(("way", "kind"), [*(("jit", kind) for kind in FITS), ("library", "steps")], indirect=["way"])
def test_an_interrupt_at_any_moment_leaves_whole_steps_and_nothing_else(kind, way):
    options, prepare, stride = FITS[kind]
    code = f"{AT_EVERY_MOMENT}\n{prepare}\n    print(json.dumps(check({options}, {stride})))\n"
    wrong, n_moments = results_of(code, way)
    assert wrong == []
    assert n_moments > 200


SIGNALS = """
    def press_after(seconds, moments):
        "Have a Ctrl-C come after some seconds, and its moment be written into a list."
        def press():
            moments.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        threading.Timer(seconds, press).start()

    def stop(action, seconds):
        "Return how long it took from Ctrl-C to the prompt."
        moments = []
        try:
            press_after(seconds, moments)  # on a very slow machine it comes in here already
            action()
        except KeyboardInterrupt:
            pass
        return time.perf_counter() - moments[0]

    endless = {"max_iter": 10**8, "tol": 0.0, "n_iter_no_change": np.inf, "random_state": 0, "n_threads": 2}

    def stop_fit(options, X, y):
        "Stop a fit at several moments; return the seconds it took, and whether the model is one of whole steps."
        waited, right = [], []
        fastmlp.MLPRegressor(**(endless | options | {"max_iter": 1})).fit(X, y)  # compiles
        record()
        for seconds in (0.05, 0.6):
            model = fastmlp.MLPRegressor(**(endless | options))
            waited.append(stop(lambda: model.fit(X, y), seconds))
            if not hasattr(model, "coefs_"):  # so slow a machine that the data were still being checked
                continue
            assert np.isfinite(model.predict(X[:600])).all()
            # Each epoch is one step: so many epochs give the same bits.
            n_steps = model._optimizer.t if options.get("solver") != "lbfgs" else model.n_iter_
            rate = {} if n_steps or options.get("solver") == "lbfgs" else {"learning_rate_init": 1e-300}
            if n_steps or rate:
                again = fastmlp.MLPRegressor(**(endless | options | rate | {"max_iter": max(1, n_steps)})).fit(X, y)
                right.append(digest(model) == digest(again))
            model.set_params(max_iter=1).fit(X, y)
        return waited, right

    def longest_call():
        return max(call["end"] - call["begin"] for call in calls)
"""

SITUATIONS = {
    "tiny steps": """
    X = generator.standard_normal((600, 2))
    result = stop_fit({"hidden_layer_sizes": (4,), "batch_size": 600}, X, X[:, 0] * X[:, 1])
    """,
    "wide steps": """
    X = generator.standard_normal((1000, 400)).astype(np.float32)
    result = stop_fit({"hidden_layer_sizes": (600, 600), "batch_size": 1000}, X, X[:, 0])
    """,
    "a step of seconds": """
    X = generator.standard_normal((40_000, 200)).astype(np.float32)
    result = stop_fit({"hidden_layer_sizes": (500, 400), "batch_size": 40_000}, X, X[:, 0])
    """,
    "L-BFGS": """
    X = generator.standard_normal((5_000, 200))
    result = stop_fit({"hidden_layer_sizes": (300,), "solver": "lbfgs", "max_fun": 10**8}, X, np.sin(X[:, 0]))
    """,
    "a prediction of many rows": """
    X = generator.standard_normal((1_000, 100)).astype(np.float32)
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(800, 800), max_iter=1, random_state=0).fit(X, X[:, 0])
    expected = model.predict(X)
    record()
    many = np.broadcast_to(X[:, None], (1_000, 1_000, 100)).reshape(-1, 100)[:200_000]
    result = [stop(lambda: model.predict(many), seconds) for seconds in (0.05, 0.3)], []
    assert np.array_equal(model.predict(X), expected)
    """,
}


@pytest.mark.parametrize(
    ("way", "situation"),
    [
        *(("jit", situation) for situation in SITUATIONS),
        *(("library", situation) for situation in ("wide steps", "L-BFGS", "a prediction of many rows")),
    ],
    indirect=["way"],
)
def test_ctrl_c_brings_the_prompt_back(situation, way):
    code = SITUATIONS[situation] + "\n    print(json.dumps([*result, longest_call(), len(calls), left_behind()]))\n"
    waited, right, longest, n_calls, left = results_of(SIGNALS + code, way)
    print(f"{situation}: {', '.join(f'{seconds:.3f}' for seconds in waited)} s; longest call {longest:.3f} s")
    assert max(waited) < MOST_SECONDS
    assert all(right)
    assert longest < MOST_SECONDS
    assert n_calls > 3
    assert left[:3] == [0, False, 0]


@pytest.mark.parametrize("layer_units", [[2, 4, 1], [300, 500, 10], [2000, 4000, 2000, 10]], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_compiled_call_is_planned_to_take_longer_than_ctrl_c_may_wait(layer_units, dtype):
    """By the cost model, so that a busy machine cannot fail it."""
    for solver, share in ((None, 1 / 3), ("lbfgs", 1)):
        network = Network(layer_units, dtype=dtype, solver=solver, batch_size=10**6, loss="squared_error")
        # The workspace's rows are those of a chunk; a call covers one or more, up to SECONDS_PER_CALL.
        assert network.expected_seconds(network.fields["capacity"]) * share < 0.3
    for batch_size in (1, 100, 10_000):
        problem = make_problem([1, layer_units[-1]], n_samples=batch_size)
        problem.X = np.broadcast_to(np.zeros(1, dtype), (batch_size, layer_units[0]))
        network = Network(layer_units, dtype=dtype, loss="squared_error", batch_size=batch_size)
        epochs = network.epochs(problem.rows, problem.targets, batch_size=batch_size)
        step = network.expected_seconds(batch_size)
        if epochs._n_pieces == 1:
            assert epochs._steps_per_call * step <= max(step, SECONDS_PER_CALL)
        assert step / epochs._n_blocks / epochs._n_pieces <= 0.4
