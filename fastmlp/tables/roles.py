"""What the columns of a table are good for: features, the target, or numbers of rows that teach nothing."""

import re
import shlex
from typing import NamedTuple

import numpy as np

# A target of whole numbers with up to so many distinct values is taken for classes.
MOST_CLASSES = 20
_CAMEL_CASE = re.compile(r".*[a-z](Id|ID|UUID|GUID)")
_SPELT_OUT = re.compile(r"(.*[\s_.-])?(id|uuid|guid|idx|rowid|row[ _]?(nr|no|num|number))", re.IGNORECASE)


class Target(NamedTuple):
    """A target column, and what it was found to be."""

    y: np.ndarray
    task: str  # "classification" or "regression"
    reason: str
    rows: np.ndarray  # those that have a target


def require_columns(table, names):
    """Raise ValueError, naming what there is, unless the table has all these columns."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        shown = ", ".join(repr(name) for name in missing[:3]) + (", ..." if len(missing) > 3 else "")
        there = list(table.columns)
        has = ", ".join(map(repr, there[:8])) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
        plural = "s" if len(missing) > 1 else ""
        raise ValueError(f"{table.path!r} has no column{plural} {shown}; it has {has}.")


def find_identifiers(table, names):
    """Find columns that number or name the rows, and say nothing else about them.

    Parameters
    ----------
    table : Table
        The table.
    names : sequence of str
        Columns to look at.

    Returns
    -------
    dict of str to str
        From the name of a column to why it is one.
    """
    found = {}
    for name in names:
        values = table.texts[name] if name in table.codes else table.columns[name]
        if name in table.unnamed:
            if _counts_rows(table.columns[name]) or (values.dtype.kind in "OT" and _are_distinct(values)):
                found[name] = "it numbers or names the rows"
        elif _CAMEL_CASE.fullmatch(name) or _SPELT_OUT.fullmatch(name):
            if values.dtype.kind in "iuOT" and _are_distinct(values):
                found[name] = "it is called an identifier, and is another in every row"
    return found


def _counts_rows(values):
    return values.dtype.kind in "iu" and len(values) > 1 and bool((np.diff(values.astype(np.int64)) == 1).all())


def _are_distinct(values):
    values = values.tolist()
    return None not in values and len(set(values)) == len(values)


# --- features ------------------------------------------------------------------------------------


def read_features(table, names, rows=None, droppable=False):
    """Make the matrix of features.

    Parameters
    ----------
    table : Table
        The table.
    names : sequence of str
        Columns that are the features, in this order.
    rows : ndarray of int, optional
        Which rows; by default all.
    droppable : bool, default=False
        Whether the message for columns that can't be used shall tell how to leave them out.

    Returns
    -------
    ndarray of shape (n_rows, n_features), float64
        All values finite.

    Raises
    ------
    ValueError
        If columns can't be used: one sentence that names them all, each with its first row that is at fault.
    """
    require_columns(table, names)
    rows = np.arange(table.n_rows) if rows is None else rows
    X = np.empty((len(rows), len(names)))
    faults = {}
    for index, name in enumerate(names):
        column = table.columns[name]
        column = column if len(rows) == len(column) else column[rows]
        fault = _find_fault(table, name, column, rows)
        if fault is None:
            X[:, index] = column
        else:
            faults[name] = fault
    if faults:
        raise ValueError(_describe_faults(faults, droppable and len(faults) < len(names)))
    return X


def _describe_faults(faults, droppable):
    remedy = f"; leave {'it' if len(faults) == 1 else 'them'} out with --drop {shlex.join(faults)}" if droppable else ""
    if len(faults) == 1:
        name, fault = next(iter(faults.items()))
        return f"Column {name!r} can't be used: it {fault}{remedy}."
    listed = ", ".join(f"{name!r} {fault}" for name, fault in faults.items())
    return f"These {len(faults)} columns can't be used: {listed}{remedy}."


def _find_fault(table, name, column, rows):
    """Say what keeps a column from being a feature, with the first row and its value; None if nothing does."""
    if column.dtype.kind in "biu":
        return None
    if column.dtype.kind == "f":
        if np.isfinite(column).all():
            return None
        gaps = np.isnan(column)
        if not gaps.any():
            place = int(np.argmax(np.isinf(column)))
            return f"holds infinity (row {rows[place] + 1} holds {column[place]:g})"
        return _describe_gap(table, name, rows[int(np.argmax(gaps))])
    # In a column with some text in it numbers are text as well: the first that isn't a number is of more use.
    others = [place for place, value in enumerate(column) if not isinstance(value, bool | int | float | None)]
    if others:
        place = next((place for place in others if not _looks_like_number(column[place])), others[0])
        return f"is not numeric (row {rows[place] + 1} holds {_shorten(column[place])})"
    return _describe_gap(table, name, rows[next(place for place, value in enumerate(column) if value is None)])


def _describe_gap(table, name, row):
    written = str(table.texts[name][row]).strip() if name in table.texts else ""
    return f"has gaps (row {row + 1} holds {repr(written) if written else 'nothing'})"


def _shorten(value):
    shown = repr(value) if isinstance(value, str) else str(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _looks_like_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


# --- the target ----------------------------------------------------------------------------------


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
        Classes are text, booleans, integers or floats; numbers are float64. Rows where the target is missing are
        left out.
    """
    require_columns(table, [name])
    y = table.columns[name]
    if y.dtype.kind == "f":
        there = ~np.isnan(y)
    elif y.dtype.kind == "O":
        there = np.array([value is not None for value in y], dtype=bool)
    else:
        there = np.ones(len(y), bool)
    rows = np.flatnonzero(there)
    if not len(rows):
        raise ValueError(f"Column {name!r} holds no value at all, so it can't be the target.")
    y = y[rows]
    if y.dtype.kind not in "biuf":
        return _read_text_target(y, name, task, rows)
    if y.dtype.kind == "f" and np.isinf(y).any():
        raise ValueError(f"Column {name!r} holds infinity in row {rows[np.argmax(np.isinf(y))] + 1}.")
    distinct = np.unique(y)
    whole = y.dtype.kind in "iu" or bool((distinct == np.rint(distinct)).all())
    if y.dtype.kind == "b":
        found, reason = "classification", "true or false"
    elif not whole:
        found, reason = "regression", f"numbers of {_distinct(len(distinct))}, not all of them whole"
    else:
        few = len(distinct) <= MOST_CLASSES and 2 * len(distinct) <= len(y)
        found, reason = "classification" if few else "regression", f"whole numbers of {_distinct(len(distinct))}"
    if (task or found) == "regression":
        return Target(y.astype(np.float64), "regression", reason, rows)
    if name in table.codes:
        y = np.array([text.strip() for text in table.texts[name][rows].tolist()])
        return Target(y, "classification", f"digits of {_distinct(len(np.unique(y)))}", rows)
    if y.dtype.kind == "f" and whole and np.abs(distinct).max() < 2**53:
        y = y.astype(np.int64)
    return Target(y, "classification", reason, rows)


def _read_text_target(y, name, task, rows):
    odd = [value for value in y if not isinstance(value, str | bool)]
    if odd:
        raise ValueError(f"Column {name!r} holds neither numbers nor text, but {type(odd[0]).__name__}.")
    if task == "regression":
        row = next((row for row, value in enumerate(y) if not _looks_like_number(value)), 0)
        raise ValueError(
            f"Column {name!r} holds text, so it can't be the target of a regression: "
            f"row {rows[row] + 1} holds {_shorten(y[row])}."
        )
    y = np.array([str(value) for value in y])
    return Target(y, "classification", f"text of {_distinct(len(np.unique(y)))}", rows)


def _distinct(count):
    return f"{count:,} distinct value{'s' if count != 1 else ''}"
