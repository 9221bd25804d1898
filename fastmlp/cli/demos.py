"""The four demos: what each of them trains.

A demo is a :class:`Problem`: data, network, initial parameters and schedule, everything drawn from
one seed. How it is trained, by the compiled trainer and by plain NumPy, is in ``race.py``.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fastmlp.cli import datasets
from fastmlp.reference import ReferenceNetwork


@dataclass(frozen=True)
class Problem:
    """Everything that one demo trains with.

    ``targets`` are class codes of shape (n_samples,) for ``log_loss``, else floats of shape
    (n_samples, n_outputs). ``solver_settings`` are keyword arguments that the compiled network and
    the reference share. ``printed_loss`` turns the loss that training reports into the number
    that the demo prints, and ``score`` turns outputs into accuracy or R².
    """

    name: str
    title: str
    layer_units: list[int]
    activation: str
    loss: str
    dtype: np.dtype
    solver_settings: dict
    X: np.ndarray
    targets: np.ndarray
    X_score: np.ndarray
    y_score: np.ndarray
    score_name: str
    score: Callable[[np.ndarray, np.ndarray], float]
    batch_size: int
    learning_rates: np.ndarray
    report_every: int
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    loss_name: str = "loss"
    printed_loss: Callable[[float], float] = float
    # Shuffles the samples before each epoch: each trainer takes a copy. None: they stay in order.
    shuffler: np.random.RandomState | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def n_epochs(self):
        """How many times training goes through the data."""
        return len(self.learning_rates)

    @property
    def full_batch(self):
        """Whether every step takes all the samples, so that an epoch is one iteration."""
        return self.batch_size >= len(self.X)

    @property
    def steps_per_epoch(self):
        """How many minibatches an epoch has."""
        return -(-len(self.X) // self.batch_size)


# --- scores --------------------------------------------------------------------------------------


def class_accuracy(y, outputs):
    """Compute the share of samples whose most probable class is right."""
    return float(np.mean(outputs.argmax(axis=1) == y))


def binary_accuracy(y, outputs):
    """Compute the share of samples that are on the right side of one half."""
    return float(np.mean((outputs[:, 0] > 0.5) == y))


def r2(y, outputs):
    """Compute the coefficient of determination, the mean over the outputs."""
    residual = ((y - outputs.astype(np.float64)) ** 2).sum(axis=0)
    return float(np.mean(1 - residual / ((y - y.mean(axis=0)) ** 2).sum(axis=0)))


# --- the problems --------------------------------------------------------------------------------


def glorot_uniform(layer_units, random_state):
    """Draw weights and biases with bound sqrt(6 / (fan_in + fan_out)), as scikit-learn does."""
    network = ReferenceNetwork(layer_units)
    network.initialize(random_state)
    return network.coefs, network.intercepts


def digits(epochs=None, dtype=None, seed=0):
    """Handwritten digits of 8 by 8 pixels, bundled with scikit-learn: needs no network."""
    data = datasets.load_digits()
    dtype = np.dtype(dtype or np.float32)
    layer_units = [64, 100, 10]
    random_state = np.random.RandomState(seed)
    coefs, intercepts = glorot_uniform(layer_units, random_state)
    return Problem(
        name="digits",
        title="64-100-10, relu, softmax cross-entropy, Adam, minibatches of 200",
        layer_units=layer_units,
        activation="relu",
        loss="log_loss",
        dtype=dtype,
        solver_settings={"solver": "adam", "alpha": 1e-4},
        X=data.X_train.astype(dtype),
        targets=data.y_train,
        X_score=data.X_test.astype(dtype),
        y_score=data.y_test,
        score_name="test accuracy",
        score=class_accuracy,
        batch_size=200,
        learning_rates=np.full(epochs or 200, 1e-3),
        report_every=20,
        coefs=coefs,
        intercepts=intercepts,
        shuffler=random_state,
    )


def mnist(epochs=None, dtype=None, seed=0, data_home=None, preset="tuned"):
    """MNIST, 28 by 28 pixels, in the original lesson's way or tuned.

    ``preset="seed"`` is plain SGD at 0.001 on raw pixels; ``preset="tuned"`` is Adam on pixels
    divided by 255, its rate falling from 0.002 to zero along a half cosine.
    """
    data = datasets.load_mnist(data_home)
    dtype = np.dtype(dtype or np.float32)
    layer_units = [784, 300, 100, 10]
    random_state = np.random.RandomState(seed)
    coefs, intercepts = glorot_uniform(layer_units, random_state)
    epochs = epochs or 20
    if preset == "seed":
        solver_settings = {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False}
        learning_rates = np.full(epochs, 1e-3)
        scale, optimizer = 1, "SGD at 0.001 on raw pixels"
    else:
        solver_settings = {"solver": "adam"}
        learning_rates = 1e-3 * (1 + np.cos(np.pi * np.arange(epochs) / epochs))
        scale, optimizer = 255, "Adam at 0.002 falling to 0"
    return Problem(
        name="mnist",
        title=f"784-300-100-10, relu, softmax cross-entropy, {optimizer}, minibatches of 200",
        layer_units=layer_units,
        activation="relu",
        loss="log_loss",
        dtype=dtype,
        solver_settings=solver_settings | {"alpha": 1e-4},
        X=np.divide(data.X_train, scale, dtype=dtype),
        targets=data.y_train,
        X_score=np.divide(data.X_test, scale, dtype=dtype),
        y_score=data.y_test,
        score_name="test accuracy",
        score=class_accuracy,
        batch_size=200,
        learning_rates=learning_rates,
        report_every=1,
        coefs=coefs,
        intercepts=intercepts,
        loss_name="loss per sample",
        shuffler=random_state,
    )


def planar(epochs=None, dtype=None, seed=0):
    """Four tanh units fold the plane around a flower that no straight line can divide."""
    from sklearn.linear_model import LogisticRegression

    X, y = datasets.make_planar_flower()
    dtype = np.dtype(dtype or np.float64)
    random_state = np.random.RandomState(seed)
    layer_units = [2, 4, 1]
    line = LogisticRegression().fit(X, y)
    return Problem(
        name="planar",
        title="2-4-1, tanh, binary cross-entropy, gradient descent at 1.2 on all 400 points",
        layer_units=layer_units,
        activation="tanh",
        loss="binary_log_loss",
        dtype=dtype,
        solver_settings={
            "solver": "sgd",
            "momentum": 0.0,
            "nesterovs_momentum": False,
            "alpha": 0.0,
        },
        X=X.astype(dtype),
        targets=y[:, np.newaxis].astype(dtype),
        X_score=X.astype(dtype),
        y_score=y,
        score_name="accuracy",
        score=binary_accuracy,
        batch_size=len(X),
        learning_rates=np.full(epochs or 10_000, 1.2),
        report_every=1000,
        coefs=[
            0.01 * random_state.standard_normal((2, 4)),
            0.01 * random_state.standard_normal((4, 1)),
        ],
        intercepts=[np.zeros(4), np.zeros(1)],
        loss_name="cost",
        facts={"accuracy of logistic regression": f"{line.score(X, y):.2%}"},
    )


def regression(epochs=None, dtype=None, seed=0):
    """Nine relu units learn an exact linear map from 27 numbers to 3.

    Everything is N(0, 1), drawn from one generator in this order: features, map, then weights and
    biases layer by layer.
    """
    dtype = np.dtype(dtype or np.float64)
    random_state = np.random.RandomState(seed)
    X, y = datasets.make_linear_map(random_state)
    n_samples, n_outputs = y.shape
    layer_units = [27, 9, n_outputs]
    coefs, intercepts = [], []
    for fan_in, fan_out in itertools.pairwise(layer_units):
        coefs.append(random_state.standard_normal((fan_in, fan_out)))
        intercepts.append(random_state.standard_normal(fan_out))
    # The step is 1e-4 along the gradient of the *sum* of squares. Training takes the gradient of
    # half the sum over the outputs, averaged over the samples: 2 n times less.
    learning_rate = 1e-4 * 2 * n_samples
    return Problem(
        name="regression",
        title="27-9-3, relu, squared loss, gradient descent at 1e-4 on the sum over 100 samples",
        layer_units=layer_units,
        activation="relu",
        loss="squared_error",
        dtype=dtype,
        solver_settings={
            "solver": "sgd",
            "momentum": 0.0,
            "nesterovs_momentum": False,
            "alpha": 0.0,
        },
        X=X.astype(dtype),
        targets=y.astype(dtype),
        X_score=X.astype(dtype),
        y_score=y,
        score_name="R²",
        score=r2,
        batch_size=n_samples,
        learning_rates=np.full(epochs or 2000, learning_rate),
        report_every=200,
        coefs=coefs,
        intercepts=intercepts,
        loss_name="sum of squared errors",
        # What is reported is half the mean over samples and outputs.
        printed_loss=lambda loss: float(loss) * 2 * n_samples * n_outputs,
    )


DEMOS: dict[str, Callable[..., Problem]] = {
    "digits": digits,
    "mnist": mnist,
    "planar": planar,
    "regression": regression,
}
