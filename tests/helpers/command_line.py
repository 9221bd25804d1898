"""The ``fastmlp`` command, in a process of its own or in this one."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import fastmlp
from fastmlp.cli.main import main

ROOT = Path(fastmlp.__file__).parent.parent

SECONDS = 300  # from an empty cache on a busy machine


def environment(**variables):
    inherited = {name: value for name, value in os.environ.items() if name != "FASTMLP_DATA"}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"} | variables


def run(folder, *arguments, **variables):
    """Run ``python -m fastmlp`` as users do; whatever happens, there must be no traceback."""
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


def call(folder, *arguments, **variables):
    """Run the command in this process, which saves a second of imports; a warning or an exception fails the test."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        mock.patch.dict(os.environ, environment(**variables), clear=True),
    ):
        try:
            status = main(list(map(str, arguments)))
        except SystemExit as end:  # argparse's, after --help and --version
            status = end.code
    return SimpleNamespace(returncode=status, stdout=output.getvalue(), stderr=errors.getvalue())


def succeed(folder, *arguments, by=call, **variables):
    finished = by(folder, *arguments, **variables)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def refuse(folder, *arguments, match, by=call, **variables):
    """Run the command, which must fail with one sentence."""
    finished = by(folder, *arguments, **variables)
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert re.match(r"fastmlp: ['A-Z-].*[.]\n", finished.stderr), finished.stderr
    assert re.search(match, finished.stderr), finished.stderr
