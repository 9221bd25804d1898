"""Count the instructions of a training step: ``python -m bench.instructions digits``.

Instructions, unlike seconds, are the same on a busy machine as on an idle one. Valgrind knows no
AVX-512, so the AVX2 kernels are counted, on one thread. They are compiled first, outside valgrind,
for a processor that has AVX2 and no more. Two runs of different lengths are counted: their
difference is what the steps cost and nothing else.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

from bench.machine import ROOT
from bench.workloads import WORKLOADS

AVX2_FEATURES = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+f16c,+movbe,+cx16"
# The longer run has so many steps more, at least. Small networks make more of them, about this many floating-point
# operations, so that calls from Python, and what in a process's start is not repeatable, count for little.
STEPS, FLOPS = 20, 2e8


def train(workload_name: str, dtype: str, steps: int) -> None:
    """Be the process that is counted: train so many steps on one minibatch after another."""
    import numpy as np

    from bench.networks import network_of, train_epochs
    from fastmlp.network.rows import as_rows

    workload = WORKLOADS[workload_name]
    # random data of the right shape: loading real data would be counted too
    random_state = np.random.RandomState(0)
    minibatches = 1 if workload.is_full_batch else 4
    n_rows = minibatches * workload.batch_size
    X = random_state.standard_normal((n_rows, workload.layer_units[0])).astype(dtype)
    n_outputs = workload.layer_units[-1]
    if workload.loss == "log_loss":
        targets = random_state.randint(n_outputs, size=n_rows)
    else:
        targets = random_state.randint(2, size=(n_rows, n_outputs)).astype(dtype)
    network = network_of(workload, dtype, n_threads=1)
    epochs = network.epochs(as_rows(X, np.dtype(dtype)), targets, batch_size=workload.batch_size)
    train_epochs(epochs, steps // minibatches, workload.learning_rate)


def count(arguments: argparse.Namespace, steps: int, environment: dict[str, str]) -> int:
    """Return the instructions of a whole process that trains so many steps."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *run_command(arguments, steps)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    collected = re.search(r"Collected\s*:\s*(\d+)", result.stderr)
    if result.returncode != 0 or collected is None:
        sys.exit(f"valgrind failed:\n{result.stdout}{result.stderr}")
    return int(collected.group(1))


def run_command(arguments: argparse.Namespace, steps: int) -> list[str]:
    """Return the command of the process that is counted."""
    command = [sys.executable, "-m", "bench.instructions", arguments.workload]
    return [*command, "--dtype", arguments.dtype, "--steps", str(steps)]


def main() -> None:
    """Count, or be what is counted."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps is not None:
        train(arguments.workload, arguments.dtype, arguments.steps)
        return
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed")
    steps = max(STEPS, 4 * round(FLOPS / WORKLOADS[arguments.workload].flops_per_step() / 4))
    with tempfile.TemporaryDirectory() as cache:
        environment = dict(os.environ, FASTMLP_CACHE_DIR=cache, NUMBA_CPU_NAME="haswell", NUMBA_NUM_THREADS="1")
        environment |= {"NUMBA_CPU_FEATURES": AVX2_FEATURES, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        subprocess.run(run_command(arguments, STEPS), cwd=ROOT, env=environment, check=True)
        few, many = (count(arguments, n, environment) for n in (STEPS, STEPS + steps))
    per_step = (many - few) / steps
    print(f"{arguments.workload} {arguments.dtype}: {per_step:,.0f} instructions a step (AVX2, one thread)")


if __name__ == "__main__":
    main()
