"""What is a step made of? ``python -m bench.pieces planar`` times each piece alone, again and again in the same place.

Nothing stands between two turns of a piece, and it finds what it reads where the last turn left it: together the pieces
are the least that a step can take which is made of them. Below them stand the step itself, in the compiled call, and
how many times as long it takes. One thread.
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
from fastmlp.kernels.activations import IDENTITY, activate, differentiate
from fastmlp.kernels.losses import output_and_loss, sum_losses
from fastmlp.kernels.narrow.gather import narrow_gather
from fastmlp.kernels.narrow.gradients import narrow_gradient, write_rows
from fastmlp.kernels.narrow.losses import narrow_loss
from fastmlp.kernels.narrow.products import (
    narrow_backward_data,
    narrow_forward,
    panels_at_once,
    rows_of,
)
from fastmlp.kernels.optimizers import update_tile
from fastmlp.kernels.tiles import tile_vectors
from fastmlp.kernels.wide.gather import gather_rows
from fastmlp.kernels.wide.gradients import (
    bias_gradient,
    is_high,
    low_panels,
    sum_bias_halves,
    sum_weight_halves,
    weight_gradient,
)
from fastmlp.kernels.wide.phases import _transpose, tile_place
from fastmlp.kernels.wide.products import dense_backward_data, dense_forward
from fastmlp.kernels.wide.remainder_gradients import transposed_gradient
from fastmlp.microkernels.function_table import function_table
from fastmlp.microkernels.tile import MR
from fastmlp.network.rows import as_rows
from fastmlp.simd.denormals import flush_denormals, restore_denormals
from fastmlp.simd.jit import as_records, inner, uncached
from fastmlp.simd.tile_table import TILE
from fastmlp.simd.vectors import lane_count, panel_width

# A piece is repeated for about so long at a time, and the median of so many times counts.
SECONDS, ROUNDS = 0.02, 25

# The pieces, in the order in which a step does them.
GATHER, FORWARD, ACTIVATIONS, LOSS, BACKWARD, DERIVATIVES, GRADIENTS, UPDATES = range(8)
NAMES = (
    "gather", "forward products", "activations", "loss", "backward products", "derivatives", "gradient products",
    "updates",
)  # fmt: skip
PRODUCTS = (FORWARD, BACKWARD, GRADIENTS)


@inner
def _weight_tiles(workspace: Any, tiles: Any, layer: Any, shared: Any, piece: Any) -> None:
    """Do one of the two pieces of phase 2 for all tiles of a layer."""
    width, lanes = panel_width(workspace), lane_count(workspace)
    n_panels = low_panels(layer, width)
    for tile in range(layer.row_tiles * n_panels + layer.high_tiles):
        panel, unit = tile_place(layer, tile, n_panels, width)
        vectors = tile_vectors(layer.fan_out, panel * width, lanes)
        is_bias = unit == layer.fan_in
        high = is_high(workspace, layer, panel)
        height = 1 if is_bias else min(width if high else MR, layer.fan_in - unit)
        place = layer.parameters + (panel * (layer.fan_in + 1) + unit) * width
        if piece == UPDATES:
            update_tile(workspace, shared, shared.scratch, place, place, height, vectors * lanes, shared.alpha)
            if layer.transposed and not is_bias:
                _transpose(workspace, layer, place, unit, panel, height)
        elif is_bias:
            if layer.first_half:
                sum_bias_halves(workspace, layer, shared, shared.scratch, panel, vectors)
            else:
                bias_gradient(workspace, layer, shared, shared.scratch, panel, 0, shared.rows, vectors)
        elif high:
            transposed_gradient(workspace, tiles, layer, shared, shared.scratch, unit, panel)
        elif layer.first_half:
            sum_weight_halves(workspace, tiles, layer, shared, shared.scratch, unit, panel, vectors, np.intp(0))
        else:
            weight_gradient(workspace, tiles, layer, shared, shared.scratch, unit, panel, 0, shared.rows, vectors, -1)


@uncached
def repeat_pieces(
    workspace: Any, tiles: Any, layers: Any, network: Any, source: Any, targets: Any, labels: Any, order: Any,
    piece: Any, repeats: Any,
) -> None:  # fmt: skip
    """Do one piece of a step with units along the vectors, again and again."""
    former = flush_denormals()
    shared = network[0]
    width, lanes = panel_width(workspace), lane_count(workspace)
    rows, capacity, n_layers = shared.rows, shared.capacity, shared.n_layers
    for _ in range(repeats):
        if piece == GATHER:
            gather_rows(workspace, layers[0].inputs, source[0], order, 0, 0, rows, capacity)
        elif piece == LOSS:
            output_and_loss(workspace, layers[n_layers - 1], shared, targets, labels, order, 0, rows)
            sum_losses(workspace, shared)
        else:
            for number in range(n_layers):
                layer = layers[number]
                if piece == FORWARD:
                    dense_forward(workspace, tiles, layer, 0, rows, capacity, layer.ask_for_panels)
                elif piece == BACKWARD and number > 0:
                    dense_backward_data(
                        workspace, tiles, layer, layers[number - 1], 0, rows, capacity, shared.zeros,
                        layer.ask_for_panels,
                    )  # fmt: skip
                elif piece in (ACTIVATIONS, DERIVATIVES):
                    for first in range(0, layer.fan_out, width):
                        place, columns = first * capacity, tile_vectors(layer.fan_out, first, lanes) * lanes
                        out = layer.outputs + place
                        if piece == ACTIVATIONS:
                            activate(workspace, out, width, rows, columns, layer.activation)
                        else:
                            differentiate(
                                workspace, layer.deltas + place, width, out, width, rows, columns, layer.activation
                            )  # fmt: skip
                elif piece in (GRADIENTS, UPDATES):
                    _weight_tiles(workspace, tiles, layer, shared, piece)
    restore_denormals(former)


@uncached
def repeat_narrow_pieces(
    workspace: Any, tiles: Any, layers: Any, network: Any, source: Any, targets: Any, labels: Any, order: Any,
    piece: Any, repeats: Any,
) -> None:  # fmt: skip
    """Do one piece of a step with samples along the vectors, again and again."""
    former = flush_denormals()
    shared = network[0]
    width, lanes = panel_width(workspace), lane_count(workspace)
    rows, n_layers = shared.rows, shared.n_layers
    most = panels_at_once(workspace, layers, n_layers)
    for _ in range(repeats):
        if piece in (GRADIENTS, UPDATES):
            for number in range(n_layers):
                layer = layers[number]
                for first in range(0, layer.fan_out, width):
                    columns = tile_vectors(layer.fan_out, first, lanes) * lanes
                    for row_tile in range(layer.row_tiles):
                        tile, unit = first // width * layer.row_tiles + row_tile, row_tile * width
                        if piece == GRADIENTS:
                            narrow_gradient(
                                workspace, tiles, layer, shared, shared.scratch, tile, unit, first // width
                            )  # fmt: skip
                        else:
                            place = layer.parameters + first * (layer.fan_in + 1) + unit * width
                            height = min(width, layer.fan_in + 1 - unit)
                            update_tile(workspace, shared, shared.scratch, place, place, height, columns, shared.alpha)
            continue
        begin: Any = np.intp(0)
        while begin < rows:
            panels = max(1, min(most, (rows - begin) // width))
            samples = min(width, rows - begin)
            vectors = tile_vectors(rows, begin, lanes)
            panel = begin // width
            if piece == LOSS:
                narrow_loss(workspace, layers[n_layers - 1], shared, panel, panels, samples, vectors)
            for number in range(n_layers):
                layer = layers[number]
                step, columns = layer.fan_out * width, vectors * lanes
                stride, n, numbers = rows_of(workspace, step, layer.fan_out, panels, columns)
                out_stride, _, _ = rows_of(workspace, step + width, layer.fan_out, panels, columns)
                out, deltas = layer.outputs + panel * (step + width), layer.deltas + panel * step
                if piece == FORWARD:
                    narrow_forward(workspace, tiles, layer, panel, panels, vectors)
                elif piece == BACKWARD and number > 0:
                    narrow_backward_data(
                        workspace, tiles, layer, layers[number - 1], panel, panels, vectors
                    )  # fmt: skip
                elif piece == ACTIVATIONS:
                    activate(workspace, out, out_stride, n, numbers, layer.activation)
                elif piece == DERIVATIVES:
                    differentiate(workspace, deltas, stride, out, out_stride, n, numbers, layer.activation)
            if piece == GATHER:
                for place in range(begin, begin + panels * width, width):
                    narrow_gather(workspace, layers[0], source[0], order, 0, place, place + samples)
                    if layers[0].rows:
                        write_rows(workspace, layers[0], place, samples, shared.capacity)
            begin += panels * width
        if piece == LOSS:
            sum_losses(workspace, shared)
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
        self.bare_layers["activation"] = IDENTITY
        rows = as_rows(self.run.X, network.dtype)
        self.samples = (rows.source, *network.prepared_targets(self.run.targets), np.arange(workload.batch_size))

    def step(self, repeats: int) -> None:
        """Train so many times on every minibatch."""
        self.run.train_compiled(repeats)

    def begin(self) -> None:
        """Write to the record what a step would, of the first minibatch."""
        fields = self.network.fields
        fields["rows"], fields["start"], fields["gather"] = self.workload.batch_size, 0, not self.workload.is_full_batch
        fields["rate"] = 0.0  # however often they are updated, weights stay numbers

    def repeat(self, piece: int, repeats: int) -> None:
        """Do a piece so often."""
        network = self.network
        self.begin()
        layers = self.bare_layers if piece in PRODUCTS else self.layers
        function = repeat_narrow_pieces if network.narrow else repeat_pieces
        function(
            network._workspace, function_table(network.dtype, network.narrow), as_records(layers),
            as_records(network._record), *self.samples, piece, repeats,
        )  # fmt: skip

    def works(self) -> dict[str, Callable[[int], None]]:
        """Return what is timed, by name."""
        hidden = self.workload.activation not in ("relu", "identity")  # else done where the products end
        left_out = set() if hidden else {ACTIVATIONS, DERIVATIVES}
        if self.workload.is_full_batch:
            left_out.add(GATHER)
        pieces = {
            name: functools.partial(self.repeat, piece) for piece, name in enumerate(NAMES) if piece not in left_out
        }
        return {**pieces, "step": self.step}


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
    total = sum(seconds.values())
    products = sum(seconds[NAMES[piece]] for piece in PRODUCTS)
    floor = workload.flops_per_step() / (1e9 * peak)
    print(f"{workload.name} {dtype}, tile {TILE.name}, one thread, peak {peak:.0f} GFLOP/s")
    for name, time_taken in seconds.items():
        print(f"  {name:18} {1e6 * time_taken:11.2f} us")
    print(f"  {'all pieces':18} {1e6 * total:11.2f} us, of which products {1e6 * products:.2f}")
    print(f"  {'step':18} {1e6 * step:11.2f} us, {step / total:.2f} of all pieces")
    print(f"  {'products at peak':18} {1e6 * floor:11.2f} us")


if __name__ == "__main__":
    main()
