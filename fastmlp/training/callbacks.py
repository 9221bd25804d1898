"""scikit-learn's callback protocol: one task per epoch, or per iteration of L-BFGS.

An estimator on which no callback has been set makes none of these objects and pays nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp.network.parameter_blocks import as_attributes, layer_units_of


class FitTasks:
    """The tasks of one call of ``fit`` or ``partial_fit``, as callbacks see them.

    Parameters
    ----------
    model : estimator
        The estimator, on which callbacks have been set.
    X, y, sample_weight
        The data as the user gave them: a callback scores with them.
    max_tasks : int
        How many epochs or iterations there may be.
    """

    def __init__(self, model: Any, X: Any, y: Any, sample_weight: Any, max_tasks: int):
        self._model = model
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._arguments = {"estimator": model, "X": X, "y": y, "metadata": metadata}
        self._fit = model._init_callback_context(max_subtasks=max_tasks)
        self._task: Any = None
        self._fit.call_on_fit_task_begin(**self._arguments)

    @property
    def running(self) -> bool:
        """Whether a task has begun and not ended."""
        return self._task is not None

    def begin(self, name: str) -> None:
        """Begin an epoch or an iteration."""
        self._task = self._fit.subcontext(task_name=name)
        self._task.call_on_fit_task_begin(**self._arguments)

    def end(self, parameters: Sequence[np.ndarray]) -> bool:
        """End it.

        Parameters
        ----------
        parameters : sequence of ndarray
            The parameters that the model would have if training stopped here. They are copied
            if, and only if, a callback asks for a fitted estimator.

        Returns
        -------
        bool
            True if a callback wants training to stop.
        """
        task, self._task = self._task, None
        layer_units = layer_units_of(self._model)
        return bool(
            task.call_on_fit_task_end(
                **self._arguments,
                reconstruction_attributes=lambda: as_attributes((array.copy() for array in parameters), layer_units),
            )
        )

    def end_fit(self) -> None:
        """End the fit itself; the model is in its final state."""
        self._fit.call_on_fit_task_end(**self._arguments, reconstruction_attributes={})


def fit_tasks(model: Any, X: Any, y: Any, sample_weight: Any, max_tasks: int) -> FitTasks | None:
    """Return the tasks of this fit, or None if nobody wants to hear of them."""
    if not getattr(model, "_skl_callbacks", None):
        return None
    return FitTasks(model, X, y, sample_weight, max_tasks)
