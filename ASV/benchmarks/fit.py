"""``fit`` on every workload: time, memory, and the score that the time bought."""

import warnings

from . import WORKLOADS, estimator, reference_network, rows_and_targets

warnings.filterwarnings("ignore", message=".*Maximum iterations.*")


def _reference_loss(workload):
    network = reference_network(workload)
    X, targets = workload.data().X, workload.targets("float64")
    for _ in range(workload.check_epochs):
        network.train_epoch(X, targets, None, workload.batch_size, workload.learning_rate)
    return workload.data_loss(network.coefs, network.intercepts)


class _Fit:
    name = ""
    epochs = 1
    timeout = 600

    def setup_cache(self):
        """Train the reference, once for all: what the trainer must reach before it is timed."""
        return {name: _reference_loss(workload) for name, workload in WORKLOADS.items()}

    def setup(self, expected):
        self.workload = workload = WORKLOADS[self.name]
        self.X, self.y = rows_and_targets(workload)
        self.model = estimator(workload, max_iter=self.epochs)
        checked = estimator(workload, shuffle=False).fit(self.X, self.y)
        loss = workload.data_loss(checked.coefs_, checked.intercepts_)
        if not abs(loss - expected[self.name]) <= 5e-3 * abs(expected[self.name]):
            raise AssertionError(f"{self.name}: the loss is {loss}, not {expected[self.name]}")

    def time_fit(self, expected):
        self.model.fit(self.X, self.y)

    def peakmem_fit(self, expected):
        self.model.fit(self.X, self.y)

    def track_score(self, expected):
        return float(self.model.fit(self.X, self.y).score(self.X, self.y))

    track_score.unit = "accuracy or R2 on the training rows"


class Planar(_Fit):
    name = "planar"
    epochs = 5000


class Regression(_Fit):
    name = "regression"
    epochs = 2000


class Digits(_Fit):
    name = "digits"
    epochs = 50


class Covertype(_Fit):
    name = "covertype"
    epochs = 5


class MnistSGD(_Fit):
    name = "mnist-sgd"


class Mnist(_Fit):
    name = "mnist"


class Wide(_Fit):
    name = "wide"


class PartialFit:
    """One more epoch of a model that is there already."""

    def setup(self):
        self.workload = WORKLOADS["digits"]
        self.X, self.y = rows_and_targets(self.workload)
        self.model = estimator(self.workload).partial_fit(self.X, self.y, classes=range(10))
        before = self.model.loss_
        self.model.partial_fit(self.X, self.y)
        if not self.model.loss_ < before:
            raise AssertionError(f"the loss went from {before} to {self.model.loss_}")

    def time_partial_fit(self):
        self.model.partial_fit(self.X, self.y)
