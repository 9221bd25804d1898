"""A workload's compiled network, and training it without the estimator around it."""

from typing import Any

import numpy as np

from bench.workloads import Workload
from fastmlp.network.epochs import Epochs
from fastmlp.network.network import Network


def network_of(workload: Workload, dtype: str, n_threads: int, rows: Any = None) -> Network:
    """Return the network with its initial parameters; zeros of `rows` may be left out, those of other X are not."""
    network = Network(
        workload.layer_units,
        activation=workload.activation,
        loss=workload.loss,
        dtype=np.dtype(dtype),
        solver=workload.solver,
        batch_size=workload.batch_size,
        alpha=workload.alpha,
        momentum=workload.momentum,
        nesterovs_momentum=workload.nesterovs_momentum,
        n_threads=n_threads,
        gathers=not workload.is_full_batch,
        rows=rows,
    )
    network.set_parameters(*workload.initial_parameters(dtype))
    return network


def train_epochs(epochs: Epochs, n_epochs: int, rate: float) -> None:
    """Train so many epochs, in as many calls as that takes."""
    rates = np.full(n_epochs, rate)
    while len(rates):
        rates = rates[len(epochs.advance(rates)) :]
