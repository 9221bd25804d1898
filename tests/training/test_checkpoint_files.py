"""Checkpoints of other fits and from strangers: refused in words that help, and nothing has changed then."""

import io
import json
import pickle
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_iris

import fastmlp.training.checkpoints
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators.persistence import load_model
from fastmlp.files.archive import read_archive
from tests.helpers.estimators import fit_quietly
from tests.helpers.generators import assert_same_generator
from tests.helpers.interrupted import interrupted_fit
from tests.helpers.strangers import accepted, archive_bytes, spoil
from tests.helpers.subprocesses import ROOT

IRIS, SPECIES = load_iris(return_X_y=True)
WEIGHTS = np.ones(len(IRIS))
SETTINGS = {"hidden_layer_sizes": (5, 4), "random_state": 0, "max_iter": 4, "batch_size": 20}
KINDS = {"rule": {}, "early stopping": {"early_stopping": True}, "sgd": {"solver": "sgd"}}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def content(kind, tmp_path_factory):
    """A checkpoint in the midst of the second epoch."""
    path = tmp_path_factory.mktemp("checkpoint") / "run.npz"
    with pytest.MonkeyPatch.context() as patch:
        assert interrupted_fit(patch, 5, MLPClassifier(**SETTINGS, **kind, checkpoint=path), IRIS, SPECIES)
    return path.read_bytes()


@pytest.fixture
def parts(tmp_path, content):
    (tmp_path / "good").write_bytes(content)
    arrays = read_archive(tmp_path / "good")
    (tmp_path / "good").unlink()
    return json.loads(arrays.pop("header").tobytes()), arrays


def assert_refused(path, model, *data, match=None):
    """Fit, which must be refused in one sentence about the file, and leave file, model and generator alone."""
    content = path.read_bytes()
    before = vars(model).copy()
    with pytest.raises(ValueError, match=match) as caught:
        model.fit(*data)
    message = str(caught.value)
    assert message.startswith(f"checkpoint {str(path)!r} ")
    assert message.endswith(".")
    assert "\n" not in message
    assert vars(model) == before
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def refuse(path, content, kind, match="is not a checkpoint of fastmlp: "):
    path.write_bytes(content)
    assert_refused(path, MLPClassifier(**SETTINGS, **kind, checkpoint=path), IRIS, SPECIES, match=match)


def refuse_or_finish(path, content, kind):
    """Fit with a file that may be good or not: a ValueError of one sentence, or a fit that comes to its end."""
    path.write_bytes(content)
    model = MLPClassifier(**SETTINGS, **kind, checkpoint=path)
    if accepted(lambda: model.fit(IRIS, SPECIES)):
        assert not path.exists()


def test_the_format_is_documented_and_numpy_reads_it(path, content, kind):
    path.write_bytes(content)
    with np.load(path) as archive:
        header = json.loads(archive["header"].tobytes())
        names = {name.rstrip("0123456789").rstrip("_") for name in archive}
    assert header["format"] == "fastmlp checkpoint"
    assert (header["n_iter"], header["position"]) == (1, 120 if "early_stopping" in kind else 140)
    documented = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    for name in (*header, *names):
        assert f"`{name}" in documented, name


# --- other fits ----------------------------------------------------------------------------------


DIFFERENT_PARAMETERS = {
    "alpha": (0.5, r"alpha was 0\.0001 and is 0\.5"),
    "hidden_layer_sizes": ((5, 3), r"hidden_layer_sizes was \[5, 4\] and is \[5, 3\]"),
    "random_state": (1, "random_state was 0 and is 1"),
    "batch_size": (30, "batch_size was 20 and is 30"),
    "shuffle": (False, "shuffle was True and is False"),
    "activation": ("tanh", "activation was relu and is tanh"),
    "tol": (1e-3, r"tol was 0\.0001 and is 0\.001"),
    "dtype": ("float32", "dtype was None and is float32"),
    "n_iter_no_change": (np.inf, "n_iter_no_change was 10 and is inf"),
}


@pytest.mark.parametrize("name", DIFFERENT_PARAMETERS)
def test_other_parameters_are_named(path, content, kind, name):
    value, message = DIFFERENT_PARAMETERS[name]
    path.write_bytes(content)
    model = fit_quietly(MLPClassifier(**SETTINGS | kind | {name: value}), IRIS, SPECIES)
    model.set_params(checkpoint=path)
    match = rf"belongs to another fit: .*{message}.* Delete the file to train anew, or name another one\.$"
    assert_refused(path, model, IRIS, SPECIES, match=match)


def test_another_solver_is_named(path, content, kind):
    path.write_bytes(content)
    other = "sgd" if "solver" not in kind else "adam"
    model = MLPClassifier(**SETTINGS | kind | {"solver": other}, checkpoint=path)
    assert_refused(path, model, IRIS, SPECIES, match=rf"solver was .* and is {other}")


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


OTHER_DATA = {
    "X has other values": (changed(IRIS, (7, 2), 9.5), SPECIES),
    r"X is another: its shape was \[150, 4\] and is \[149, 4\]; y is another: its shape": (IRIS[1:], SPECIES[1:]),
    "X is another: its dtype was float64 and is float32": (IRIS.astype(np.float32), SPECIES),
    "X is another: its sparse was False and is True": (sparse.csr_array(IRIS), SPECIES),
    "y has other values": (IRIS, changed(SPECIES, 0, 1)),
    "fit: y has other values": (IRIS, np.array(["a", "b", "c"])[SPECIES]),
    "sample_weight was not given and is given": (IRIS, SPECIES, WEIGHTS),
}


@pytest.mark.parametrize("message", OTHER_DATA)
def test_other_data_are_named(path, content, kind, message):
    path.write_bytes(content)
    model = MLPClassifier(**SETTINGS, **kind, checkpoint=path)
    assert_refused(path, model, *OTHER_DATA[message], match=message)


def test_memory_order_of_the_data_does_not_matter(path, content, kind):
    path.write_bytes(content)
    model = MLPClassifier(**SETTINGS, **kind, checkpoint=path).fit(np.asfortranarray(IRIS), SPECIES.tolist())
    assert model.n_iter_ == 4


def test_other_versions_and_classes_are_named(path, content, kind, monkeypatch):
    path.write_bytes(content)
    regressor = MLPRegressor(**SETTINGS, **kind, checkpoint=path)
    assert_refused(path, regressor, IRIS, SPECIES, match="the estimator was 'MLPClassifier' and is 'MLPRegressor'")
    monkeypatch.setattr(fastmlp, "__version__", "9.9")
    model = MLPClassifier(**SETTINGS, **kind, checkpoint=path)
    assert_refused(path, model, IRIS, SPECIES, match=r"fastmlp's version was '0\.1\.0' and is '9\.9'")


def test_names_that_a_stranger_has_thought_of_stay_in_one_line(path, parts, kind):
    header, arrays = parts
    for field in ("data", "parameters"):
        for value in ({"digest": "x"}, [1], "\n\ud800", "x" * 10**5):
            strange = {**header, field: {**header[field], "two\nlines\ud800": value}}
            refuse(
                path,
                archive_bytes(strange, arrays),
                kind,
                r"belongs to another fit: 'two\\nlines\\ud800' was .{1,62} and is ",
            )


def test_a_file_that_cannot_be_read(path, content, kind, monkeypatch):
    def refused(path):
        raise PermissionError("Permission denied")

    path.write_bytes(content)
    monkeypatch.setattr(fastmlp.training.checkpoints, "read_archive", refused)
    with pytest.raises(OSError, match=r"can't be read \(Permission denied\): make it readable, delete it or name"):
        MLPClassifier(**SETTINGS, **kind, checkpoint=path).fit(IRIS, SPECIES)
    assert path.read_bytes() == content


def test_a_refused_fit_leaves_a_generator_that_was_given_as_it_was(path, content, kind):
    path.write_bytes(content)
    generator = np.random.RandomState(3)
    model = MLPClassifier(**SETTINGS | kind | {"random_state": generator}, checkpoint=path)
    assert_refused(path, model, IRIS, SPECIES, match="random_state was 0 and is 'a generator'")
    assert_same_generator(generator, np.random.RandomState(3))


def test_what_has_no_checkpoint_is_refused(path):
    with pytest.raises(ValueError, match=r"can't be used with solver='lbfgs'.*: choose solver='adam' or 'sgd'"):
        MLPClassifier(solver="lbfgs", checkpoint=path).fit(IRIS, SPECIES)
    generator = np.random.RandomState(np.random.PCG64(0))
    with pytest.raises(ValueError, match=r"can't be used with random_state=RandomState\(PCG64\).*: give an integer"):
        MLPClassifier(random_state=generator, checkpoint=path).fit(IRIS, SPECIES)


# --- damaged files and strangers -----------------------------------------------------------------


def test_foreign_files(path, kind):
    class Trap:
        def __reduce__(self):
            return (open, (str(path.parent / "trapped"), "w"))

    for content in [b"", b"PK", b"a,b\n1,2\n", pickle.dumps(Trap()), b"PK\x03\x04" * 9]:
        refuse(path, content, kind)
    for arrays, reason in [
        ({"header": np.array([Trap()], dtype=object)}, "not a plain array"),
        ({"X": np.zeros(3)}, "foreign name"),
        ({"x": np.zeros(3)}, "no header"),
    ]:
        file = io.BytesIO()
        np.savez(file, **arrays)
        refuse(path, file.getvalue(), kind, reason)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", b"\0" * 10**6)
    refuse(path, file.getvalue(), kind, "larger than the file")


def test_a_model_is_no_checkpoint_and_a_checkpoint_is_no_model(path, content, kind):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="it is of another format"):
        load_model(path)
    fit_quietly(MLPClassifier(**SETTINGS, **kind), IRIS, SPECIES).save(path)
    refuse(path, path.read_bytes(), kind, "it is of another format; delete it or name another file")


def test_truncations_are_refused(path, content, kind):
    for length in range(0, len(content), 211):
        refuse(path, content[:length], kind)


def test_members_of_wrong_shape_or_dtype_are_refused(path, parts, kind):
    header, arrays = parts
    for name, array in arrays.items():
        other = np.float16 if array.dtype.kind == "f" else np.int16
        for wrong in (None, array[:-1], array.reshape(1, *array.shape), array.astype(other), np.empty(0)):
            if name in ("loss_curve", "validation_scores") and isinstance(wrong, np.ndarray) and wrong.ndim == 1:
                if wrong.dtype == np.float64:
                    continue
            if name == "validation_scores" and wrong is None and "early_stopping" not in kind:
                continue
            members = {**arrays, name: wrong} if wrong is not None else {n: a for n, a in arrays.items() if n != name}
            refuse(path, archive_bytes(header, members), kind)
    refuse(path, archive_bytes(header, {**arrays, "extra_0": np.zeros(3)}), kind, "members of no use")


def test_an_order_that_is_no_order_is_refused(path, parts, kind):
    header, arrays = parts
    order = arrays["order"]
    for place, value in [(0, order[1]), (0, -1), (-1, 150), (5, 2**62), (5, -(2**63))]:
        refuse(
            path, archive_bytes(header, {**arrays, "order": changed(order, place, value)}), kind, "order of all samples"
        )
    refuse(path, archive_bytes(header, {**arrays, "order": np.append(order, 150)}), kind, "order of all samples")
    if "validation_rows" in arrays:
        rows = arrays["validation_rows"]
        for members in (
            {"order": np.append(order, rows), "validation_rows": rows[:0]},
            {"order": np.append(order, rows[1:]), "validation_rows": rows[:1]},
            {"order": order[:0], "validation_rows": np.append(order, rows)},
        ):
            refuse(path, archive_bytes(header, {**arrays, **members}), kind, "validation samples are none or all")
        swapped = {"validation_rows": changed(rows, 0, order[0])}
        refuse(path, archive_bytes(header, {**arrays, **swapped}), kind, "order of all samples")


ABSURD_FIELDS = [
    ("position", -20), ("position", 150), ("position", 2**62), ("position", 20.0), ("position", None),
    ("n_iter", -1), ("n_iter", 3), ("n_iter", 10**30), ("t", -1), ("steps", -1), ("steps", 2**63), ("steps", True),
    ("learning_rate", "inf"), ("learning_rate", "nan"), ("learning_rate", None), ("no_improvement_count", -1),
    ("generator", [625, 0, 0.0]), ("generator", [-1, 0, 0.0]), ("generator", [1, 2, 0.0]), ("generator", [1, 0]),
    ("generator", []), ("best_loss", "x"), ("format_version", 2), ("format_version", 0), ("fastmlp_version", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ABSURD_FIELDS)
def test_absurd_fields_are_refused(path, parts, kind, name, value):
    header, arrays = parts
    refuse(path, archive_bytes({**header, name: value}, arrays), kind)


def test_missing_fields_are_refused(path, parts, kind):
    header, arrays = parts
    for name in header:
        rest = {other: value for other, value in header.items() if other != name}
        refuse(path, archive_bytes(rest, arrays), kind, f"header has no field '{name}'")
    needed = "best_validation_score" if "early_stopping" in kind else "best_loss"
    refuse(path, archive_bytes({**header, needed: None}, arrays), kind, "lacks its best loss or score")


def test_memory_is_taken_for_the_file_only(path, parts, kind):
    header, arrays = parts
    content = archive_bytes(header, {**arrays, "order": np.arange(10**6)})
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="order of all samples"):
            MLPClassifier(**SETTINGS, **kind, checkpoint=path).fit(IRIS, SPECIES)
        assert tracemalloc.get_traced_memory()[1] < 2.1 * len(content)
    finally:
        tracemalloc.stop()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bits_are_refused_or_harmless(path, content, kind, data):
    flipped = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    refuse_or_finish(path, bytes(flipped), kind)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wrong_headers_are_refused_or_harmless(path, parts, kind, data):
    header, arrays = parts
    refuse_or_finish(path, archive_bytes(spoil(header, data), arrays), kind)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wrong_numbers_are_refused_or_harmless(path, parts, kind, data):
    """Compiled code meets whatever passes: numbers that are no weights, keys that are no keys."""
    header, arrays = parts[0], dict(parts[1])
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name].copy()
    bits = array.view(np.uint8).reshape(-1)
    for _ in range(data.draw(st.integers(1, 4))):
        bits[data.draw(st.integers(0, len(bits) - 1))] = data.draw(st.integers(0, 255))
    if array.dtype.kind == "f" and data.draw(st.booleans()):
        array.flat[0] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e308]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        refuse_or_finish(path, archive_bytes(header, {**arrays, name: array}), kind)
