"""What kernels are told of a network besides its arrays: a record for each layer, and one of what all layers share."""

from __future__ import annotations

import functools

import numpy as np

from fastmlp.activations import ACTIVATIONS
from fastmlp.layout import Layout
from fastmlp.losses import LOSSES
from fastmlp.optimizers import NONE
from fastmlp.tiles import RESIDENT_BYTES, TILE

# A block of samples starts at a multiple of this, so that most of its tiles have rows enough.
_ROW_GRAIN = 4

NETWORK = np.dtype(
    [
        (name, np.int64)
        for name in (
            "n_layers",
            "capacity",  # rows of the activation panels: the largest minibatch
            "n_parameters",  # numbers in the parameter block, its padding included
            "n_tiles",
            "grain",  # a block of samples starts at a multiple of this
            "loss",
            "optimizer",
            "targets",  # panels like the outputs
            "losses",  # one number per sample of the minibatch
            "weights",  # likewise
            "sums",  # likewise, for the softmax
            "squares",  # sum of squares of each weight tile
            "zeros",  # NR zeros
            "scratch",  # where each block of weights has a place for the gradients of its tiles
            "scratch_size",  # numbers of such a place
            "ask_ahead",  # whether parameters are asked for while their gradient is being computed
            "listed_forward",  # addresses of kernels, where zeros of X are left out (see ``listed_products``)
            "listed_gradient",
            "listed_half_gradient",
            "nesterovs_momentum",
            # What follows changes from step to step.
            "rows",  # samples of this minibatch
            "middle",  # samples of its first half
            "blocks_are_halves",  # whether phase 1 cuts it into its halves
            "start",  # where it starts in the order of samples
            "gather",  # whether its rows must be copied into the first panels
            "weighted",  # whether samples have weights
            "update",  # whether phase 2 updates the parameters, or stores the gradient
            "shared",  # whether several threads do the work
        )
    ]
    + [
        (name, np.float64)
        for name in (
            "alpha",
            "momentum",
            "beta_1",
            "beta_2",
            "epsilon",
            "rate",  # Adam's has its bias correction folded in
            "scale",  # one over the sum of the minibatch's weights
            "loss_sum",  # of all samples evaluated so far, weighted
        )
    ],
    align=True,
)
"""What all layers share."""


@functools.lru_cache(maxsize=128)
def layout_and_records(
    kind: type[Layout],
    layer_units: tuple[int, ...],
    activation: str,
    loss: str,
    dtype: np.dtype,
    optimizer: int,
    capacity: int,
    n_copies: int,
    with_deltas: bool,
    n_threads: int,
    narrow: bool,
    with_rows: bool,
    in_halves: bool,
    listed_part: float,
) -> tuple[Layout, np.ndarray, np.ndarray]:
    """Return the layout of a network and the bytes of its records, which are the same for all of one shape.

    What a user may change from one network to the next, alpha and the like, is not among them. Bytes are copied six
    times as fast as records.
    """
    layout = kind(
        layer_units, capacity, dtype, n_copies, with_deltas, n_threads, narrow, with_rows, in_halves, listed_part
    )
    layers = layout.layers.copy()
    layers["activation"] = ACTIVATIONS[activation]
    layers["activation"][-1] = ACTIVATIONS["identity"]
    record = np.zeros(1, dtype=NETWORK)
    parameter_bytes = (1 + n_copies) * layout.n_parameters * dtype.itemsize
    for name, value in {
        "n_layers": len(layers),
        "capacity": layout.capacity,
        "n_parameters": layout.n_parameters,
        "n_tiles": layout.n_tiles,
        "grain": layout.panel_width if narrow else _ROW_GRAIN,
        "loss": LOSSES[loss],
        "optimizer": optimizer,
        "targets": layout.targets,
        "losses": layout.losses,
        "weights": layout.weights,
        "sums": layout.sums,
        "squares": layout.squares,
        "zeros": layout.zeros,
        "scratch": layout.scratch,
        "scratch_size": layout.scratch_size,
        "ask_ahead": TILE.asks_ahead and optimizer != NONE and parameter_bytes > RESIDENT_BYTES,
        "update": optimizer != NONE,
    }.items():
        record[name] = value
    return layout, layers.view(np.uint8), record.view(np.uint8)
