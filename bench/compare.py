"""Compare the working tree with another commit: ``python -m bench.compare main``.

With ``--library`` the working tree has its kernels from a library, as an installed wheel has; ``HEAD`` as the base then
compares library and JIT.

Both train the same workloads, each in a process of its own, in turn (base, tree, base, tree ...), so that the machine's
drift touches both alike. At each turn the best of a few short fits counts, because other programs make some of them
slower and none faster; a fit of a large network is a turn of its own. The ratio is taken round by round: below 1 the
working tree is faster. Differences whose quartiles reach across 1 are noise. Two processes of the same code
were seen to differ by 8 % for as long as they lived, so new ones are started a few times.
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.installed import install
from bench.machine import ROOT, available_cores, quartiles
from bench.rivals import PAUSE_SECONDS, WorkerError, WorkerProcess, end_on_request
from bench.workloads import STEP_WORKLOADS, WORKLOADS

# So many fits are about a turn.
FITS = 8


def extract_package(commit: str, folder: Path) -> None:
    """Put the package as it is at a commit into a folder."""
    command = ["git", "archive", "--format=tar", commit, "fastmlp"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


def compare(name: str, packages: dict[str, Path], arguments: argparse.Namespace) -> str:
    """Measure one workload with both packages; return a line."""
    times: dict[str, list[float]] = {side: [] for side in packages}
    for _ in range(arguments.processes):
        workers = {
            side: WorkerProcess("fastmlp", arguments.dtype, arguments.threads, package)
            for side, package in packages.items()
        }
        try:
            take_turns(name, workers, arguments, times)
        except WorkerError as error:
            return f"FAILED: {error}"
        finally:
            for worker in workers.values():
                worker.close()
    ratios = [tree / base for tree, base in zip(times["tree"], times["base"], strict=True)]
    low, median, high = quartiles(ratios)
    verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference seen"
    sides = ", ".join(f"{side} {quartiles(values)[1]:,.1f} us a step" for side, values in times.items())
    return f"{sides}; ratio {median:.3f} ({low:.3f} to {high:.3f}): {verdict}"


def take_turns(
    name: str, workers: dict[str, WorkerProcess], arguments: argparse.Namespace, times: dict[str, list[float]]
) -> None:
    """Train one workload with both in turn; add the microseconds of a step in each round to `times`."""
    epochs = [
        worker.ask("prepare", workload=name, target_seconds=arguments.seconds / FITS)["epochs"]
        for worker in workers.values()
    ]
    for round_number in range(arguments.rounds):
        # Who goes first changes from round to round.
        for side in sorted(workers, reverse=bool(round_number % 2)):
            time.sleep(PAUSE_SECONDS)
            answer = workers[side].ask("time", epochs=min(epochs), within=arguments.seconds)
            times[side].append(answer["best"])


def main() -> int:
    """Compare on all the workloads asked for."""
    parser: Any = argparse.ArgumentParser(
        prog="python -m bench.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a commit, branch or tag")
    parser.add_argument("--workloads", nargs="+", choices=tuple(WORKLOADS), default=STEP_WORKLOADS)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--processes", type=int, default=3, help="so often both are started anew")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each process")
    parser.add_argument("--seconds", type=float, default=0.25, help="of a turn, about")
    parser.add_argument("--library", action="store_true", help="build a library for the working tree first")
    arguments = parser.parse_args()
    end_on_request()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as installed:
        try:
            extract_package(arguments.base, Path(folder))
        except subprocess.CalledProcessError as error:
            sys.exit(error.stderr.decode())
        packages = {"base": Path(folder), "tree": install(Path(installed)) if arguments.library else ROOT}
        for name in arguments.workloads:
            print(f"{name:12} {compare(name, packages, arguments)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
