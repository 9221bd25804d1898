"""The compile cache: never stale, never fatal, and of use to the next process."""

import compileall
import functools
import importlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

import fastmlp
from fastmlp.simd import cache as _cache
from fastmlp.simd.loaded_code import Loaded
from tests.helpers.subprocesses import finish, run_python, start_python

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
    from fastmlp.simd.jit import kernel
    from fastmlp.kernels.vector_maths import tanh
    from fastmlp.simd.vectors import load, store

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
        from fastmlp.cli.warmup import warmup
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
    output, errors = run_python(f"{bare_package(PACKAGE)}{first}{PROBE}", folder=tmp_path, **variables)
    result, compilations = output.split()
    assert float(result) == pytest.approx(0.71629787, rel=1e-6)
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
    path = folder / "kernels" / "activations.py"
    source = path.read_text()
    edited, count = re.subn(r"return (.*)_with_sign_of\(x, ", r"return \1_with_sign_of(-x, ", source)
    assert count > 0
    path.write_text(edited)
    assert probe(folder, FASTMLP_CACHE_DIR=cache)[0] == -result
    # And back again: the first machine code is still there.
    path.write_text(source)
    assert probe(folder, FASTMLP_CACHE_DIR=cache)[:2] == (result, 0)


# A package with nested packages: two of them have a file and a kernel of the same name.
NESTED = {
    "one/pieces.py": "@kernel\ndef probe(out):\n    out[0] = 1.0 + shift()\n",
    "two/pieces.py": "@kernel\ndef probe(out):\n    out[0] = 2.0 + shift()\n",
    "deep/deeper/shifts.py": "from fastmlp.simd.jit import inner\n@inner\ndef shift():\n    return 0.5\n",
}
NESTED_PROBE = """
import numpy as np
from numba.core import event

with event.install_recorder("numba:compile") as recorder:
    from fastmlp.one import pieces as one
    from fastmlp.two import pieces as two

    numbers = np.zeros(2)
    one.probe(numbers[:1])
    two.probe(numbers[1:])
print(numbers.tolist(), len(recorder.buffer), sep=";")
"""


def copied_package(folder):
    """Copy the package, and add nested ones; return where it is."""
    package = Path(folder) / "fastmlp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in NESTED.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        imports = "from fastmlp.simd.jit import kernel\nfrom fastmlp.deep.deeper.shifts import shift\n"
        path.write_text(imports + source if "kernel" in source else source)
        for parent in path.parents:
            if parent == package:
                break
            (parent / "__init__.py").touch()
    return package


def as_sources(package, target):
    return shutil.copytree(package, target / "fastmlp")


def as_zip_file(package, target):
    shutil.make_archive(target / "archive", "zip", package.parent, "fastmlp")
    return target / "archive.zip" / "fastmlp"


def without_sources(package, target):
    folder = as_sources(package, target)
    assert compileall.compile_dir(folder, quiet=1, legacy=True, ddir="fastmlp")
    for path in folder.rglob("*.py"):
        path.unlink()
    return folder


def as_zip_file_without_sources(package, target):
    return as_zip_file(without_sources(package, target / "compiled"), target)


FORMS = [as_sources, as_zip_file, without_sources, as_zip_file_without_sources]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_two_versions_share_a_cache_whatever_they_are_imported_from(form, tmp_path):
    package, cache = copied_package(tmp_path), tmp_path / "cache"
    edits = {
        "deep/deeper/shifts.py": ("return 0.5", "return 0.25", [1.25, 2.25]),
        "two/pieces.py": ("2.0 +", "3.0 +", [1.25, 3.25]),
    }
    versions = [("first", [1.5, 2.5])]
    form(package, tmp_path / "first")
    for name, (before, after, expected) in edits.items():
        source = (package / name).read_text()
        assert before in source
        (package / name).write_text(source.replace(before, after))
        versions.append((name.replace("/", "-"), expected))
        form(package, tmp_path / versions[-1][0])
    for version, expected in [*versions, versions[0]]:
        is_new = not (tmp_path / version / "seen").exists()
        (tmp_path / version / "seen").touch()
        place = tmp_path / version / ("archive.zip/fastmlp" if "zip" in form.__name__ else "fastmlp")
        for compiles in (True, False) if is_new else (False,):
            output, errors = run_python(bare_package(place) + NESTED_PROBE, FASTMLP_CACHE_DIR=cache)
            numbers, compilations = output.split(";")
            assert json.loads(numbers) == expected
            assert (int(compilations) > 0) == compiles
            assert errors == ""
    names = {path.name.rsplit(".", 2)[0] for path in kernel_files(cache)}
    assert names == {"fastmlp.one.pieces.probe", "fastmlp.two.pieces.probe"}
    assert len(kernel_files(cache)) == 2 * len(versions)


# Importers as programs have them that hold their modules: they give code, or nothing but the finished module.
IMPORTERS = """
import importlib.abc, importlib.machinery, importlib.util, os, sys
FOLDER = {folder!r}

def path_of(name):
    path = os.path.join(FOLDER, *name.split(".")[1:])
    return (path + "/__init__.py", True) if os.path.isdir(path) else (path + ".py", False)

class Loader(importlib.abc.Loader):
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        with open(path_of(module.__name__)[0]) as file:
            exec(compile(file.read(), "program", "exec"), vars(module))

class LoaderWithCode(Loader):
    def get_code(self, name):
        with open(path_of(name)[0]) as file:
            return compile(file.read(), "program", "exec")

class Finder:
    def __init__(self, place, loader):
        self.place, self.loader = place, loader
    def find_spec(self, name, path=None, target=None):
        if not name.startswith("fastmlp.") or not os.path.exists(path_of(name)[0]):
            return None
        spec = importlib.machinery.ModuleSpec(name, self.loader(), origin="program", is_package=path_of(name)[1])
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(self.place + "/" + name.rpartition(".")[2])
        return spec
    def iter_modules(self, prefix=""):
        folder = os.path.join(FOLDER, *self.place.split("/")[1:])
        for entry in os.scandir(folder):
            if entry.name.endswith(".py") and entry.name != "__init__.py" or entry.is_dir():
                yield prefix + entry.name.removesuffix(".py"), entry.is_dir()

def hook(place):
    if not place.startswith("program:"):
        raise ImportError
    return Finder(place, {loader})

sys.path_hooks.insert(0, hook)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("loader", "is_cached"), [("LoaderWithCode", True), ("Loader", False)])
def test_a_program_that_holds_its_modules(loader, is_cached, tmp_path):
    package, cache = copied_package(tmp_path), tmp_path / "cache"
    code = IMPORTERS.format(folder=str(package), loader=loader) + bare_package("program:") + NESTED_PROBE
    path = package / "deep" / "deeper" / "shifts.py"
    for shift, is_compiled in ((0.5, True), (0.5, not is_cached), (0.25, True)):
        path.write_text(path.read_text().replace("0.5", str(shift)))
        output, errors = run_python(code, FASTMLP_CACHE_DIR=cache)
        numbers, compilations = output.split(";")
        assert json.loads(numbers) == [1 + shift, 2 + shift]
        assert (int(compilations) > 0) == is_compiled
        assert len(log_lines(errors)) == (not is_cached)
    assert len(kernel_files(cache)) == 4 * is_cached


def test_a_module_from_elsewhere_keeps_the_package_out_of_the_cache(tmp_path):
    """Such as one that a program puts in by hand: nobody knows what version it is."""
    stray = "\nsys.modules['fastmlp.stray'] = types.ModuleType('fastmlp.stray')\n"
    _, errors = run_python(bare_package(PACKAGE) + stray + PROBE, FASTMLP_CACHE_DIR=tmp_path)
    assert len(log_lines(errors)) == 1
    assert kernel_files(tmp_path) == []


def test_an_upgrade_under_a_running_process_does_not_count_as_loaded(tmp_path):
    """What it compiles is what it has imported, whatever lies there by then."""
    package, cache = copied_package(tmp_path), tmp_path / "cache"
    path = package / "deep" / "deeper" / "shifts.py"
    upgrade = f"""
from pathlib import Path
import fastmlp.one.pieces, fastmlp.two.pieces
path = Path({str(path)!r})
path.write_text(path.read_text().replace("0.5", "0.25"))
"""
    for more, expected in ((upgrade, [1.5, 2.5]), ("", [1.25, 2.25])):
        output, _ = run_python(bare_package(package) + more + NESTED_PROBE, FASTMLP_CACHE_DIR=cache)
        numbers, compilations = output.split(";")
        assert json.loads(numbers) == expected
        assert int(compilations) > 0


@pytest.mark.parametrize("form", FORMS)
def test_every_file_counts(form, tmp_path):
    package = copied_package(tmp_path)
    sources = sorted(package.rglob("*.py"))
    assert len(sources) > 80
    assert sum(path.parent != package for path in sources) > 80
    few = [*(package / name for name in NESTED), *sources[::20]]

    def loaded(number):
        importlib.invalidate_caches()
        return Loaded([str(form(package, tmp_path / str(number)))])

    before = loaded("before")
    assert len(before.modules) == len(sources)
    assert loaded("again").digest() == before.digest()
    for number, path in enumerate(sources if form is as_sources else few):
        source = path.read_text()
        path.write_text(f"{source}\nedited = True\n")
        assert loaded(number).digest() != before.digest(), path
        path.write_text(source)
    (package / "deep" / "another.py").touch()
    assert loaded("another").digest() != before.digest()


def test_every_version_and_processor_counts(monkeypatch):
    digest = functools.partial(_cache._digest_with_environment.__wrapped__, "loaded")
    before = digest()
    assert functools.partial(_cache._digest_with_environment.__wrapped__, "another")() != before
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
        with pytest.raises(PermissionError, match="another user"):
            _cache._temporary_root()
    _cache._temporary_root.cache_clear()


def test_without_any_home_it_is_a_folder_of_the_users_own(monkeypatch):
    for variable in ("FASTMLP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(_cache.sys, "platform", "linux")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where the user has no entry and no HOME
    root = _cache.cache_root()
    assert root.is_absolute()
    assert "~" not in str(root)
