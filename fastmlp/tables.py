"""Tables of the user's own: reading them, and telling what a column is good for.

CSV and Parquet are read with polars or else pandas, whichever is installed (the ``table`` extra
brings polars); ``.npz`` with NumPy alone. Whatever is wrong with a table is a :class:`ValueError`
of one sentence that names the column and, where it helps, the row. Rows count from 1, without the
line of names.
"""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastmlp.extras import import_extra

# A target of whole numbers with up to so many distinct values is taken for classes.
MOST_CLASSES = 20


class Table(NamedTuple):
    """Columns by name, each a vector: numbers, booleans, or objects where it is neither.

    Missing values are NaN in numbers and None in objects.
    """

    path: str
    columns: dict[str, np.ndarray]

    @property
    def n_rows(self):
        """How many rows the table has."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


class Target(NamedTuple):
    """A target column, and what it was found to be."""

    y: np.ndarray
    task: str  # "classification" or "regression"
    reason: str


# --- reading -------------------------------------------------------------------------------------


def read_table(path):
    """Read a table from a file.

    Parameters
    ----------
    path : path
        A ``.csv``, ``.parquet`` or ``.npz`` file. In a ``.npz`` every one-dimensional array is a
        column; an array ``X`` of more dimensions is the columns ``X[0]``, ``X[1]``, ...

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If it can't be read as a table, or has no rows.
    OSError
        If there is no such file.
    fastmlp.extras.MissingExtraError
        If neither polars nor pandas is installed.
    """
    path = Path(path)
    readers = {".csv": _read_with_frames, ".parquet": _read_with_frames, ".npz": _read_npz}
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder, not a table.")
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    if path.suffix.lower() not in readers:
        raise ValueError(f"{str(path)!r} is not a table: its name should end in {', '.join(readers)}.")
    columns = readers[path.suffix.lower()](path)
    table = Table(str(path), columns)
    if table.n_rows == 0:
        raise ValueError(f"{str(path)!r} is empty: it has no rows.")
    return table


def _read_npz(path):
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{str(path)!r} can't be read as a .npz file of arrays.") from error
    n_rows = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(n_rows) > 1:
        raise ValueError(f"The arrays in {str(path)!r} don't have the same number of rows.")
    columns = {}
    for name, array in arrays.items():
        if array.ndim == 1:
            columns[name] = _as_column(array)
        elif array.ndim > 1:
            flat = array.reshape(len(array), -1)
            columns.update({f"{name}[{index}]": _as_column(flat[:, index]) for index in range(flat.shape[1])})
    return columns


def _as_column(array):
    if array.dtype.kind in "biuf":
        return array
    return np.array(array.tolist(), dtype=object)


def _read_with_frames(path):
    frames = import_extra(["polars", "pandas"], "table", "Reading CSV and Parquet files needs polars or pandas")
    read = _read_with_polars if frames.__name__ == "polars" else _read_with_pandas
    try:
        with path.open("rb") as file:  # by its name a library would look for all files that match [, ? and *
            return read(frames, file, path.suffix.lower())
    except ImportError as error:  # pandas reads Parquet with pyarrow
        raise ImportError(f"{str(path)!r} can't be read: {_first_line(error)}.") from error
    except Exception as error:  # each library has its own kinds, and none in common
        kind = path.suffix.removeprefix(".").lower()
        raise ValueError(f"{str(path)!r} can't be read as {kind}: {_first_line(error)}.") from error


def _read_with_polars(polars, file, suffix):
    if suffix == ".csv":
        try:
            frame = polars.read_csv(file, infer_schema_length=None)
        except polars.exceptions.NoDataError:
            return {}
    else:
        frame = polars.read_parquet(file)
    columns = {}
    for series in frame.iter_columns():
        if series.dtype.is_decimal():
            series = series.cast(polars.Float64)
        if series.dtype.is_numeric() or (series.dtype == polars.Boolean and not series.null_count()):
            columns[series.name] = series.to_numpy()  # nulls become NaN
        else:
            columns[series.name] = np.array(series.to_list(), dtype=object)
    return columns


def _read_with_pandas(pandas, file, suffix):
    try:
        frame = pandas.read_csv(file) if suffix == ".csv" else pandas.read_parquet(file)
    except pandas.errors.EmptyDataError:
        return {}
    columns = {}
    for name in frame.columns:
        series = frame[name]
        if pandas.api.types.is_bool_dtype(series) and not series.isna().any():
            columns[str(name)] = series.to_numpy(bool)
        elif pandas.api.types.is_integer_dtype(series) and not series.isna().any():
            columns[str(name)] = series.to_numpy(np.int64)
        elif pandas.api.types.is_numeric_dtype(series) and not pandas.api.types.is_bool_dtype(series):
            columns[str(name)] = series.to_numpy(np.float64, na_value=np.nan)
        else:
            columns[str(name)] = np.array(
                [None if missing else value for value, missing in zip(series, series.isna(), strict=True)],
                dtype=object,
            )
    return columns


def _first_line(error):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".:")


# --- columns -------------------------------------------------------------------------------------


def require_columns(table, names):
    """Raise ValueError, naming what there is, unless the table has all these columns."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        shown = ", ".join(repr(name) for name in missing[:3]) + (", ..." if len(missing) > 3 else "")
        there = list(table.columns)
        has = ", ".join(map(repr, there[:8])) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
        plural = "s" if len(missing) > 1 else ""
        raise ValueError(f"{table.path!r} has no column{plural} {shown}; it has {has}.")


def read_features(table, names):
    """Make the matrix of features.

    Parameters
    ----------
    table : Table
        The table.
    names : sequence of str
        Columns that are the features, in this order.

    Returns
    -------
    ndarray of shape (n_rows, n_features), float64
        All values finite.
    """
    require_columns(table, names)
    X = np.empty((table.n_rows, len(names)))
    for index, name in enumerate(names):
        X[:, index] = _require_complete(table, name, _require_numbers(table, name))
    return X


def read_target(table, name, task=None):
    """Read the target, and find out whether it is classes or numbers.

    Text, booleans, and whole numbers of few distinct values are classes.

    Parameters
    ----------
    table : Table
        The table.
    name : str
        The target's column.
    task : {"classification", "regression"}, optional
        What it is; by default it is found out.

    Returns
    -------
    Target
        Classes are text, booleans, integers or floats; numbers are float64.
    """
    require_columns(table, [name])
    y = table.columns[name]
    if y.dtype.kind not in "biuf":
        missing = [row for row, value in enumerate(y, start=1) if value is None]
        if missing:
            raise ValueError(_missing_values(name, missing))
        if not all(isinstance(value, str | bool) for value in y):
            raise ValueError(f"Column {name!r} holds neither numbers nor text, but {type(y[0]).__name__}.")
        if task == "regression":
            raise ValueError(f"Column {name!r} holds text, so it can't be the target of a regression.")
        y = np.array([str(value) for value in y])
        return Target(y, "classification", f"text of {_distinct(len(np.unique(y)))}")
    _require_complete(table, name, y)
    distinct = np.unique(y)
    if y.dtype.kind == "b":
        found, reason = "classification", "true or false"
    elif y.dtype.kind == "f" and not np.array_equal(distinct, np.round(distinct)):
        found, reason = "regression", f"numbers of {_distinct(len(distinct))}, not all of them whole"
    elif len(distinct) <= MOST_CLASSES and 2 * len(distinct) <= len(y):
        found, reason = "classification", f"whole numbers of {_distinct(len(distinct))}"
    else:
        found, reason = "regression", f"whole numbers of {_distinct(len(distinct))}"
    if (task or found) == "regression":
        return Target(y.astype(np.float64), "regression", reason)
    if y.dtype.kind == "f" and np.array_equal(distinct, np.round(distinct)) and np.abs(distinct).max() < 2**53:
        y = y.astype(np.int64)
    return Target(y, "classification", reason)


def _distinct(count):
    return f"{count:,} distinct value{'s' if count != 1 else ''}"


def _require_numbers(table, name):
    column = table.columns[name]
    if column.dtype.kind in "biuf":
        return column
    texts = {row: value for row, value in enumerate(column, start=1) if not _is_number(value)}
    if texts:
        # In a column with some text in it, CSV readers leave the numbers as text too.
        row = next((row for row, value in texts.items() if not _looks_like_number(value)), next(iter(texts)))
        shown = repr(texts[row]) if len(repr(texts[row])) <= 40 else f"{repr(texts[row])[:37]}..."
        raise ValueError(f"Column {name!r} isn't numeric: row {row} holds {shown}.")
    return np.array([np.nan if value is None else float(value) for value in column])


def _is_number(value):
    return value is None or isinstance(value, bool | int | float)


def _looks_like_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _require_complete(table, name, column):
    """Refuse missing and infinite values."""
    if column.dtype.kind != "f":
        return column
    missing = np.flatnonzero(np.isnan(column)) + 1
    if len(missing):
        raise ValueError(_missing_values(name, missing))
    infinite = np.flatnonzero(np.isinf(column)) + 1
    if len(infinite):
        raise ValueError(f"Column {name!r} holds infinity in row {infinite[0]}.")
    return column


def _missing_values(name, rows):
    count = f"{len(rows):,} values are missing, the first" if len(rows) > 1 else "a value is missing"
    return f"Column {name!r} has gaps (NaN): {count} in row {rows[0]}."
