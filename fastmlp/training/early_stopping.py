"""Early stopping: a split of indices, a score after every epoch, and the best parameters."""

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from fastmlp.network.parameter_blocks import parameters_of
from fastmlp.process.interrupts import to_the_end


def split_indices(
    n_samples: int, validation_fraction: float, stratify: np.ndarray | None, random_state: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the split into training and validation rows.

    scikit-learn splits the data themselves; splitting their indices draws the same numbers and
    copies nothing.

    Parameters
    ----------
    n_samples : int
        Rows to split.
    validation_fraction : float
        Share of the rows to hold out.
    stratify : ndarray, or None
        Labels whose proportions both parts should keep.
    random_state : numpy.random.RandomState
        The generator; it advances.

    Returns
    -------
    train, validation : ndarray of int64
        Rows of each part, in the order in which scikit-learn would have put them.
    """
    train, validation = train_test_split(
        np.arange(n_samples, dtype=np.int64),
        random_state=random_state,
        test_size=validation_fraction,
        stratify=stratify,
    )
    if len(validation) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return train, validation


class Validation:
    """Held-out samples, and what the score on them decides.

    Parameters
    ----------
    samples : fastmlp.network.rows.Rows
        All the samples, as they are trained on: those held out are read where they lie.
    truth : ndarray
        All the targets, as the estimator's ``_score_outputs`` wants them.
    sample_weight : ndarray of shape (n,), or None
        All the weights.
    held_out : ndarray of int64
        Which samples are held out; kept as an attribute.
    """

    def __init__(self, samples: Any, truth: np.ndarray, sample_weight: np.ndarray | None, held_out: np.ndarray):
        self._samples = samples
        self.held_out = held_out
        self._truth = truth[held_out]
        self._sample_weight = None if sample_weight is None else sample_weight[held_out]

    def epoch_ended(self, model: Any, network: Any) -> None:
        """Score the network as it is, and keep its parameters if none were better.

        Parameters
        ----------
        model : estimator
            Its validation attributes are updated.
        network : fastmlp.network.network.Network
            In the midst of training.
        """
        score = model._score_outputs(self._truth, self._outputs(model, network), self._sample_weight)
        model.validation_scores_.append(score)
        if model.verbose:
            print(f"Validation score: {score:f}")
        # Comparisons with NaN are false: a score that is NaN counts as an improvement, but is never
        # the best. So does scikit-learn.
        if score < model.best_validation_score_ + model.tol:
            model._no_improvement_count += 1
        else:
            model._no_improvement_count = 0
        if score > model.best_validation_score_:
            model.best_validation_score_ = score
            to_the_end(lambda: network.get_parameters(parameters_of(model, best=True)))

    def _outputs(self, model: Any, network: Any) -> np.ndarray:
        outputs = np.empty((len(self.held_out), model.n_outputs_), network.dtype)
        network.predict(self._samples, outputs, order=self.held_out)
        return outputs
