"""Seconds from the start of a process to 98 % of MNIST's test images, and the memory it took.

Everything counts but the download: starting Python, imports, reading the files, compiling, training
and the test after each epoch. All contenders train the network of the workload ``mnist`` with Adam
on all 60,000 images, in float32, on all cores, in turn, each round with a seed of its own.
``fastmlp-first`` is fastmlp on a machine where it has never compiled anything.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import ROOT, available_cores, commit, pin_to_cores, thread_environment
from bench.workloads import WORKLOADS, Data, mnist_images

TARGET = 0.98
MAX_EPOCHS = 30
FIRST = "fastmlp-first"


def peak_memory() -> float | None:
    """Return the most memory that this process ever held, in MiB, where the system tells."""
    try:
        # Not what getrusage tells on Linux: that begins with the peak of the process that started this one.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass  # not Linux
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def train_until_accurate(name: str, n_threads: int, seed: int) -> dict[str, Any]:
    """Train one contender epoch by epoch until the target is reached."""
    images = mnist_images()
    if images is None:
        raise SystemExit("time to accuracy needs MNIST: FASTMLP_DATA names the folder above mnist/")
    X, X_test = (np.divide(part, 255, dtype=np.float32) for part in (images[0], images[2]))
    y, y_test = images[1].astype(np.int64), images[3]
    from bench.contenders import CONTENDERS

    data = Data(X, y, "MNIST")
    contender = CONTENDERS[name](WORKLOADS["mnist"], "float32", n_threads, data, seed)
    accuracies = []
    for predict in contender.epochs():
        accuracies.append(float(np.mean(predict(X_test) == y_test)))
        if accuracies[-1] >= TARGET or len(accuracies) == MAX_EPOCHS:
            break
    return {"accuracies": accuracies, "mebibytes": peak_memory()}


def run_once(name: str, n_threads: int, seed: int) -> dict[str, Any]:
    """Start one process and wait for it; its whole life is what counts."""
    environment = thread_environment(n_threads)
    with tempfile.TemporaryDirectory() as empty:
        if name == FIRST:
            environment["FASTMLP_CACHE_DIR"] = empty
            environment["NUMBA_CACHE_DIR"] = empty
        contender = "fastmlp" if name == FIRST else name
        command = [sys.executable, "-m", "bench.time_to_accuracy", contender, str(n_threads)]
        start = time.perf_counter()
        result = subprocess.run([*command, str(seed)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
    if result.returncode != 0:
        return {"error": f"its process ended with status {result.returncode}"}
    record: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    if record["accuracies"][-1] < TARGET:
        record["error"] = f"{record['accuracies'][-1]:.4f} after {MAX_EPOCHS} epochs"
    return {**record, "seconds": seconds}


def measure_accuracy(results: dict[str, Any], arguments: Namespace) -> None:
    """Measure all contenders in turn, and put the records into the results."""
    if mnist_images() is None:
        print("time to accuracy left out: FASTMLP_DATA does not lead to MNIST")
        return
    n_threads = available_cores()
    names = [name for name in arguments.contenders if name != "reference"]
    if "fastmlp" in names:
        names.insert(names.index("fastmlp") + 1, FIRST)
    done = results["accuracy"]
    current = commit()
    if all(
        name in done
        and done[name]["commit"] == current
        and len(done[name]["runs"]) >= arguments.accuracy_rounds
        and not any("error" in run for run in done[name]["runs"])
        for name in names
    ):
        return
    records: dict[str, Any] = {name: {"commit": current, "runs": []} for name in names}
    if "fastmlp" in names:
        run_once("fastmlp", n_threads, 0)  # not counted: compiles what this commit has changed
    for seed in range(arguments.accuracy_rounds):
        for name in names:
            run = run_once(name, n_threads, seed)
            records[name]["runs"].append(run)
            if "error" in run:
                print(f"  {name:13} FAILED: {run['error']}", flush=True)
                continue
            epochs = len(run["accuracies"])
            line = f"  {name:13} {run['seconds']:7.2f} s to {run['accuracies'][-1]:.4f} "
            memory = "" if run["mebibytes"] is None else f", {run['mebibytes']:.0f} MiB"
            print(f"{line}in {epochs} epochs{memory}", flush=True)
    results["accuracy"].update(records)


def main() -> None:
    """Be one contender's process."""
    name, n_threads, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pin_to_cores(n_threads)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answers.write(json.dumps(train_until_accurate(name, n_threads, seed)) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
