"""Random fits, predictions, interrupts and failures in one process, and what they leave behind.

Every operation draws from a generator of its own, seeded with the number of the run and its own, so that a failure can
be repeated without what came before it.
"""

import gc
import os
import signal
import time
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy import sparse

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.network import threads
from fastmlp.network.warmup import warmup
from fastmlp.simd.library import LIBRARY
from fastmlp.simd.numba_modules import numba
from fastmlp.training.stochastic import NON_FINITE_PARAMETERS

MEGABYTE = 2**20
# Share of the run after which the allocator's pools and all compiled code are there.
WARM_UP = 0.2
# Growth in megabytes from the end of the warm-up to the end that is no leak: the allocator's unrest.
ALLOWED_GROWTH = 24
# One operation in so many is repeated on one thread, and must give the same bits.
REFIT_EVERY = 2


def resident_megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def count(folder):
    return len(list(Path(folder).iterdir()))


class _Interrupter:
    """KeyboardInterrupt after a random time, as Ctrl-C would come; only while it is armed."""

    def __init__(self):
        self.armed = False
        signal.signal(signal.SIGALRM, self._rings)

    def _rings(self, number, frame):
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt

    @contextmanager
    def after(self, seconds):
        """Interrupt the block; it may end before, or swallow the interrupt as a fit does."""
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)


def draw_problem(generator):
    """Return an estimator that has not been fitted, samples and targets."""
    n_samples = int(generator.randint(30, 600))
    n_features = int(generator.choice([2, 5, 30, 200]))
    X = generator.standard_normal((n_samples, n_features)).astype(generator.choice([np.float32, np.float64]))
    form = generator.choice(["dense", "dense", "fortran", "csr", "csc", "uint8", "list"])
    if form == "fortran":
        X = np.asfortranarray(X)
    elif form in ("csr", "csc"):
        X = sparse.csr_array(np.where(X > 1, X, 0)).asformat(form)
    elif form == "uint8":
        X = np.abs(X).astype(np.uint8)
    elif form == "list":
        n_samples = min(n_samples, 100)
        X = X[:100].tolist()
    hidden = [(), (3,), (8,), (30, 20), (200, 100), (64, 64, 64)][generator.randint(6)]
    solver = generator.choice(["adam", "adam", "sgd", "lbfgs"])
    options = {
        "hidden_layer_sizes": hidden,
        "solver": solver,
        "activation": generator.choice(["identity", "logistic", "tanh", "relu"]),
        "batch_size": int(generator.choice([1, 7, 32, 200])) if n_samples >= 200 else "auto",
        "max_iter": int(generator.randint(1, 12)),
        # A minibatch of a single sample would make more run away.
        "learning_rate_init": 1e-4,
        "early_stopping": bool(generator.randint(2)) and solver != "lbfgs",
        "n_threads": int(generator.randint(1, 3)),
        "dtype": [None, "float32", "float64"][generator.randint(3)],
        "random_state": int(generator.randint(1000)),
        "validation_fraction": 0.2,
    }
    if generator.randint(2):
        n_classes = int(generator.choice([2, 3, 10]))
        return MLPClassifier(**options), X, np.arange(n_samples) % n_classes
    n_outputs = int(generator.choice([1, 4]))
    y = generator.standard_normal((n_samples, n_outputs))
    return MLPRegressor(**options), X, y[:, 0] if n_outputs == 1 else y


def fit(generator, interrupter):
    model, X, y = draw_problem(generator)
    model.fit(X, y)
    return model, X, y


def fit_then_predict(generator, interrupter):
    model, X, y = fit(generator, interrupter)
    for _ in range(3):
        model.predict(X)
    model.score(X, y)


def partial_fits(generator, interrupter):
    model, X, y = draw_problem(generator)
    model.set_params(early_stopping=False, solver=generator.choice(["adam", "sgd"]))
    classes = {"classes": np.unique(y)} if isinstance(model, MLPClassifier) else {}
    for _ in range(int(generator.randint(2, 8))):
        model.partial_fit(X, y, **classes)
    model.predict(X)


def interrupted(generator, interrupter):
    """Interrupt a fit and a prediction at random moments; the model trains on afterwards as if nothing had been."""
    model, X, y = draw_problem(generator)
    model.set_params(max_iter=2000, tol=0.0, n_iter_no_change=10_000)
    outcome = "before training"
    try:
        with interrupter.after(float(10 ** generator.uniform(-4.5, -0.7))):
            model.fit(X, y)
            outcome = "in training"
            while interrupter.armed:
                outcome = "in a prediction"
                model.predict(X)
    except KeyboardInterrupt:
        pass  # a fit that is training ends in the usual way; anything else is given up
    model.set_params(max_iter=2, warm_start=hasattr(model, "loss_"))
    model.fit(X, y)
    model.predict(X)
    return outcome


def refused(generator, interrupter):
    """Give bad input, of several kinds: an error each time."""
    model, X, y = draw_problem(generator)
    kind = generator.choice(["NaN", "infinite", "lengths", "parameter", "features"])
    if isinstance(X, list) or sparse.issparse(X) or X.dtype == np.uint8:
        kind = generator.choice(["lengths", "parameter"])
    if kind in ("NaN", "infinite"):
        X[generator.randint(len(X)), 0] = np.nan if kind == "NaN" else np.inf
    elif kind == "lengths":
        y = y[:-1]
    elif kind == "parameter":
        model.set_params(batch_size=0)
    try:
        model.fit(X, y)
        assert kind == "features"
        model.predict(X[:, :-1])
    except ValueError:
        return kind
    raise AssertionError(f"{kind} was not refused")


def diverging(generator, interrupter):
    """Train with a rate that makes the weights overflow: an error, in the midst of training."""
    X = 1e3 * generator.standard_normal((200, 5)).astype(np.float32)
    model = MLPRegressor(
        hidden_layer_sizes=(20,), activation="identity", solver="sgd", learning_rate_init=1e6, max_iter=50,
        n_threads=int(generator.randint(1, 3)),
    )  # fmt: skip
    try:
        model.fit(X, X[:, 0])
    except ValueError:
        return
    raise AssertionError("a fit that diverges must say so")


OPERATIONS = [fit, fit, fit_then_predict, partial_fits, interrupted, interrupted, refused, diverging]


def require_equal_refit(model, X, y):
    """Fit once more on one thread: the same bits."""
    again = type(model)(**{**model.get_params(), "n_threads": 1}).fit(X, y)
    for array, expected in zip(model.coefs_ + model.intercepts_, again.coefs_ + again.intercepts_, strict=True):
        assert array.tobytes() == expected.tobytes()


def mask_of_threads():
    """Return how many threads of Numba's pool may be used; with a library there is no pool."""
    return numba.get_num_threads() if LIBRARY is None else None


def require_clean(mask):
    """Check what the process keeps between two calls, which an interrupt must not leave changed."""
    assert len(threads._process().callers) == 0
    assert mask_of_threads() == mask


class Record:
    """What has been done so far, and what the process held at each moment."""

    def __init__(self):
        self.counts = Counter()
        self.samples = []

    def take(self, seconds):
        gc.collect()
        self.samples.append((seconds, resident_megabytes(), count("/proc/self/task"), count("/proc/self/fd")))


def soak(seconds, seed):
    """Work for so long, check that nothing has grown, and return a report."""
    warnings.simplefilter("ignore")
    interrupter, record = _Interrupter(), Record()
    # All is compiled and both twins have run before anything is counted: an interrupted compiler is Numba's affair.
    for dtype in (np.float32, np.float64):
        warmup(dtype)
        X = np.eye(300, dtype=dtype)
        for solver in ("adam", "lbfgs"):
            MLPClassifier((200, 100), solver=solver, max_iter=2, n_threads=2).fit(X, np.arange(300) % 3).predict(X)
    mask = mask_of_threads()
    record.take(0.0)
    began = time.perf_counter()
    number, next_sample = 0, 0.0
    while (elapsed := time.perf_counter() - began) < seconds:
        generator = np.random.RandomState([seed, number])
        operation = OPERATIONS[generator.randint(len(OPERATIONS))]
        try:
            outcome = operation(generator, interrupter)
            if isinstance(outcome, str):
                record.counts[f"{operation.__name__}: {outcome}"] += 1
            if operation is fit and number % REFIT_EVERY == 0:
                require_equal_refit(*outcome)
                record.counts["refits"] += 1
            del outcome
            require_clean(mask)
        except BaseException as error:
            if NON_FINITE_PARAMETERS not in str(error):
                traceback.print_exc()
                raise SystemExit(f"operation {number}, {operation.__name__}, of the run with seed {seed}") from None
            record.counts[f"{operation.__name__}: ran away"] += 1
        record.counts[operation.__name__] += 1
        number += 1
        if elapsed >= next_sample:
            record.take(elapsed)
            next_sample = elapsed + seconds / 100
    record.take(time.perf_counter() - began)
    return conclude(record, seed, number)


def conclude(record, seed, n_operations):
    """Check what the process held from the end of the warm-up on; return the report."""
    samples = np.array(record.samples)
    warm = samples[samples[:, 0] >= WARM_UP * samples[-1, 0]]
    slope = np.polyfit(warm[:, 0] / 60, warm[:, 1], 1)[0]
    lines = [
        f"{n_operations} operations in {samples[-1, 0]:.0f} seconds, seed {seed}",
        *(f"  {name}: {number}" for name, number in sorted(record.counts.items())),
        f"{record.counts['refits']} refits on one thread, equal bit for bit",
        f"memory (MiB): {samples[0, 1]:.1f} at the start, {warm[0, 1]:.1f} after warming up, {samples[-1, 1]:.1f} at "
        f"the end; {warm[:, 1].min():.1f} to {warm[:, 1].max():.1f} in between, slope {slope:+.2f} a minute",
        f"threads: {samples[0, 2]:.0f} at the start, {warm[:, 2].min():.0f} to {warm[:, 2].max():.0f} after warming up",
        f"handles: {samples[0, 3]:.0f} at the start, {warm[:, 3].min():.0f} to {warm[:, 3].max():.0f} after warming up",
    ]
    report = "\n".join(lines)
    # Medians of the first and the last third after the warm-up: one large problem at the end is no leak.
    third = max(1, len(warm) // 3)
    growth = np.median(warm[-third:, 1]) - np.median(warm[:third, 1])
    assert growth < ALLOWED_GROWTH, f"memory grew by {growth:.1f} MiB\n{report}"
    for column, what in ((2, "threads"), (3, "handles")):
        assert np.median(warm[-third:, column]) <= warm[0, column], f"more {what}\n{report}"
    return report
