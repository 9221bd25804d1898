"""Is the orientation chosen well? ``python -m bench.orientation`` sweeps small networks and minibatches.

Each trains on one thread with its samples along the vectors and with its units, in turn in one process. Printed is what
the choice costs: the time of the chosen one over the better one's, each the best of a few runs. ``--of gradient`` asks
the same of the first weight gradient of narrow networks, from the rows of X or from its columns, and ``--of
full-batch`` where a full batch stays and nothing is gathered.
"""

import argparse
import itertools
import time
from typing import NamedTuple
from unittest import mock

import numpy as np

from bench.networks import train_epochs
from fastmlp.network.epochs import Epochs
from fastmlp.network.network import Network
from fastmlp.network.orientation import gains_by_rows, is_narrow
from fastmlp.network.rows import as_rows
from fastmlp.simd.tile_table import TILE

NETWORKS = (
    (2, 4, 1), (2, 8, 1), (4, 8, 1), (2, 16, 1), (8, 16, 1), (8, 30, 2), (10, 10, 3), (16, 16, 1), (27, 9, 3),
    (4, 32, 1), (13, 5, 1), (5, 5, 5), (8, 8, 8, 1), (30, 4, 1), (4, 100, 1), (20, 50, 2), (100, 5, 3), (12, 24, 12),
    (3, 3, 2), (64, 2, 1), (2, 32, 32, 1), (1, 10, 10, 1), (16, 16, 16), (27, 30, 3), (54, 20, 7), (10, 50, 50, 1),
    (30, 30, 30, 5), (64, 32, 10), (20, 64, 64, 2), (100, 20, 5), (13, 64, 1), (8, 64, 1), (30, 10, 10, 2),
    (64, 100, 10), (54, 128, 128, 7), (20, 100, 100, 2), (100, 100, 10), (8, 256, 256, 1), (30, 64, 1), (784, 30, 10),
    (784, 100, 10),
)  # fmt: skip
BATCHES = (1, 4, 8, 16, 32, 64, 100, 200, 400)
RATE = 1e-5
SECONDS = 1e-3


class Choice(NamedTuple):
    """One of two ways, which a function of `fastmlp.network.network` chooses."""

    function: str
    ways: tuple[str, str]
    minibatches: int


CHOICES = {
    "orientation": Choice("is_narrow", ("samples", "units"), 4),
    "gradient": Choice("gains_by_rows", ("rows", "columns"), 4),
    "full-batch": Choice("gains_by_rows", ("rows", "columns"), 1),
}


def training(
    choice: Choice, units: tuple[int, ...], batch_size: int, dtype: str, activation: str, chosen: bool
) -> Epochs:
    """Return a run that is ready to train, in the way asked for."""
    random_state = np.random.RandomState(0)
    n_samples = choice.minibatches * batch_size
    X, y = (random_state.standard_normal((n_samples, n)).astype(dtype) for n in (units[0], units[-1]))
    with mock.patch(f"fastmlp.network.network.{choice.function}", return_value=chosen):
        network = Network(
            units, activation=activation, loss="squared_error", dtype=np.dtype(dtype), solver="sgd",
            batch_size=batch_size, n_threads=1, gathers=choice.minibatches > 1,
        )  # fmt: skip
    coefs = [random_state.standard_normal(shape) / shape[0] ** 0.5 for shape in itertools.pairwise(units)]
    network.set_parameters([W.astype(dtype) for W in coefs], [np.zeros(n, dtype) for n in units[1:]])
    return network.epochs(as_rows(X, np.dtype(dtype)), y, batch_size=batch_size)


def seconds_per_epoch(epochs: Epochs, n_epochs: int) -> float:
    """Train so many epochs."""
    started = time.perf_counter()
    train_epochs(epochs, n_epochs, RATE)
    return (time.perf_counter() - started) / n_epochs


def best_times(
    choice: Choice, units: tuple[int, ...], batch_size: int, dtype: str, activation: str, rounds: int
) -> list[float]:
    """Return the best time of a step in either way."""
    runs = [training(choice, units, batch_size, dtype, activation, chosen) for chosen in (True, False)]
    first = [seconds_per_epoch(run, 20) for run in runs]
    n_epochs = max(1, int(SECONDS / max(first)))
    times = zip(*([seconds_per_epoch(run, n_epochs) for run in runs] for _ in range(rounds)), strict=True)
    return [min(of_way) / choice.minibatches for of_way in times]


def choose(choice: Choice, units: tuple[int, ...], batch_size: int, dtype: str) -> bool:
    """Return what a network of that shape chooses: whether it takes the first way."""
    lanes = TILE.lanes(np.dtype(dtype))
    if choice.function == "is_narrow":
        return is_narrow(units, batch_size, lanes)
    return gains_by_rows(units[:2], batch_size, lanes, gathers=choice.minibatches > 1)


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.orientation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--of", choices=CHOICES, default="orientation")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), default=["float32", "float64"])
    parser.add_argument("--activations", nargs="+", default=["relu", "tanh"])
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    choice = CHOICES[arguments.of]
    losses = []
    print(f"tile {TILE.name}, {arguments.of}: a step by {choice.ways[0]}, by {choice.ways[1]}, chosen / better")
    for activation, dtype, units, batch_size in itertools.product(
        arguments.activations, arguments.dtypes, NETWORKS, arguments.batches
    ):
        of_gradient = choice.function == "gains_by_rows"
        if of_gradient and not is_narrow(units, batch_size, TILE.lanes(np.dtype(dtype))):
            continue
        first, second = best_times(choice, units, batch_size, dtype, activation, arguments.rounds)
        chosen = first if choose(choice, units, batch_size, dtype) else second
        losses.append(chosen / min(first, second))
        name = "-".join(map(str, units))
        print(
            f"{activation} {dtype} {name:>10}, {batch_size:4}: {1e6 * first:7.2f} us, {1e6 * second:7.2f} us, "
            f"{losses[-1]:.2f}",
            flush=True,
        )
    worst, ninth = max(losses), np.quantile(losses, 0.9)
    print(f"lost on average: {np.mean(losses):.3f}, by nine of ten at most {ninth:.2f}, largest {worst:.2f}")


if __name__ == "__main__":
    main()
