"""One contender in a process of its own, which does what the lines on its standard input say.

``bench.rivals`` starts it: ``python -m bench.worker CONTENDER DTYPE N_THREADS``. Each line is an
object of JSON with a ``command``; each is answered by one line of JSON.
"""

import json
import os
import statistics
import sys
import time
import traceback
from typing import Any

from bench.machine import pin_to_cores

PEAK = "peak"
PEAK_ATTEMPTS = 8


class PeakWorker:
    """Measures the machine itself, in turn with the contenders."""

    def __init__(self, dtype: str, n_threads: int) -> None:
        self.dtype, self.n_threads = dtype, n_threads

    def answer(self, command: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        from bench.peak import fma_peak, memory_bandwidth, round_trip

        if command == "bandwidth":
            return {"gigabytes": memory_bandwidth(self.n_threads)}
        if command == "round_trip":
            seconds = round_trip()
            return {"nanoseconds": None if seconds is None else 1e9 * seconds}
        # The best of a few: another program's turn may come.
        return {"gflops": max(fma_peak(self.dtype, self.n_threads) for _ in range(PEAK_ATTEMPTS))}


class ContenderWorker:
    """Holds one contender and one workload at a time."""

    def __init__(self, name: str, dtype: str, n_threads: int) -> None:
        from bench.contenders import CONTENDERS

        self.cls = CONTENDERS[name]
        self.dtype, self.n_threads = dtype, n_threads
        self.contender: Any = None

    def answer(self, command: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        if command == "prepare":
            return self.prepare(**request)
        # The first fit of a turn is not timed: others have had the machine for seconds. Their data are in the caches,
        # and the host of a virtual machine has taken back what memory the last fit left free.
        self.contender.timed_fit(request["epochs"])
        # One fit, or as many as fit into the time given.
        end = time.monotonic() + request["within"]
        seconds = [self.contender.timed_fit(request["epochs"])]
        while time.monotonic() < end:
            seconds.append(self.contender.timed_fit(request["epochs"]))
        microseconds = [1e6 * s / (request["epochs"] * self.contender.n_steps) for s in seconds]
        return {"best": min(microseconds), "median": statistics.median(microseconds)}

    def prepare(self, workload: str, target_seconds: float) -> dict[str, Any]:
        """Build the contender, train it for the check, and find how many epochs to time."""
        from bench.workloads import WORKLOADS

        self.contender = None  # what the last workload held may go before the next comes
        self.contender = contender = self.cls(WORKLOADS[workload], self.dtype, self.n_threads)
        coefs, intercepts = contender.fit(contender.workload.check_epochs, shuffle=False)
        loss = contender.workload.data_loss(coefs, intercepts)
        # Lengthen the fit until it lasts: the last turn has compiled and warmed what is timed.
        epochs = contender.workload.min_epochs
        while True:
            seconds = contender.timed_fit(epochs)
            longer = min(contender.workload.epochs, round(epochs * target_seconds / seconds))
            if longer <= 1.3 * epochs:
                break
            epochs = min(longer, 20 * epochs)
        return {
            "loss": loss,
            "tolerance": contender.tolerance[self.dtype],
            "epochs": epochs,
            "choices": contender.choices,
            "versions": contender.versions(),
        }


def main() -> None:
    """Answer requests until the input ends."""
    name, dtype, n_threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pin_to_cores(n_threads)
    # Whatever a library prints goes to the error stream: answers have the output to themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: PeakWorker | ContenderWorker
    if name == PEAK:
        worker = PeakWorker(dtype, n_threads)
    else:
        worker = ContenderWorker(name, dtype, n_threads)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = worker.answer(request.pop("command"), request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
