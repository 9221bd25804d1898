"""Tables of the user's own, read from files into columns.

Text (CSV and what goes by that name) is read with Python and NumPy alone, ``.npz`` too; Parquet needs polars,
which the ``table`` extra brings. Whatever is wrong with a file is a :class:`ValueError` of one sentence. Rows count
from 1, without the line of names.
"""

import csv
import io
import re
import zipfile
from dataclasses import dataclass, field

import numpy as np

from fastmlp.process.extras import import_extra
from fastmlp.tables.columns import DECIMALS, find_columns
from fastmlp.tables.dialect import find_layout, parse_separator, read_cells
from fastmlp.tables.files import read_content
from fastmlp.tables.text import decode

_INDEX_NAME = re.compile(r"Unnamed: \d+|__index_level_\d+__|index", re.IGNORECASE)


@dataclass
class Table:
    """Columns by name, each a vector: numbers, booleans, or objects where it is neither.

    Missing values are NaN in numbers and None in objects.

    Parameters
    ----------
    path : str
        Where it comes from.
    columns : dict of str to ndarray
        The columns.
    texts : dict of str to ndarray
        What was written in the columns that have gaps, and in those of ``codes``.
    codes : set of str
        Columns of numbers whose digits say more than their value, such as ``010``.
    unnamed : set of str
        Columns that have no name in the file, or one that software gives to the numbers of rows.
    found : list of str
        What was found about the text, as far as it isn't the usual.
    notes : list of str
        What a reader of the results should know.
    """

    path: str
    columns: dict[str, np.ndarray]
    texts: dict[str, np.ndarray] = field(default_factory=dict)
    codes: set[str] = field(default_factory=set)
    unnamed: set[str] = field(default_factory=set)
    found: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def n_rows(self):
        """How many rows the table has."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


def read_table(path, *, separator=None, decimal=None, encoding=None, header=None, expected=()):
    """Read a table from a file.

    Parameters
    ----------
    path : path
        Text, Parquet or ``.npz``, which the content decides, compressed or not; ``-`` is standard input. In a
        ``.npz`` every vector is a column, and so is a matrix of one column; a larger array ``X`` is the columns
        ``X[0]``, ``X[1]``, ...
    separator, decimal, encoding : str, optional
        How the text is written; by default all is found out.
    header : bool, optional
        Whether the text has a line of names; by default it has, and a first line of data is refused.
    expected : sequence of str
        Names of columns that will be asked for: where one of them is there, the line holds names.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If it can't be read as a table, or has no rows.
    OSError
        If there is no such file.
    fastmlp.process.extras.MissingExtraError
        If it is Parquet, and polars is not installed.
    """
    if separator is not None:
        separator = parse_separator(separator)
    if decimal not in (None, *DECIMALS):
        raise ValueError(f"A decimal sign is '.' or ',', not {decimal!r}.")
    if decimal is not None and decimal == separator:
        raise ValueError(f"{decimal!r} can't be both the separator and the decimal sign.")
    content = read_content(path)
    if content.kind == "text":
        table = _read_text(content, separator, decimal, encoding, header, expected)
    else:
        if (separator, decimal, encoding, header) != (None,) * 4:
            raise ValueError(
                f"{content.name} is a file of {content.kind}: "
                "separator, decimal sign, encoding and header belong to text."
            )
        read = _read_npz if content.kind == "npz" else _read_parquet
        table = read(content)
    if table.n_rows == 0:
        raise ValueError(f"{content.name} is empty: it has no rows.")
    return table


def _read_text(content, separator, decimal, encoding, header, expected):
    text, found_encoding = decode(content.name, content.data, encoding)
    lines = text.split("\n")
    try:
        layout = find_layout(content.name, lines, separator, header, expected)
        cells = read_cells(content.name, lines, layout)
    except csv.Error as error:
        raise ValueError(f"{content.name} can't be read: {error}; perhaps a quotation mark is not closed.") from error
    del text, lines
    names, unnamed = _name_columns(layout, cells)
    columns, decimal = find_columns(cells[: len(names)], decimal, layout.separator)
    named = dict(zip(names, columns, strict=True))
    unnamed |= {name for name in names if _INDEX_NAME.fullmatch(name)}
    found = []
    if layout.separator != ",":
        found.append(f"separator {layout.separator_name}")
    if decimal != ".":
        found.append(f"decimal {decimal!r}")
    if found_encoding != "utf-8":
        found.append(f"encoding {found_encoding}")
    if layout.header is None:
        found.append("no header")
    notes = []
    if layout.n_skipped:
        lines = "line is" if layout.n_skipped == 1 else f"{layout.n_skipped} lines are"
        notes.append(f"the first {lines} above the header, and no part of the table")
    for name, column in named.items():
        if column.reading is not None:
            written, value = column.reading
            notes.append(f"column {name!r} is read as numbers: {written!r} is {value:.15g}")
    return Table(
        content.name.strip("'\""),
        {name: column.values for name, column in named.items()},
        {name: column.texts for name, column in named.items() if column.texts is not None},
        {name for name, column in named.items() if column.is_code},
        unnamed,
        found,
        notes,
    )


def _name_columns(layout, cells):
    """Give every column a name of its own: ``column 3`` where there is none, ``area.1`` for the second ``area``."""
    header = layout.header if layout.header is not None else [""] * layout.n_cells
    if layout.has_row_names:
        header = ["", *header]
    taken = set(filter(None, header))
    names: list[str] = []
    unnamed: set[str] = set()
    for number, name in enumerate(header, start=1):
        if not name:
            name = _not_taken(f"column {number}", taken | set(names))
            # Numbered columns of a table without header are no more suspect of being an index than any other.
            unnamed |= {name} if layout.header is not None else set()
        elif name in names:
            name = _not_taken(name, taken | set(names))
        names.append(name)
    while len(names) > 1 and names[-1] in unnamed and not any(map(str.strip, cells[len(names) - 1].tolist())):
        names.pop()  # a separator at the end of every line
    return names, unnamed


def _not_taken(name, taken):
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}.{number}"
    return free


# --- files that know the types of their columns --------------------------------------------------


def _read_npz(content):
    try:
        with np.load(io.BytesIO(content.data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{content.name} can't be read as a .npz file of arrays.") from error
    scalars = [name for name, array in arrays.items() if array.ndim == 0]
    notes = [f"{name!r} is a single value, not a column, and left out" for name in scalars]
    arrays = {name: array for name, array in arrays.items() if array.ndim}
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"The arrays in {content.name} don't have the same number of rows.")
    columns = {}
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1) if array.size else array.reshape(len(array), 0)
        if flat.shape[1] == 1:
            columns[name] = _as_column(flat[:, 0])
        else:
            columns.update({f"{name}[{index}]": _as_column(flat[:, index]) for index in range(flat.shape[1])})
    return Table(content.name.strip("'\""), columns, notes=notes)


def _as_column(array):
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind == "S":
        return np.array([_decode_label(value) for value in array.tolist()], dtype=object)
    return np.array(array.tolist(), dtype=object)


def _decode_label(value):
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _read_parquet(content):
    polars = import_extra(["polars"], "table", "Reading Parquet files needs polars")
    try:
        frame = polars.read_parquet(io.BytesIO(content.data))
    except (polars.exceptions.PolarsError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].strip().rstrip(".:")
        raise ValueError(f"{content.name} can't be read as parquet: {reason}.") from error
    columns = {}
    for series in frame.iter_columns():
        if series.dtype.is_decimal():
            series = series.cast(polars.Float64)
        if series.dtype.is_numeric() or (series.dtype == polars.Boolean and not series.null_count()):
            columns[series.name] = series.to_numpy()  # nulls become NaN
        else:
            columns[series.name] = np.array(series.to_list(), dtype=object)
    unnamed = {name for name in columns if _INDEX_NAME.fullmatch(name)}
    return Table(content.name.strip("'\""), columns, unnamed=unnamed)
