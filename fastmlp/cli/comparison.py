"""The race of a demo: the compiled trainer and plain NumPy, from one start on the same minibatches.

:func:`train_compiled` and :func:`train_reference` train a :class:`~fastmlp.cli.demos.Problem` from the
same initial parameters on the same minibatches; :func:`compare` says how far apart they ended;
:func:`run` does all of it before the user's eyes.
"""

import copy
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from fastmlp.cli.demos import Problem
from fastmlp.reference import ReferenceNetwork

# Called with the losses of the epochs that have ended since the last call.
Report = Callable[[np.ndarray], object]


def _no_report(losses):
    """Take the losses and tell nobody."""


class Trained(NamedTuple):
    """What came of training: parameters, losses as reported, seconds, outputs and score."""

    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    losses: np.ndarray
    seconds: float
    outputs: np.ndarray
    score: float


class Comparison(NamedTuple):
    """How two trained networks differ."""

    largest_difference: float
    largest_weight: float
    ratio: float


def _compiled_network(problem, n_threads):
    from fastmlp.network.network import Network
    from fastmlp.network.rows import as_rows

    network = Network(
        problem.layer_units,
        activation=problem.activation,
        loss=problem.loss,
        dtype=problem.dtype,
        batch_size=problem.batch_size,
        n_threads=n_threads,
        **problem.solver_settings,
    )
    network.set_parameters(problem.coefs, problem.intercepts)
    epochs = network.epochs(
        as_rows(problem.X, problem.dtype),
        problem.targets,
        batch_size=problem.batch_size,
        random_state=copy.deepcopy(problem.shuffler),
        tol=None,
    )
    return network, epochs


def warm_up(problem, n_threads=None):
    """Compile, or load from the cache, what the problem needs; returns the seconds it took."""
    from fastmlp.network.rows import as_rows

    start = time.perf_counter()
    network, epochs = _compiled_network(problem, n_threads)
    epochs.advance(problem.learning_rates[:1])
    outputs = np.empty((1, problem.layer_units[-1]), problem.dtype)
    network.predict(as_rows(problem.X[:1], problem.dtype), outputs)
    return time.perf_counter() - start


def train_compiled(problem: Problem, n_threads: int | None = None, report: Report = _no_report) -> Trained:
    """Train the compiled network; only the training itself is timed."""
    from fastmlp.network.rows import as_rows

    network, epochs = _compiled_network(problem, n_threads)
    losses: list[float] = []
    seconds = 0.0
    while len(losses) < problem.n_epochs:
        remaining = problem.learning_rates[len(losses) :]
        start = time.perf_counter()
        ended = epochs.advance(remaining)
        seconds += time.perf_counter() - start
        losses.extend(ended)
        report(ended)
    coefs = [np.empty(W.shape, problem.dtype) for W in problem.coefs]
    intercepts = [np.empty(b.shape, problem.dtype) for b in problem.intercepts]
    network.get_parameters(coefs, intercepts)
    outputs = np.empty((len(problem.X_score), problem.layer_units[-1]), problem.dtype)
    network.predict(as_rows(problem.X_score, problem.dtype), outputs)
    score = problem.score(problem.y_score, outputs)
    return Trained(coefs, intercepts, np.array(losses), seconds, outputs, score)


def train_reference(problem: Problem, n_threads: int | None = None, report: Report = _no_report) -> Trained:
    """Train the plain NumPy reference, its BLAS on as many threads as the compiled network."""
    from fastmlp.network.threads import resolve_n_threads

    network = ReferenceNetwork(
        problem.layer_units,
        activation=problem.activation,
        loss=problem.loss,
        dtype=problem.dtype,
        **problem.solver_settings,
    )
    network.coefs, network.intercepts = problem.coefs, problem.intercepts
    generator = copy.deepcopy(problem.shuffler)
    order = np.arange(len(problem.X))
    losses = np.empty(problem.n_epochs)
    seconds = 0.0
    with threadpool_limits(resolve_n_threads(n_threads), user_api="blas"):
        for epoch, learning_rate in enumerate(problem.learning_rates):
            start = time.perf_counter()
            if generator is not None:
                # As sklearn.utils.shuffle does it, and therefore the compiled trainer.
                permutation = np.arange(len(order))
                generator.shuffle(permutation)
                order = order[permutation]
            losses[epoch] = network.train_epoch(
                problem.X,
                problem.targets,
                None if generator is None else order,  # None: rows as they stand, not gathered
                problem.batch_size,
                learning_rate,
            )
            seconds += time.perf_counter() - start
            report(losses[epoch : epoch + 1])
        outputs = network.predict(problem.X_score)
    score = problem.score(problem.y_score, outputs)
    return Trained(network.coefs, network.intercepts, losses, seconds, outputs, score)


def compare(compiled, reference):
    """Compare two trained networks, weights and biases alike."""
    ours = [*compiled.coefs, *compiled.intercepts]
    theirs = [*reference.coefs, *reference.intercepts]
    difference = max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
    largest = max(float(np.abs(b).max()) for b in theirs)
    return Comparison(difference, largest, reference.seconds / compiled.seconds)


# --- before the user's eyes ----------------------------------------------------------------------


def run(problem, display, n_threads=None):
    """Train both, with a progress bar, and end with the table of both.

    Parameters
    ----------
    problem : fastmlp.cli.demos.Problem
        What to train.
    display : fastmlp.cli.display.Display
        Where lines, progress and table go.
    n_threads : int, optional
        Threads of both trainers.

    Returns
    -------
    compiled, reference : Trained
        What came of it.
    """
    from fastmlp.network.threads import resolve_n_threads
    from fastmlp.simd.library import LIBRARY

    threads = resolve_n_threads(n_threads)
    display.line(f"{problem.name}: {problem.title}")
    display.line(f"{problem.dtype}, {threads} thread{'s' if threads > 1 else ''}")
    if LIBRARY is None:
        display.line("Kernels are compiled, or loaded from the cache ...")
    display.line(f"Kernels are ready after {warm_up(problem, n_threads):.1f} s (not timed below).")

    with display.progress("fastmlp    ", problem.n_epochs) as progress:
        report = _LinePrinter(problem, display, progress)
        compiled = train_compiled(problem, n_threads, report)
    with display.progress("plain NumPy", problem.n_epochs) as progress:
        reference = train_reference(problem, n_threads, lambda ended: progress.advance(len(ended)))

    display.table(["", "fastmlp", "plain NumPy"], _table_rows(problem, compiled, reference))
    return compiled, reference


class _LinePrinter:
    """Advances the progress bar, and prints every so many epochs the loss.

    Iterations over the full batch are counted from 0, so that the first line is the loss of the
    initial weights; epochs are counted from 1, since an epoch's loss is the mean over its steps.
    """

    def __init__(self, problem, display, progress):
        self._problem = problem
        self._display = display
        self._progress = progress
        self._n_ended = 0

    def __call__(self, ended):
        problem = self._problem
        unit, first = ("iteration", 0) if problem.full_batch else ("epoch", 1)
        for number, loss in enumerate(ended, start=self._n_ended + first):
            if number % problem.report_every == 0:
                value = format_number(problem.printed_loss(loss))
                self._display.line(f"{unit} {number:5d}   {problem.loss_name} {value}")
        self._n_ended += len(ended)
        self._progress.advance(len(ended))


def format_number(value):
    """Write six significant digits, and no exponent where none is needed."""
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e9 else f"{value:.6g}"


def _table_rows(problem, compiled, reference):
    comparison = compare(compiled, reference)

    def row(name, describe):
        return [name, describe(compiled), describe(reference)]

    def final_loss(trained):
        return format_number(problem.printed_loss(trained.losses[-1]))

    def microseconds(trained):
        return f"{trained.seconds / (problem.n_epochs * problem.steps_per_epoch) * 1e6:,.1f}"

    percent = "accuracy" in problem.score_name
    rows = [
        row(f"final {problem.loss_name}", final_loss),
        row(
            problem.score_name,
            lambda trained: f"{trained.score:.2%}" if percent else f"{trained.score:.6f}",
        ),
        *[[name, value, ""] for name, value in problem.facts.items()],
        row("seconds", lambda trained: f"{trained.seconds:.3f}"),
        row("microseconds a step", microseconds),
        ["largest difference between weights", f"{comparison.largest_difference:.2g}", ""],
        ["  beside the largest weight", f"{comparison.largest_weight:.2g}", ""],
        ["times as fast as plain NumPy", f"{comparison.ratio:.1f}", "1.0"],
    ]
    return rows
