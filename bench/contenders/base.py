"""What every contender is asked to do."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from bench.workloads import SEED, Array, Data, Workload

Parameters = tuple[list[Array], list[Array]]


class Contender(ABC):
    """One library training one workload.

    Parameters
    ----------
    workload : Workload
        What to train.
    dtype : str
        "float32" or "float64".
    n_threads : int
        How many threads it may use.
    data : Data, optional
        Other rows to train on than the workload's own.
    seed : int
        Of the initial weights and the order of rows.
    """

    name = ""
    # Relative difference of the final loss from the reference's that is still the same training.
    tolerance: ClassVar[dict[str, float]] = {"float32": 5e-3, "float64": 1e-5}

    def __init__(
        self,
        workload: Workload,
        dtype: str,
        n_threads: int,
        data: Data | None = None,
        seed: int = SEED,
    ) -> None:
        data = data or workload.data()
        self.seed = seed
        self.workload = workload
        self.dtype = dtype
        self.n_threads = n_threads
        self.X = np.ascontiguousarray(data.X, dtype)
        self.y = data.y
        self.targets = workload.targets(dtype, data)
        self.n_steps = len(self.X) // workload.batch_size
        # what was chosen by trying, to be written down beside the result
        self.choices: dict[str, Any] = {}
        self.prepare()

    @staticmethod
    @abstractmethod
    def versions() -> dict[str, str]:
        """Return the versions of what is measured."""

    @abstractmethod
    def prepare(self) -> None:
        """Do everything that a user would do once, before training."""

    @abstractmethod
    def fit(self, epochs: int, shuffle: bool) -> Parameters:
        """Train from the initial weights; return coefs and intercepts."""

    @abstractmethod
    def epochs(self) -> Iterator[Callable[[Array], Array]]:
        """Train for ever, and after each epoch yield a function that predicts the classes of X."""

    def compile(self, epochs: int, shuffle: bool) -> None:
        """Compile whatever depends on the number of epochs; for most, nothing does."""
        return

    @property
    def is_full_batch(self) -> bool:
        """Whether a minibatch is the whole of the data, so that its order means nothing."""
        return self.n_steps == 1

    def timed_fit(self, epochs: int) -> float:
        """Return the seconds of one fit; full batches are not permuted by anybody."""
        shuffle = not self.is_full_batch
        self.compile(epochs, shuffle)
        start = time.perf_counter()
        self.fit(epochs, shuffle)
        return time.perf_counter() - start

    def fastest(self, forms: list[Any], select: Callable[[Any], None], epochs: int) -> Any:
        """Select each form in turn, time a short fit with it, and keep the fastest."""
        seconds = []
        for form in forms:
            select(form)
            seconds.append(self.timed_fit(epochs))
            # a fit of a second has warmed up within itself
            if seconds[-1] < 0.5:
                seconds[-1] = min(self.timed_fit(epochs) for _ in range(2))
        best = forms[int(np.argmin(seconds))]
        select(best)
        return best
