"""Data sets of the demos, the tests and the benchmarks.

Nothing here is imported by ``import fastmlp``, and nothing is downloaded but MNIST, and that only
when no file of it is found. Real data are read from the folder which the caller gives, or else from
the one that the environment variable ``FASTMLP_DATA`` names; it holds one folder a data set::

    mnist/               train-images-idx3-ubyte, train-labels-idx1-ubyte,
                         t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte; each plain or .gz
    california-housing/  cal_housing.data or cal_housing_full.data
    covertype/           covtype.data, covtype.data.gz or covtype.20k.data

Instead of the folder above it, the data set's own folder may be given.
"""

import gzip
import math
import os
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

DATA_VARIABLE = "FASTMLP_DATA"


class TrainTest(NamedTuple):
    """A data set in its two parts.

    ``X_train`` and ``X_test`` have shape (n_samples, n_features); ``y_train`` and ``y_test`` are
    class codes or targets.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


# --- bundled or made up --------------------------------------------------------------------------


def load_digits(test_fraction=0.25):
    """Load scikit-learn's bundled handwritten digits, 8 by 8 pixels.

    Parameters
    ----------
    test_fraction : float, default=0.25
        Share of the samples kept for testing. The split is always the same, and stratified.

    Returns
    -------
    TrainTest
        Pixels between 0 and 1 in float64, and the digits as class codes.
    """
    from sklearn.datasets import load_digits as load_bundled_digits
    from sklearn.model_selection import train_test_split

    X, y = load_bundled_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16.0, y.astype(np.int64), test_size=test_fraction, random_state=0, stratify=y
    )
    return TrainTest(X_train, y_train, X_test, y_test)


def make_planar_flower():
    """Make the planar flower: two classes of 200 points on interleaved petals.

    For class j = 0, 1 in turn, with NumPy's legacy generator seeded 1: theta is 200 evenly spaced
    values from 3.12 j to 3.12 (j + 1) inclusive plus noise 0.2 N(0, 1), the radius is
    r = 4 sin(4 theta) plus the same noise, and the point is (r sin theta, r cos theta).

    Returns
    -------
    X : ndarray of shape (400, 2)
        The points.
    y : ndarray of shape (400,), int64
        The labels j.
    """
    generator = np.random.RandomState(1)
    n_points = 200
    X = np.empty((2 * n_points, 2))
    y = np.repeat(np.arange(2, dtype=np.int64), n_points)
    for label in range(2):
        theta = np.linspace(3.12 * label, 3.12 * (label + 1), n_points)
        theta += 0.2 * generator.standard_normal(n_points)
        radius = 4 * np.sin(4 * theta) + 0.2 * generator.standard_normal(n_points)
        X[y == label] = np.column_stack([radius * np.sin(theta), radius * np.cos(theta)])
    return X, y


def make_linear_map(random_state, n_samples=100, n_features=27, n_outputs=3):
    """Make a regression problem without noise: targets are a random linear map of the features.

    Parameters
    ----------
    random_state : numpy.random.RandomState
        The generator; features are drawn first, then the map, all of them N(0, 1).
    n_samples, n_features, n_outputs : int, default=100, 27, 3
        Sizes.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples, n_outputs)
        The targets.
    """
    X = random_state.standard_normal((n_samples, n_features))
    linear_map = random_state.standard_normal((n_features, n_outputs))
    return X, X @ linear_map


# --- read from files -----------------------------------------------------------------------------


def find_data_folder(name, data_home=None):
    """Find the folder of a data set.

    Parameters
    ----------
    name : str
        Name of the data set's folder, such as ``"mnist"``.
    data_home : path, optional
        The folder above it, or the data set's folder itself. By default what the environment
        variable ``FASTMLP_DATA`` names.

    Returns
    -------
    pathlib.Path or None
        ``None`` if no folder was given. Whether the files are in it is the caller's to find out.

    Raises
    ------
    FileNotFoundError
        If the folder that was given doesn't exist.
    """
    source = "" if data_home is not None else f" (from the environment variable {DATA_VARIABLE})"
    if data_home is None:
        data_home = os.environ.get(DATA_VARIABLE) or None
    if data_home is None:
        return None
    folder = Path(data_home).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"The data folder {str(folder)!r}{source} doesn't exist.")
    return folder / name if (folder / name).is_dir() else folder


MNIST_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def load_mnist(data_home=None):
    """Load MNIST: 60,000 handwritten digits to train on and 10,000 to test on.

    The original IDX files are read from a folder if they are there; else the data come through
    :func:`sklearn.datasets.fetch_openml`, which downloads them once and keeps them in its cache.

    Parameters
    ----------
    data_home : path, optional
        Folder with the IDX files, or the folder above it if its name is ``mnist``. By default what
        the environment variable ``FASTMLP_DATA`` names.

    Returns
    -------
    TrainTest
        Pixels 0 to 255 as uint8, of shape (n_samples, 784), and the digits as class codes.

    Raises
    ------
    OSError
        If a file is missing or can't be read, or the download fails.
    ValueError
        If a file is damaged.
    """
    folder = find_data_folder("mnist", data_home)
    if folder is not None:
        paths = [_find_idx_file(folder, part) for part in MNIST_PARTS]
        if all(path is not None for path in paths):
            return TrainTest(*_read_mnist_files(paths))
        if any(path is not None for path in paths):
            missing = ", ".join(f"{part}-ubyte" for part, path in zip(MNIST_PARTS, paths, strict=True) if not path)
            raise FileNotFoundError(f"MNIST is incomplete in {str(folder)!r}: {missing} missing.")
    return _fetch_mnist(folder)


def _find_idx_file(folder, part):
    """Find one of MNIST's four files, plain or compressed, with a dash or a dot before idx."""
    for stem in (part, part.replace("-idx", ".idx")):
        for suffix in ("-ubyte", "-ubyte.gz"):
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                return path
    return None


def _read_mnist_files(paths):
    arrays = []
    for path in paths:
        images = "images" in path.name
        array = read_idx(path)
        if array.ndim != (3 if images else 1):
            what = "images" if images else "labels"
            raise ValueError(f"{str(path)!r} doesn't hold MNIST's {what}.")
        arrays.append(array.reshape(len(array), -1) if images else array.astype(np.int64))
    for images, labels in (arrays[:2], arrays[2:]):
        if len(images) != len(labels) or images.shape[1] != 784 or not np.all(labels <= 9):
            folder = str(paths[0].parent)
            raise ValueError(f"The files in {folder!r} aren't MNIST: sizes or labels don't fit.")
    return arrays


def read_idx(path):
    """Read an IDX file of unsigned bytes, plain or gzip-compressed.

    Two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the bytes.

    Parameters
    ----------
    path : path
        The file; compressed if its name ends in ``.gz``.

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    ValueError
        If it isn't such a file, or is damaged.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 3:
                raise ValueError(f"{str(path)!r} isn't an IDX file of unsigned bytes.")
            header = file.read(4 * magic[3])
            if len(header) < 4 * magic[3]:
                raise EOFError("it ends within its header")
            shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
            expected = math.prod(shape)
            # Read piece by piece: a header that lies must not decide how much is allocated.
            pieces = []
            remaining = expected + 1
            while remaining > 0 and (piece := file.read(min(remaining, 1 << 24))):
                pieces.append(piece)
                remaining -= len(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}.") from error
    content = b"".join(pieces)
    if len(content) != expected:
        raise ValueError(f"{str(path)!r} is damaged: its size isn't what its header says.")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _fetch_mnist(folder):
    """Fetch MNIST from OpenML, or from the cache of an earlier download."""
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each retry warns; what came of them is said below
            X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff")
    except Exception as error:  # many kinds: no network, a proxy's page, a full disk
        where = f"not in {str(folder)!r}" if folder is not None else f"{DATA_VARIABLE} is not set"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise OSError(
            f"MNIST's IDX files were not found ({where}) and couldn't be fetched from OpenML "
            f"({reason}); give the folder that holds them with --data-home or {DATA_VARIABLE}."
        ) from error
    X, y = X.astype(np.uint8), y.astype(np.int64)
    return TrainTest(X[:60000], y[:60000], X[60000:], y[60000:])


def load_california_housing(data_home=None):
    """Load California housing: 20,640 districts, eight features, median house value.

    Parameters
    ----------
    data_home : path, optional
        As for :func:`find_data_folder`; the data set's folder is ``california-housing``.

    Returns
    -------
    X : ndarray of shape (20640, 8)
        The features that :func:`sklearn.datasets.fetch_california_housing` has, in its order.
    y : ndarray of shape (20640,)
        Median house value in units of 100,000.
    """
    names = ("cal_housing.data", "cal_housing_full.data")
    path = _find_file("california-housing", names, data_home)
    with path.open() as file:  # one of the two files in circulation begins with a line of names
        has_names = file.read(1).isalpha()
    table = _read_numbers(path, 9, skip_rows=int(has_names))
    longitude, latitude, age, rooms, bedrooms, population, households, income, value = table.T
    X = np.column_stack(
        [
            income,
            age,
            rooms / households,
            bedrooms / households,
            population,
            population / households,
            latitude,
            longitude,
        ]
    )
    return X, value / 100_000


def load_covertype(data_home=None):
    """Load forest cover types: 54 features, seven classes.

    Parameters
    ----------
    data_home : path, optional
        As for :func:`find_data_folder`; the data set's folder is ``covertype``.

    Returns
    -------
    X : ndarray of shape (n_samples, 54)
        The features as they are in the file, unscaled.
    y : ndarray of shape (n_samples,), int64
        Class codes 0 to 6 (the file counts from 1).
    """
    names = ("covtype.data", "covtype.data.gz", "covtype.20k.data")
    table = _read_numbers(_find_file("covertype", names, data_home), 55)
    return np.ascontiguousarray(table[:, :54]), table[:, 54].astype(np.int64) - 1


def _find_file(name, file_names, data_home):
    folder = find_data_folder(name, data_home)
    if folder is None:
        raise FileNotFoundError(f"{name} is read from the folder that {DATA_VARIABLE} names, and it is not set.")
    for file_name in file_names:
        if (folder / file_name).is_file():
            return folder / file_name
    raise FileNotFoundError(f"None of {', '.join(file_names)} is in {str(folder)!r}.")


def _read_numbers(path, n_columns, skip_rows=0):
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=skip_rows, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}.") from error
    if table.shape[1] != n_columns:
        raise ValueError(f"{str(path)!r} is damaged: {table.shape[1]} columns where {n_columns} are expected.")
    return table
