"""The same algorithm in plain NumPy: the baseline of every ratio."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.contenders.base import Contender, Parameters
from bench.workloads import Array


class NumPyReference(Contender):
    """``fastmlp.reference``; BLAS is limited by the environment of the process."""

    name = "reference"

    @staticmethod
    def versions() -> dict[str, str]:
        """Return the version of NumPy, which brings its BLAS."""
        return {"numpy": np.__version__}

    def prepare(self) -> None:
        """Draw the initial weights."""
        self.initial = self.workload.initial_parameters(self.dtype, self.seed)

    def network(self) -> Any:
        """Build the network with the common initial weights."""
        from fastmlp.reference import ReferenceNetwork

        workload = self.workload
        network = ReferenceNetwork(
            workload.layer_units,
            activation=workload.activation,
            loss=workload.loss,
            dtype=self.dtype,
            solver=workload.solver,
            alpha=workload.alpha,
            momentum=workload.momentum,
            nesterovs_momentum=workload.nesterovs_momentum,
        )
        network.coefs, network.intercepts = self.initial
        return network

    def train_epoch(self, network: Any, order: Array | None) -> None:
        """Train one epoch."""
        workload = self.workload
        network.train_epoch(self.X, self.targets, order, workload.batch_size, workload.learning_rate)

    def fit(self, epochs: int, shuffle: bool) -> Parameters:
        """Train epoch by epoch."""
        network = self.network()
        random_state = np.random.RandomState(self.seed)
        for _ in range(epochs):
            self.train_epoch(network, random_state.permutation(len(self.X)) if shuffle else None)
        return network.coefs, network.intercepts

    def epochs(self) -> Iterator[Callable[[Array], Array]]:
        """Train epoch by epoch."""
        network = self.network()
        random_state = np.random.RandomState(self.seed)
        while True:
            self.train_epoch(network, random_state.permutation(len(self.X)))
            yield lambda X: network.predict(X).argmax(axis=1)
