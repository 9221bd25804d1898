"""Writing columns to a file or to the terminal."""

import csv
import gzip
import io
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from fastmlp.files.atomic import check_writable, replaced_file
from fastmlp.process.extras import import_extra


def check_output(path):
    """Check, before the work, that columns could be written to a file.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    OSError
        If it can't be written.
    fastmlp.process.extras.MissingExtraError
        If what would write it is not installed.
    """
    check_writable(path)
    if Path(path).suffix.lower() == ".parquet":
        _import_polars()


def _import_polars():
    return import_extra(["polars"], "table", "Writing Parquet files needs polars")


def write_columns(columns, path=None, stream=None):
    """Write columns to a stream as CSV, or to a file, whose name decides how.

    Parameters
    ----------
    columns : dict of str to ndarray
        Columns of one length.
    path : path, optional
        The file; an earlier one is replaced whole or not at all. A name that ends in ``.npz`` gets
        arrays, ``.parquet`` gets Parquet, ``.tsv`` tabs for separators; all else is CSV, compressed
        if the name ends in ``.gz``.
    stream : text stream, optional
        Where to write if there is no path.
    """
    if path is None:
        _write_text(columns, stream, ",")
        return
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    with replaced_file(path) as file:
        if suffixes[-1:] == [".npz"]:
            np.savez(file, allow_pickle=False, **columns)
        elif suffixes[-1:] == [".parquet"]:
            _import_polars().DataFrame(columns).write_parquet(file)
        else:
            packed = gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) if suffixes[-1:] == [".gz"] else None
            with packed or nullcontext(file) as target:
                text = io.TextIOWrapper(target, encoding="utf-8", newline="")
                _write_text(columns, text, "\t" if ".tsv" in suffixes[-2:] else ",")
                text.detach()


def _write_text(columns, stream, separator):
    writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
    writer.writerow(columns)
    # tolist() would turn float32 into longer float64 numbers; str() keeps the shortest.
    writer.writerows(zip(*(map(str, column) for column in columns.values()), strict=True))
    stream.flush()
