"""How a table is written as text: its separator, where its header and its rows begin, and its rows as cells.

Everything is found out from the first lines. A separator is one that cuts nearly all of them into as many
cells; between several such, the one whose cells are numbers more often. (The decimal sign is found with the
numbers, in ``tables.columns``.)
"""

import csv
import re
from collections import Counter
from itertools import islice
from typing import NamedTuple

import numpy as np

SAMPLE_LINES = 200
CHUNK_LINES = 20_000
SEPARATORS = (",", ";", "\t", "|", " ")
_NAMES = {"\t": "tab", " ": "space"}
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*')
_NUMBER_LIKE = re.compile(r"[-+−]?[$€£¥]?\s?(\d[\d.,'’]*|[.,]\d+)([eE][-+]?\d+)?\s?[%$€£¥]?")
TEXT = np.dtypes.StringDType()


class Layout(NamedTuple):
    """Where things are in a table's lines."""

    separator: str
    n_cells: int
    header: list[str] | None  # its cells, or None if it is missing
    first_line: int  # of the rows
    has_row_names: bool  # one name fewer than cells: the first cell of a row is its name, as R writes it
    n_skipped: int  # lines above the header that are no part of the table

    @property
    def separator_name(self):
        """What to call the separator."""
        return _NAMES.get(self.separator, repr(self.separator))


def parse_separator(text):
    """Return the separator that a user has told: one character, ``tab`` or ``space``."""
    separator = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";"}.get(text.lower(), text)
    if len(separator) != 1 or separator in '"\n\r' or separator.isalnum():
        raise ValueError(f"A separator is one character that is neither letter, digit nor quote, or tab; not {text!r}.")
    return separator


def find_layout(name, lines, separator=None, header=None, expected=()):
    """Find out how a table is laid out.

    Parameters
    ----------
    name : str
        What to call the file in messages.
    lines : list of str
        All its lines.
    separator : str, optional
        By default it is found out.
    header : bool, optional
        Whether there is one; by default there is, and a first line that looks like data is refused.
    expected : sequence of str
        Names of columns that will be asked for: where one of them is there, the line is a header.

    Returns
    -------
    Layout
    """
    first = 0
    told = _SEPARATOR_LINE.fullmatch(lines[0])
    if told:
        first, separator = 1, separator or told[1]
    sample = lines[first : first + SAMPLE_LINES]
    written = [line for line in sample if line.strip() and not line.startswith("#")]
    if separator is None:
        separator = _find_separator(written)
    counts = Counter(len(cells) for cells in _split(written, separator))
    n_cells = max(counts, key=lambda count: (counts[count], count), default=1)

    records: list[tuple[list[str], int]] = []  # the header, or the first row, and what follows it
    n_passed = 0
    reader = _reader(sample, separator)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if not records and _is_above(cells, n_cells):
            n_passed = reader.line_num
            continue
        records.append((cells, reader.line_num))
        if len(records) > 20:
            break
    # A line that begins with # may be the header (NumPy writes it so) or one more comment.
    while len(records) > 1 and records[0][0][0].startswith("#"):
        following = records[1][0]
        if header is not False and not following[0].startswith("#") and _looks_like_row(following):
            records[0][0][0] = records[0][0][0].lstrip("#").strip()
            break
        n_passed = records.pop(0)[1]
    # One cell fewer than the rows is R's header, unless what follows holds names.
    if len(records) > 2 and len(records[0][0]) == n_cells - 1 and not _looks_like_row(records[1][0]):
        if _looks_like_row(records[2][0]):
            n_passed = records.pop(0)[1]
    if not records:
        raise ValueError(f"{name} is empty: it has no rows.")
    cells, end = records[0]
    rows = [row for row, _ in records[1:]]
    names = [cell.strip() for cell in cells]
    if header is False:
        return Layout(separator, n_cells, None, first + n_passed, False, n_passed)
    if header is None and not set(names) & set(expected) and _looks_like_data(names, rows):
        shown = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
        raise ValueError(
            f"The first line of {name} looks like data, not like names of columns: {shown}; "
            "with --no-header the columns are called 'column 1', 'column 2' and so on."
        )
    has_row_names = False
    if rows and len(names) == n_cells - 1:
        has_row_names = any(len(row) == n_cells and row[-1].strip() for row in rows)
    elif len(names) == n_cells + 1 and not names[-1]:
        names.pop()
    if len(names) != n_cells - has_row_names and (rows and len(names) != n_cells - 1):
        raise ValueError(f"{name} has {len(names)} names of columns, but {n_cells} cells in most rows.")
    return Layout(separator, n_cells, names, first + end, has_row_names, n_passed)


def _reader(lines, separator):
    if separator == " ":
        lines = [line.strip() for line in lines]
    return csv.reader((f"{line}\n" for line in lines), delimiter=separator, skipinitialspace=True)


def _split(lines, separator):
    try:
        return [cells for cells in _reader(lines, separator) if cells]
    except csv.Error:  # a cell longer than Python's limit: the quote marks are no quotes here
        return [line.split(separator) for line in lines]


def _find_separator(lines):
    best, best_score = ",", (0.0, 0.0, 0)
    for separator in SEPARATORS:
        records = _split(lines, separator)
        counts = Counter(map(len, records))
        n_cells = max((count for count in counts if count > 1), key=lambda count: counts[count], default=1)
        if n_cells == 1:
            continue
        # One cell fewer in the header is R's way, so that it counts as regular.
        regular = counts[n_cells] + (len(records[0]) == n_cells - 1 > 1)
        cells = [cell for cells in records for cell in cells]
        numeric = sum(bool(_NUMBER_LIKE.fullmatch(cell.strip())) for cell in cells) / len(cells)
        score = (round(min(regular / len(records), 1.0), 1), round(numeric, 1), -SEPARATORS.index(separator))
        if score > best_score and regular > len(records) / 2:
            best, best_score = separator, score
    return best


def _is_above(cells, n_cells):
    """Return whether a line above the rows is a comment or a title."""
    if cells[0].startswith("#") and len(cells) != n_cells:
        return True
    filled = sum(bool(cell.strip()) for cell in cells)
    return len(cells) < n_cells - 1 or (n_cells >= 3 and filled <= 1) or (n_cells == 2 and len(cells) == 1)


def _looks_like_row(cells):
    return any(_NUMBER_LIKE.fullmatch(cell.strip()) for cell in cells)


def _looks_like_data(names, rows):
    """Return whether names are numbers wherever the rows below have numbers."""
    numbers = [name for name in names if name and _NUMBER_LIKE.fullmatch(name)]
    if not numbers or not rows:
        return False
    if numbers in ([str(index) for index in range(first, first + len(numbers))] for first in (0, 1)):
        return False  # as a frame without names is written
    columns = zip(*(row for row in rows if len(row) == len(names)), strict=True)
    for name, column in zip(names, columns, strict=False):
        filled = [cell.strip() for cell in column if cell.strip()]
        if filled and all(_NUMBER_LIKE.fullmatch(cell) for cell in filled) and not _NUMBER_LIKE.fullmatch(name):
            return False
    return True


def read_cells(name, lines, layout):
    """Read all rows.

    Parameters
    ----------
    name : str
        What to call the file in messages.
    lines : list of str
        All its lines.
    layout : Layout
        What was found.

    Returns
    -------
    list of ndarray of StringDType
        The columns.
    """
    lines = lines[layout.first_line :]
    chunks = _quoted_chunks if any('"' in line for line in lines) else _plain_chunks
    columns: list = [[] for _ in range(layout.n_cells)]
    n_rows = 0
    for chunk in chunks(lines, layout):
        cells = chunk if isinstance(chunk, list) else _regular(name, chunk, layout, n_rows)
        for column, values in zip(columns, cells, strict=True):
            column.append(np.array(values, TEXT))
        n_rows += len(cells[0])
    whole = [np.concatenate(column) if column else np.array([], TEXT) for column in columns]
    while n_rows and len(whole) > 1 and not any(column[n_rows - 1].strip() for column in whole):
        n_rows -= 1  # spreadsheets end in rows of separators
    return [column[:n_rows] for column in whole]


def _plain_chunks(lines, layout):
    """Yield the columns of many rows at once, or an iterator of rows where they differ in length."""
    separator, n_cells = layout.separator, layout.n_cells
    for begin in range(0, len(lines), CHUNK_LINES):
        chunk = lines[begin : begin + CHUNK_LINES]
        if separator == " ":
            chunk = [" ".join(line.split()) for line in chunk]
        chunk = list(filter(str.strip, chunk))
        if not chunk:
            continue
        if {line.count(separator) for line in chunk} == {n_cells - 1}:
            flat = separator.join(chunk).split(separator)
            yield [flat[column::n_cells] for column in range(n_cells)]
        else:
            yield (line.split(separator) for line in chunk)


def _quoted_chunks(lines, layout):
    reader = _reader(lines, layout.separator)
    while True:
        rows = [row for row in islice(reader, CHUNK_LINES) if row]
        if not rows:
            return
        if {len(row) for row in rows} == {layout.n_cells}:
            yield [list(column) for column in zip(*rows, strict=True)]
        else:
            yield iter(rows)


def _regular(name, rows, layout, n_before):
    """Bring rows to one length: comments and cells of nothing are left out, all else is refused."""
    regular: list[list[str]] = []
    for row in rows:
        if len(row) != layout.n_cells:
            if row[0].startswith("#") or not any(cell.strip() for cell in row):
                continue
            if any(cell.strip() for cell in row[layout.n_cells :]) or len(row) < layout.n_cells:
                number = n_before + len(regular) + 1
                raise ValueError(f"Row {number} of {name} has {_cells(len(row))}, not {layout.n_cells} as others.")
            row = row[: layout.n_cells]
        regular.append(row)
    return [list(column) for column in zip(*regular, strict=True)] or [[] for _ in range(layout.n_cells)]


def _cells(count):
    return f"{count} cell{'s' if count != 1 else ''}"
