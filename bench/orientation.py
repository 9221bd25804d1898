"""Is the orientation chosen well? ``python -m bench.orientation`` sweeps small networks and minibatches.

Each trains on one thread with its units along the vectors and with its samples, in turn in one process. Printed is what
the choice costs: the time of the chosen one over the better one's, each the best of a few runs.
"""

import argparse
import itertools
import time
from unittest import mock

import numpy as np

from fastmlp.epochs import Epochs
from fastmlp.gather import as_rows
from fastmlp.network import Network
from fastmlp.orientation import is_narrow
from fastmlp.tiles import TILE

NETWORKS = (
    (2, 4, 1), (2, 8, 1), (4, 8, 1), (2, 16, 1), (8, 16, 1), (8, 30, 2), (10, 10, 3), (16, 16, 1), (27, 9, 3),
    (4, 32, 1), (13, 5, 1), (5, 5, 5), (8, 8, 8, 1), (30, 4, 1), (4, 100, 1), (20, 50, 2), (100, 5, 3), (12, 24, 12),
    (3, 3, 2), (64, 2, 1), (2, 32, 32, 1), (1, 10, 10, 1), (16, 16, 16), (27, 30, 3), (54, 20, 7), (10, 50, 50, 1),
    (30, 30, 30, 5), (64, 32, 10), (20, 64, 64, 2), (100, 20, 5), (13, 64, 1), (8, 64, 1), (30, 10, 10, 2),
    (64, 100, 10), (54, 128, 128, 7), (20, 100, 100, 2), (100, 100, 10), (8, 256, 256, 1), (30, 64, 1), (784, 30, 10),
    (784, 100, 10),
)  # fmt: skip
BATCHES = (1, 4, 8, 16, 32, 64, 100, 200, 400)
MINIBATCHES = 4
RATE = 1e-5
SECONDS = 1e-3


def training(units: tuple[int, ...], batch_size: int, dtype: str, activation: str, narrow: bool) -> Epochs:
    """Return a run that is ready to train, in the orientation asked for."""
    random_state = np.random.RandomState(0)
    X, y = (random_state.standard_normal((MINIBATCHES * batch_size, n)).astype(dtype) for n in (units[0], units[-1]))
    with mock.patch("fastmlp.network.is_narrow", return_value=narrow):
        network = Network(
            units, activation=activation, loss="squared_error", dtype=np.dtype(dtype), solver="sgd",
            batch_size=batch_size, n_threads=1,
        )  # fmt: skip
    coefs = [random_state.standard_normal(shape) / shape[0] ** 0.5 for shape in itertools.pairwise(units)]
    network.set_parameters([W.astype(dtype) for W in coefs], [np.zeros(n, dtype) for n in units[1:]])
    return network.epochs(as_rows(X, np.dtype(dtype)), y, batch_size=batch_size)


def seconds_per_step(epochs: Epochs, n_epochs: int) -> float:
    """Train so many epochs."""
    started = time.perf_counter()
    rates = np.full(n_epochs, RATE)
    while len(rates):
        rates = rates[len(epochs.advance(rates)) :]
    return (time.perf_counter() - started) / (n_epochs * MINIBATCHES)


def best_times(units: tuple[int, ...], batch_size: int, dtype: str, activation: str, rounds: int) -> list[float]:
    """Return the best time of a step with samples, and with units, along the vectors."""
    runs = [training(units, batch_size, dtype, activation, narrow) for narrow in (True, False)]
    first = [seconds_per_step(run, 2) for run in runs]
    n_epochs = max(1, int(SECONDS / (MINIBATCHES * max(first))))
    return [
        min(times)
        for times in zip(*([seconds_per_step(run, n_epochs) for run in runs] for _ in range(rounds)), strict=True)
    ]


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.orientation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), default=["float32", "float64"])
    parser.add_argument("--activations", nargs="+", default=["relu", "tanh"])
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    losses = []
    print(f"tile {TILE.name}: step with samples and with units along the vectors, chosen / better")
    for activation, dtype, units, batch_size in itertools.product(
        arguments.activations, arguments.dtypes, NETWORKS, arguments.batches
    ):
        narrow, dense = best_times(units, batch_size, dtype, activation, arguments.rounds)
        chosen = narrow if is_narrow(units, batch_size, TILE.lanes(np.dtype(dtype))) else dense
        losses.append(chosen / min(narrow, dense))
        name = "-".join(map(str, units))
        print(
            f"{activation} {dtype} {name:>10}, {batch_size:4}: {1e6 * narrow:7.2f} us, {1e6 * dense:7.2f} us, "
            f"{losses[-1]:.2f}",
            flush=True,
        )
    worst, ninth = max(losses), np.quantile(losses, 0.9)
    print(f"lost on average: {np.mean(losses):.3f}, by nine of ten at most {ninth:.2f}, largest {worst:.2f}")


if __name__ == "__main__":
    main()
