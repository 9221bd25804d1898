"""What does it cost to share a step? ``python -m bench.sharing digits`` times its two phases, each alone and in turn.

A phase that is repeated finds what it reads in the caches of the cores that read it. In turn the phases have to fetch
what another core wrote: that is what both take longer than the two alone. What these take longer than their part of the
same phases on one thread is what sharing costs besides: starting the threads and waiting for the last, and work that
can't be cut evenly. The step itself, in the compiled call, stands below.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np

from bench.machine import pin_to_cores
from bench.peak import round_trip
from bench.pieces import Pieces, measure_in_turn
from bench.workloads import WORKLOADS, Workload
from fastmlp._jit import uncached
from fastmlp.blocks import propagate_blocks, training_phases, update_blocks
from fastmlp.tiles import TILE

# The median of so many measurements counts, each of so many forks.
ROUNDS, FORKS = 25, 2000


@numba.njit(parallel=True)
def fork_and_join(counts: Any) -> None:
    """Let each thread count one, in a cache line of its own."""
    for thread in numba.prange(len(counts)):
        counts[thread, 0] += 1


@numba.njit
def fork_often(counts: Any, repeats: Any) -> None:
    """Fork and join so often."""
    for _ in range(repeats):
        fork_and_join(counts)


@uncached
def repeat_phases(
    workspace: Any, tiles: Any, layers: Any, network: Any, source: Any, targets: Any, labels: Any, sample_weight: Any,
    order: Any, tile_bounds: Any, n_blocks: Any, with_phase_1: Any, with_phase_2: Any, repeats: Any, phase_1: Any,
    phase_2: Any,
) -> None:  # fmt: skip
    """Do one of the two phases of a step, or both in turn, again and again on the same minibatch."""
    shared = network[0]
    shared.blocks_are_halves = n_blocks == 2
    for _ in range(repeats):
        if with_phase_1:
            propagate_blocks(
                workspace, tiles, layers, network, source, targets, labels, sample_weight, order, shared.rows, 0,
                n_blocks, n_blocks, phase_1,
            )  # fmt: skip
        if with_phase_2:
            update_blocks(workspace, tiles, layers, network, tile_bounds, 0, n_blocks, phase_2)


class Phases:
    """A workload's network on so many threads after its first steps, and its phases."""

    def __init__(self, workload: Workload, dtype: str, n_threads: int) -> None:
        self.n_threads = n_threads
        self.pieces = Pieces(workload, dtype, n_threads)
        network = self.network = self.pieces.network
        unweighted = np.empty(0, network.dtype)
        *samples, order = self.pieces.samples
        self._arguments = (*samples, unweighted, order, network.tile_bounds(n_threads), n_threads)

    def repeat(self, with_phase_1: bool, with_phase_2: bool, repeats: int) -> None:
        """Do one phase, or both in turn, so often."""
        self.pieces.begin()
        self.network.run(
            self.n_threads, repeat_phases, training_phases, *self._arguments, with_phase_1, with_phase_2, repeats
        )

    def works(self) -> dict[str, Callable[[int], None]]:
        """Return what is timed, by name."""
        return {
            "phase 1 alone": partial(self.repeat, True, False),
            "phase 2 alone": partial(self.repeat, False, True),
            "both in turn": partial(self.repeat, True, True),
            "step": self.pieces.step,
        }


def fork_join_seconds(n_threads: int) -> float:
    """Return how long it takes to start so many threads on nothing and to wait for all."""
    counts = np.zeros((n_threads, 64))
    fork_often(counts, 1)
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        fork_often(counts, FORKS)
        seconds.append((time.perf_counter() - started) / FORKS)
    if not (counts[:, 0] == 1 + ROUNDS * FORKS).all():
        raise AssertionError(f"the threads counted {counts[:, 0]}")
    return float(np.median(seconds))


def main() -> None:
    """Time the phases on one thread and on several, and print them."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.sharing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", choices=tuple(WORKLOADS))
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    workload, n_threads = WORKLOADS[arguments.workload], arguments.threads
    pin_to_cores(n_threads)
    taken, peaks = {}, {}
    for threads in (1, n_threads):
        phases = Phases(workload, arguments.dtype, threads)
        seconds, peaks[threads] = measure_in_turn(phases.works(), np.dtype(arguments.dtype), threads)
        seconds["step"] /= phases.pieces.run.minibatches
        seconds["products at peak"] = workload.flops_per_step() / (1e9 * peaks[threads])
        taken[threads] = seconds
    apart = round_trip()
    distance = "" if apart is None else f", {1e9 * apart:.0f} ns to another core and back"
    print(f"{workload.name} {arguments.dtype}, tile {TILE.name}, peak {peaks[n_threads]:.0f} GFLOP/s{distance}")
    print(f"  {'threads':26} {1:10} {n_threads:10}")
    for name in taken[1]:
        print(f"  {name:26} {1e6 * taken[1][name]:10.2f} {1e6 * taken[n_threads][name]:10.2f} us")
    print(f"  {'two fork-joins, empty':26} {'':10} {2e6 * fork_join_seconds(n_threads):10.2f} us")


if __name__ == "__main__":
    main()
