"""Three kernels below the estimators: a training step, a gradient, and a forward pass."""

from itertools import pairwise

import numpy as np

from . import WORKLOADS, reference_network


class Kernels:
    params = ("digits", "covertype", "mnist")
    param_names = ("workload",)

    def setup(self, name):
        from fastmlp.network.network import Network
        from fastmlp.network.rows import as_rows

        workload = WORKLOADS[name]
        n_rows = 4 * workload.batch_size
        X = workload.data().X[:n_rows].astype("float32")
        self.targets = workload.targets("float32")[:n_rows]
        self.rows = as_rows(X, np.dtype("float32"))
        settings = {
            "activation": workload.activation,
            "loss": workload.loss,
            "dtype": np.dtype("float32"),
            "batch_size": workload.batch_size,
            "n_threads": 1,  # a kernel is measured on one
            "alpha": workload.alpha,
        }
        initial = workload.initial_parameters("float32")
        self.training = Network(workload.layer_units, solver="adam", **settings)
        self.training.set_parameters(*initial)
        self.batch = Network(workload.layer_units, solver="lbfgs", **settings)
        self.prediction = Network(workload.layer_units, solver=None, **settings)
        self.prediction.set_parameters(*initial)
        self.flat = np.concatenate([part.ravel() for parts in initial for part in parts])
        self.gradient = np.empty_like(self.flat)
        self.out = np.empty((n_rows, workload.layer_units[-1]), "float32")
        self.epochs = self.training.epochs(self.rows, self.targets, batch_size=workload.batch_size)
        self.rates = np.array([workload.learning_rate])

        reference = reference_network(workload)
        self.time_forward(name)
        np.testing.assert_allclose(self.out, reference.predict(X), atol=1e-4)
        self.time_gradient(name)
        _, coefs, intercepts = reference.gradient(X, self.targets)
        expected = np.concatenate([part.ravel() for part in [*coefs, *intercepts]])
        np.testing.assert_allclose(self.gradient, expected, atol=1e-4 * np.abs(expected).max())
        self.time_steps(name)
        reference.train_epoch(X, self.targets, None, workload.batch_size, workload.learning_rate)
        for W, expected in zip(self._weights(), reference.coefs, strict=True):
            np.testing.assert_allclose(W, expected, atol=1e-3)

    def _weights(self):
        reference = [np.empty(shape, "float32") for shape in self._shapes()]
        intercepts = [np.empty(shape[1], "float32") for shape in self._shapes()]
        self.training.get_parameters(reference, intercepts)
        return reference

    def _shapes(self):
        units = self.training.layer_units
        return list(pairwise(units))

    def time_steps(self, name):
        """Four training steps, from the gather to the update."""
        while len(self.epochs.advance(self.rates)) == 0:
            pass

    def time_gradient(self, name):
        """Loss and gradient over four minibatches, not fused with an update."""
        self.batch.loss_and_gradient(self.rows, self.targets, None, self.flat, self.gradient)

    def time_forward(self, name):
        """Outputs of four minibatches."""
        self.prediction.predict(self.rows, self.out)
