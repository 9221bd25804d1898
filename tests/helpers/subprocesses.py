"""Python in a process of its own: for what is decided when fastmlp or Numba is imported."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A test must not inherit what another one, or the user, has set.
_CLEARED = [
    "FASTMLP_NATIVE", "FASTMLP_TILE", "FASTMLP_TRIPLE", "GOMP_CPU_AFFINITY", "NUMBA_BOUNDSCHECK", "NUMBA_CPU_FEATURES",
    "NUMBA_CPU_NAME", "NUMBA_DISABLE_JIT", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "OMP_NUM_THREADS",
    "OMP_PLACES", "OMP_PROC_BIND", "PYTEST_ADDOPTS",
]  # fmt: skip


def environment_with(**variables):
    """Return this process's environment, changed; None takes a variable away."""
    environment = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    for name, value in variables.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = str(value)
    return environment


def start_python(code, *, folder=ROOT, **variables):
    """Start Python on some code, warnings being errors; `folder` is where it looks for fastmlp first."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=folder,
        env=environment_with(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, timeout=300):
    """Wait for a process and return its (stdout, stderr); it must succeed."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()  # nothing of it may be left for other tests to trip over
        raise
    assert process.returncode == 0, f"exit status {process.returncode}\n{output}\n{errors}"
    return output, errors


def run_python(code, *, folder=ROOT, timeout=300, **variables):
    """Run some code in a process of its own and return its (stdout, stderr); it must succeed."""
    return finish(start_python(code, folder=folder, **variables), timeout)
