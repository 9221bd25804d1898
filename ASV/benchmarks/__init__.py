"""airspeed velocity's benchmarks: few, on the public API and three kernels, with names that stay.

The workloads are those of ``bench/workloads.py``. They are loaded from the file, not imported from
the repository, so that ``import fastmlp`` finds the package that was built from the commit under
test and not the one that lies beside this folder.
"""

import importlib.util
import sys
from pathlib import Path

_path = Path(__file__).resolve().parents[2] / "bench" / "workloads.py"
_spec = importlib.util.spec_from_file_location("fastmlp_workloads", _path)
_workloads = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _workloads
_spec.loader.exec_module(_workloads)

SEED = _workloads.SEED
WORKLOADS = _workloads.WORKLOADS


def rows_and_targets(workload, dtype="float32"):
    """Return X in one precision and y as the estimators take it."""
    data = workload.data()
    y = data.y.astype(dtype) if workload.loss == "squared_error" else data.y
    return data.X.astype(dtype), y


def estimator(workload, **changed):
    """Return an unfitted fastmlp estimator for a workload."""
    import fastmlp

    is_regression = workload.loss == "squared_error"
    cls = fastmlp.MLPRegressor if is_regression else fastmlp.MLPClassifier
    settings = {
        "hidden_layer_sizes": workload.layer_units[1:-1],
        "activation": workload.activation,
        "solver": workload.solver,
        "alpha": workload.alpha,
        "batch_size": workload.batch_size,
        "learning_rate_init": workload.learning_rate,
        "momentum": workload.momentum,
        "nesterovs_momentum": workload.nesterovs_momentum,
        "tol": 0.0,
        "random_state": SEED,
    }
    epochs = changed.setdefault("max_iter", workload.check_epochs)
    return cls(**{**settings, "n_iter_no_change": epochs + 1, **changed})


def reference_network(workload, dtype="float64"):
    """Return the plain NumPy network with the workload's initial weights."""
    from fastmlp.reference import ReferenceNetwork

    network = ReferenceNetwork(
        workload.layer_units,
        activation=workload.activation,
        loss=workload.loss,
        dtype=dtype,
        solver=workload.solver,
        alpha=workload.alpha,
        momentum=workload.momentum,
        nesterovs_momentum=workload.nesterovs_momentum,
    )
    network.coefs, network.intercepts = workload.initial_parameters(dtype)
    return network
