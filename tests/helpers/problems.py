"""The same small problem for the compiled network and for the plain NumPy reference."""

import itertools
from dataclasses import dataclass

import numpy as np

from fastmlp import reference
from fastmlp.network.network import Network
from fastmlp.network.rows import as_rows
from fastmlp.reference import ReferenceNetwork

ACTIVATIONS = list(reference.HIDDEN_ACTIVATIONS)
LOSSES = list(reference.LOSSES)
LOSS_PARAMETER = 0.7  # of each loss that has one
DTYPES = [np.float32, np.float64]

SOLVERS = {
    "plain": {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False},
    "momentum": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd", "momentum": 0.9, "nesterovs_momentum": True},
    "adam": {"solver": "adam", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6},
    "adamw": {"solver": "adamw", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6, "weight_decay": 0.3},
}


@dataclass
class Problem:
    """Samples, targets and the parameters to begin with."""

    layer_units: list
    activation: str
    loss: str
    dtype: type
    X: np.ndarray
    targets: np.ndarray
    sample_weight: np.ndarray | None
    coefs: list
    intercepts: list

    @property
    def rows(self):
        return as_rows(self.X, self.dtype)

    @property
    def n_samples(self):
        return self.X.shape[0]

    def network(self, network_class=Network, **options):
        network = network_class(
            self.layer_units,
            **{
                "activation": self.activation,
                "loss": self.loss,
                "loss_parameter": LOSS_PARAMETER,
                "dtype": self.dtype,
                "batch_size": self.n_samples,
                "n_threads": 1,
                **options,
            },
        )
        network.set_parameters(self.coefs, self.intercepts)
        return network

    def reference(self, **options):
        options.update(dict.fromkeys(reference.LOSSES[self.loss].parameters, LOSS_PARAMETER))
        network = ReferenceNetwork(
            self.layer_units, activation=self.activation, loss=self.loss, dtype=self.dtype, **options
        )
        network.coefs = self.coefs
        network.intercepts = self.intercepts
        return network

    def epochs(self, network, **options):
        """Return a run of the network over this problem's samples."""
        return network.epochs(
            self.rows, self.targets, **{"sample_weight": self.sample_weight, "batch_size": self.n_samples, **options}
        )

    def flat_parameters(self):
        return np.concatenate([np.ravel(array) for array in self.coefs + self.intercepts])


def make_problem(
    layer_units,
    activation="relu",
    loss="squared_error",
    dtype=np.float64,
    *,
    n_samples=37,
    weighted=False,
    seed=0,
    density=1,
):
    """Draw a problem; equal arguments give equal numbers. density: which part of X is not zero."""
    generator = np.random.RandomState(seed)
    n_outputs = layer_units[-1]
    X = generator.standard_normal((n_samples, layer_units[0])).astype(dtype)
    if loss == "log_loss":
        targets = generator.randint(0, n_outputs, n_samples)
    elif loss == "binary_log_loss":
        targets = generator.randint(0, 2, (n_samples, n_outputs)).astype(dtype)
    elif loss == "poisson":
        targets = generator.poisson(1.5, (n_samples, n_outputs)).astype(dtype)
    else:
        targets = generator.standard_normal((n_samples, n_outputs)).astype(dtype)
    sample_weight = generator.uniform(0.5, 2.0, n_samples).astype(dtype) if weighted else None
    pairs = list(itertools.pairwise(layer_units))
    coefs = [(generator.standard_normal(pair) / np.sqrt(pair[0])).astype(dtype) for pair in pairs]
    intercepts = [(0.1 * generator.standard_normal(fan_out)).astype(dtype) for _, fan_out in pairs]
    X[generator.uniform(size=X.shape) >= density] = 0
    return Problem(layer_units, activation, loss, dtype, X, targets, sample_weight, coefs, intercepts)


def parameters_of(network):
    """Return a network's weights and biases in one list."""
    return network.parameters()


def advance(epochs, n_epochs, learning_rate):
    """Run so many epochs, however many calls that takes, and return their losses."""
    losses = []
    while len(losses) < n_epochs:
        losses.extend(epochs.advance(np.full(n_epochs - len(losses), learning_rate)))
    return np.array(losses)


def relative_difference(arrays, expected):
    """Return the largest difference between two lists of arrays, in units of each array's largest number."""
    differences = [
        np.abs(np.asarray(a, np.float64) - b).max() / max(np.abs(b).max(), np.finfo(np.float64).tiny)
        for a, b in zip(arrays, expected, strict=True)
        if np.size(b)
    ]
    assert np.isfinite(differences).all()
    return max(differences)
