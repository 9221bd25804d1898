"""What is a step made of? ``python -m bench.pieces planar`` times each piece alone, again and again in the same place.

The pieces are the functions that the phases call. Nothing stands between two turns of a piece, and it finds what it
reads where the last turn left it: together the pieces are the least that a step can take which is made of them. Below
them stand the step itself, in the compiled call, and how many times as long it takes. One thread.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.machine import pin_to_cores
from bench.peak import fma_peak
from bench.test_training import StepRun
from bench.workloads import WORKLOADS, Workload
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.losses import output_and_loss, sum_losses
from fastmlp.kernels.narrow import phases as narrow
from fastmlp.kernels.narrow.losses import narrow_loss
from fastmlp.kernels.narrow.products import panels_at_once
from fastmlp.kernels.records import Memory, Samples
from fastmlp.kernels.wide import phases as wide
from fastmlp.microkernels.function_table import function_table
from fastmlp.network.rows import as_rows
from fastmlp.simd.denormals import flush_denormals, restore_denormals
from fastmlp.simd.jit import as_records, inner, uncached
from fastmlp.simd.tile_table import TILE
from fastmlp.simd.vectors import panel_width

# A piece is repeated for about so long at a time, and the median of so many times counts.
SECONDS, ROUNDS = 0.02, 25

# The pieces, in the order in which a step does them.
GATHER, FORWARD, LOSS, BACKWARD, GRADIENTS, UPDATES = range(6)
NAMES = ("gather", "forward", "loss", "backward", "gradients", "updates")
# The same without activations and their derivatives, where these are not done as the products end.
BARE = {FORWARD: "forward products", BACKWARD: "backward products"}


@inner
def _gradient_alone(
    workspace: Any, functions: Any, layer: Any, network: Any, unit: Any, panel: Any, scratch: Any, is_first: Any
) -> Any:
    wide.compute_gradient(workspace, functions, layer, network, unit, panel, scratch, is_first)
    return workspace.dtype.type(0)


@inner
def _update_alone(
    workspace: Any, functions: Any, layer: Any, network: Any, unit: Any, panel: Any, scratch: Any, is_first: Any
) -> Any:
    return wide.apply_gradient(workspace, layer, network, scratch, unit, panel)


@uncached
def repeat_pieces(memory: Any, samples: Any, piece: Any, repeats: Any) -> None:
    """Do one piece of a step with units along the vectors, again and again."""
    former = flush_denormals()
    workspace, functions, layers, network_record = memory
    source, targets, labels, sample_weight, order = samples
    network = network_record[0]
    rows, scratch = network.rows, network.scratch
    for _ in range(repeats):
        if piece == GATHER:
            wide.gather(workspace, layers, network, source, sample_weight, order, 0, rows)
        elif piece == FORWARD:
            wide.forward(workspace, functions, layers, network, source, order, 0, rows)
        elif piece == LOSS:
            output_and_loss(workspace, layers[network.n_layers - 1], network, targets, labels, order, 0, rows)
            sum_losses(workspace, network)
        elif piece == BACKWARD:
            wide.backward(workspace, functions, layers, network, 0, rows)
        else:
            for number in range(network.n_layers):
                layer = layers[number]
                if piece == GRADIENTS:
                    wide.layer_tiles(
                        _gradient_alone, workspace, functions, layer, network, 0, network.n_tiles, scratch
                    )  # fmt: skip
                else:
                    wide.layer_tiles(
                        _update_alone, workspace, functions, layer, network, 0, network.n_tiles, scratch
                    )  # fmt: skip
    restore_denormals(former)


@inner
def _narrow_gradient_alone(workspace: Any, functions: Any, layer: Any, network: Any, tile: Any, scratch: Any) -> Any:
    narrow.compute_narrow_gradient(workspace, functions, layer, network, tile, scratch)
    return workspace.dtype.type(0)


@inner
def _narrow_update_alone(workspace: Any, functions: Any, layer: Any, network: Any, tile: Any, scratch: Any) -> Any:
    return narrow.apply_narrow_gradient(workspace, layer, network, scratch, tile)


@uncached
def repeat_narrow_pieces(memory: Any, samples: Any, piece: Any, repeats: Any) -> None:
    """Do one piece of a step with samples along the vectors, again and again."""
    former = flush_denormals()
    workspace, functions, layers, network_record = memory
    network = network_record[0]
    width = panel_width(workspace)
    most = panels_at_once(workspace, layers, network.n_layers)
    scratch = network.scratch
    for _ in range(repeats):
        if piece in (GRADIENTS, UPDATES):
            for number in range(network.n_layers):
                layer = layers[number]
                if piece == GRADIENTS:
                    narrow.narrow_layer_tiles(
                        _narrow_gradient_alone, workspace, functions, layer, network, 0, network.n_tiles, scratch
                    )  # fmt: skip
                else:
                    narrow.narrow_layer_tiles(
                        _narrow_update_alone, workspace, functions, layer, network, 0, network.n_tiles, scratch
                    )  # fmt: skip
            continue
        first: Any = np.intp(0)
        while first < network.rows:
            panels, columns, vectors = narrow.next_panels(workspace, most, first, network.rows)
            panel = first // width
            if piece == GATHER:
                narrow.gather_panels(workspace, layers, network, samples, first, panels, columns)
            elif piece == FORWARD:
                narrow.forward_panels(workspace, functions, layers, network, panel, panels, vectors)
            elif piece == LOSS:
                narrow_loss(workspace, layers[network.n_layers - 1], network, panel, panels, columns, vectors)
            else:
                narrow.backward_panels(workspace, functions, layers, network, panel, panels, vectors)
            first += panels * width
        if piece == LOSS:
            sum_losses(workspace, network)
    restore_denormals(former)


class Pieces:
    """A workload's network after its first steps, and what can be repeated on it."""

    def __init__(self, workload: Workload, dtype: str, n_threads: int = 1) -> None:
        self.workload = workload
        self.run = StepRun(workload, dtype, n_threads)
        network = self.network = self.run.network
        self.run.train_compiled(1)
        self.layers = network._layers
        # Products alone end with neither an activation nor its derivative.
        self.bare_layers = self.layers.copy()
        self.bare_layers["activation"] = ACTIVATIONS["identity"].code
        rows = as_rows(self.run.X, network.dtype)
        targets, unweighted = network.prepared_targets(self.run.targets), np.empty(0, network.dtype)
        self.samples = Samples(rows.source, *targets, unweighted, np.arange(workload.batch_size))

    def step(self, repeats: int) -> None:
        """Train so many times on every minibatch."""
        self.run.train_compiled(repeats)

    def begin(self) -> None:
        """Write to the record what a step would, of the first minibatch."""
        fields = self.network.fields
        fields["rows"], fields["start"], fields["gather"] = self.workload.batch_size, 0, not self.workload.is_full_batch
        fields["rate"] = 0.0  # however often they are updated, weights stay numbers

    def repeat(self, piece: int, layers: np.ndarray, repeats: int) -> None:
        """Do a piece so often."""
        network = self.network
        self.begin()
        function = repeat_narrow_pieces if network.narrow else repeat_pieces
        records = (as_records(layers), as_records(network._record))
        memory = Memory(network._workspace, function_table(network.dtype, network.narrow), *records)
        function(memory, self.samples, piece, repeats)

    def works(self) -> dict[str, Callable[[int], None]]:
        """Return what is timed, by name."""
        works = {name: functools.partial(self.repeat, piece, self.layers) for piece, name in enumerate(NAMES)}
        if self.workload.is_full_batch:
            del works["gather"]
        if self.workload.activation not in ("relu", "identity"):
            works |= {name: functools.partial(self.repeat, piece, self.bare_layers) for piece, name in BARE.items()}
        return {**works, "step": self.step}


def repeats_of(work: Callable[[int], None]) -> int:
    """Return how often to repeat it for about `SECONDS`, so that what a call costs is little beside it."""
    work(1)
    repeats = 1
    while True:
        started = time.perf_counter()
        work(repeats)
        seconds = time.perf_counter() - started
        if seconds > SECONDS / 4:
            return max(1, int(repeats * SECONDS / seconds))
        repeats *= 4


def measure_in_turn(
    works: dict[str, Callable[[int], None]], dtype: np.dtype, n_threads: int
) -> tuple[dict[str, float], float]:
    """Return the median time of each in seconds, and the median multiply-add peak in GFLOP/s, all in turn."""
    repeats = {name: repeats_of(work) for name, work in works.items()}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    peaks = []
    for _ in range(ROUNDS):
        peaks.append(fma_peak(dtype, n_threads))
        for name, work in works.items():
            started = time.perf_counter()
            work(repeats[name])
            seconds[name].append((time.perf_counter() - started) / repeats[name])
    return {name: float(np.median(times)) for name, times in seconds.items()}, float(np.median(peaks))


def main() -> None:
    """Time the pieces and the step, and print them."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.pieces", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", choices=tuple(WORKLOADS))
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    arguments = parser.parse_args()
    pin_to_cores(1)
    workload, dtype = WORKLOADS[arguments.workload], np.dtype(arguments.dtype)
    pieces = Pieces(workload, arguments.dtype)
    seconds, peak = measure_in_turn(pieces.works(), dtype, 1)
    step = seconds.pop("step") / pieces.run.minibatches
    total = sum(seconds[name] for name in NAMES if name in seconds)
    products = seconds["gradients"] + sum(seconds.get(name, seconds[NAMES[piece]]) for piece, name in BARE.items())
    floor = workload.flops_per_step() / (1e9 * peak)
    print(f"{workload.name} {dtype}, tile {TILE.name}, one thread, peak {peak:.0f} GFLOP/s")
    for piece, name in enumerate(NAMES):
        if name in seconds:
            bare = BARE.get(piece)
            of_it = f", of which products {1e6 * seconds[bare]:.2f}" if bare in seconds else ""
            print(f"  {name:18} {1e6 * seconds[name]:11.2f} us{of_it}")
    print(f"  {'all pieces':18} {1e6 * total:11.2f} us, of which products {1e6 * products:.2f}")
    print(f"  {'step':18} {1e6 * step:11.2f} us, {step / total:.2f} of all pieces")
    print(f"  {'products at peak':18} {1e6 * floor:11.2f} us")


if __name__ == "__main__":
    main()
