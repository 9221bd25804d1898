"""Fits and predictions of all kinds, by their digests: those of `bench.bits`, and what it leaves out.

Checkpoints are made in one process and taken up in another.
"""

import hashlib
import warnings

import numpy as np
from scipy import sparse

from bench.bits import cases, run_case
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.reference import HIDDEN_ACTIVATIONS, LOSSES
from tests.helpers.callbacks import Callback
from tests.helpers.problems import SOLVERS, advance, make_problem, parameters_of

N_EPOCHS, STOPPED_AFTER = 8, 3


def digest_of(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def model_digest(model, X):
    outputs = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    return digest_of(*model.coefs_, *model.intercepts_, model.loss_curve_, outputs)


def network_digests():
    """Every activation, loss and solver that there is, by the names of their tables."""
    for dtype in (np.float32, np.float64):
        for layer_units in ([5, 4, 3], [40, 70, 3]):
            for activation in HIDDEN_ACTIVATIONS:
                for loss in LOSSES:
                    problem = make_problem(layer_units, activation, loss, dtype, weighted=True)
                    for solver, options in SOLVERS.items():
                        network = problem.network(batch_size=16, alpha=0.01, **options)
                        generator = np.random.RandomState(0)
                        losses = advance(problem.epochs(network, batch_size=16, random_state=generator), 2, 0.002)
                        outputs = np.empty((problem.n_samples, layer_units[-1]), dtype)
                        network.predict(problem.rows, outputs)
                        name = f"{layer_units}, {activation}, {loss}, {solver}, {np.dtype(dtype)}"
                        yield name, digest_of(losses, outputs, *parameters_of(network))


def large_digests():
    """Predictions of many rows, dense and sparse, and a sparse X of which nothing but the entries is kept."""
    generator = np.random.RandomState(0)
    for dtype in ("float32", "float64"):
        X = generator.standard_normal((1500, 60)).astype(dtype)
        y = (X[:, 0] > X[:, 1]) + (X[:, 2] > 0)
        X[generator.uniform(size=X.shape) < 0.5] = 0
        very_sparse = sparse.random_array((900, 3000), density=0.005, format="csr", dtype=dtype, rng=generator)
        for hidden in ((6,), (130, 70)):
            for n_threads in (1, 2):
                options = {"hidden_layer_sizes": hidden, "max_iter": 2, "random_state": 0, "n_threads": n_threads}
                name = f"{hidden}, {n_threads} threads, {dtype}"
                model = MLPClassifier(**options).fit(X, y)
                yield f"many rows, {name}", model_digest(model, X)
                yield f"many sparse rows, {name}", digest_of(model.predict_proba(sparse.csr_array(X)))
                model = MLPClassifier(**options).fit(very_sparse, y[:900])
                yield f"entries alone, {name}", model_digest(model, very_sparse)
                model = MLPRegressor(**(options | {"solver": "lbfgs"})).fit(X, y)
                yield f"L-BFGS, {name}", digest_of(*model.coefs_, *model.intercepts_, model.predict(X))


def digests():
    """Return the digests of all cases by their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {f"bench.bits: {name}": run_case(case) for name, case in cases()}
        return found | dict(network_digests()) | dict(large_digests())


CHECKPOINTS = {
    "adam": {"solver": "adam"},
    "adamw": {"solver": "adamw"},
    "nesterov": {"solver": "sgd"},
    "narrow": {"hidden_layer_sizes": (4,), "early_stopping": True},
    "float32": {"dtype": "float32"},
    "two threads": {"hidden_layer_sizes": (200, 100), "n_threads": 2},
}


def checkpointed(name, path):
    """Return a model that keeps a checkpoint in a file, its samples and its targets."""
    X, y = np.random.RandomState(0).standard_normal((300, 20)), np.arange(300) % 3
    options = {"hidden_layer_sizes": (30, 20), "max_iter": N_EPOCHS, "random_state": 0, "batch_size": 70}
    return MLPClassifier(**(options | CHECKPOINTS[name]), checkpoint=path, checkpoint_interval=0), X, y


def make_checkpoints(folder):
    """Stop a fit of each kind in the midst of its epochs; its checkpoint stays."""

    class Stop(Exception):
        pass

    def stop_in_time():
        epochs.append(1)
        if len(epochs) == STOPPED_AFTER:
            raise Stop

    for name in CHECKPOINTS:
        epochs = []
        model, X, y = checkpointed(name, folder / name)
        try:
            model.set_callbacks(Callback(stop_in_time)).fit(X, y)
        except Stop:
            assert (folder / name).exists()


def digests_of_resumed(folder):
    """Go on from each checkpoint; return the digests of the models."""
    found = {}
    for name in CHECKPOINTS:
        model, X, y = checkpointed(name, folder / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = model_digest(model.fit(X, y), X)
        assert model.n_iter_ == N_EPOCHS or model.early_stopping
    return found


def digests_of_unstopped(folder):
    """Fit each kind from its beginning to its end; return the digests of the models."""
    return digests_of_resumed(folder / "nothing")
