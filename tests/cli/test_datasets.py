"""Data sets: what is made up is as described, what is read is read right, the rest is refused."""

import gzip
import os
import struct

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.cli import datasets

real_data = pytest.mark.skipif(
    not os.environ.get("FASTMLP_DATA"), reason="FASTMLP_DATA names no folder with the real data"
)


def idx_bytes(array):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def write_mnist(folder, *, n_train=6, n_test=4, compressed=(), dotted=False):
    """Write a tiny MNIST; returns its images and labels in the order of MNIST_PARTS."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.RandomState(0)
    arrays = []
    for part in datasets.MNIST_PARTS:
        n_samples = n_train if part.startswith("train") else n_test
        if "images" in part:
            array = generator.randint(0, 256, (n_samples, 28, 28)).astype(np.uint8)
        else:
            array = generator.randint(0, 10, n_samples).astype(np.uint8)
        arrays.append(array)
        name = (part.replace("-idx", ".idx") if dotted else part) + "-ubyte"
        if part in compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
        else:
            (folder / name).write_bytes(idx_bytes(array))
    return arrays


@pytest.fixture(autouse=True)
def no_environment(request, monkeypatch):
    if "real" not in request.node.name:
        monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)


@pytest.fixture
def no_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", refuse)


def test_digits_are_scaled_and_split_the_same_way_every_time():
    digits = datasets.load_digits()
    assert digits.X_train.shape == (1347, 64)
    assert digits.X_test.shape == (450, 64)
    assert digits.X_train.min() == 0
    assert digits.X_train.max() == 1
    assert np.bincount(digits.y_test).min() >= 40
    again = datasets.load_digits()
    np.testing.assert_array_equal(digits.X_test, again.X_test)


def test_planar_flower_follows_its_recipe():
    X, y = datasets.make_planar_flower()
    generator = np.random.RandomState(1)
    for j in range(2):
        theta = np.linspace(j * 3.12, (j + 1) * 3.12, 200) + generator.randn(200) * 0.2
        r = 4 * np.sin(theta * 4) + generator.randn(200) * 0.2
        np.testing.assert_array_equal(X[y == j], np.c_[r * np.sin(theta), r * np.cos(theta)])
    assert y.tolist() == [0] * 200 + [1] * 200


def test_linear_map_is_exact():
    X, y = datasets.make_linear_map(np.random.RandomState(0))
    assert (X.shape, y.shape) == ((100, 27), (100, 3))
    _, residuals, rank, _ = np.linalg.lstsq(X, y, rcond=None)
    assert rank == 27
    assert residuals.max() < 1e-20


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("compressed", [(), datasets.MNIST_PARTS, datasets.MNIST_PARTS[1:3]])
@pytest.mark.parametrize("given_as", ["its own folder", "the folder above", "environment"])
def test_mnist_is_read_from_idx_files(tmp_path, monkeypatch, no_download, given_as, compressed, dotted):
    written = write_mnist(tmp_path / "mnist", compressed=compressed, dotted=dotted)
    if given_as == "environment":
        monkeypatch.setenv(datasets.DATA_VARIABLE, str(tmp_path))
        mnist = datasets.load_mnist()
    else:
        mnist = datasets.load_mnist(tmp_path / "mnist" if given_as == "its own folder" else tmp_path)
    for ours, expected in zip(mnist, written, strict=True):
        np.testing.assert_array_equal(ours, expected.reshape(len(expected), -1).squeeze())
    assert mnist.X_train.dtype == np.uint8
    assert mnist.y_train.dtype == np.int64


def test_mnist_comes_from_openml_where_no_files_are(tmp_path, monkeypatch):
    images = np.zeros((70000, 784), np.uint8)
    labels = np.array(["3"] * 60000 + ["7"] * 10000)

    def fetch_openml(name, **kwargs):
        assert name == "mnist_784"
        return images.astype(np.float64), labels

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
    for data_home in [None, tmp_path]:
        mnist = datasets.load_mnist(data_home)
        assert mnist.X_train.shape == (60000, 784)
        assert set(mnist.y_train) == {3}
        assert set(mnist.y_test) == {7}


def test_mnist_that_is_nowhere_is_one_sentence(tmp_path, no_download):
    with pytest.raises(OSError, match=r"couldn't be fetched .*no network.*--data-home"):
        datasets.load_mnist()
    with pytest.raises(OSError, match=str(tmp_path)):
        datasets.load_mnist(tmp_path)


def test_folder_that_does_not_exist(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="doesn't exist"):
        datasets.load_mnist(tmp_path / "nowhere")
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="environment variable FASTMLP_DATA"):
        datasets.load_mnist()


def test_incomplete_mnist_names_what_is_missing(tmp_path, no_download):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte missing"):
        datasets.load_mnist(tmp_path)


def test_swapped_or_foreign_mnist_files_are_refused(tmp_path):
    images, labels = write_mnist(tmp_path)[:2]
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(images))
    with pytest.raises(ValueError, match="doesn't hold MNIST's labels"):
        datasets.load_mnist(tmp_path)
    path.write_bytes(idx_bytes(labels[:-1]))
    with pytest.raises(ValueError, match="sizes or labels don't fit"):
        datasets.load_mnist(tmp_path)
    path.write_bytes(idx_bytes(labels + 10))
    with pytest.raises(ValueError, match="sizes or labels don't fit"):
        datasets.load_mnist(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_idx_files_are_refused(tmp_path, compressed):
    whole = idx_bytes(np.arange(24).reshape(2, 3, 4))
    path = tmp_path / ("file.gz" if compressed else "file")

    def read(content):
        path.write_bytes(gzip.compress(content) if compressed else content)
        return datasets.read_idx(path)

    assert read(whole).shape == (2, 3, 4)
    for content in [b"", whole[:3], b"PK\x03\x04" + whole, b"\0\0\x0d\x03" + whole[4:]]:
        with pytest.raises(ValueError, match="isn't an IDX file"):
            read(content)
    for content in [whole[:6], whole[:-1], whole + b"!"]:
        with pytest.raises(ValueError, match="damaged"):
            read(content)
    lying = whole[:4] + struct.pack(">3I", 2**31, 2**31, 2**31) + whole[16:]
    with pytest.raises(ValueError, match="damaged"):
        read(lying)
    if compressed:
        path.write_bytes(gzip.compress(whole)[:-12])
        with pytest.raises(ValueError, match="damaged"):
            datasets.read_idx(path)
        path.write_bytes(whole)
        with pytest.raises(ValueError, match="damaged"):
            datasets.read_idx(path)


@settings(deadline=None, max_examples=200)
@given(position=st.integers(0, 60), byte=st.integers(0, 255), cut=st.integers(0, 60))
def test_fuzzed_idx_files_are_read_or_refused(tmp_path_factory, position, byte, cut):
    content = bytearray(gzip.compress(idx_bytes(np.arange(24).reshape(2, 3, 4)), mtime=0))
    content[position % len(content)] = byte
    path = tmp_path_factory.mktemp("idx") / "file.gz"
    path.write_bytes(bytes(content[: len(content) - cut]))
    try:
        array = datasets.read_idx(path)
    except ValueError as error:
        message = str(error)
    else:
        assert array.size == 24
        return
    assert str(path) in message


def test_california_housing_has_the_features_of_scikit_learn(tmp_path):
    row = "-122.23,37.88,41.0,880.0,129.0,322.0,126.0,8.3252,452600.0\n"
    names = (
        "longitude,latitude,housingMedianAge,totalRooms,totalBedrooms,population,households,"
        "medianIncome,medianHouseValue\n"
    )
    (tmp_path / "cal_housing_full.data").write_text(names + row)
    X, y = datasets.load_california_housing(tmp_path)
    (tmp_path / "cal_housing.data").write_text(row)
    X_bare, y_bare = datasets.load_california_housing(tmp_path)
    # The first row of sklearn.datasets.fetch_california_housing, from its documentation.
    expected = [8.3252, 41.0, 6.98412698, 1.02380952, 322.0, 2.55555556, 37.88, -122.23]
    np.testing.assert_allclose(X, [expected], rtol=1e-8)
    np.testing.assert_allclose(y, [4.526])
    np.testing.assert_array_equal(X_bare, X)
    np.testing.assert_array_equal(y_bare, y)


def test_covertype_counts_classes_from_zero(tmp_path):
    rows = np.arange(3 * 55).reshape(3, 55)
    rows[:, 54] = [1, 7, 3]
    np.savetxt(tmp_path / "covtype.data", rows, delimiter=",", fmt="%d")
    X, y = datasets.load_covertype(tmp_path)
    np.testing.assert_array_equal(X, rows[:, :54])
    assert y.tolist() == [0, 6, 2]


@pytest.mark.parametrize("load", [datasets.load_covertype, datasets.load_california_housing])
def test_missing_or_damaged_tables_are_one_sentence(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="FASTMLP_DATA names, and it is not set"):
        load()
    with pytest.raises(FileNotFoundError, match="None of"):
        load(tmp_path)
    for name in ["covtype.data", "cal_housing.data"]:
        (tmp_path / name).write_text("1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match="3 columns"):
        load(tmp_path)
    for name in ["covtype.data", "cal_housing.data"]:
        (tmp_path / name).write_text("1,2,3\n4,five,6\n")
    with pytest.raises(ValueError, match="is damaged"):
        load(tmp_path)


@real_data
def test_real_mnist():
    mnist = datasets.load_mnist()
    assert mnist.X_train.shape == (60000, 784)
    assert mnist.X_test.shape == (10000, 784)
    assert mnist.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(mnist.y_test).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip


@real_data
def test_real_tables():
    X, y = datasets.load_california_housing()
    assert X.shape == (20640, 8)
    assert np.isfinite(X).all()
    assert 0 < y.min() < y.max() < 6
    X, y = datasets.load_covertype()
    assert X.shape == (20000, 54)
    assert set(y) == set(range(7))
