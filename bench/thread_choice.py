"""Is the number of threads chosen well? ``python -m bench.thread_choice`` sweeps networks and batches.

Each shape trains on one thread, on all, and on as many as fastmlp chooses, in turn in one process: short runs, round
after round, each with its own choice from the start, trials and all. Printed is how much longer the chosen run takes
than the better of the other two. Another process on the machine spoils shared steps: run it on an idle one. What seems
to lose more than 10 % is measured again, as another tenant of the same host may have done it.
"""

import argparse
import itertools
import time

import numpy as np

from bench.machine import available_cores, quartiles
from fastmlp.network.network import Network
from fastmlp.network.rows import as_rows

WIDTHS = (8, 32, 64, 100, 160, 256, 512, 1024)
BATCHES = (32, 128, 200, 512, 2048)
HIDDEN_LAYERS = (1, 3)
N_OUTPUTS = 10
MINIBATCHES = 4
RATE = 1e-4
# What is lost beyond this is measured again, with twice the rounds.
LIMIT = 1.1


class Shape:
    """Data and initial weights of one network and batch."""

    def __init__(self, width: int, n_hidden: int, batch_size: int, dtype: str) -> None:
        random_state = np.random.RandomState(0)
        self.layer_units = [width] * (1 + n_hidden) + [N_OUTPUTS]
        self.batch_size, self.dtype = batch_size, np.dtype(dtype)
        self.X = random_state.standard_normal((MINIBATCHES * batch_size, width)).astype(dtype)
        self.y = random_state.randint(N_OUTPUTS, size=len(self.X))
        shapes = itertools.pairwise(self.layer_units)
        self.coefs = [(random_state.standard_normal(shape) / shape[0] ** 0.5).astype(dtype) for shape in shapes]

    def seconds_per_step(self, n_blocks: int | None, seconds: float) -> float:
        """Train a new network for about so many seconds, as a fit does; return those of a step.

        `n_blocks` fixes the number of threads; None leaves the choice to fastmlp. The network is new, as where it lies
        in memory makes a difference of a tenth to small ones.
        """
        network = Network(
            self.layer_units, loss="log_loss", dtype=self.dtype, batch_size=self.batch_size, n_threads=available_cores()
        )
        network.set_parameters(self.coefs, [np.zeros(W.shape[1], self.dtype) for W in self.coefs])
        rows = as_rows(self.X, self.dtype)
        epochs = network.epochs(rows, self.y, batch_size=self.batch_size, n_blocks=n_blocks)
        n_epochs = 0
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            n_epochs += len(epochs.advance(np.full(10_000, RATE)))
        return elapsed / (MINIBATCHES * n_epochs + epochs.position / self.batch_size)


def measure(shape: Shape, rounds: int, seconds: float) -> tuple[list[float], float, float]:
    """Return the quartiles of (chosen / better) over the rounds, and medians of one thread's and all threads' step."""
    choices = (1, available_cores(), None)
    for n_blocks in choices:
        shape.seconds_per_step(n_blocks, seconds / 4)
    times = {n_blocks: np.empty(rounds) for n_blocks in choices}
    for number in range(rounds):
        for n_blocks in choices:
            times[n_blocks][number] = shape.seconds_per_step(n_blocks, seconds)
    one, shared = (float(np.median(times[n])) for n in (1, available_cores()))
    better = 1 if one < shared else available_cores()
    return quartiles((times[None] / times[better]).tolist()), one, shared


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.thread_choice",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), default=["float32", "float64"])
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.15, help="of one run, about; longer where a step takes long")
    arguments = parser.parse_args()
    if available_cores() == 1:
        raise SystemExit("This process may run on one processor only: there is nothing to choose.")
    worst = 0.0
    print(f"units, hidden layers, batch: one thread, {available_cores()} threads, chosen / better (quartiles)")
    for dtype, width, n_hidden, batch_size in itertools.product(
        arguments.dtypes, arguments.widths, HIDDEN_LAYERS, arguments.batches
    ):
        shape = Shape(width, n_hidden, batch_size, dtype)
        (low, median, high), one, shared = measure(shape, arguments.rounds, arguments.seconds)
        mark = ""
        if median > LIMIT:
            mark = f"  ({median:.2f} at first)"
            (low, median, high), one, shared = measure(shape, 2 * arguments.rounds, arguments.seconds)
        mark += "  <- more than 10 % lost" if median > LIMIT else ""
        worst = max(worst, median)
        print(
            f"{dtype} {width:5} x {n_hidden}, {batch_size:5}: {1e6 * one:10.1f} us, {1e6 * shared:10.1f} us, "
            f"{median:.2f} ({low:.2f} to {high:.2f}){mark}",
            flush=True,
        )
    print(f"largest median: {worst:.2f}")


if __name__ == "__main__":
    main()
