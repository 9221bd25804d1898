"""The compile cache: never stale, never fatal, and of use to the next process."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

import fastmlp
from fastmlp import _cache
from tests.subprocesses import finish, run_python, start_python

pytestmark = pytest.mark.needs_jit

PACKAGE = Path(fastmlp.__file__).parent


def bare_package(folder):
    """Return code that makes fastmlp a bare folder: its own __init__ would bring in scikit-learn, which takes time."""
    return f"""
import sys, types
package = types.ModuleType("fastmlp")
package.__path__ = [{str(folder)!r}]
sys.modules["fastmlp"] = package
"""


# One small kernel, with a helper in another file of the package: prints its result, and how often Numba compiled.
PROBE = """
import numpy as np
from numba.core import event

with event.install_recorder("numba:compile") as recorder:
    from fastmlp._jit import kernel
    from fastmlp.activations import tanh
    from fastmlp.vectors import load, store

    @kernel
    def probe(out):
        store(out, 0, tanh(load(out, 0)))

    numbers = np.full(64, 0.9, np.float32)
    probe(numbers)
print(float(numbers[0]), len(recorder.buffer))
"""

# A real training, on the serial twin.
TRAINING = """
import json
import numpy as np
from numba.core import event

with event.install_recorder("numba:compile") as recorder:
    from fastmlp.gather import as_rows
    from fastmlp.network import Network

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


def log_lines(errors):
    """Return the lines that fastmlp logged; nothing else may have been written."""
    lines = errors.splitlines()
    assert all(line.startswith("fastmlp: cannot") for line in lines), errors
    return lines


def probe(folder=PACKAGE, **variables):
    """Run the probe and return (result, number of compilations, log lines)."""
    output, errors = run_python(bare_package(folder) + PROBE, **variables)
    result, compilations = output.split()
    return float(result), int(compilations), log_lines(errors)


def train(**variables):
    output, errors = run_python(bare_package(PACKAGE) + TRAINING, **variables)
    losses, compilations = json.loads(output)
    return losses, compilations, log_lines(errors)


def kernel_files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


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
        from fastmlp.warmup import warmup
        warmup(np.float32)
    """
    training = """
        import numpy as np
        from numba.core import event
        from scipy import sparse

        with event.install_recorder("numba:compile") as recorder:
            from fastmlp.gather import as_rows
            from tests.problems import LOSSES, SOLVERS, advance, make_problem

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


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths")
@pytest.mark.parametrize(
    "variables",
    [
        {"FASTMLP_CACHE_DIR": "/proc/nothing"},
        {"FASTMLP_CACHE_DIR": None, "HOME": "/dev/null"},
        {"FASTMLP_CACHE_DIR": None, "HOME": None, "XDG_CACHE_HOME": "/dev/null/cache"},
        {"FASTMLP_CACHE_DIR": "/tmp/\udcff" + 300 * "x"},
    ],
    ids=["proc", "no home", "no cache home", "too long a name"],
)
def test_no_folder_to_be_had(variables):
    result, compilations, lines = probe(**{"NUMBA_CACHE_DIR": None, "XDG_CACHE_HOME": None, **variables})
    assert result == pytest.approx(0.71629787, rel=1e-6)
    assert compilations > 0
    assert len(lines) <= 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk(tmp_path):
    limit = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
"""
    output, errors = run_python(bare_package(PACKAGE) + limit + PROBE, FASTMLP_CACHE_DIR=tmp_path)
    assert float(output.split()[0]) == pytest.approx(0.71629787, rel=1e-6)
    assert len(log_lines(errors)) == 1
    assert kernel_files(tmp_path) == []


def test_sixteen_cold_starts_at_once(tmp_path):
    # With less to compile: it is the files that are raced for.
    code = bare_package(PACKAGE) + PROBE.replace("tanh(load(out, 0))", "load(out, 0) + 1.0")
    processes = [start_python(code, FASTMLP_CACHE_DIR=tmp_path) for _ in range(16)]
    results = [finish(process) for process in processes]
    assert len({output.split()[0] for output, _ in results}) == 1
    assert all(errors == "" for _, errors in results)
    assert len(kernel_files(tmp_path)) == 1
    output, _ = run_python(code, FASTMLP_CACHE_DIR=tmp_path)
    assert output.split() == [results[0][0].split()[0], "0"]


def test_an_edit_in_another_file_is_seen(tmp_path):
    folder = tmp_path / "fastmlp"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / "cache"
    result, compilations, _ = probe(folder, FASTMLP_CACHE_DIR=cache)
    assert compilations > 0
    assert probe(folder, FASTMLP_CACHE_DIR=cache)[:2] == (result, 0)
    path = folder / "activations.py"
    source = path.read_text()
    edited, count = re.subn(r"return (.*)_with_sign_of\(x, ", r"return \1_with_sign_of(-x, ", source)
    assert count > 0
    path.write_text(edited)
    assert probe(folder, FASTMLP_CACHE_DIR=cache)[0] == -result
    # And back again: the first machine code is still there.
    path.write_text(source)
    assert probe(folder, FASTMLP_CACHE_DIR=cache)[:2] == (result, 0)


def test_every_file_counts(tmp_path, monkeypatch):
    shutil.copytree(PACKAGE, tmp_path / "fastmlp", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(_cache, "__file__", str(tmp_path / "fastmlp" / "_cache.py"))
    digest = _cache._version_digest.__wrapped__
    before = digest()
    assert digest() == before
    for path in (tmp_path / "fastmlp").glob("*.py"):
        source = path.read_text()
        path.write_text(source + "\n# edited\n")
        assert digest() != before, path.name
        path.write_text(source)
    assert digest() == before
    (tmp_path / "fastmlp" / "another.py").touch()
    assert digest() != before


def test_every_version_and_processor_counts(monkeypatch):
    digest = _cache._version_digest.__wrapped__
    before = digest()
    for owner, name, value in (
        (_cache.numba, "__version__", "0.99"),
        (_cache.llvmlite, "__version__", "0.99"),
        (_cache.sys, "version", "4.0"),
        (_cache.config, "CPU_NAME", "another"),
        (_cache.config, "CPU_FEATURES", "+another"),
        (_cache.config, "BOUNDSCHECK", 7),
        (_cache, "TILE", type("Tile", (), {"name": "another"})),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert digest() != before, name
    assert digest() == before


def test_where_the_folder_is(monkeypatch, tmp_path):
    for variable in ("FASTMLP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(_cache.sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _cache.cache_root() == tmp_path / ".cache" / "fastmlp"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert _cache.cache_root() == tmp_path / "xdg" / "fastmlp"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert _cache.cache_root() == tmp_path / "numba" / "fastmlp"
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path / "own"))
    assert _cache.cache_root() == tmp_path / "own" / "fastmlp"
    assert Path(_cache.cache_directory()).parent == tmp_path / "own" / "fastmlp"


def test_where_the_folder_is_on_other_systems(monkeypatch, tmp_path):
    for variable in ("FASTMLP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(_cache.sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _cache.cache_root() == tmp_path / "Library" / "Caches" / "fastmlp"
    monkeypatch.setattr(_cache.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert _cache.cache_root() == tmp_path / "local" / "fastmlp"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners of folders are a matter of POSIX")
def test_a_planted_temporary_folder_is_not_trusted(monkeypatch, tmp_path):
    monkeypatch.setattr(_cache.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(_cache.tempfile, "tempdir", str(tmp_path))
    own = tmp_path / f"fastmlp-{os.getuid()}"
    _cache._temporary_root.cache_clear()
    assert _cache._temporary_root() == own
    assert own.stat().st_mode & 0o077 == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for plant in (lambda: own.symlink_to(elsewhere), lambda: (own.mkdir(), own.chmod(0o777))):
        own.rmdir() if own.is_dir() and not own.is_symlink() else own.unlink()
        plant()
        _cache._temporary_root.cache_clear()
        assert _cache._temporary_root() != own
    _cache._temporary_root.cache_clear()


def test_without_any_home_it_is_a_folder_of_the_users_own(monkeypatch):
    for variable in ("FASTMLP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(_cache.sys, "platform", "linux")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where the user has no entry and no HOME
    root = _cache.cache_root()
    assert root.is_absolute()
    assert "~" not in str(root)
