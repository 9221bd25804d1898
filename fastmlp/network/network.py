"""A network in memory: its parameters, optimiser moments and workspace, and the calls into the compiled steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain

import numpy as np

from fastmlp.drivers.blocks import entry_kernels, sparse_kernels, training_phases
from fastmlp.drivers.inference import PREDICTION_ROWS, inference_block_rows, run_inference
from fastmlp.drivers.region import EVALUATE, Driver
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.losses import LOSSES
from fastmlp.kernels.optimizers import optimizer_of
from fastmlp.kernels.records import LAYER, NETWORK, Memory, Samples
from fastmlp.microkernels.function_table import function_table
from fastmlp.network.epochs import SECONDS_PER_CALL, Epochs, WeightsCancelError
from fastmlp.network.layout import Layout, LayoutOptions
from fastmlp.network.network_records import layout_and_records
from fastmlp.network.orientation import gains_by_rows, is_narrow
from fastmlp.network.packing import PackedParameters
from fastmlp.network.parameter_blocks import ParameterBlock, split
from fastmlp.network.rows import Rows
from fastmlp.network.threads import (
    compiled_call,
    expected_seconds,
    helped_call,
    may_gain,
    resolve_n_threads,
    worth_sharing,
)
from fastmlp.network.work import work_per_sample
from fastmlp.simd.jit import as_records
from fastmlp.simd.tile_table import TILE, aligned_zeros

# Samples of one chunk of an L-BFGS evaluation: a compiled call covers at least one. In a very large network it is
# fewer, because so many would keep Ctrl-C waiting; on one thread they shouldn't take longer than this.
_CHUNK = 1024
_LONGEST_CHUNK = 0.25

# Predictions that are expected to take so many seconds on one thread are worth waking others for.
_WORTH_HELP = 0.4e-3

# Numbers of a gradient that are scaled at a time: they stay in the second-level cache.
_SCALED = 2**14


class Network:
    """One network in column panels, ready for compiled steps.

    Its parameters are the settings that a network may have, each with a default, and given by name.

    Parameters
    ----------
    layer_units : sequence of int
        Units of each layer, from the features to the outputs; two or more.
    activation : {"identity", "logistic", "tanh", "relu", "gelu"}
        Activation of the hidden layers.
    loss : {"squared_error", "huber", "poisson", "binary_log_loss", "log_loss"} or None
        Loss; None for a network that only predicts.
    loss_parameter : float, optional
        The parameter of a loss that has one; by default the one in its row.
    output_activation : {"identity", "exp", "logistic", "softmax"}, optional
        By default that of the loss.
    dtype : dtype
        float32 or float64.
    solver : {"sgd", "adam", "adamw", "lbfgs"} or None
        None for a network that only predicts.
    batch_size : int
        Most samples of a minibatch: the rows of the workspace.
    alpha : float
        Strength of the L2 term.
    momentum, nesterovs_momentum, beta_1, beta_2, epsilon
        As in scikit-learn.
    weight_decay : float
        Where the solver decouples it: by how much, times the learning rate, weights shrink in each step.
    n_threads : int or None
        None for the smallest of the limits in force.
    gathers : bool, default=True
        Whether every step has samples of its own to gather; False where all steps have the same full batch. It may
        decide how the first gradient is computed, and so its last bits.
    rows : Rows, optional
        What the network is made for. Where much of it is zero, the first layer leaves these terms of its products out
        (see ``wide.nonzero_lists``), whatever rows it is given then.
        Where it is a very sparse matrix and the network is to be trained, the first layer keeps nothing but its entries
        (see ``wide.entries``).

    Attributes
    ----------
    t : int
        Adam's steps so far.
    leaves_zeros_out : bool
        Whether it leaves terms of zeros out.
    keeps_entries : bool
        Whether its first layer keeps the entries of a sparse X (see ``entries``), and no panels of X. It then takes no
        other rows than those of CSR matrices, and of these no minibatch with more entries than it has room for.
    """

    def __init__(
        self,
        layer_units: Sequence[int],
        *,
        activation: str = "relu",
        loss: str | None = "log_loss",
        loss_parameter: float | None = None,
        output_activation: str | None = None,
        dtype: np.dtype | type = np.float32,
        solver: str | None = "adam",
        batch_size: int = 200,
        alpha: float = 0.0001,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        n_threads: int | None = None,
        gathers: bool = True,
        rows: Rows | None = None,
    ) -> None:
        self.layer_units = [int(units) for units in layer_units]
        self.dtype = np.dtype(dtype)
        self.t = 0
        self._activation, self._loss = activation, loss
        row = None if loss is None else LOSSES[loss]
        output_activation = output_activation or (row.output_activation if row else "identity")
        self.n_threads = resolve_n_threads(n_threads)
        optimizer = optimizer_of(solver, momentum)
        trains = optimizer.update is not None
        units, lanes = tuple(self.layer_units), TILE.lanes(self.dtype)
        n_kept = rows.kept_entries(batch_size, self.dtype) if rows is not None and solver is not None else 0.0
        self._work_per_sample = work_per_sample(units, n_entries=n_kept)
        if solver == "lbfgs" or solver is None:
            seconds = self.expected_seconds(1) * (1 if solver else 1 / 3)  # a prediction is forward only
            batch_size = min(batch_size, _CHUNK, max(TILE.rows, int(_LONGEST_CHUNK / seconds)))
        n_copies = 1 if solver == "lbfgs" else optimizer.n_moments
        self.narrow = trains and not n_kept and is_narrow(units, batch_size, lanes)
        part, n_entries = 1.0, 0
        if rows is not None and n_kept:
            # A place for each sample at least: see `entry_inference`.
            n_entries = max(batch_size, rows.most_entries(batch_size))
        elif rows is not None and not self.narrow:
            part = rows.term_density(units[1], lanes)
        self._work_per_sample = work_per_sample(
            units, term_density=part, n_entries=n_kept, narrow=self.narrow,
            update_rows=batch_size if n_kept and trains else 0,
        )  # fmt: skip
        options = LayoutOptions(
            n_copies, with_deltas=solver is not None, n_blocks=self.n_threads, narrow=self.narrow,
            with_rows=self.narrow and gains_by_rows(units[:2], batch_size, lanes, gathers),
            in_halves=trains and may_gain(batch_size * self._work_per_sample, self.dtype.itemsize, 2),
            term_density=round(part, 1),  # it divides the work roughly; and networks of one shape share a layout
            n_entries=n_entries,
            with_slopes=solver is not None and ACTIVATIONS[activation].value_and_slope is not None,
        )  # fmt: skip
        self._layout, layers, record = layout_and_records(
            Layout, units, batch_size, self.dtype, activation, row, output_activation, optimizer, options
        )
        self._n_copies = n_copies
        self.leaves_zeros_out = self._layout.places[0].marks > 0
        self.keeps_entries = n_entries > 0
        self._workspace = aligned_zeros(self._layout.size, self.dtype)
        self._parameters = PackedParameters(self.blocks, self._workspace, self._layout.n_parameters, n_copies)
        if self.narrow:
            self._layout.write_ones(self._workspace)
        self._layers, self._record = layers.copy().view(LAYER), record.copy().view(NETWORK)
        self._records = (as_records(self._layers), as_records(self._record))
        self.fields = self._record[0]
        for are_called, addresses in ((self.leaves_zeros_out, sparse_kernels), (self.keeps_entries, entry_kernels)):
            for name, address in addresses(self.dtype).items() if are_called else ():
                self.fields[name] = address
        for name, value in {
            "loss_parameter": row.parameter if row and loss_parameter is None else loss_parameter or 0.0,
            "alpha": alpha, "momentum": momentum, "nesterovs_momentum": nesterovs_momentum,
            "beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon, "weight_decay": weight_decay,
        }.items():  # fmt: skip
            self.fields[name] = value
        self._has_labels = bool(self.fields["has_labels"])

    # --- parameters and moments -------------------------------------------------------------------

    @property
    def blocks(self) -> list[ParameterBlock]:
        """The arrays that are trained, in the order in which all that follows has them."""
        return self._layout.blocks

    def set_parameters(self, *lists: Sequence) -> None:
        """Copy all parameters in, casting them to the network's data type: one list, or weights and then biases."""
        self._parameters.write([*chain.from_iterable(lists)])

    def get_parameters(self, *lists: Sequence[np.ndarray]) -> None:
        """Write all parameters into the given arrays."""
        self._parameters.read([*chain.from_iterable(lists)])

    def parameters(self) -> list[np.ndarray]:
        """Return copies of all parameters, in the network's data type."""
        return self._parameters.copied(self.dtype)

    def moments(self) -> list[list[np.ndarray]]:
        """Return copies of the moments that the optimiser has, each as `set_moments` takes it: none, one or two."""
        return [self._parameters.copied(self.dtype, copy) for copy in range(1, 1 + int(self.fields["n_moments"]))]

    def set_moments(self, first: Sequence, second: Sequence | None = None) -> None:
        """Copy the optimiser's moments in: velocities, or Adam's first and second."""
        for copy, moments in enumerate((first, second)[: self._n_copies], start=1):
            if moments is not None:
                self._parameters.write(moments, copy)

    def get_moments(self, first: Sequence, second: Sequence | None = None) -> None:
        """Write the optimiser's moments into the given arrays."""
        for copy, moments in enumerate((first, second)[: self._n_copies], start=1):
            if moments is not None:
                self._parameters.read(moments, copy)

    def save_state(self) -> np.ndarray:
        """Return a copy of parameters and moments."""
        return self._workspace[: (1 + self._n_copies) * self._layout.n_parameters].copy()

    def restore_state(self, state: np.ndarray) -> None:
        """Put a copy of parameters and moments back."""
        self._workspace[: len(state)] = state
        self.set_parameters(self.parameters())

    # --- work -------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple:
        """What the time of a step depends on, but for its samples."""
        return (*self.layer_units, self._activation, self._loss, self.dtype, int(self.fields["optimizer"]))

    def expected_seconds(self, rows: int) -> float:
        """Return the seconds that a step over so many samples is expected to take on one thread."""
        return expected_seconds(rows * self._work_per_sample, self.dtype.itemsize)

    def n_blocks(self, rows: int) -> int:
        """Return into how many blocks a step over so many samples is cut: 1 runs on one thread."""
        work = rows * self._work_per_sample
        return self.n_threads if worth_sharing(work, self.dtype.itemsize, self.n_threads) else 1

    def tile_bounds(self, n_blocks: int) -> np.ndarray:
        """Return where each block of weight tiles begins, so that all blocks have the same work."""
        return self._layout.tile_bounds(n_blocks)

    def prepared_targets(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return targets and labels as the kernels want them; one of the two has no rows."""
        if self._has_labels:
            labels = np.require(targets, np.int64, ["C", "A", "W"])
            return np.empty((0, 0), self.dtype), labels
        return np.require(targets, self.dtype, ["C", "A", "W"]), np.empty(0, np.int64)

    def prepared_weights(self, sample_weight: np.ndarray | None) -> np.ndarray:
        """Return the samples' weights as the kernels want them; none is an empty array."""
        if sample_weight is None:
            return np.empty(0, self.dtype)
        return np.require(sample_weight, self.dtype, ["C", "A", "W"])

    def epochs(
        self,
        rows: Rows,
        targets: np.ndarray,
        *,
        sample_weight: np.ndarray | None = None,
        order: np.ndarray | None = None,
        batch_size: int = 200,
        random_state: np.random.RandomState | None = None,
        tol: float | None = None,
        n_iter_no_change: float = 10,
        best_loss: float = np.inf,
        no_improvement_count: int = 0,
        n_blocks: int | None = None,
    ) -> Epochs:
        """Return a run over epochs of minibatches, which `Epochs.advance` carries on.

        `order` is not copied if it is a writable array of int64: with a `random_state` it is shuffled in place.
        """
        self._check_blocks(n_blocks)
        self._check_entries(rows, min(batch_size, self._layout.capacity), order)
        return Epochs(
            self, rows, targets, sample_weight, order, batch_size, random_state, tol,
            n_iter_no_change, best_loss, no_improvement_count, n_blocks,
        )  # fmt: skip

    def loss_and_gradient(
        self,
        rows: Rows,
        targets: np.ndarray,
        sample_weight: np.ndarray | None,
        flat_parameters: np.ndarray,
        gradient: np.ndarray,
    ) -> float:
        """Return the loss over all rows, and fill one flat vector with its gradient.

        The loss is the one whose derivative the gradient is: summed over outputs, where the loss
        reported by `epochs` for several outputs of a squared error is their mean.

        Parameters
        ----------
        rows, targets, sample_weight
            As for `epochs`.
        flat_parameters, gradient : ndarray of shape (n_parameters,)
            All parameters in one vector, block after block in C order. `gradient` is overwritten.
        """
        self._check_entries(rows, self._layout.capacity)
        shapes = [block.shape for block in self.blocks]
        parameters, gradients = split(flat_parameters, shapes), split(gradient, shapes)
        self.set_parameters(parameters)
        n_parameters = self._layout.n_parameters
        self._workspace[n_parameters : 2 * n_parameters] = 0
        fields = self.fields
        weights = self.prepared_weights(sample_weight)
        fields["weighted"] = len(weights) > 0
        weight_sum = float(weights.sum(dtype=np.float64)) if len(weights) else float(rows.n_rows)
        if weight_sum == 0:
            raise WeightsCancelError
        n_blocks = self.n_blocks(self._layout.capacity)
        arguments = (rows.source, *self.prepared_targets(targets), weights)
        fields["start"] = 0
        fields["loss_sum"] = 0.0
        for start in range(0, rows.n_rows, self._layout.capacity):
            order = np.arange(start, min(start + self._layout.capacity, rows.n_rows))
            fields["rows"] = len(order)
            self.run(n_blocks, EVALUATE, Samples(*arguments, order), self.tile_bounds(n_blocks))
        total = float(fields["loss_sum"])
        total *= float(fields["loss_divisor"])
        self._parameters.read(gradients, 1)
        for block, array, derivative in zip(self.blocks, parameters, gradients, strict=True):
            strength = fields["alpha"] * block.decay_factor if block.decay_factor else None
            if strength is not None:
                total += 0.5 * strength * float(np.vdot(array, array))
            values, own = array.reshape(-1), derivative.reshape(-1)
            for first in range(0, own.size, _SCALED):
                part = slice(first, first + _SCALED)
                if strength is not None:
                    own[part] += strength * values[part]
                own[part] /= weight_sum
        return total / weight_sum

    def predict(
        self, rows: Rows, out: np.ndarray, n_blocks: int | None = None, order: np.ndarray | None = None
    ) -> None:
        """Write the outputs, after the output activation, into `out` of shape (n_rows, n_outputs).

        With an `order`, int64 numbers of rows, only those are predicted, `out` having as many rows as it has numbers.
        """
        self._check_blocks(n_blocks)
        self._check_entries(rows)
        if self.narrow:
            self._predictor().predict(rows, out, n_blocks, order)
            return
        n_rows = rows.n_rows if order is None else len(order)
        seconds = self.expected_seconds(1) / 3  # of a sample: forward only
        n_threads = n_blocks or (self.n_threads if seconds * n_rows > _WORTH_HELP else 1)
        capacity = int(self.fields["capacity"])
        n_threads = min(n_threads, max(1, capacity // TILE.rows))
        block_rows = inference_block_rows(n_rows, capacity, n_threads)
        start = 0
        while start < n_rows:
            stop = min(start + max(block_rows, int(SECONDS_PER_CALL / seconds)), n_rows)
            part = np.arange(start, stop) if order is None else order[start:stop]
            arguments = (self._memory(), rows.source, part, out[start:stop])
            began = time.perf_counter()
            with helped_call(n_threads) as helpers:
                run_inference(helpers, self.dtype, arguments, block_rows)
            seconds = max(time.perf_counter() - began, 1e-9) / (stop - start)
            start = stop

    def _check_blocks(self, n_blocks: int | None) -> None:
        """Refuse more blocks than there are threads: the workspace holds scratch for so many only."""
        if n_blocks is not None and not 1 <= n_blocks <= self.n_threads:
            raise ValueError(f"n_blocks is {n_blocks}; it must be from 1 to n_threads, {self.n_threads}.")

    def _check_entries(self, rows: Rows, n_rows: int = 0, order: np.ndarray | None = None) -> None:
        """Refuse rows that are not sparse, or so many of them that have more entries than a minibatch has room for."""
        if self.keeps_entries:
            rows.check_entries(self._layout.places[0].most_entries, n_rows, order)

    def _predictor(self) -> Network:
        """Return a network with the same parameters in the orientation that predictions use."""
        network = Network(
            self.layer_units, activation=self._activation, loss=self._loss, dtype=self.dtype, solver=None,
            batch_size=PREDICTION_ROWS, n_threads=self.n_threads,
        )  # fmt: skip
        network.set_parameters(self.parameters())
        return network

    def function_table(self) -> np.ndarray:
        """Return the addresses of the micro-kernels that this network needs."""
        return function_table(self.dtype, self.narrow, self.leaves_zeros_out)

    def _memory(self) -> Memory:
        return Memory(self._workspace, self.function_table(), *self._records)

    def run(self, n_threads: int, driver: Driver, samples: Samples, tile_bounds: np.ndarray, *others: object) -> None:
        """Call a driver, whose phases are shared by several threads where that is allowed."""
        with compiled_call(n_threads) as (n_threads, helpers):
            self.fields["on_several_threads"] = n_threads > 1
            phases = training_phases(self.dtype, self.narrow, tile_bounds)
            driver(n_threads, self.dtype, (self._memory(), samples, phases, *others), helpers)
