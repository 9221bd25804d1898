"""When is it worth leaving zeros of X out? ``python -m bench.zeros`` sweeps units of the first layer and zeros.

Each network trains on the same numbers, zero at random, with lists and without them, in turn in one process. Printed
are the part of the terms that is left in the lists and the time with them over the time without, medians; a star
stands where fastmlp would leave the zeros out (see ``network.sparsity``). Then, of the data that everything else in
``bench/`` measures, the parts of either product.
"""

import argparse
import itertools
from unittest import mock

import numpy as np

from bench.machine import pin_to_cores
from bench.orientation import seconds_per_epoch
from bench.workloads import STEP_WORKLOADS, WORKLOADS
from fastmlp.network.epochs import Epochs
from fastmlp.network.network import Network
from fastmlp.network.rows import as_rows
from fastmlp.network.sparsity import parts_left, term_density
from fastmlp.simd.tile_table import TILE

NETWORKS = ((256, 16, 10), (256, 32, 10), (256, 64, 10), (256, 128, 10), (256, 300, 10), (784, 300, 100, 10))
DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)
BATCH_SIZE, MINIBATCHES = 200, 8
SECONDS = 5e-3


def part_of(X: np.ndarray) -> float:
    """Return the part of the terms that is left in both products, whether or not that is worth it."""
    return sum(parts_left(X)) / 2


def training(units: tuple[int, ...], X: np.ndarray, n_threads: int, part: float) -> Epochs:
    """Return a run that is ready to train, with lists if `part` is less than 1."""
    random_state = np.random.RandomState(0)
    rows, labels = as_rows(X, X.dtype), random_state.randint(units[-1], size=len(X))
    with mock.patch.object(rows, "term_density", return_value=part):
        network = Network(units, dtype=X.dtype, batch_size=BATCH_SIZE, n_threads=n_threads, rows=rows)
    coefs = [random_state.standard_normal(shape) / shape[0] ** 0.5 for shape in itertools.pairwise(units)]
    network.set_parameters([W.astype(X.dtype) for W in coefs], [np.zeros(n, X.dtype) for n in units[1:]])
    return network.epochs(rows, labels, batch_size=BATCH_SIZE, n_blocks=n_threads)


def ratio(units: tuple[int, ...], X: np.ndarray, n_threads: int, rounds: int) -> float:
    """Return the time with lists over the time without."""
    runs = [training(units, X, n_threads, part) for part in (part_of(X), 1.0)]
    n_epochs = max(1, int(SECONDS / max([seconds_per_epoch(run, 5) for run in runs])))
    times = np.array([[seconds_per_epoch(run, n_epochs) for run in runs] for _ in range(rounds)])
    return float(np.median(times[:, 0] / times[:, 1]))


def main() -> None:
    """Sweep and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.zeros", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    pin_to_cores(arguments.threads)
    dtype = np.dtype(arguments.dtype)
    print(f"tile {TILE.name}, {dtype}, threads: {arguments.threads}; part left, time with lists / without, * chosen")
    for units in NETWORKS:
        cells = []
        for density in DENSITIES:
            random_state = np.random.RandomState(0)
            X = random_state.standard_normal((MINIBATCHES * BATCH_SIZE, units[0])).astype(dtype)
            X[random_state.uniform(size=X.shape) >= density] = 0
            chosen = "*" if term_density(X, units[1], TILE.lanes(dtype)) < 1 else " "
            taken = ratio(units, X, arguments.threads, arguments.rounds)
            cells.append(f"{part_of(X):.2f} {taken:.2f}{chosen}")
        print(f"{'-'.join(map(str, units)):>14}: {'   '.join(cells)}", flush=True)
    for workload in map(WORKLOADS.__getitem__, STEP_WORKLOADS):
        data = workload.data()
        forward, gradient = parts_left(data.X)
        print(f"{workload.name:>14}: {forward:.2f} of forward, {gradient:.2f} of the gradient left ({data.source})")


if __name__ == "__main__":
    main()
