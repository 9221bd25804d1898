"""Model files from strangers: refused in one sentence, in memory of the file's size, and never unpickled."""

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

from fastmlp.estimators.persistence import FORMAT_VERSION, load_model
from fastmlp.files.archive import read_archive, write_archive
from tests.helpers.models import IRIS, refuse
from tests.helpers.strangers import accepted, archive_bytes, spoil


def test_missing_file_or_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nowhere")
    with pytest.raises(OSError, match="not a file"):
        load_model(tmp_path)


def test_foreign_files(tmp_path):
    path = tmp_path / "model.npz"
    for content in [b"", b"PK", b"a,b\n1,2\n", b"\x89PNG", pickle.dumps([1, 2]), b"PK\x03\x04" * 9]:
        refuse(path, content)
    file = io.BytesIO()
    np.savez(file, X=np.zeros(3))
    refuse(path, file.getvalue(), "foreign name")
    file = io.BytesIO()
    np.savez(file, x=np.zeros(3))
    refuse(path, file.getvalue(), "no header")
    refuse(path, archive_bytes([1], {}), "not an object")
    refuse(path, archive_bytes({"format": "other"}, {}), "another format")


def test_pickles_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trapped"), "w"))

    path = tmp_path / "model.npz"
    refuse(path, pickle.dumps(Trap()))
    file = io.BytesIO()
    np.savez(file, header=np.array([Trap()], dtype=object))
    refuse(path, file.getvalue(), "not a plain array")
    assert not (tmp_path / "trapped").exists()


def test_every_truncation_is_refused(tmp_path, model_bytes):
    for length in range(0, len(model_bytes), 23):
        refuse(tmp_path / "model.npz", model_bytes[:length])


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_flipped_bits_are_refused_or_harmless(tmp_path_factory, model_bytes, data):
    path = tmp_path_factory.mktemp("flipped") / "model.npz"
    content = bytearray(model_bytes)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    loaded = accepted(lambda: load_model(path))
    if loaded:  # the bit was one of those that a zip file has for nothing, such as the date
        loaded.estimator.predict(IRIS)


def test_sparse_labels_of_one_class_each_are_refused(tmp_path, parts):
    header = json.loads(json.dumps(parts[0]))
    assert header["labels"]["sparse"] is False
    header["labels"]["sparse"] = True
    path = tmp_path / "model.npz"
    path.write_bytes(archive_bytes(header, parts[1]))
    with pytest.raises(ValueError, match="may be sparse"):
        load_model(path)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wrong_headers_are_refused_or_harmless(tmp_path, parts, data):
    header, arrays = parts
    path = tmp_path / "model.npz"
    path.write_bytes(archive_bytes(spoil(header, data), arrays))
    loaded = accepted(lambda: load_model(path))
    if loaded:  # such as another loss, or another name of a column
        assert np.isin(loaded.estimator.predict(IRIS), loaded.estimator.classes_).all()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wrong_arrays_are_refused(tmp_path, parts, data):
    header, arrays = parts[0], dict(parts[1])
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    change = data.draw(st.sampled_from(["missing", "shape", "longer", "dtype", "nan", "infinity", "extra"]))
    if change == "missing":
        del arrays[name]
    elif change == "shape":
        arrays[name] = array.reshape(1, *array.shape)
    elif change == "longer":
        arrays[name] = np.concatenate([array, array[:1]])
    elif change == "dtype":
        arrays[name] = array.astype(np.float16 if array.dtype.kind == "f" else np.float64)
        if name == "classes":
            return  # any numbers can be labels
    elif change == "extra":
        arrays["extra_0"] = array
    elif array.dtype.kind == "f":
        arrays[name] = array.copy()
        arrays[name].flat[-1] = np.nan if change == "nan" else np.inf
    else:
        return
    refuse(tmp_path / "model.npz", archive_bytes(header, arrays))


def test_classes_must_be_distinct_and_one_an_output(tmp_path, parts):
    header, arrays = parts
    for classes in ([0, 1, 1], [0, 1], [0, 1, 2, 3]):
        changed = {**arrays, "classes": np.array(classes)}
        refuse(tmp_path / "model.npz", archive_bytes(header, changed), "class labels")


def test_later_versions_and_deep_headers_are_refused(tmp_path, parts):
    header, arrays = parts
    path = tmp_path / "model.npz"
    refuse(path, archive_bytes({**header, "format_version": FORMAT_VERSION + 1}, arrays), "later version")
    for text in (b"[" * 100_000, b'{"format": ', b"\xff\xfe", b'{"format":' + b"9" * 5000 + b"}"):
        file = io.BytesIO()
        write_archive(file, {"header": np.frombuffer(text, np.uint8)})
        refuse(path, file.getvalue())


class TestArchives:
    """Hostile zip files, each refused in little more memory than the file has."""

    @pytest.fixture(autouse=True)
    def within_memory(self):
        tracemalloc.start()
        yield
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8_000_000

    def member(self, shape="(3,)", descriptor="<f8", content=b"\0" * 24, magic=b"\x93NUMPY\1\0"):
        header = f"{{'descr': '{descriptor}', 'fortran_order': False, 'shape': {shape}, }}\n"
        return magic + len(header).to_bytes(2, "little") + header.encode() + content

    def zipped(self, members, compression=zipfile.ZIP_STORED):
        file = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
            warnings.simplefilter("ignore")  # of two members with one name
            for name, content in members:
                archive.writestr(name, content)
        return file.getvalue()

    def test_plain_member_is_read(self, tmp_path):
        (tmp_path / "a").write_bytes(self.zipped([("x.npy", self.member())]))
        np.testing.assert_array_equal(read_archive(tmp_path / "a")["x"], np.zeros(3))

    @pytest.mark.parametrize(
        "name",
        ["../x.npy", "/x.npy", "a/x.npy", "..\\x.npy", "C:x.npy", "x.npy\n", "x", "X.npy", ".npy"],
    )
    def test_path_tricks(self, tmp_path, name):
        refuse(tmp_path / "a", self.zipped([(name, self.member())]), "foreign name")

    def test_bomb_by_compression(self, tmp_path):
        for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            content = self.zipped([("header.npy", b"\0" * 4_000_000)], compression)
            assert len(content) < 100_000
            tracemalloc.reset_peak()
            refuse(tmp_path / "a", content)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000

    def test_bomb_by_overlap(self, tmp_path):
        content = self.zipped([("xa.npy", self.member(content=b"\0" * 24) + b"\0" * 10_000)])
        start = content.index(b"PK\1\2")
        entry, tail = content[start : content.index(b"PK\5\6")], content[content.index(b"PK\5\6") :]
        directory = b"".join(entry.replace(b"xa.npy", f"x{chr(97 + i)}.npy".encode()) for i in range(20))
        tail = bytearray(tail)
        tail[8:12] = (20).to_bytes(2, "little") * 2
        tail[12:16] = len(directory).to_bytes(4, "little")
        refuse(tmp_path / "a", content[:start] + directory + bytes(tail), "larger than the file")

    def test_lying_sizes(self, tmp_path):
        content = bytearray(self.zipped([("x.npy", self.member())]))
        start = content.index(b"PK\1\2")
        for offset in (20, 24):  # compressed and uncompressed size
            content[start + offset : start + offset + 4] = (2**31).to_bytes(4, "little")
        refuse(tmp_path / "a", bytes(content), "larger than the file")

    def test_two_members_of_one_name(self, tmp_path):
        refuse(tmp_path / "a", self.zipped([("x.npy", self.member())] * 2), "two of one name")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"shape": "(99999999999,)"},
            {"shape": "(99999999999999999999999999,)"},
            {"shape": "(0, 99999999999)"},
            {"shape": "(-3,)"},
            {"shape": "()"},
            {"shape": "(3)"},
            {"shape": "(2,)"},
            {"shape": "(1,1,1,1,1,1,1,1,3)"},
            {"shape": "(3,) + (1,)"},
            {"descriptor": "|O"},
            {"descriptor": ">f8"},
            {"descriptor": "<f9"},
            {"descriptor": "<c8"},
            {"descriptor": "<U6"},
            {"magic": b"\x93NUMPY\3\0"},
            {"magic": b"\x93NUMPX\1\0"},
            {"content": b"\0" * 23},
            {"content": b"\0" * 25},
            {"shape": "(24,)", "descriptor": "|b1", "content": b"\2" * 24},
        ],
        ids=str,
    )
    def test_members_that_are_no_plain_arrays(self, tmp_path, wrong):
        content = self.zipped([("x.npy", self.member(**wrong))])
        if wrong.get("shape") == "(0, 99999999999)":
            content = self.zipped([("x.npy", self.member(**wrong, content=b"!"))])
        refuse(tmp_path / "a", content, "not a plain array")

    def test_writing_refuses_what_reading_would(self):
        for name, array in [
            ("../x", np.zeros(3)),
            ("x", np.zeros(3, complex)),
            ("x", np.array(3.0)),
            ("x", np.array(["a"])),
        ]:
            with pytest.raises(ValueError, match="can't hold"):
                write_archive(io.BytesIO(), {name: array})
