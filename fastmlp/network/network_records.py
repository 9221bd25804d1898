"""The records of a network, filled from its layout."""

from __future__ import annotations

import functools

import numpy as np

from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.losses import OUTPUT_ACTIVATIONS, Loss
from fastmlp.kernels.optimizers import Optimizer
from fastmlp.kernels.records import NETWORK
from fastmlp.network.layout import Layout, LayoutOptions
from fastmlp.simd.tile_table import RESIDENT_BYTES, TILE

# A block of samples starts at a multiple of this, so that most of its tiles have rows enough.
_ROW_GRAIN = 4


@functools.lru_cache(maxsize=128)
def layout_and_records(
    kind: type[Layout],
    layer_units: tuple[int, ...],
    capacity: int,
    dtype: np.dtype,
    activation: str,
    loss: Loss | None,
    output_activation: str,
    optimizer: Optimizer,
    options: LayoutOptions,
) -> tuple[Layout, np.ndarray, np.ndarray]:
    """Return the layout of a network and the bytes of its records, which are the same for all of one shape.

    What a user may change from one network to the next, alpha and the like, is not among them. Bytes are copied six
    times as fast as records.
    """
    layout = kind(layer_units, capacity, dtype, options)
    layers = layout.layers.copy()
    layers["activation"] = ACTIVATIONS[activation].code
    layers["activation"][-1] = ACTIVATIONS["identity"].code
    record = np.zeros(1, dtype=NETWORK)
    parameter_bytes = (1 + options.n_copies) * layout.n_parameters * dtype.itemsize
    for name, value in {
        "n_layers": len(layers),
        "capacity": layout.capacity,
        "n_parameters": layout.n_parameters,
        "n_tiles": layout.n_tiles,
        "grain": layout.panel_width if options.narrow else _ROW_GRAIN,
        "loss": loss.code if loss else 0,
        "output_activation": OUTPUT_ACTIVATIONS[output_activation],
        "has_labels": bool(loss and loss.has_labels),
        "loss_factor": loss.factor if loss else 1.0,
        "loss_divisor": layer_units[-1] if loss and loss.is_mean else 1,
        "optimizer": optimizer.code,
        "n_moments": optimizer.n_moments,
        "corrects_bias": optimizer.corrects_bias,
        "targets": layout.targets,
        "losses": layout.losses,
        "weights": layout.weights,
        "sums": layout.sums,
        "squares": layout.squares,
        "zeros": layout.zeros,
        "scratch": layout.scratch,
        "scratch_size": layout.scratch_size,
        "prefetch_parameters": TILE.prefetches and optimizer.update is not None and parameter_bytes > RESIDENT_BYTES,
        "update": optimizer.update is not None,
    }.items():
        record[name] = value
    return layout, layers.view(np.uint8), record.view(np.uint8)
