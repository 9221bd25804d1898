"""The networks that everything in ``bench/`` and ``ASV/`` measures, each defined once.

A workload is a network, a batch, an optimiser and data. The number of rows is always a multiple of
the batch: a ragged last minibatch is fastmlp's business to get right, but not every rival can have
one inside a compiled loop. Every contender starts from the same weights, those which scikit-learn
draws for ``SEED``, and trains on the same arrays.

Where ``FASTMLP_DATA`` does not lead to the real data, random data of the same shape stand in. That
changes no arithmetic, and the result says so.
"""

import gzip
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SEED = 0
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Data:
    """Rows to train on: X in float64, targets as the estimators take them, and where from."""

    X: Array
    y: Array
    source: str


@dataclass(frozen=True)
class Workload:
    """One network with its data and optimiser; words and defaults are scikit-learn's."""

    name: str
    layer_units: tuple[int, ...]
    batch_size: int
    solver: str
    learning_rate: float
    load: Callable[[], Data]
    # epochs of a natural fit: a timed fit is at most this long, and at least `min_epochs`
    epochs: int
    # epochs of the untimed fit whose result must agree with the reference's
    check_epochs: int
    activation: str = "relu"
    loss: str = "log_loss"
    alpha: float = 1e-4
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    # measured rounds, fewer where one takes seconds
    rounds: int = 7
    min_epochs: int = 1
    # hyper-parameters of Adam that nobody changes here
    beta_1: float = field(default=0.9, init=False)
    beta_2: float = field(default=0.999, init=False)
    epsilon: float = field(default=1e-8, init=False)

    @property
    def is_full_batch(self) -> bool:
        """Whether a minibatch is the whole of the data, so that its order means nothing."""
        return self.n_rows == self.batch_size

    @property
    def n_rows(self) -> int:
        """Rows of the data."""
        return len(self.data().X)

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches of an epoch."""
        return self.n_rows // self.batch_size

    @property
    def n_parameters(self) -> int:
        """Weights and biases."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.layers())

    def layers(self) -> list[tuple[int, int]]:
        """Return (fan_in, fan_out) of every layer."""
        return list(zip(self.layer_units[:-1], self.layer_units[1:], strict=True))

    def data(self) -> Data:
        """Load the data once a process, cut to a multiple of the batch."""
        return _loaded(self.name)

    def targets(self, dtype: Any, data: Data | None = None) -> Array:
        """Return what a network compares its outputs with: codes, or (n_rows, n_outputs)."""
        y = (data or self.data()).y
        if self.loss == "log_loss":
            return y.astype(np.int64)
        return np.ascontiguousarray(y.reshape(len(y), -1), dtype)

    def flops_per_step(self) -> int:
        """Multiplications and additions of the three products of a step, nothing else counted.

        Forward and weight gradient are needed for every layer, backward data for all but the first.
        """
        weights = [fan_in * fan_out for fan_in, fan_out in self.layers()]
        return 2 * self.batch_size * (2 * sum(weights) + sum(weights[1:]))

    def initial_parameters(self, dtype: Any, seed: int = SEED) -> tuple[list[Array], list[Array]]:
        """Draw scikit-learn's initial weights for ``random_state=seed``."""
        random_state = np.random.RandomState(seed)
        factor = 2.0 if self.activation == "logistic" else 6.0
        coefs, intercepts = [], []
        for fan_in, fan_out in self.layers():
            bound = math.sqrt(factor / (fan_in + fan_out))
            coefs.append(random_state.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype))
            intercepts.append(random_state.uniform(-bound, bound, fan_out).astype(dtype))
        return coefs, intercepts

    def data_loss(self, coefs: list[Array], intercepts: list[Array]) -> float:
        """Compute, in float64, the mean loss over all rows without the L2 term.

        One judge for all contenders: whatever they report themselves, this is what they reached.
        """
        a = self.data().X
        for layer, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
            z = a @ np.asarray(W, np.float64) + np.asarray(b, np.float64)
            if layer < len(coefs) - 1:
                a = np.tanh(z) if self.activation == "tanh" else np.maximum(z, 0)
        targets = self.targets(np.float64)
        if self.loss == "log_loss":
            top = z.max(axis=1)
            log_sum = top + np.log(np.exp(z - top[:, None]).sum(axis=1))
            return float(np.mean(log_sum - z[np.arange(len(z)), targets]))
        if self.loss == "binary_log_loss":
            return float(np.mean(np.sum(np.logaddexp(0, z) - targets * z, axis=1)))
        return float(0.5 * np.mean((z - targets) ** 2))


# --- data ----------------------------------------------------------------------------------------


def data_folder(name: str) -> Path | None:
    """Return the folder of a data set below FASTMLP_DATA, or None where there is none."""
    root = os.environ.get("FASTMLP_DATA")
    if not root or not (Path(root) / name).is_dir():
        return None
    return Path(root) / name


def _idx(path: Path) -> Array:
    """Read one IDX file of unsigned bytes, plain or compressed."""
    compressed = path.with_name(path.name + ".gz")
    raw = gzip.decompress(compressed.read_bytes()) if compressed.exists() else path.read_bytes()
    n_dimensions = raw[3]
    shape = np.frombuffer(raw, ">i4", n_dimensions, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def mnist_images() -> tuple[Array, Array, Array, Array] | None:
    """Return X_train, y_train, X_test, y_test of MNIST as bytes, or None without the files."""
    folder = data_folder("mnist")
    if folder is None:
        return None
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    X_train, y_train, X_test, y_test = (_idx(folder / f"{name}-ubyte") for name in names)
    return X_train.reshape(-1, 784), y_train, X_test.reshape(-1, 784), y_test


def _mnist() -> Data:
    images = mnist_images()
    n_rows = 20_000
    if images is not None:
        return Data(images[0][:n_rows] / 255.0, images[1][:n_rows], "MNIST, the first 20,000 rows")
    random_state = np.random.RandomState(SEED)
    X = random_state.uniform(size=(n_rows, 784)) * (random_state.uniform(size=(n_rows, 784)) < 0.2)
    return Data(X, random_state.randint(10, size=n_rows), "random, in the shape of MNIST")


def _covertype() -> Data:
    folder = data_folder("covertype")
    n_rows = 78 * 256
    if folder is not None:
        table = np.loadtxt(folder / "covtype.20k.data", delimiter=",")
        order = np.random.RandomState(SEED).permutation(len(table))[:n_rows]
        X, y = table[order, :-1], table[order, -1].astype(np.int64) - 1
        X = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-3)
        return Data(X, y, "covertype, 19,968 rows, standardised")
    random_state = np.random.RandomState(SEED)
    X, y = random_state.standard_normal((n_rows, 54)), np.arange(n_rows) % 7
    return Data(X, y, "random, in the shape of covertype")


def _digits() -> Data:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return Data(X[:1600] / 16.0, y[:1600], "scikit-learn's digits, the first 1,600 rows")


def _planar() -> Data:
    random_state = np.random.RandomState(1)
    points, labels = [], []
    for j in range(2):
        theta = np.linspace(3.12 * j, 3.12 * (j + 1), 200) + 0.2 * random_state.standard_normal(200)
        r = 4 * np.sin(4 * theta) + 0.2 * random_state.standard_normal(200)
        points.append(np.column_stack([r * np.sin(theta), r * np.cos(theta)]))
        labels.append(np.full(200, j))
    return Data(np.concatenate(points), np.concatenate(labels), "the planar flower")


def _regression() -> Data:
    random_state = np.random.RandomState(SEED)
    X = random_state.standard_normal((100, 27))
    return Data(X, X @ random_state.standard_normal((27, 3)), "an exact random linear map")


def _minibatches() -> Data:
    random_state = np.random.RandomState(SEED)
    X = random_state.standard_normal((1000, 27))
    return Data(X, X @ random_state.standard_normal((27, 3)), "an exact random linear map")


def _wide() -> Data:
    random_state = np.random.RandomState(SEED)
    X, y = random_state.standard_normal((2048, 1024)), np.arange(2048) % 1000
    return Data(X, random_state.permutation(y), "random")


def _deep() -> Data:
    random_state = np.random.RandomState(SEED)
    return Data(random_state.standard_normal((1600, 256)), np.arange(1600) % 10, "random")


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "planar", (2, 4, 1), 400, "sgd", 1.2, _planar, epochs=10_000, check_epochs=200,
            activation="tanh", loss="binary_log_loss", alpha=0.0, momentum=0.0,
            nesterovs_momentum=False,
        ),
        # 0.02 on half the mean of squares is the lesson's 1e-4 on the sum of squares
        Workload(
            "regression", (27, 9, 3), 100, "sgd", 0.02, _regression, epochs=2_000,
            check_epochs=200, loss="squared_error", alpha=0.0, momentum=0.0,
            nesterovs_momentum=False,
        ),
        Workload("digits", (64, 100, 10), 200, "adam", 1e-3, _digits, epochs=200, check_epochs=20),
        Workload(
            "covertype", (54, 128, 128, 7), 256, "adam", 1e-3, _covertype, epochs=20,
            check_epochs=1,
        ),
        Workload(
            "mnist-sgd", (784, 300, 100, 10), 200, "sgd", 0.02, _mnist, epochs=5, check_epochs=1,
            rounds=5, min_epochs=5,
        ),
        Workload(
            "mnist", (784, 300, 100, 10), 200, "adam", 1e-3, _mnist, epochs=5, check_epochs=1,
            rounds=5, min_epochs=5,
        ),
        Workload(
            # 32 steps: drawing eight million initial weights, a tenth of a second, must not pass for training
            "wide", (1024, 2048, 2048, 1000), 512, "adam", 1e-4, _wide, epochs=8, check_epochs=1,
            rounds=3, min_epochs=8,
        ),
        # a low rate: Adam makes a whole step of it out of the rounding of a gradient that is nearly zero
        Workload("deep-2", (256,) * 3 + (10,), 200, "adam", 1e-5, _deep, epochs=20, check_epochs=1),
        Workload("deep-8", (256,) * 9 + (10,), 200, "adam", 1e-5, _deep, epochs=20, check_epochs=1),
        Workload(
            "minibatches", (27, 9, 3), 100, "adam", 1e-3, _minibatches, epochs=200, check_epochs=20,
            loss="squared_error",
        ),
    )
}  # fmt: skip


@cache
def _loaded(name: str) -> Data:
    workload = WORKLOADS[name]
    data = workload.load()
    n_rows = len(data.X) // workload.batch_size * workload.batch_size
    X = np.ascontiguousarray(data.X[:n_rows], np.float64)
    if X.shape[1] != workload.layer_units[0]:
        raise ValueError(f"{name}: {X.shape[1]} features, expected {workload.layer_units[0]}")
    return Data(X, data.y[:n_rows], data.source)


DEPTH_WORKLOADS = ("deep-2", "deep-8")
"""Networks that differ in depth only: what does it cost?"""

GATHER_WORKLOADS = ("minibatches",)
"""A small network that is given its samples in another order in each epoch: what does fetching them cost?"""

STEP_WORKLOADS = tuple(name for name in WORKLOADS if name not in DEPTH_WORKLOADS + GATHER_WORKLOADS)
"""What is measured beside other libraries."""
