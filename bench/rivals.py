"""fastmlp beside scikit-learn, PyTorch, JAX and plain NumPy: in turn, within one run.

``python -m bench.rivals`` measures the whole table: every workload in float32 and float64, on one
thread and on all, each contender in a process of its own, one after the other and round again
(A B C A B C ...), so that the machine's drift touches all alike. A turn is a fit that is not timed, and then fits for
a quarter of a second, of which the median counts. Contenders that wait are stopped, so that no idle thread pool spins
beside another's work, and the machine's peak is one of them. Before that, memory is touched once: a virtual machine's
host may be slow to find it.

Every finished cell is written to the JSON file at once. A run that was interrupted goes on where it
was when it is started again; ``--fresh`` measures everything anew, and ``--more`` adds rounds to what
is there: on a machine that drifts, half an hour later. ``python -m bench.report`` turns the JSON into
the Markdown table and the figures, and this command does so too when it is done.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.machine import (
    ROOT,
    available_cores,
    commit,
    describe_machine,
    quartiles,
    thread_environment,
    touch_memory,
)
from bench.worker import PEAK
from bench.workloads import STEP_WORKLOADS, WORKLOADS

RESULTS = ROOT / "bench" / "results" / "rivals.json"
NAMES = ("fastmlp", "scikit-learn", "pytorch", "jax", "reference")
# So long does a parallel runtime spin, at most, before its threads sleep.
PAUSE_SECONDS = 0.02


def end_on_request() -> None:
    """Let a request to end this process run what cleans up: a stopped child cannot end by itself."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class WorkerError(RuntimeError):
    """A contender could not do what it was asked for."""


class WorkerProcess:
    """A contender's process; it runs only while it is asked something."""

    def __init__(self, name: str, dtype: str, n_threads: int, package: Path = ROOT) -> None:
        self.name = name
        environment = thread_environment(n_threads)
        # -P: what is imported as fastmlp is the package in this folder, wherever we are started
        environment["PYTHONPATH"] = os.pathsep.join([str(package), str(ROOT)])
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.worker", name, dtype, str(n_threads)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._signal("SIGCONT")
        try:
            self.process.stdin.write(json.dumps({"command": command, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"its process ended with status {self.process.wait()}")
        self._signal("SIGSTOP")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._signal("SIGCONT")
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self.process.poll() is None:
            self.process.send_signal(getattr(signal, name))


def cell_key(workload: str, dtype: str, n_threads: int) -> str:
    """Return the name of a cell in the JSON."""
    return f"{workload}/{dtype}/{n_threads}"


def measure_cell(
    workload_name: str,
    dtype: str,
    n_threads: int,
    workers: dict[str, WorkerProcess],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Measure one workload: prepare and check each contender, then time them in turn."""
    workload = WORKLOADS[workload_name]
    contenders: dict[str, dict[str, Any]] = {}
    for name in arguments.contenders:
        try:
            contenders[name] = workers[name].ask("prepare", workload=workload_name, target_seconds=arguments.seconds)
            contenders[name]["microseconds"] = []
        except WorkerError as error:
            contenders[name] = {"error": str(error)}
    expected = reference_loss(workload_name)
    for record in contenders.values():
        if "error" not in record:
            distance = abs(record["loss"] - expected) / abs(expected)
            if not distance <= record["tolerance"]:
                record["error"] = f"reaches a loss of {record['loss']:.6g}, not {expected:.6g}"
    running = [name for name, record in contenders.items() if "error" not in record]
    peaks: list[float] = []
    round_trips: list[float] = []
    for _ in range(arguments.rounds or workload.rounds):
        peaks.append(workers[PEAK].ask("peak")["gflops"])
        if n_threads > 1 and (nanoseconds := workers[PEAK].ask("round_trip")["nanoseconds"]) is not None:
            round_trips.append(nanoseconds)
        for name in running:
            time.sleep(PAUSE_SECONDS)
            answer = workers[name].ask("time", epochs=contenders[name]["epochs"], within=arguments.seconds)
            contenders[name]["microseconds"].append(answer["median"])
    return {
        "workload": workload_name,
        "dtype": dtype,
        "n_threads": n_threads,
        "source": workload.data().source,
        "layer_units": workload.layer_units,
        "batch_size": workload.batch_size,
        "solver": workload.solver,
        "flops_per_step": workload.flops_per_step(),
        "n_parameters": workload.n_parameters,
        "expected_loss": expected,
        "peak_gflops": peaks,
        "round_trip_nanoseconds": round_trips,
        "contenders": contenders,
        "commit": commit(),
    }


_reference_losses: dict[str, float] = {}


def reference_loss(workload_name: str) -> float:
    """Train the reference in float64 in this process, once a workload: what all must reach."""
    if workload_name not in _reference_losses:
        from bench.contenders import NumPyReference

        workload = WORKLOADS[workload_name]
        reference = NumPyReference(workload, "float64", available_cores())
        parameters = reference.fit(workload.check_epochs, shuffle=False)
        _reference_losses[workload_name] = workload.data_loss(*parameters)
    return _reference_losses[workload_name]


def print_cell(cell: dict[str, Any]) -> None:
    """Print one finished cell."""
    key = cell_key(cell["workload"], cell["dtype"], cell["n_threads"])
    peak = quartiles(cell["peak_gflops"])[1]
    own = cell["contenders"].get("fastmlp", {}).get("microseconds")
    far = ""
    if cell["round_trip_nanoseconds"]:
        far = ", {:.0f} to {:.0f} ns to another core and back".format(*quartiles(cell["round_trip_nanoseconds"])[::2])
    print(f"{key}  (peak {peak:.0f} GFLOP/s{far})")
    for name, record in cell["contenders"].items():
        if "error" in record:
            print(f"  {name:13} FAILED: {record['error']}")
            continue
        low, median, high = quartiles(record["microseconds"])
        share = cell["flops_per_step"] / median / 1e3 / peak
        line = f"  {name:13} {median:11,.1f} us a step ({low:,.1f} to {high:,.1f}), "
        line += f"{100 * share:5.1f} % of peak"
        if own and name != "fastmlp":
            ratios = [r / f for r, f in zip(record["microseconds"], own, strict=True)]
            line += f", {quartiles(ratios)[1]:6.2f} x fastmlp's time"
        print(line, flush=True)


def read_results(path: Path) -> dict[str, Any]:
    """Read what was measured before, or begin."""
    if path.exists():
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if results["machine"] == describe_machine():
            return results
        sys.exit(f"{path} was measured on another machine: name another file, or say --fresh")
    return {"machine": describe_machine(), "bandwidth": {}, "cells": {}, "accuracy": {}}


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write the JSON so that an interruption leaves either the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def is_done(cell: dict[str, Any] | None, names: list[str], current: str) -> bool:
    """Whether a cell holds all the contenders, measured at this commit."""
    if cell is None or cell["commit"] != current:
        return False
    return all("error" not in cell["contenders"].get(name, {"error": ""}) for name in names)


def add_rounds(cell: dict[str, Any], former: dict[str, Any] | None) -> None:
    """Put the rounds that were measured before, of the same contenders at the same commit, in front of a cell's own."""

    def running(cell: dict[str, Any]) -> dict[str, Any]:
        return {name: record for name, record in cell["contenders"].items() if "error" not in record}

    if former is None or former["commit"] != cell["commit"] or running(former).keys() != running(cell).keys():
        return
    for key in ("peak_gflops", "round_trip_nanoseconds"):
        cell[key][:0] = former[key]
    for name, record in running(cell).items():
        record["microseconds"][:0] = former["contenders"][name]["microseconds"]


def measure_group(dtype: str, n_threads: int, results: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Measure what is missing at one precision and number of threads."""
    keys = {name: cell_key(name, dtype, n_threads) for name in arguments.workloads}
    missing = [
        name
        for name, key in keys.items()
        if arguments.more or not is_done(results["cells"].get(key), arguments.contenders, commit())
    ]
    if not missing:
        return
    names = (PEAK, *arguments.contenders)
    workers = {name: WorkerProcess(name, dtype, n_threads) for name in names}
    try:
        bandwidth = workers[PEAK].ask("bandwidth")["gigabytes"]
        results["bandwidth"][str(n_threads)] = bandwidth
        for name in missing:
            cell = measure_cell(name, dtype, n_threads, workers, arguments)
            if arguments.more:
                add_rounds(cell, results["cells"].get(keys[name]))
            results["cells"][keys[name]] = cell
            write_results(arguments.output, results)
            print_cell(cell)
    finally:
        for worker in workers.values():
            worker.close()


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.rivals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    threads = sorted({1, available_cores()})
    parser.add_argument("--workloads", nargs="+", choices=STEP_WORKLOADS, default=STEP_WORKLOADS)
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"))
    parser.add_argument("--threads", nargs="+", type=int, default=threads)
    parser.add_argument("--rounds", type=int, help="instead of each workload's own number")
    parser.add_argument("--seconds", type=float, default=0.25, help="of one timed fit, about, and of a turn")
    parser.add_argument("--touch", type=float, default=6.0, help="GiB of memory to touch first; 0 for none")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--more", action="store_true", help="add rounds to what was measured at this commit")
    parser.add_argument("--no-accuracy", action="store_true", help="leave out time to accuracy")
    parser.add_argument("--only-accuracy", action="store_true", help="measure nothing else")
    parser.add_argument("--accuracy-rounds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.dtypes = arguments.dtypes or ["float32", "float64"]
    return arguments


def main() -> int:
    """Measure; return the number of failures."""
    arguments = parse_arguments()
    end_on_request()
    if arguments.fresh:
        arguments.output.unlink(missing_ok=True)
    results = read_results(arguments.output)
    start = time.perf_counter()
    if arguments.touch:
        touch_memory(arguments.touch)
    if not arguments.only_accuracy:
        for dtype in arguments.dtypes:
            for n_threads in arguments.threads:
                measure_group(dtype, n_threads, results, arguments)
    if not arguments.no_accuracy:
        from bench.time_to_accuracy import measure_accuracy

        measure_accuracy(results, arguments)
        write_results(arguments.output, results)
    failures = [
        f"{key}: {name}: {record['error']}"
        for key, cell in results["cells"].items()
        for name, record in cell["contenders"].items()
        if "error" in record
    ]
    print(f"{arguments.output}: {len(results['cells'])} cells, {time.perf_counter() - start:.0f} s")
    if arguments.output == RESULTS:
        from bench.report import write_report

        write_report(results, RESULTS.parent)
    for failure in failures:
        print(failure, file=sys.stderr)
    return min(len(failures), 1)


if __name__ == "__main__":
    sys.exit(main())
