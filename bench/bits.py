"""Does the working tree compute what another commit does, to the last bit? ``python -m bench.bits BASE``.

Some 500 small fits of all kinds run with both packages, each in a process of its own: every activation, loss and
solver, both precisions, narrow, wide and sparse networks, weights, early stopping, ragged minibatches, one thread and
two, ``partial_fit``, checkpoints that are resumed. Weights, losses and predictions are compared by their digests.
Only the public interface is used, so the two may be as different inside as they like. Bits hold on one kind of
processor; ``FASTMLP_TILE`` chooses another's kernels.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from bench.compare import extract_package
from bench.machine import ROOT

N_SAMPLES = 330
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
SOLVERS: dict[str, dict[str, Any]] = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd", "momentum": 0.0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "invscaling"},
    "nesterov": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1},
    "lbfgs": {"solver": "lbfgs"},
}
# Features and hidden units: samples fill the lanes in the first, units in the others.
NETWORKS = {"narrow": (5, (4, 3)), "wide": (40, (70, 50)), "one layer": (30, ()), "deep": (20, (64, 33, 17, 64))}
TARGETS = ("squared_error", "several", "poisson", "two classes", "classes", "labels")


def draw(n_features: int, target: str, dtype: str) -> tuple[Any, Any]:
    """Return samples, and targets of one kind."""
    generator = np.random.RandomState(0)
    X = generator.standard_normal((N_SAMPLES, n_features)).astype(dtype)
    z = X[:, 0] + 0.5 * X[:, 1] * X[:, 2]
    y = {
        "squared_error": z,
        "several": np.stack([z, X[:, 3], -z], axis=1),
        "poisson": np.exp(0.5 * z).round(),
        "two classes": (z > 0).astype(int),
        "classes": np.digitize(z, [-1, 0, 1]),
        "labels": np.stack([z > 0, X[:, 3] > 0, X[:, 1] > 1], axis=1).astype(int),
    }
    return X, y[target]


def with_zeros(X: Any) -> Any:
    """Return samples of which most numbers are zero."""
    return np.where(np.random.RandomState(1).uniform(size=X.shape) < 0.93, 0, X).astype(X.dtype)


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the name of each case and what makes it; see `run_case`."""
    for (network, target), activation, dtype in itertools.product(
        itertools.product(NETWORKS, TARGETS), ACTIVATIONS, ("float32", "float64")
    ):
        case: dict[str, Any] = {"network": network, "target": target, "dtype": dtype}
        case["options"] = {"activation": activation}
        yield f"{network}, {target}, {activation}, {dtype}", case
    ways: dict[str, dict[str, Any]] = {
        "weighted": {"weighted": True},
        "two threads": {"options": {"n_threads": 2}},
        "two threads, large": {"rows": 20, "options": {"n_threads": 2, "batch_size": 1500}},
        "early stopping": {"options": {"early_stopping": True, "max_iter": 12}},
        "ragged": {"options": {"batch_size": 37}},
        "single rows": {"options": {"batch_size": 1, "max_iter": 1}},
        "in order": {"options": {"shuffle": False, "batch_size": 64}},
        "full batch": {"options": {"batch_size": N_SAMPLES}},
        "zeros": {"zeros": True},
        "zeros, two threads": {"zeros": True, "rows": 5, "options": {"n_threads": 2, "batch_size": 800}},
        "sparse": {"zeros": True, "sparse": True},
        "penalty": {"options": {"alpha": 0.1}},
        "partial fits": {"partial": True},
        "warm start": {"warm": True},
    }
    for (solver, options), (way, more), network, dtype in itertools.product(
        SOLVERS.items(), ways.items(), ("narrow", "wide"), ("float32", "float64")
    ):
        if options["solver"] == "lbfgs" and more.get("partial"):
            continue
        case = {"network": network, "target": "classes", "dtype": dtype, **more}
        case["options"] = options | more.get("options", {})
        yield f"{network}, {solver}, {way}, {dtype}", case
    for solver, network in itertools.product(("adam", "momentum"), ("narrow", "wide")):
        case = {"network": network, "target": "squared_error", "dtype": "float32", "checkpoint": True}
        yield f"{network}, {solver}, checkpoint", case | {"options": SOLVERS[solver]}


def fit_to_a_checkpoint(model: Any, X: Any, y: Any) -> Any:
    """Train from a checkpoint that a shorter fit has left."""
    with tempfile.TemporaryDirectory() as folder:
        model.set_params(checkpoint=str(Path(folder) / "checkpoint"), checkpoint_interval=0)

        class Stop(Exception):
            """The shorter fit ends so."""

        class StopAfter:
            """Counts epochs, as scikit-learn's callbacks are told of them."""

            max_estimator_depth = None

            def __init__(self) -> None:
                self.left = 3

            def setup(self, *_: Any, **__: Any) -> None:
                pass

            def teardown(self, *_: Any, **__: Any) -> None:
                pass

            def on_fit_begin(self, *_: Any, **__: Any) -> None:
                pass

            def on_fit_task_begin(self, *_: Any, **__: Any) -> None:
                pass

            def on_fit_task_end(self, *_: Any, **__: Any) -> bool:
                self.left -= 1
                if self.left == 0:
                    raise Stop
                return False

            def on_fit_end(self, *_: Any, **__: Any) -> None:
                pass

        model.set_callbacks(StopAfter())
        try:
            model.fit(X, y)
        except Stop:
            pass
        else:
            raise RuntimeError("The first fit was to be stopped.")
        model.set_callbacks()
        return model.fit(X, y)


def run_case(case: dict[str, Any]) -> str:
    """Return the digest of one case's weights, losses and predictions."""
    import fastmlp

    n_features, hidden = NETWORKS[case["network"]]
    X, y = draw(n_features, case["target"], case["dtype"])
    if case.get("zeros"):
        X = with_zeros(X)
    if rows := case.get("rows"):
        X, y = np.tile(X, (rows, 1)), np.tile(y, rows)
    if case.get("sparse"):
        X = sparse.csr_array(X)
    options = {"hidden_layer_sizes": hidden, "max_iter": 5, "random_state": 0, "n_threads": 1} | case["options"]
    if case["target"] in ("squared_error", "several", "poisson"):
        loss = "poisson" if case["target"] == "poisson" else "squared_error"
        model: Any = fastmlp.MLPRegressor(loss, **options)
    else:
        model = fastmlp.MLPClassifier(**options)
    weights = {"sample_weight": np.linspace(0.5, 2, len(y))} if case.get("weighted") else {}
    if case.get("partial"):
        for _ in range(3):
            model.partial_fit(X, y, classes=np.unique(y))
    elif case.get("checkpoint"):
        fit_to_a_checkpoint(model, X, y)
    else:
        model.fit(X, y, **weights)
        if case.get("warm"):
            model.set_params(warm_start=True).fit(X, y)
    outputs = model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    curve = np.array(getattr(model, "loss_curve_", [model.loss_]), float)
    scores = np.array(getattr(model, "validation_scores_", None) or [], float)
    digest = hashlib.sha256()
    for array in (*model.coefs_, *model.intercepts_, curve, scores, np.asarray(outputs)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_digests() -> None:
    """Run all cases with the package that is imported, and print their digests as JSON."""
    warnings.simplefilter("ignore")
    digests = {}
    for name, case in cases():
        try:
            digests[name] = run_case(case)
        except Exception as error:  # a difference like any other, and named as what it is
            digests[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(digests))


def digests_of(package: Path) -> dict[str, str]:
    """Return the digests of a package that lies in a folder."""
    code = f"import sys; sys.path[:0] = [{str(package)!r}, {str(ROOT)!r}]; from bench import bits; bits.write_digests()"
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode())
    return dict(json.loads(done.stdout))


def main() -> int:
    """Compare, and name what differs."""
    parser: Any = argparse.ArgumentParser(
        prog="python -m bench.bits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a commit, branch or tag")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            extract_package(arguments.base, Path(folder))
        except subprocess.CalledProcessError as error:
            sys.exit(error.stderr.decode())
        base, tree = digests_of(Path(folder)), digests_of(ROOT)
    errors = {name: digest for name, digest in tree.items() if ":" in digest}
    different = [name for name in tree if tree[name] != base.get(name)]
    for name in different:
        print(f"DIFFERENT  {name}")
    for name, message in errors.items():
        print(f"ERROR      {name}: {message}")
    print(f"{len(tree)} fits, {len(different)} of them different, {len(errors)} with errors")
    return 1 if different or errors else 0


if __name__ == "__main__":
    sys.exit(main())
