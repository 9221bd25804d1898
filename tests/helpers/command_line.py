"""The ``fastmlp`` command in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import fastmlp

ROOT = Path(fastmlp.__file__).parent.parent

SECONDS = 300  # from an empty cache on a busy machine


def environment(**variables):
    inherited = {name: value for name, value in os.environ.items() if name != "FASTMLP_DATA"}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"} | variables


def run(folder, *arguments, **variables):
    """Run ``python -m fastmlp``; whatever happens, there must be no traceback."""
    finished = subprocess.run(
        [sys.executable, "-m", "fastmlp", *map(str, arguments)],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert "Traceback" not in finished.stderr
    return finished


def run_without(modules, folder, *arguments):
    """Run the command as if these modules were not installed."""
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {modules!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from fastmlp.cli.main import main\n"
        f"sys.exit(main({list(map(str, arguments))!r}))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def succeed(folder, *arguments, **variables):
    finished = run(folder, *arguments, **variables)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def refuse(folder, *arguments, match, **variables):
    """Run the command, which must fail with one sentence."""
    finished = run(folder, *arguments, **variables)
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert re.match(r"fastmlp: ['A-Z-].*[.]\n", finished.stderr), finished.stderr
    assert re.search(match, finished.stderr), finished.stderr
