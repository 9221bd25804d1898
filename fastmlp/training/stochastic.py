"""Training with a stochastic solver: epochs, schedules, stopping.

The compiled core runs epochs; this file decides how many, at which rate, and what each one means
for the estimator's fitted attributes. It works on any object that has scikit-learn's names.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp.network.epochs import WeightsCancelError
from fastmlp.network.parameter_blocks import parameters_of, replace_parameters
from fastmlp.process.interrupts import to_the_end
from fastmlp.process.user_warnings import warn_user
from fastmlp.training.callbacks import FitTasks
from fastmlp.training.early_stopping import Validation
from fastmlp.training.random_state import generator_of
from fastmlp.training.schedules import Progress

if TYPE_CHECKING:
    from fastmlp.training.checkpoints import Checkpoint

# The core returns after about a tenth of a second anyhow; this only bounds the vector of rates.
MAX_EPOCHS_A_CALL = 2**16
# The core's rule counts in 64-bit integers, and scikit-learn allows infinity.
NEVER = 2**62

NON_FINITE_PARAMETERS = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


@dataclass
class TrainingData:
    """What a fit trains on, in the form that the core takes.

    Attributes
    ----------
    rows : object
        The samples, as :func:`fastmlp.network.rows.as_rows` returned them.
    targets : ndarray
        Class codes (n_rows,) for softmax, else floats (n_rows, n_outputs).
    sample_weight : ndarray of shape (n_rows,), or None
        How much each sample counts.
    order : ndarray of int64, or None
        The rows to train on; None means all of them.
    """

    rows: Any
    targets: np.ndarray
    sample_weight: np.ndarray | None
    order: np.ndarray | None

    @property
    def n_samples(self) -> int:
        """Samples of one epoch."""
        return len(self.targets) if self.order is None else len(self.order)


def choose_batch_size(batch_size: Any, n_samples: int) -> int:
    """Return the rows of a minibatch: at most as many as there are."""
    if isinstance(batch_size, str):  # "auto"
        return min(200, n_samples)
    # Refused already, unless scikit-learn was told to check no parameters. Compiled code would go on for ever.
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be 'auto' or an integer of at least 1.")
    if batch_size > n_samples:
        warn_user("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return int(min(batch_size, n_samples))


def require_finite_parameters(model: Any, since: str = "") -> None:
    """Raise scikit-learn's error if a weight or bias is NaN or infinite."""
    # The extremes of an array with a NaN are NaN. They need no array of booleans as large as the weights.
    extremes = [extreme for array in parameters_of(model) for extreme in (array.min(), array.max())]
    if not np.isfinite(extremes).all():
        raise ValueError(NON_FINITE_PARAMETERS + since)


def is_shuffled(model: Any, batch_size: int, n_samples: int) -> bool:
    """Return whether the samples are reordered before each epoch.

    The order within a minibatch only shows in rounding, so a full batch isn't permuted for its own sake. But a
    generator that the user gave, or NumPy's global one, is advanced, because he may draw from it afterwards.
    """
    return model.shuffle and not (batch_size >= n_samples and isinstance(model.random_state, Integral))


def _shuffling_generator(model: Any, batch_size: int, n_samples: int) -> np.random.RandomState | None:
    """Return the generator that reorders the samples, or None if nothing does."""
    if not is_shuffled(model, batch_size, n_samples):
        return None
    if model._random_state is None:
        model._random_state = generator_of(model.random_state)
    return model._random_state


def train_stochastic(
    model: Any,
    network: Any,
    data: TrainingData,
    *,
    batch_size: int,
    validation: Validation | None = None,
    incremental: bool = False,
    tasks: FitTasks | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train a model for up to ``max_iter`` epochs, or for one if ``incremental``.

    Parameters
    ----------
    model : estimator
        Its fitted attributes are updated; its arrays ``coefs_`` and ``intercepts_`` are written to.
    network : fastmlp.network.network.Network
        Made for the model, without parameters yet.
    data : TrainingData
        What to train on.
    batch_size : int
        Rows of a minibatch.
    validation : Validation, optional
        Score on held-out samples that decides when to stop; it keeps the best parameters.
    incremental : bool, default=False
        Whether this is a ``partial_fit``.
    tasks : FitTasks, optional
        Callbacks, told of every epoch.
    checkpoint : Checkpoint, optional
        A file for the state; what it has found there is where training begins.
    """
    training = _Training(model, network, data, batch_size, validation, incremental, tasks, checkpoint)
    try:
        while model.n_iter_ < model.max_iter:
            if training.advance():
                break
        else:
            warn_user(
                f"Stochastic Optimizer: Maximum iterations ({model.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )
    except KeyboardInterrupt:
        training.interrupted()
        warn_user("Training interrupted by user.")
    except WeightsCancelError:
        training.discard()
        raise
    finally:
        to_the_end(training.save)

    if validation is not None:
        replace_parameters(model, parameters_of(model, best=True))
    _warn_of_a_loss_that_is_not_finite(model)


class _Training:
    """One fit: a compiled call after the other, and what follows from each for the model.

    The parameters are those of `train_stochastic`.
    """

    def __init__(
        self,
        model: Any,
        network: Any,
        data: TrainingData,
        batch_size: int,
        validation: Validation | None,
        incremental: bool,
        tasks: FitTasks | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._model, self._network, self._data, self._batch_size = model, network, data, batch_size
        self._validation, self._incremental, self._tasks = validation, incremental, tasks
        self._checkpoint = checkpoint
        # Where something has to happen between two epochs, the core is given one epoch at a time, and
        # the rule for stopping is applied here.
        self._one_by_one = validation is not None or incremental or tasks is not None
        self._is_discarded = False
        if not incremental:
            # Lists of its own: those of an earlier fit stay as they are, in case that this one is discarded. (An epoch
            # that `partial_fit` doesn't end adds nothing.)
            model.loss_curve_ = list(model.loss_curve_)
            if model.validation_scores_ is not None:
                model.validation_scores_ = list(model.validation_scores_)

        network.set_parameters(parameters_of(model))
        model._optimizer.load_into(network)
        model.n_iter_ = 0
        if checkpoint is not None:
            checkpoint.restore(model, network)
        self._epochs = self._begin(data.order)
        if checkpoint is not None:
            checkpoint.restore_epochs(self._epochs)

    def _begin(self, order: np.ndarray | None) -> Any:
        """Return a run over epochs, its rule for stopping at the beginning."""
        model, data = self._model, self._data
        return self._network.epochs(
            data.rows,
            data.targets,
            sample_weight=data.sample_weight,
            order=order,
            batch_size=self._batch_size,
            random_state=_shuffling_generator(model, self._batch_size, data.n_samples),
            tol=None if self._one_by_one else float(model.tol),
            n_iter_no_change=int(min(model.n_iter_no_change, NEVER)),
            best_loss=np.inf if self._one_by_one else model.best_loss_,
            no_improvement_count=0 if self._one_by_one else model._no_improvement_count,
        )

    def advance(self) -> bool:
        """Make one compiled call; return whether training is over."""
        model, data, optimizer = self._model, self._data, self._model._optimizer
        if self._checkpoint is not None:
            self._checkpoint.between_calls(model, self._network, self._epochs, self._validation)
        if self._tasks is not None and not self._tasks.running:
            self._tasks.begin("epoch")
        n_offered = 1
        if not self._one_by_one:
            n_offered = min(self._epochs.epochs_per_call, MAX_EPOCHS_A_CALL, model.max_iter - model.n_iter_)
        losses = self._epochs.advance(optimizer.coming_rates(n_offered, self._progress_after)).tolist()
        if not losses:  # a long epoch: its first rate holds until it ends
            return False
        _record_losses(model, losses, data.n_samples)
        return self._epochs_ended(losses[-1])

    def _progress_after(self, n_epochs: int) -> Progress:
        """Return how far training will have come after so many more epochs."""
        model = self._model
        share = min(1.0, (model.n_iter_ + n_epochs) / model.max_iter)
        return Progress(model.t_ + n_epochs * self._data.n_samples, share)

    def _epochs_ended(self, last_loss: float) -> bool:
        """Apply the rule for stopping, the schedule of the rate and the callbacks; return whether training is over."""
        model, optimizer = self._model, self._model._optimizer
        if self._validation is not None:
            self._validation.epoch_ended(model, self._network)
        elif self._one_by_one:
            _count_no_improvement(model)
        else:
            model.best_loss_ = float(self._epochs.best_loss)
            model._no_improvement_count = int(self._epochs.no_improvement_count)
        optimizer.epochs_ended(self._progress_after(0))

        has_converged = False
        if model._no_improvement_count > model.n_iter_no_change:
            has_converged = optimizer.trigger_stopping(_why_stop(model, self._validation is not None), model.verbose)
            if not has_converged:
                model._no_improvement_count = 0
                between_pieces = self._epochs.between_pieces
                self._epochs = self._begin(self._epochs.order)  # goes on in the order that it has come to
                self._epochs.between_pieces = between_pieces
        if self._end_task() or has_converged or self._incremental:
            return True
        if self._validation is None and not np.isfinite(last_loss):
            # What is not finite never leaves the weights again: further epochs would be wasted.
            # (The loss alone may overflow: the squares of huge targets.)
            self._network.get_parameters(parameters_of(model))
            require_finite_parameters(model, _when_it_broke(model))
        return False

    def _end_task(self) -> bool:
        """Tell the callbacks, if there are any, that an epoch has ended; True means: stop here."""
        if self._tasks is None:
            return False
        model = self._model
        self._network.get_parameters(parameters_of(model))
        return self._tasks.end(parameters_of(model, best=self._validation is not None))

    def interrupted(self) -> None:
        """Save what Ctrl-C would else cost."""
        if self._checkpoint is not None:
            self._checkpoint.interrupted(self._model, self._network, self._epochs, self._validation)

    def discard(self) -> None:
        """Have `save` leave the model's arrays as they are."""
        self._is_discarded = True

    def save(self) -> None:
        """Write weights and moments back to the model."""
        if self._is_discarded:
            return
        self._network.get_parameters(parameters_of(self._model))
        self._model._optimizer.save_from(self._network)


def _record_losses(model: Any, losses: list[float], n_samples: int) -> None:
    if model.verbose:
        for epoch, loss in enumerate(losses, start=model.n_iter_ + 1):
            print(f"Iteration {epoch}, loss = {loss:.8f}")
    model.loss_curve_.extend(losses)
    model.loss_ = losses[-1]
    model.t_ += n_samples * len(losses)
    model.n_iter_ += len(losses)


def _count_no_improvement(model: Any) -> None:
    """Apply to the last epoch the rule that the core applies when it runs many of them."""
    if model.loss_ > model.best_loss_ - model.tol:
        model._no_improvement_count += 1
    else:
        model._no_improvement_count = 0
    if model.loss_ < model.best_loss_:
        model.best_loss_ = model.loss_


def _why_stop(model: Any, early_stopping: bool) -> str:
    what = "Validation score" if early_stopping else "Training loss"
    return f"{what} did not improve more than tol={model.tol:f} for {model.n_iter_no_change} consecutive epochs."


def _when_it_broke(model: Any) -> str:
    losses = np.asarray(model.loss_curve_[-model.n_iter_ :])
    return f" The loss is not finite from epoch {np.argmin(np.isfinite(losses)) + 1} of this fit on."


def _warn_of_a_loss_that_is_not_finite(model: Any) -> None:
    """Warn of a loss that overflowed though the weights did not, or though those of an earlier epoch are kept."""
    if model.n_iter_ == 0 or np.isfinite(model.loss_):
        return
    if all(np.isfinite(array).all() for array in parameters_of(model)):
        warn_user(
            f"The loss is {model.loss_}, although all weights are finite: what was trained may be useless."
            f"{_when_it_broke(model)} X or y may contain large values and need to be preprocessed, or "
            f"learning_rate_init={model.learning_rate_init} is too large.",
            ConvergenceWarning,
        )
