"""Runs over epochs of minibatches: what the compiled drivers are given, call after call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.gather import Rows
from fastmlp.phases import training_phases
from fastmlp.shuffling import STATE_WORDS
from fastmlp.step import RUN, train

if TYPE_CHECKING:
    from fastmlp.network import Network

# A compiled call covers about this much time: within it no Ctrl-C is seen and no callback runs.
_SECONDS_PER_CALL = 0.1


class Epochs:
    """A run over epochs of minibatches; see `Network.epochs` and the attributes' meaning in `advance`."""

    def __init__(
        self,
        network: Network,
        rows: Rows,
        targets: np.ndarray,
        sample_weight: np.ndarray | None,
        order: np.ndarray | None,
        batch_size: int,
        random_state: np.random.RandomState | None,
        tol: float | None,
        n_iter_no_change: float,
        best_loss: float,
        no_improvement_count: int,
        n_blocks: int | None,
    ) -> None:
        self._network = network
        self._rows = rows
        self._targets, self._labels = network.prepared_targets(targets)
        self._weights = network.prepared_weights(sample_weight)
        if order is None:
            self.order = np.arange(rows.n_rows)
        else:
            self.order = np.array(order, dtype=np.int64)
        self._random_state = random_state
        self._generator = np.zeros(STATE_WORDS, dtype=np.uint32)
        self._run = np.zeros(1, dtype=RUN).view(np.recarray)
        run = self._run[0]
        run.batch_size = min(batch_size, len(self.order), network._layout.capacity)
        run.has_rule = tol is not None
        run.tol = 0.0 if tol is None else tol
        run.n_iter_no_change = n_iter_no_change
        run.best_loss = best_loss
        run.no_improvement_count = no_improvement_count
        flops = run.batch_size * network._flops_per_sample
        self._steps_per_call = 1 + int(_SECONDS_PER_CALL / (flops / 2e10 + 1e-6))
        self._n_blocks = n_blocks or network.n_blocks(run.batch_size)
        self._tile_bounds = network.tile_bounds(self._n_blocks)
        self.should_stop = False

    @property
    def best_loss(self) -> float:
        """Smallest loss of an epoch so far."""
        return float(self._run[0].best_loss)

    @property
    def no_improvement_count(self) -> int:
        """Epochs since the loss last improved by more than tol."""
        return int(self._run[0].no_improvement_count)

    @property
    def mid_epoch(self) -> bool:
        """Whether an epoch has begun and not ended."""
        return bool(self._run[0].position)

    def advance(self, learning_rates: np.ndarray) -> np.ndarray:
        """Run about a tenth of a second of work.

        Parameters
        ----------
        learning_rates : ndarray of shape (n_epochs,)
            One rate for each coming epoch, the current one first. At most so many epochs are run.

        Returns
        -------
        losses : ndarray
            Losses of the epochs that ended, possibly none.
        """
        network = self._network
        run, shared = self._run[0], network.record[0]
        rates = np.require(learning_rates, np.float64, ["C", "W"])
        generator = self._random_state
        run.shuffle = generator is not None and self._load_generator(generator)
        if generator is not None and not run.shuffle:
            # Not the generator that the kernels know: NumPy shuffles, an epoch a call.
            rates = rates[:1]
            if run.position == 0:
                generator.shuffle(self.order)
        losses = np.empty(len(rates))
        # Since the last call a prediction or another run may have used the panels.
        run.resident = 0
        shared.weighted = len(self._weights) > 0
        shared.update = 1
        run.t = network.t
        addresses = training_phases(network.dtype, network.narrow)
        started = time.perf_counter()
        ended = network.run(
            self._n_blocks, train, self._rows.source, self._targets, self._labels, self._weights,
            self.order, self._run, self._generator, rates, losses, self._tile_bounds,
            self._steps_per_call, *addresses,
        )  # fmt: skip
        seconds_per_step = (time.perf_counter() - started) / max(run.steps, 1)
        self._steps_per_call = max(1, int(_SECONDS_PER_CALL / seconds_per_step))
        network.t = int(run.t)
        if generator is not None and run.shuffle:
            state: Any = generator.get_state(legacy=False)
            state["state"] = {"key": self._generator, "pos": int(run.generator_position)}
            generator.set_state(state)
        self.should_stop = bool(run.has_rule and run.no_improvement_count > run.n_iter_no_change)
        return losses[:ended]

    def _load_generator(self, generator: np.random.RandomState) -> bool:
        """Copy the generator's state to where the kernels draw from; return False if it is not one they know."""
        state: Any = generator.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            return False
        self._generator[:] = state["state"]["key"]
        self._run[0].generator_position = state["state"]["pos"]
        return True
