"""Training with L-BFGS: SciPy's minimiser on the compiled loss and gradient.

SciPy works in float64, and so does everything here; the result is cast to the dtype of the model's
parameters at the end.
"""

from typing import Any

import numpy as np
import scipy
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from fastmlp.network.parameter_blocks import ParameterBlock, parameters_of, replace_parameters, split
from fastmlp.process.blas import one_blas_thread
from fastmlp.process.user_warnings import warn_user
from fastmlp.reference import LOSSES
from fastmlp.training.callbacks import FitTasks
from fastmlp.training.stochastic import TrainingData


class _StopRequestedError(Exception):
    """A callback wants the minimiser to stop."""


class _Objective:
    """Loss and gradient as the minimiser calls them, and a record of how far it has come.

    Parameters
    ----------
    network : fastmlp.network.network.Network
        Made with ``solver="lbfgs"`` in float64.
    data : TrainingData
        What to train on.
    start : ndarray
        All parameters in one vector.
    tasks : FitTasks, or None
        Callbacks, told of every iteration.
    """

    def __init__(
        self,
        network: Any,
        data: TrainingData,
        start: np.ndarray,
        tasks: FitTasks | None,
    ):
        self._network = network
        self._data = data
        self._tasks = tasks
        self._loss = np.nan
        self.parameters = start
        self.loss: float | None = None
        self.n_iterations = 0

    def __call__(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Evaluate loss and gradient."""
        # An iteration begins with its first evaluation. (That there will be another iteration is
        # not known any sooner, and no task should begin that never runs.)
        if self._tasks is not None and not self._tasks.running:
            self._tasks.begin("lbfgs-iter")
        gradient = np.empty_like(parameters)  # each time: the minimiser keeps what it is given
        self._loss = float(
            self._network.loss_and_gradient(
                self._data.rows,
                self._data.targets,
                self._data.sample_weight,
                parameters,
                gradient,
            )
        )
        return self._loss, gradient

    def iteration_ended(self, parameters: np.ndarray) -> None:
        """Note that the minimiser has taken a step to these parameters."""
        self.parameters = parameters  # a copy already
        self.loss = self._loss
        self.n_iterations += 1
        if self._tasks is not None and self._end_task():
            raise _StopRequestedError

    def close(self) -> None:
        """End the task of an iteration in which the minimiser gave up."""
        if self._tasks is not None and self._tasks.running:
            self._end_task()

    def unpacked(self) -> list[np.ndarray]:
        """Return the parameters after the last whole iteration, an array for each block."""
        return split(self.parameters, [block.shape for block in self._network.blocks])

    def _end_task(self) -> bool:
        assert self._tasks is not None
        return self._tasks.end(self.unpacked())


def train_lbfgs(model: Any, network: Any, data: TrainingData, *, tasks: FitTasks | None = None) -> None:
    """Minimise a model's loss over all the samples at once.

    Parameters
    ----------
    model : estimator
        Its parameters are the start and are replaced by the result; ``n_iter_`` and ``loss_`` are set.
    network : fastmlp.network.network.Network
        Made for the model, with ``solver="lbfgs"`` in float64.
    data : TrainingData
        What to train on.
    tasks : FitTasks, optional
        Callbacks, told of every iteration.
    """
    arrays = parameters_of(model)
    dtypes = [array.dtype for array in arrays]
    start = np.concatenate([array.ravel() for array in arrays]).astype(np.float64, copy=False)
    objective = _Objective(network, data, start, tasks)
    try:
        with one_blas_thread():
            result = scipy.optimize.minimize(
                objective,
                start,
                method="L-BFGS-B",
                jac=True,
                callback=objective.iteration_ended,
                options={
                    "maxfun": model.max_fun,
                    "maxiter": model.max_iter,
                    "gtol": model.tol,
                    **_printing_options(model.verbose),
                },
            )
    except KeyboardInterrupt:
        warn_user("Training interrupted by user.")
        model.n_iter_ = objective.n_iterations
        loss = objective.loss
    except _StopRequestedError:
        model.n_iter_ = objective.n_iterations
        loss = objective.loss
    else:
        objective.parameters = result.x
        model.n_iter_ = min(result.nit, model.max_iter)
        _warn_if_not_converged(result, model.n_iter_, model.max_iter)
        loss = float(result.fun)

    parameters = objective.unpacked()
    if loss is not None:  # None: interrupted before the first iteration was over
        model.loss_ = _reported_loss(model, data, loss, network.blocks, parameters)
    objective.close()
    with np.errstate(over="ignore"):  # what overflows is infinite, and will be found by the caller
        cast = [np.array(array, dtype) for array, dtype in zip(parameters, dtypes, strict=True)]
    replace_parameters(model, cast)


def _reported_loss(
    model: Any, data: TrainingData, loss: float, blocks: list[ParameterBlock], parameters: list[np.ndarray]
) -> float:
    """Turn the loss that belongs to the gradient into the number that scikit-learn reports.

    They differ where a loss is the mean over several outputs: the gradient is that of their sum.
    The L2 penalty is the same in both.
    """
    if not LOSSES[model._choose_loss()].is_mean or model.n_outputs_ == 1:
        return loss
    weight_sum = data.n_samples if data.sample_weight is None else data.sample_weight.sum()
    penalized = [pair for pair in zip(blocks, parameters, strict=True) if pair[0].decay_factor]
    squares = sum(block.decay_factor * np.vdot(array, array) for block, array in penalized)
    penalty = 0.5 * model.alpha * squares / weight_sum
    return float((loss - penalty) / model.n_outputs_ + penalty)


def _printing_options(verbose: Any) -> dict[str, int]:
    """Return the option that makes old versions of SciPy print; newer ones have none."""
    if tuple(int(part) for part in scipy.__version__.split(".")[:2]) >= (1, 15):
        return {}
    return {"iprint": 1 if verbose >= 1 else -1}


def _warn_if_not_converged(result: Any, n_iter: int, max_iter: int) -> None:
    if result.status == 0:
        return
    message = f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n{result.message}\n"
    if n_iter == max_iter:
        message += f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
    message += (
        "\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )
    warn_user(message, ConvergenceWarning)
