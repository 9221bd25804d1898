"""What a stochastic solver remembers between two calls: its learning rate and its moments.

The arithmetic of an update is compiled (:mod:`fastmlp.kernels.optimizers`). Here lives the state around it,
which ``fit`` makes anew, ``partial_fit`` continues and a pickle carries. The names are
scikit-learn's, because notebooks and converters read them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from fastmlp.training.schedules import SCHEDULES, Progress

# The adaptive schedule gives up once the rate has fallen to this.
SMALLEST_ADAPTIVE_RATE = 1e-6

# Python computes the rates of a schedule one by one, to the bit of scikit-learn's. Training may stop
# before it gets to them, so no more are computed ahead.
MOST_RATES_AHEAD = 512


def _writable(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the arrays, those copied that are read-only: joblib maps a model into memory so."""
    return [array if array.flags.writeable else array.copy() for array in arrays]


def _shapes(arrays: Sequence[np.ndarray]) -> list[tuple[int, ...]]:
    return [np.shape(array) for array in arrays]


class StochasticOptimizer(ABC):
    """The part that both solvers share.

    Parameters
    ----------
    learning_rate_init : float
        The rate that the user asked for.

    Attributes
    ----------
    learning_rate : float
        The rate as it is now.
    solver : str
        The estimator's parameter that chooses this class.
    moment_names : tuple of str
        Its attributes that hold one array for each parameter.
    saved_fields : dict
        Its other attributes, as files keep them: what each holds ("number", "integer", "boolean"), or a tuple of the
        words that it may be.
    """

    solver: ClassVar[str]
    moment_names: ClassVar[tuple[str, ...]]
    saved_fields: ClassVar[dict[str, Any]]

    def __init__(self, learning_rate_init: float):
        self.learning_rate_init = learning_rate_init
        self.learning_rate = float(learning_rate_init)

    @classmethod
    @abstractmethod
    def of_model(cls, model: Any, params: Sequence[np.ndarray]) -> "StochasticOptimizer":
        """Return a new optimiser with an estimator's settings, for its parameters."""

    @abstractmethod
    def network_options(self) -> dict[str, Any]:
        """Return the options with which the compiled network updates as this optimiser does."""

    @abstractmethod
    def coming_rates(self, n_epochs: int, progress_after: Callable[[int], Progress]) -> np.ndarray:
        """Return the rates of the coming epochs; see `SGDOptimizer.coming_rates`."""

    @abstractmethod
    def epochs_ended(self, progress: Progress) -> None:
        """Change the rate as the schedule has it, now that training has come so far."""

    def moments(self) -> list[list[np.ndarray]]:
        """Return the lists of arrays, one array for each parameter in each list."""
        return [getattr(self, name) for name in self.moment_names]

    def fits(self, params: Sequence[np.ndarray]) -> bool:
        """Return whether there is a moment of the right shape for each parameter."""
        return all(_shapes(moments) == _shapes(params) for moments in self.moments())

    def load_into(self, network: Any) -> None:
        """Hand the moments to the network that is about to train."""
        for name in self.moment_names:
            setattr(self, name, _writable(getattr(self, name)))
        network.set_moments(*self.moments())

    def save_from(self, network: Any) -> None:
        """Take the moments back from the network."""
        network.get_moments(*self.moments())

    def trigger_stopping(self, msg: str, verbose: Any) -> bool:
        """Decide whether training ends now that it no longer improves, and say so.

        Parameters
        ----------
        msg : str
            Why training is thought to be done.
        verbose : bool or int
            Whether to print it.

        Returns
        -------
        bool
            True if training is over.
        """
        if verbose:
            print(f"{msg} Stopping.")
        return True


class SGDOptimizer(StochasticOptimizer):
    """Rates and velocities of stochastic gradient descent.

    Parameters
    ----------
    params : sequence of ndarray
        The parameters to be trained, ``coefs_ + intercepts_``.
    learning_rate_init : float
        The first rate.
    lr_schedule : str
        How the rate changes: a key of `SCHEDULES`.
    momentum : float
        How much of its velocity a parameter keeps.
    nesterov : bool
        Whether momentum looks one step ahead.
    power_t : float
        Exponent of the schedule ``invscaling``.

    Attributes
    ----------
    velocities : list of ndarray
        One velocity for each parameter.
    """

    solver = "sgd"
    moment_names = ("velocities",)
    saved_fields: ClassVar[dict[str, Any]] = {
        "lr_schedule": tuple(SCHEDULES),
        "nesterov": "boolean",
        "learning_rate_init": "number",
        "learning_rate": "number",
        "momentum": "number",
        "power_t": "number",
    }

    def __init__(
        self,
        params: Sequence[np.ndarray],
        learning_rate_init: float,
        lr_schedule: str,
        momentum: float,
        nesterov: bool,
        power_t: float,
    ):
        super().__init__(learning_rate_init)
        self.lr_schedule = lr_schedule
        self.momentum = momentum
        self.nesterov = nesterov
        self.power_t = power_t
        self.velocities = [np.zeros_like(parameter) for parameter in params]

    @classmethod
    def of_model(cls, model: Any, params: Sequence[np.ndarray]) -> "SGDOptimizer":
        """Return a new optimiser with an estimator's settings, for its parameters."""
        return cls(
            params,
            model.learning_rate_init,
            model.learning_rate,
            model.momentum,
            model.nesterovs_momentum,
            model.power_t,
        )

    def network_options(self) -> dict[str, Any]:
        """Return the options with which the compiled network updates as this optimiser does."""
        return {
            "solver": self.solver,
            "momentum": float(self.momentum),
            "nesterovs_momentum": bool(self.nesterov),
        }

    def coming_rates(self, n_epochs: int, progress_after: Callable[[int], Progress]) -> np.ndarray:
        """Return the rates of the coming epochs, unless something happens to change them.

        Parameters
        ----------
        n_epochs : int
            How many at most.
        progress_after : callable
            How far training will have come after so many more epochs.
        """
        if SCHEDULES[self.lr_schedule].divisor is None:
            return np.full(n_epochs, self.learning_rate)
        coming = range(1, min(n_epochs, MOST_RATES_AHEAD))
        return np.array([self.learning_rate, *(self._rate_after(progress_after(epoch)) for epoch in coming)])

    def epochs_ended(self, progress: Progress) -> None:
        """Change the rate as the schedule has it, now that training has come so far."""
        if SCHEDULES[self.lr_schedule].divisor is not None:
            self.learning_rate = self._rate_after(progress)

    def _rate_after(self, progress: Progress) -> float:
        divisor = SCHEDULES[self.lr_schedule].divisor
        assert divisor is not None
        return float(self.learning_rate_init) / divisor(progress, self.power_t)

    def trigger_stopping(self, msg: str, verbose: Any) -> bool:
        """Decide whether training ends; a schedule that reacts to that first tries a smaller rate."""
        if not SCHEDULES[self.lr_schedule].lowers_on_plateau:
            return super().trigger_stopping(msg, verbose)
        if self.learning_rate <= SMALLEST_ADAPTIVE_RATE:
            return super().trigger_stopping(msg + " Learning rate too small.", verbose)
        self.learning_rate /= 5.0
        if verbose:
            print(f"{msg} Setting learning rate to {self.learning_rate:f}")
        return False


class AdamOptimizer(StochasticOptimizer):
    """Rate and moments of Adam.

    Parameters
    ----------
    params : sequence of ndarray
        The parameters to be trained, ``coefs_ + intercepts_``.
    learning_rate_init : float
        The rate before bias correction.
    beta_1, beta_2 : float
        Decay of the first and of the second moment.
    epsilon : float
        What keeps the update from dividing by zero.

    Attributes
    ----------
    learning_rate : float
        The rate of the last step, bias correction included.
    t : int
        Steps so far.
    ms, vs : list of ndarray
        First and second moments, one for each parameter.
    """

    solver = "adam"
    moment_names = ("ms", "vs")
    saved_fields: ClassVar[dict[str, Any]] = {
        "t": "integer",
        "learning_rate_init": "number",
        "learning_rate": "number",
        "beta_1": "number",
        "beta_2": "number",
        "epsilon": "number",
    }

    def __init__(
        self,
        params: Sequence[np.ndarray],
        learning_rate_init: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
    ):
        super().__init__(learning_rate_init)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.t = 0
        self.ms = [np.zeros_like(parameter) for parameter in params]
        self.vs = [np.zeros_like(parameter) for parameter in params]

    @classmethod
    def of_model(cls, model: Any, params: Sequence[np.ndarray]) -> "AdamOptimizer":
        """Return a new optimiser with an estimator's settings, for its parameters."""
        return cls(params, model.learning_rate_init, model.beta_1, model.beta_2, model.epsilon)

    def network_options(self) -> dict[str, Any]:
        """Return the options with which the compiled network updates as this optimiser does."""
        return {
            "solver": self.solver,
            "beta_1": float(self.beta_1),
            "beta_2": float(self.beta_2),
            "epsilon": float(self.epsilon),
        }

    def load_into(self, network: Any) -> None:
        """Hand moments and step to the network that is about to train."""
        if self.t > 0:  # else all are zeros, as in the new network
            super().load_into(network)
        else:
            self.ms, self.vs = _writable(self.ms), _writable(self.vs)
        network.t = self.t

    def save_from(self, network: Any) -> None:
        """Take moments and step back from the network."""
        super().save_from(network)
        self.t = int(network.t)
        if self.t > 0:
            correction = np.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
            self.learning_rate = float(self.learning_rate_init * correction)

    def coming_rates(self, n_epochs: int, progress_after: Callable[[int], Progress]) -> np.ndarray:
        """Return the rates of the coming epochs: always the same, Adam corrects them step by step."""
        return np.full(n_epochs, float(self.learning_rate_init))

    def epochs_ended(self, progress: Progress) -> None:
        """Do nothing: Adam's rate depends on its steps only."""


class AdamWOptimizer(AdamOptimizer):
    """Rate, moments and decay of AdamW.

    Parameters
    ----------
    params, learning_rate_init, beta_1, beta_2, epsilon
        As for `AdamOptimizer`.

    Attributes
    ----------
    weight_decay : float
        By how much, times the rate before bias correction, weights shrink in each step.
    """

    solver = "adamw"
    saved_fields: ClassVar[dict[str, Any]] = {**AdamOptimizer.saved_fields, "weight_decay": "number"}

    weight_decay: float

    @classmethod
    def of_model(cls, model: Any, params: Sequence[np.ndarray]) -> "AdamWOptimizer":
        """Return a new optimiser with an estimator's settings, for its parameters."""
        optimizer = cls(params, model.learning_rate_init, model.beta_1, model.beta_2, model.epsilon)
        optimizer.weight_decay = model.weight_decay
        return optimizer

    def network_options(self) -> dict[str, Any]:
        """Return the options with which the compiled network updates as this optimiser does."""
        return super().network_options() | {"weight_decay": float(self.weight_decay)}


SOLVERS: dict[str, type[StochasticOptimizer]] = {
    cls.solver: cls for cls in (SGDOptimizer, AdamOptimizer, AdamWOptimizer)
}
"""The stochastic solvers, by the estimators' parameter `solver`."""
