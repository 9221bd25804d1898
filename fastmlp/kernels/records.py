"""The records that kernels read, and the arrays that travel together."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from fastmlp.simd.arguments import INTEGERS, NUMBERS, Array, Record, Together


class Memory(NamedTuple):
    """A network in memory: what every phase gets first.

    Attributes
    ----------
    workspace : ndarray of shape (n_numbers,)
        All matrices; the records say what is where.
    functions : ndarray of shape (n_functions,)
        Addresses of micro-kernels.
    layers : ndarray of LAYER, shape (n_layers,)
        A record for each matrix of weights.
    network_record : ndarray of NETWORK, shape (1,)
        What all layers share.
    """

    workspace: Any
    functions: Any
    layers: Any
    network_record: Any


class Samples(NamedTuple):
    """What is trained on.

    Attributes
    ----------
    source : ndarray of SOURCE, shape (1,)
        How X is read.
    targets : ndarray of shape (n_samples, n_outputs)
        Targets, without rows where there are labels.
    labels : ndarray of int64, shape (n_samples,)
        Codes of classes, or none.
    sample_weight : ndarray of shape (n_samples,)
        Weights, or none.
    order : ndarray of int64, shape (n_used,)
        The samples that are used, in the order of the minibatches.
    """

    source: Any
    targets: Any
    labels: Any
    sample_weight: Any
    order: Any


class Run(NamedTuple):
    """A run over epochs.

    Attributes
    ----------
    record : ndarray of RUN, shape (1,)
        Where it stands.
    generator : ndarray of uint32
        The state of the generator that shuffles.
    learning_rates, epoch_losses : ndarray of shape (n_epochs,)
        A rate for each coming epoch, and the losses of those that end.
    """

    record: Any
    generator: Any
    learning_rates: Any
    epoch_losses: Any


@dataclass(slots=True)
class LayerPlaces:
    """Where a layer's matrices start in the workspace, in numbers, its shape, and the factors of its update."""

    fan_in: int
    fan_out: int
    parameters: int = 0  # W and b: panels of fan_in + 1 rows
    rate_factor: float = 1.0  # what the learning rate is multiplied by for W
    decay_factor: float = 1.0  # what alpha is
    bias_rate_factor: float = 1.0  # likewise for b
    bias_decay_factor: float = 0.0
    transposed: int = 0  # W transposed: panels of fan_out rows (only between two layers of units with deltas)
    inputs: int = 0  # A_l: panels of `capacity` rows
    rows: int = 0  # X, whole panels of rows, only in a narrow network that has use for it (see ``narrow.gradients``)
    marks: int = 0  # which features are not zero, by features and samples, or 0 (see ``wide.nonzero_lists``)
    mark_rows: int = 0  # marks of a group of features
    feature_lists: int = 0  # of each tile of samples
    feature_list_size: int = 0
    sample_lists: int = 0  # of tiles of features, so many at a time, in each block's scratch
    n_sample_lists: int = 0
    sample_list_size: int = 0
    row_size: int = 0  # numbers from one row of W to the next where the entries of X are kept, or 0 (see ``entries``)
    most_entries: int = 0  # places in each of their lists
    entry_values: int = 0
    entry_columns: int = 0
    entry_samples: int = 0
    entry_links: int = 0
    entry_begins: int = 0  # of each sample
    entry_ends: int = 0
    tile_entries: int = 0  # the first entry of each tile of W
    entry_gradient: int = 0  # of a tile, in each block's scratch
    outputs: int = 0  # A_{l+1}
    slopes: int = 0  # dA_{l+1}/dz_{l+1}, laid out as the outputs, or 0 where it is found from them
    deltas: int = 0  # dL/dz_{l+1}
    first_half: int = 0  # gradient over half of the minibatch: panels of fan_in + 1 rows, or 0 (see ``wide.gradients``)
    second_half: int = 0
    first_tile: int = 0  # number of this layer's first weight tile among those of all layers
    row_tiles: int = 0  # tiles from the first row of W to the last, and one for the biases (see `_tile_heights`)
    block_tiles: int = 0  # of these, so many in all panels are numbered before the next (see `tile_place` in phases)
    remainder_units: int = 0  # those of a remainder panel, or 0 (see ``wide.remainder_gradients``)
    remainder_tiles: int = 0  # row tiles of such a panel, which are NR rows high
    prefetch_panels: int = 0  # whether those of W, or of W transposed, are prefetched during the one before
    activation: int = 0


LAYER_FIELDS = {field.name: {"int": np.int64, "float": np.float64}[str(field.type)] for field in fields(LayerPlaces)}

LAYER = np.dtype(list(LAYER_FIELDS.items()), align=True)
"""The same as a record, which kernels read."""


NETWORK = np.dtype(
    [
        (name, np.int64)
        for name in (
            "n_layers",
            "capacity",  # rows of the activation panels: the largest minibatch
            "n_parameters",  # numbers of all parameters, padding included: from there on, their moments
            "n_tiles",
            "grain",  # a block of samples starts at a multiple of this
            "loss",
            "output_activation",
            "has_labels",  # whether targets are numbers of classes
            "optimizer",
            "n_moments",  # that it keeps for each parameter
            "corrects_bias",  # whether the rate is corrected for the bias of the moments
            "targets",  # panels like the outputs
            "losses",  # one number per sample of the minibatch
            "weights",  # likewise
            "sums",  # likewise, for the softmax
            "squares",  # what each weight tile adds to the L2 term: the sum of its squares, by their decay
            "zeros",  # NR zeros
            "scratch",  # where each block of weights has a place for the gradients of its tiles
            "scratch_size",  # numbers of such a place
            "prefetch_parameters",  # whether parameters are prefetched while their gradient is being computed
            "sparse_forward",  # addresses of kernels, where zeros of X are left out (see ``wide.sparse_products``)
            "sparse_gradient",
            "write_sample_lists",
            "entry_forward",  # likewise, where the entries of a sparse X are kept (see ``wide.entry_products``)
            "entry_inference",
            "entry_update",
            "nesterovs_momentum",
            # What follows changes from step to step.
            "rows",  # samples of this minibatch
            "middle",  # samples of its first half
            "blocks_are_halves",  # whether phase 1 cuts it into its halves
            "start",  # where it starts in the order of samples
            "gather",  # whether its rows must be copied into the first panels
            "weighted",  # whether samples have weights
            "update",  # whether phase 2 updates the parameters, or stores the gradient
            "on_several_threads",  # whether several threads do the work
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
            "weight_decay",  # where it is decoupled from the gradient
            "learning_rate",
            "rate",  # the same, with Adam's bias correction folded in
            "loss_parameter",  # that it has, as huber its delta
            "loss_factor",  # what the sum over outputs is multiplied by
            "loss_divisor",  # the outputs if the loss is their mean, else 1
            "scale",  # one over the sum of the minibatch's weights
            "loss_sum",  # of all samples evaluated so far, weighted
        )
    ],
    align=True,
)
"""What all layers share.

Phases get an array of one such record, `network_record`; what they call gets the record itself, `network`.
"""


SOURCE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "address",  # of X[0, 0], or of the values of a CSR matrix
            "kind",  # data type, see vectors.SOURCE_KINDS
            "item_bytes",
            "row_stride",  # in bytes
            "column_stride",
            "columns",
            "is_sparse",
            "row_starts",  # address of indptr
            "column_numbers",  # address of indices
            "row_starts_wide",  # whether they are int64 (else int32)
            "column_numbers_wide",
        )
    ],
    align=True,
)
"""How the gather kernel reads X."""

RUN = np.dtype(
    [
        (name, np.int64)
        for name in (
            "batch_size",
            "position",  # samples of the current epoch that are done
            "t",  # Adam's steps
            "most_steps",  # minibatches of the next call, at most
            "steps",  # minibatches of the last call
            "epochs",  # that ended in it
            "piece",  # pieces of the current step that are done, of both phases
            "shuffle",
            "generator_position",
            "resident",  # whether the panels hold the whole, unshuffled data set already
            "has_rule",
            "ticks",  # of the clock, that the last call took
            "most_ticks",  # after so many a call on several threads begins no further step
            "weights_cancel",  # whether the call ended before a minibatch whose weights sum to zero but aren't all zero
        )
    ]
    + [
        (name, np.float64)
        for name in (
            "accumulated_loss",
            "tol",
            "n_iter_no_change",
            "best_loss",
            "no_improvement_count",
        )
    ],
    align=True,
)
"""Where a run over epochs stands; the driver changes it."""


# --- what kernels are declared with ---------------------------------------------------------------------------------

A_LAYER, A_NETWORK, A_SOURCE = Record(LAYER), Record(NETWORK), Record(SOURCE)

MEMORY = Together(Memory, (NUMBERS, INTEGERS, Array(LAYER), Array(NETWORK)))

SAMPLES = Together(Samples, (Array(SOURCE), Array(ndim=2), INTEGERS, NUMBERS, INTEGERS))

_RATES = Array(np.dtype(np.float64))

RUN_OF_EPOCHS = Together(Run, (Array(RUN), Array(np.dtype(np.uint32)), _RATES, _RATES))
