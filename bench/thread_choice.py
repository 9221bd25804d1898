"""Is the number of threads chosen well? ``python -m bench.thread_choice`` sweeps networks and batches.

Each shape trains on one thread, on all, and on as many as fastmlp chooses, in turn in one process: short runs, round
after round, each with its own choice from the start, trials and all. Printed is how much longer the chosen run takes
than the better of the other two. Another process on the machine spoils shared steps: run it on an idle one.
"""

import argparse
import itertools
import time

import numpy as np

from bench.machine import available_cores, quartiles
from fastmlp.epochs import Epochs
from fastmlp.gather import as_rows
from fastmlp.network import Network

WIDTHS = (8, 32, 64, 100, 160, 256, 512, 1024)
BATCHES = (32, 128, 200, 512, 2048)
HIDDEN_LAYERS = (1, 3)
N_OUTPUTS = 10
RATE = 1e-4


class Run:
    """One network in training, on a fixed number of threads or on its own choice of them."""

    def __init__(self, width: int, n_hidden: int, batch_size: int, dtype: str, n_blocks: int | None) -> None:
        random_state = np.random.RandomState(0)
        self.layer_units = [width] * (1 + n_hidden) + [N_OUTPUTS]
        self.batch_size, self.dtype, self.n_blocks = batch_size, np.dtype(dtype), n_blocks
        self.X = random_state.standard_normal((4 * batch_size, width)).astype(dtype)
        self.y = random_state.randint(N_OUTPUTS, size=len(self.X))
        self.network = Network(
            self.layer_units, loss="log_loss", dtype=self.dtype, batch_size=batch_size, n_threads=available_cores()
        )
        shapes = itertools.pairwise(self.layer_units)
        coefs = [(random_state.standard_normal(shape) / shape[0] ** 0.5).astype(dtype) for shape in shapes]
        self.network.set_parameters(coefs, [np.zeros(W.shape[1], dtype) for W in coefs])

    def epochs(self) -> Epochs:
        """Begin a run, as a fit does."""
        return self.network.epochs(
            as_rows(self.X, self.dtype), self.y, batch_size=self.batch_size, n_blocks=self.n_blocks
        )

    def seconds_per_step(self, seconds: float) -> float:
        """Train for about so many seconds; return those of a step."""
        epochs, n_epochs = self.epochs(), 0
        started = time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            n_epochs += len(epochs.advance(np.full(10_000, RATE)))
        return elapsed / max(4 * n_epochs, 1)


def measure(shape: tuple[int, int, int], dtype: str, rounds: int, seconds: float) -> tuple[list[float], float, float]:
    """Return the quartiles of (chosen / better) over the rounds, and medians of one thread's and all threads' step."""
    runs = {n_blocks: Run(*shape, dtype, n_blocks) for n_blocks in (1, available_cores(), None)}
    for run in runs.values():
        run.seconds_per_step(seconds / 4)
    times = {n_blocks: [run.seconds_per_step(seconds)] for n_blocks, run in runs.items()}
    for _ in range(rounds - 1):
        for n_blocks, run in runs.items():
            times[n_blocks].append(run.seconds_per_step(seconds))
    one, shared = (float(np.median(times[n])) for n in (1, available_cores()))
    better = 1 if one < shared else available_cores()
    return quartiles(np.divide(times[None], times[better]).tolist()), one, shared


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
        shape = (width, n_hidden, batch_size)
        (low, median, high), one, shared = measure(shape, dtype, arguments.rounds, arguments.seconds)
        worst = max(worst, median)
        mark = "  <- more than 10 % lost" if median > 1.1 else ""
        print(
            f"{dtype} {width:5} x {n_hidden}, {batch_size:5}: {1e6 * one:10.1f} us, {1e6 * shared:10.1f} us, "
            f"{median:.2f} ({low:.2f} to {high:.2f}){mark}",
            flush=True,
        )
    print(f"largest median: {worst:.2f}")


if __name__ == "__main__":
    main()
