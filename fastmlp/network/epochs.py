"""Runs over epochs of minibatches: what the compiled drivers are given, call after call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.drivers.region import TRAIN
from fastmlp.kernels.records import RUN, Run, Samples
from fastmlp.kernels.shuffling import STATE_WORDS
from fastmlp.network.rows import Rows
from fastmlp.network.sharing import Sharing, experience_of
from fastmlp.process.interrupts import to_the_end
from fastmlp.simd.jit import as_records

if TYPE_CHECKING:
    from fastmlp.network.network import Network

# A compiled call covers about this much time: within it no Ctrl-C is seen and no callback runs.
SECONDS_PER_CALL = 0.1

# A step that takes longer than this is cut into pieces, between which Python sees Ctrl-C.
_LONGEST_STEP = 0.4

# With no more pieces than these, phase 2 is short enough to be ended before Ctrl-C is answered. With more of them, the
# weights are copied before it, and put back.
_PIECES_TO_END = 4

# A call that finds out how fast a number of threads is covers about this much.
_SECONDS_PER_TRIAL = 0.002

# A call on several threads, and a trial of them, begins no further step when it has taken so long, because others
# compete for the processors.
_LONGEST_SHARED_CALL = 0.25
_LONGEST_TRIAL = 0.02
_NO_LIMIT = 2**62


def pieces_of_step(seconds: float) -> int:
    """Return into how many pieces each phase of a step is cut, if the whole of it takes so long."""
    return max(1, math.ceil(seconds / _LONGEST_STEP))


class WeightsCancelError(ZeroDivisionError):
    """The weights of a minibatch sum to zero, and are not all zero: there is no mean of its losses."""

    def __init__(self) -> None:
        super().__init__(
            "Weights sum to zero, can't be normalized: in one minibatch the positive and the negative numbers of "
            "sample_weight cancel. Give weights that are not negative, or another batch_size."
        )


class _Clock:
    """How fast the clock of the compiled calls runs: the most that a call has told, 0 before the first."""

    ticks_per_second = 0.0


class Epochs:
    """A run over epochs of minibatches.

    See `Network.epochs`, which alone calls this, for the parameters, and `advance` for the attributes' meaning.
    """

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
            self.order = np.require(order, np.int64, ["C", "A", "W"])
        self._random_state = random_state
        self._generator = np.zeros(STATE_WORDS, dtype=np.uint32)
        record = np.zeros(1, dtype=RUN)
        self._record = as_records(record)
        self._run = run = record[0]
        rows_at_once = min(batch_size, len(self.order), int(network.fields["capacity"]))
        run["batch_size"] = rows_at_once
        run["has_rule"] = tol is not None
        run["tol"] = 0.0 if tol is None else tol
        run["n_iter_no_change"] = n_iter_no_change
        run["best_loss"] = best_loss
        run["no_improvement_count"] = no_improvement_count
        expected = network.expected_seconds(rows_at_once)
        # A guess on the safe side; the first call corrects it.
        self._steps_per_call = 1 + int(SECONDS_PER_CALL / (3 * expected + 1e-6))
        self._n_blocks = n_blocks or network.n_blocks(rows_at_once)
        known = experience_of(("training", *network.shape, rows_at_once, self._n_blocks))
        self._sharing = None if n_blocks else Sharing(self._n_blocks, expected, known)
        self._n_pieces = 0
        self._seconds_per_step = expected / self._n_blocks
        self._cut(self._seconds_per_step)
        self.should_stop = False
        # Called between the pieces of a long step; what it raises ends the step as Ctrl-C does.
        self.between_pieces: Callable[[], None] | None = None

    @property
    def position(self) -> int:
        """Samples of the current epoch that are done."""
        return int(self._run["position"])

    @property
    def accumulated_loss(self) -> float:
        """Sum of the losses of these samples."""
        return float(self._run["accumulated_loss"])

    def resume(self, position: int, accumulated_loss: float) -> None:
        """Go on in the midst of an epoch, where an earlier run in the same order stood.

        Parameters
        ----------
        position : int
            Samples that were done, fewer than there are.
        accumulated_loss : float
            The sum of their losses.
        """
        if not 0 <= position < len(self.order):
            raise ValueError(f"position is {position}; it must be from 0 to {len(self.order) - 1}.")
        self._run["position"] = position
        self._run["accumulated_loss"] = accumulated_loss

    @property
    def best_loss(self) -> float:
        """Smallest loss of an epoch so far."""
        return float(self._run["best_loss"])

    @property
    def no_improvement_count(self) -> int:
        """Epochs since the loss last improved by more than tol."""
        return int(self._run["no_improvement_count"])

    @property
    def mid_epoch(self) -> bool:
        """Whether an epoch has begun and not ended."""
        return bool(self._run["position"])

    @property
    def epochs_per_call(self) -> int:
        """Most epochs that the next call will end, by what is known of the time of a step."""
        return 1 + self._steps_per_call * int(self._run["batch_size"]) // len(self.order)

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
        run, fields = self._run, network.fields
        rates = np.require(learning_rates, np.float64, ["C", "A", "W"])
        generator = self._random_state
        run["shuffle"] = generator is not None and self._load_generator(generator)
        if generator is not None and not run["shuffle"]:
            # Not the generator that the kernels know: NumPy shuffles, an epoch a call.
            rates = rates[:1]
            if run["position"] == 0:
                generator.shuffle(self.order)
        losses = np.empty(len(rates))
        # Since the last call a prediction or another run may have used the panels.
        run["resident"] = 0
        fields["weighted"] = len(self._weights) > 0
        fields["update"] = 1
        run["t"] = network.t
        try:
            ended = self._call(rates, losses)
        finally:
            # Also where Ctrl-C is noticed when the compiled call has returned: the weights have moved by then.
            network.t = int(run["t"])
            if generator is not None and run["shuffle"]:
                state: Any = generator.get_state(legacy=False)
                state["state"] = {"key": self._generator, "pos": int(run["generator_position"])}
                generator.set_state(state)
        if run["weights_cancel"]:
            run["weights_cancel"] = 0
            raise WeightsCancelError
        self.should_stop = bool(run["has_rule"] and run["no_improvement_count"] > run["n_iter_no_change"])
        return losses[:ended]

    def _call(self, rates: np.ndarray, losses: np.ndarray) -> int:
        """Make one compiled call; return how many epochs ended in it."""
        run = self._run
        n_threads, is_trial = self._sharing.choose() if self._sharing else (self._n_blocks, False)
        samples = Samples(self._rows.source, self._targets, self._labels, self._weights, self.order)
        run_of_epochs = Run(self._record, self._generator, rates, losses)
        arguments = (samples, self._tile_bounds, run_of_epochs, self._n_blocks)
        if is_trial or not self._sharing:
            # No step: what is not compiled yet is compiled now, outside the time taken.
            run["most_steps"] = 0
            self._train(n_threads, *arguments)
        most_steps = 1 if self._n_pieces > 1 else self._steps_per_call
        if self._sharing and is_trial:
            most_steps = min(most_steps, 1 + int(_SECONDS_PER_TRIAL / self._sharing.seconds))
        run["most_steps"] = most_steps
        longest = _LONGEST_TRIAL if is_trial else _LONGEST_SHARED_CALL
        run["most_ticks"] = int(longest * _Clock.ticks_per_second) or _NO_LIMIT
        started = time.perf_counter()
        if self._n_pieces > 1:
            ended = self._step_in_pieces(n_threads, arguments)
        else:
            ended = self._train(n_threads, *arguments)
        elapsed = time.perf_counter() - started
        if elapsed > _SECONDS_PER_TRIAL and run["ticks"] > 0:
            _Clock.ticks_per_second = max(_Clock.ticks_per_second, run["ticks"] / elapsed)
        seconds = elapsed / max(run["steps"], 1)
        if self._sharing:
            self._sharing.record(n_threads, seconds)
        self._steps_per_call = max(1, int(SECONDS_PER_CALL / seconds))
        # What took long only once was compiled, or was held up.
        self._cut(min(seconds, self._seconds_per_step))
        self._seconds_per_step = seconds
        return ended

    def _train(self, n_threads: int, *arguments: Any) -> int:
        self._network.run(n_threads, TRAIN, *arguments)
        return int(self._run["epochs"])

    def _cut(self, seconds: float) -> None:
        """Cut the coming steps into pieces, if one takes so many seconds that Ctrl-C would wait for too long."""
        n_pieces = pieces_of_step(seconds)
        if n_pieces != self._n_pieces:
            self._n_pieces = n_pieces
            self._tile_bounds = self._network.tile_bounds(self._n_blocks * n_pieces)

    def _step_in_pieces(self, n_threads: int, arguments: tuple) -> int:
        """Make one step, a compiled call for each piece; interrupted, leave all as a whole step left it.

        That is this step if phase 2 has begun and will soon end, else the one before.
        """
        network, run, n_pieces = self._network, self._run, self._n_pieces
        before = None
        # The first step of an epoch begins with a new order.
        unshuffled = None
        if run["position"] == 0 and run["shuffle"]:
            unshuffled = (self.order.copy(), self._generator.copy(), int(run["generator_position"]))
        try:
            while True:
                if run["piece"] == n_pieces > _PIECES_TO_END:
                    before = network.save_state()
                ended = self._train(n_threads, *arguments)
                if run["piece"] == 0:
                    return ended
                can_stop = run["piece"] <= n_pieces or before is not None
                if can_stop and self.between_pieces is not None:
                    self.between_pieces()
        except KeyboardInterrupt:
            if run["piece"] > n_pieces and before is None:
                to_the_end(lambda: self._end_step(n_threads, arguments))
            elif run["piece"] > 0:
                run["piece"] = 0
                run["t"] -= 1
                if before is not None:
                    network.restore_state(before)
                if unshuffled is not None:
                    self.order[:], self._generator[:], run["generator_position"] = unshuffled
            raise

    def _end_step(self, n_threads: int, arguments: tuple) -> None:
        while self._run["piece"] > 0:
            self._train(n_threads, *arguments)

    def _load_generator(self, generator: np.random.RandomState) -> bool:
        """Copy the generator's state to where the kernels draw from; return False if it is not one they know."""
        state: Any = generator.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            return False
        self._generator[:] = state["state"]["key"]
        self._run["generator_position"] = state["state"]["pos"]
        return True
