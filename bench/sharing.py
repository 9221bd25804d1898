"""What does it cost to share a step? ``python -m bench.sharing digits`` times its two phases, each alone and in turn.

A phase that is repeated finds what it reads in the caches of the cores that read it. In turn the phases have to fetch
what another core wrote: that is what both take longer than the two alone. What these take longer than their part of the
same phases on one thread is what sharing costs besides: handing the phase to the threads and waiting for the last, and
work that can't be cut evenly. The step itself, in the compiled call, stands below.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.machine import pin_to_cores
from bench.peak import round_trip
from bench.pieces import Pieces, measure_in_turn
from bench.workloads import WORKLOADS, Workload
from fastmlp.drivers.blocks import PHASES, PROPAGATE, UPDATE, run_blocks
from fastmlp.drivers.region import Driver
from fastmlp.drivers.team import begin, dismiss, end, next_phase, post, wait_for_blocks
from fastmlp.kernels.records import MEMORY, SAMPLES
from fastmlp.simd.arguments import INTEGER, INTEGERS
from fastmlp.simd.jit import kernel
from fastmlp.simd.tile_table import TILE

# The median of so many measurements counts, each of so many phases of nothing.
ROUNDS, POSTED = 25, 20_000


@kernel(INTEGERS, *[INTEGER] * 5)
def post_nothing(board: Any, memory: Any, samples: Any, phases: Any, n_blocks: Any, repeats: Any) -> None:
    """Post phases of blocks that nothing is done about, and wait for each."""
    for _ in range(repeats):
        number = post(board, 1, 0, n_blocks)
        for block in range(n_blocks):
            if begin(board, number, block):
                end(board, number, block)
        wait_for_blocks(board, number, n_blocks)
    dismiss(board)


@kernel(INTEGERS, *[INTEGER] * 4)
def follow_nothing(board: Any, block: Any, memory: Any, samples: Any, phases: Any) -> None:
    """Do a follower's part of nothing, until there is no more."""
    number, kind, _, _ = next_phase(board, np.int64(0))
    while kind:
        if begin(board, number, block):
            end(board, number, block)
        number, kind, _, _ = next_phase(board, number)


@kernel(INTEGERS, MEMORY, SAMPLES, PHASES, *[INTEGER] * 4)
def repeat_phases(
    board: Any, memory: Any, samples: Any, phases: Any, n_blocks: Any, with_phase_1: Any, with_phase_2: Any,
    repeats: Any,
) -> None:  # fmt: skip
    """Do one of the two phases of a step, or both in turn, again and again on the same minibatch."""
    first = np.int64(0)
    memory.network_record[0].blocks_are_halves = n_blocks == 2
    for _ in range(repeats):
        if with_phase_1:
            run_blocks(board, memory, samples, phases, PROPAGATE, first, n_blocks, n_blocks)
        if with_phase_2:
            run_blocks(board, memory, samples, phases, UPDATE, first, n_blocks, n_blocks)
    dismiss(board)


REPEAT_PHASES = Driver(repeat_phases)
# There is nothing in the place of memory, samples and phases.
POST_NOTHING = Driver(post_nothing, follow_nothing)


class Phases:
    """A workload's network on so many threads after its first steps, and its phases."""

    def __init__(self, workload: Workload, dtype: str, n_threads: int) -> None:
        self.n_threads = n_threads
        self.pieces = Pieces(workload, dtype, n_threads)
        network = self.network = self.pieces.network
        self._arguments = (self.pieces.samples, network.tile_bounds(n_threads), n_threads)

    def repeat(self, with_phase_1: bool, with_phase_2: bool, repeats: int) -> None:
        """Do one phase, or both in turn, so often."""
        self.pieces.begin()
        phases = int(with_phase_1), int(with_phase_2)
        self.network.run(self.n_threads, REPEAT_PHASES, *self._arguments, *phases, repeats)

    def works(self) -> dict[str, Callable[[int], None]]:
        """Return what is timed, by name."""
        return {
            "phase 1 alone": partial(self.repeat, True, False),
            "phase 2 alone": partial(self.repeat, False, True),
            "both in turn": partial(self.repeat, True, True),
            "step": self.pieces.step,
        }


def handover_seconds(n_threads: int) -> float:
    """Return how long it takes to hand a phase of nothing to so many threads and to wait for all."""
    arguments = (0, 0, 0, n_threads, POSTED)
    POST_NOTHING(n_threads, np.dtype(np.int64), arguments)
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        POST_NOTHING(n_threads, np.dtype(np.int64), arguments)
        seconds.append((time.perf_counter() - started) / POSTED)
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
    print(f"  {'two phases of nothing':26} {'':10} {2e6 * handover_seconds(n_threads):10.2f} us")


if __name__ == "__main__":
    main()
