"""The compile cache is of use to the next process, and never fatal."""

import json
import shutil
import sys

import pytest

from tests.helpers.cache_probes import PACKAGE, SMALL_PROBE, bare_package, kernel_files, log_lines, probe
from tests.helpers.subprocesses import finish, run_python, start_python

pytestmark = pytest.mark.needs_jit

# A real training, on the serial twin.
TRAINING = """
import json
import numpy as np
from numba.core import event

with event.install_recorder("numba:compile") as recorder:
    from fastmlp.network.rows import as_rows
    from fastmlp.network.network import Network

    X = np.linspace(-1, 1, 300, dtype=np.float32).reshape(100, 3)
    network = Network([3, 40, 20], dtype=np.float32, n_threads=1, batch_size=50)
    coefs = [np.linspace(-0.3, 0.3, 120).reshape(3, 40), np.linspace(-0.1, 0.2, 800).reshape(40, 20)]
    network.set_parameters(coefs, [np.zeros(40), np.zeros(20)])
    epochs = network.epochs(as_rows(X, np.float32), np.arange(100) % 20, batch_size=50)
    losses = []
    while len(losses) < 3:
        losses.extend(map(float, epochs.advance(np.array([0.01]))))
print(json.dumps([losses, len(recorder.buffer)]))
"""


def train(**variables):
    output, errors = run_python(bare_package(PACKAGE) + TRAINING, **variables)
    losses, compilations = json.loads(output)
    return losses, compilations, log_lines(errors)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with the cache of one training, and its losses."""
    folder = tmp_path_factory.mktemp("cache")
    losses, compilations, lines = train(FASTMLP_CACHE_DIR=folder)
    assert compilations > 0
    assert lines == []
    return folder, losses


def test_a_second_start_compiles_nothing(trained):
    folder, losses = trained
    assert train(FASTMLP_CACHE_DIR=folder) == (losses, 0, [])
    assert all(path.suffix == ".kernel" for path in kernel_files(folder))


def test_after_a_warmup_nothing_is_left_to_compile():
    warmup = """
        import numpy as np
        from fastmlp.network.warmup import warmup
        warmup(np.float32)
    """
    training = """
        import numpy as np
        from numba.core import event
        from scipy import sparse

        with event.install_recorder("numba:compile") as recorder:
            from fastmlp.network.rows import as_rows
            from tests.helpers.problems import LOSSES, SOLVERS, advance, make_problem

            for layer_units in ([3, 4, 2], [20, 50, 30]):
                for loss in LOSSES:
                    for solver in SOLVERS.values():
                        for n_threads, weighted in ((1, False), (2, True)):
                            problem = make_problem(layer_units, "tanh", loss, np.float32, weighted=weighted)
                            network = problem.network(n_threads=n_threads, **solver)
                            generator = np.random.RandomState(0)
                            epochs = problem.epochs(network, n_blocks=network.n_threads, random_state=generator)
                            advance(epochs, 1, 0.01)
                            outputs = np.empty((problem.n_samples, layer_units[-1]), np.float32)
                            network.predict(problem.rows, outputs)
                            X = problem.X
                            for stored in (X.astype(np.int8), np.asfortranarray(X), sparse.csr_array(X)):
                                rows = as_rows(stored, np.float32)
                                network.predict(rows, outputs)
                                advance(network.epochs(rows, problem.targets), 1, 0.01)
                            for array in (problem.X, problem.targets):
                                array.flags.writeable = False
                            advance(problem.epochs(network), 1, 0.01)
        print(len(recorder.buffer))
    """
    run_python(warmup)
    output, _ = run_python(training)
    assert int(output) == 0


def damage(path, kind):
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "garbage": b"\x80garbage" * 100,
        "one bit": content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
        "short": content[:5],
    }
    path.write_bytes(damaged[kind])


def test_damaged_files_count_as_absent(trained, tmp_path):
    folder, losses = trained
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for number, path in enumerate(kernel_files(tmp_path)):
        damage(path, ["empty", "half", "garbage", "one bit", "short"][number % 5])
    again, compilations, lines = train(FASTMLP_CACHE_DIR=tmp_path)
    assert again == losses
    assert compilations > 0
    assert lines == []
    assert train(FASTMLP_CACHE_DIR=tmp_path) == (losses, 0, [])  # they were written anew


def test_a_folder_where_a_file_should_be(tmp_path):
    result, *_ = probe(FASTMLP_CACHE_DIR=tmp_path)
    (path,) = kernel_files(tmp_path)
    path.unlink()
    path.mkdir()
    again, compilations, lines = probe(FASTMLP_CACHE_DIR=tmp_path)
    assert again == result
    assert compilations > 0
    assert len(lines) == 1
    assert list(path.parent.iterdir()) == [path]  # no half-written file stays behind


def test_training_where_the_folder_cannot_be_written(trained, tmp_path):
    """A file stands in the folder's place: unlike permissions, that stops the superuser too."""
    _, losses = trained
    (tmp_path / "file").write_text("in the way")
    again, compilations, lines = train(FASTMLP_CACHE_DIR=tmp_path / "file")
    assert again == losses
    assert compilations > 0
    assert len(lines) == 1


# A user who has no home folder, and no entry in the list of users either.
NOBODY = """
import os, tempfile
os.path.expanduser = lambda path: path
"""

NO_TEMPORARY_FOLDER = """
tempfile._candidate_tempdir_list = lambda: ["/dev/null/tmp"]
"""

CURRENT_FOLDER_IS_GONE = """
import numba, os, tempfile  # others ask for the current folder when they are imported
os.chdir(tempfile.mkdtemp())
os.rmdir(os.getcwd())
"""

ENVIRONMENTS = {
    # name: (variables, what comes first, whether machine code is cached)
    "no folder of the system's": ({"FASTMLP_CACHE_DIR": "/proc/nothing"}, "", False),
    "a device": ({"FASTMLP_CACHE_DIR": "/dev/null"}, "", False),
    "below a device": ({"FASTMLP_CACHE_DIR": "/dev/null/cache"}, "", False),
    "the home of nobody": ({"FASTMLP_CACHE_DIR": "~nobody-of-that-name/cache"}, "", False),
    "a home where there is none": ({"FASTMLP_CACHE_DIR": "~/cache", "HOME": None}, NOBODY, False),
    "too long a name": ({"FASTMLP_CACHE_DIR": "FOLDER/" + 300 * "x"}, "", False),
    "relative to no folder": ({"FASTMLP_CACHE_DIR": "cache"}, CURRENT_FOLDER_IS_GONE, False),
    "no cache home": ({"FASTMLP_CACHE_DIR": None, "HOME": None, "XDG_CACHE_HOME": "/dev/null/cache"}, "", False),
    "a home that is a device": ({"FASTMLP_CACHE_DIR": None, "HOME": "/dev/null"}, "", False),
    "nothing at all": ({"FASTMLP_CACHE_DIR": None, "HOME": None}, NOBODY + NO_TEMPORARY_FOLDER, False),
    "a temporary folder": ({"FASTMLP_CACHE_DIR": None, "HOME": None, "TMPDIR": "FOLDER"}, NOBODY, True),
    "home": ({"FASTMLP_CACHE_DIR": "~/cache", "HOME": "FOLDER"}, "", True),
    "home for Numba": ({"FASTMLP_CACHE_DIR": None, "NUMBA_CACHE_DIR": "~/cache", "HOME": "FOLDER"}, "", True),
    "home for all": ({"FASTMLP_CACHE_DIR": None, "XDG_CACHE_HOME": "~/cache", "HOME": "FOLDER"}, "", True),
    "relative for all": ({"FASTMLP_CACHE_DIR": None, "XDG_CACHE_HOME": "relative", "HOME": "FOLDER"}, "", True),
    "empty": ({"FASTMLP_CACHE_DIR": "", "HOME": "FOLDER"}, "", True),
    "relative": ({"FASTMLP_CACHE_DIR": "relative/cache"}, "", True),
    "a name that is no text": ({"FASTMLP_CACHE_DIR": "FOLDER/\udcff"}, "", True),
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_is_good_enough(environment, tmp_path):
    """A folder that cannot be had or named costs a log line, and nothing is written elsewhere."""
    variables, first, is_cached = ENVIRONMENTS[environment]
    variables = {"NUMBA_CACHE_DIR": None, "XDG_CACHE_HOME": None, **variables}
    variables = {name: value and value.replace("FOLDER", str(tmp_path)) for name, value in variables.items()}
    output, errors = run_python(f"{bare_package(PACKAGE)}{first}{SMALL_PROBE}", folder=tmp_path, **variables)
    result, compilations = output.split()
    assert float(result) == pytest.approx(1.9)
    assert int(compilations) > 0
    assert len(log_lines(errors)) == (not is_cached)
    assert len(kernel_files(tmp_path)) == is_cached
    assert not any(path.name.startswith("~") for path in tmp_path.rglob("*"))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk(tmp_path):
    limit = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
"""
    output, errors = run_python(bare_package(PACKAGE) + limit + SMALL_PROBE, FASTMLP_CACHE_DIR=tmp_path)
    assert float(output.split()[0]) == pytest.approx(1.9)
    assert len(log_lines(errors)) == 1
    assert kernel_files(tmp_path) == []


def test_sixteen_cold_starts_at_once(tmp_path):
    code = bare_package(PACKAGE) + SMALL_PROBE  # it is the files that are raced for
    processes = [start_python(code, FASTMLP_CACHE_DIR=tmp_path) for _ in range(16)]
    results = [finish(process) for process in processes]
    assert len({output.split()[0] for output, _ in results}) == 1
    assert all(errors == "" for _, errors in results)
    assert len(kernel_files(tmp_path)) == 1
    output, _ = run_python(code, FASTMLP_CACHE_DIR=tmp_path)
    assert output.split() == [results[0][0].split()[0], "0"]
