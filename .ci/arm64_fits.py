"""A few fits on the machine at hand, each on one thread and on two, by the digests of their bits: see `.ci/arm64`.

    python .ci/arm64_fits.py jit digests.json
    python .ci/arm64_fits.py library digests.json     # compares with those of the JIT

The first word says how the kernels must come about; that it is so is checked, too.
"""

import hashlib
import json
import platform
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from bench.bits import run_case
from fastmlp.network.threads import threading_layer
from fastmlp.simd.library import FOUND, LIBRARY
from fastmlp.simd.tile_table import TILE
from tests.helpers.problems import SOLVERS, advance, make_problem, parameters_of

# By what is added to a fit of estimators: enough rows, mostly, that two threads share a step.
WAYS = {
    "adam": {"rows": 5, "options": {"batch_size": 800}},
    "weighted": {"weighted": True, "options": {"solver": "sgd", "batch_size": 37}},
    "zeros": {"zeros": True, "rows": 5, "options": {"batch_size": 800}},
    "sparse": {"zeros": True, "sparse": True},
    "partial fits": {"partial": True},
    "L-BFGS": {"rows": 5, "options": {"solver": "lbfgs"}},
    "numbers": {"target": "several", "options": {"activation": "tanh"}},
    "counts": {"target": "poisson", "options": {"activation": "logistic", "early_stopping": True}},
}
UNITS = {"narrow": [5, 4, 3], "wide": [70, 65, 50, 60]}


def digest_of_estimator(network: str, dtype: str, way: str, n_threads: int) -> str:
    """Return the digest of a fit and a prediction; the number of threads is what the user asks for."""
    case = {"network": network, "target": "classes", "dtype": dtype} | WAYS[way]
    case["options"] = WAYS[way].get("options", {}) | {"n_threads": n_threads}
    return run_case(case)


def digest_of_network(network: str, dtype: str, solver: str, n_threads: int) -> str:
    """Return the digest of three epochs and a prediction; so many threads share them, whether it pays or not."""
    problem = make_problem(UNITS[network], "tanh", "log_loss", np.dtype(dtype).type, n_samples=433, weighted=True)
    trained = problem.network(batch_size=200, n_threads=n_threads, alpha=0.01, **SOLVERS[solver])
    random_state, outputs = np.random.RandomState(0), np.empty((433, UNITS[network][-1]), dtype)
    epochs = problem.epochs(trained, batch_size=200, random_state=random_state, n_blocks=n_threads)
    losses = advance(epochs, 3, 0.01)
    trained.predict(problem.rows, outputs, n_blocks=n_threads)
    bits = b"".join(np.ascontiguousarray(array).tobytes() for array in (losses, outputs, *parameters_of(trained)))
    return hashlib.sha256(bits).hexdigest()


def main() -> int:
    """Run them all; name what differs."""
    way_of_kernels, path = sys.argv[1], Path(sys.argv[2])
    print(f"{platform.machine()}, Python {platform.python_version()}, tile {TILE.name}, kernels: {FOUND}")
    if (LIBRARY is not None) != (way_of_kernels == "library") or TILE.name != "neon":
        print(f"wanted: tile neon, kernels from the {way_of_kernels}")
        return 1
    warnings.simplefilter("ignore")  # five epochs converge nowhere
    digests, n_different = {}, 0
    for network in UNITS:
        for dtype in ("float32", "float64"):
            begin = time.monotonic()
            for digest_of, names in ((digest_of_estimator, WAYS), (digest_of_network, SOLVERS)):
                for name in names:
                    key = f"{digest_of.__name__.rpartition('_')[2]}, {network}, {dtype}, {name}"
                    one, two = (digest_of(network, dtype, name, n_threads) for n_threads in (1, 2))
                    digests[key] = one
                    if one != two:
                        n_different += 1
                        print(f"DIFFERENT on one thread and on two: {key}")
            print(f"{network}, {dtype}: {time.monotonic() - begin:.0f} s", flush=True)
    print(f"{len(digests)} fits on one thread and on two ({threading_layer()}): {n_different} of them different")
    if threading_layer() in ("none", "workqueue"):
        print("but with that layer, all of them ran on one thread")
        return 1
    if way_of_kernels == "library":
        if "numba" in sys.modules:
            print("Numba was imported, though there is a library")
            n_different += 1
        expected = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key in expected.keys() | digests.keys() if expected.get(key) != digests.get(key)]
        for key in sorted(different):
            print(f"DIFFERENT with the library and with the JIT: {key}")
        print(f"{len(digests)} fits with the library and with the JIT: {len(different)} of them different")
        n_different += len(different)
    else:
        path.write_text(json.dumps(digests), encoding="utf-8")
    return 1 if n_different else 0


if __name__ == "__main__":
    sys.exit(main())
