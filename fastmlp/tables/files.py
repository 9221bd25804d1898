"""The content of a file that should hold a table: unpacked, or refused with a sentence that says what it is.

The first bytes decide, not the name: people have gzip files that are called ``.csv``, web pages that they
meant to download a table from, and pointers in place of files that Git LFS was to fetch.
"""

import bz2
import gzip
import io
import lzma
import re
import sys
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

STANDARD_INPUT = "-"
_DEEPEST = 3  # an archive within an archive within an archive is no table
_UNPACKERS = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\x00": lzma.decompress}
_ZIP = b"PK\x03\x04"
_PARQUET = b"PAR1"
_WEB_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)?<(!doctype|html|head|body|\?xml|svg|!--)", re.IGNORECASE | re.DOTALL)
_OTHERS = [
    (re.compile(rb"version https://git-lfs\."), "a pointer of Git LFS; git lfs pull fetches the file itself"),
    (_WEB_PAGE, "a web page or XML"),
    (re.compile(rb'\s*(\{\s*"|\[\s*[{\[]\s*["\d{\[-])'), "JSON"),
    (re.compile(rb"%PDF-"), "a PDF file"),
    (re.compile(rb"\{\\rtf"), "an RTF document"),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "a document of Microsoft Office; save its table as CSV"),
]


class Content(NamedTuple):
    """What a file holds, unpacked."""

    name: str  # as it is to be called in messages
    kind: str  # "text", "parquet" or "npz"
    data: bytes


def read_content(path):
    """Read a file whole, unpack it if it is compressed, and find out what it holds.

    Parameters
    ----------
    path : path
        The file; ``-`` is standard input.

    Returns
    -------
    Content

    Raises
    ------
    ValueError
        If it is known to hold something other than a table, or is damaged.
    OSError
        If it can't be read.
    """
    if str(path) == STANDARD_INPUT:
        name, suffix, data = "standard input", "", sys.stdin.buffer.read()
    else:
        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{str(path)!r} is a folder, not a table.")
        if not path.exists():
            raise FileNotFoundError(f"There is no file {str(path)!r}.")
        name, suffix, data = repr(str(path)), path.suffix.lower(), path.read_bytes()
    kind = "packed"
    for _ in range(_DEEPEST):
        kind, data = _unpack(name, data)
        if kind != "packed":
            break
    if kind == "packed":
        raise ValueError(f"{name} is not a table: it holds archives within archives.")
    for wanted in ("npz", "parquet"):
        if suffix == f".{wanted}" and kind != wanted:
            raise ValueError(f"{name} can't be read as {wanted}: its content is something else.")
    if kind == "text":
        for pattern, what in _OTHERS:
            if pattern.match(data[:4096]):
                raise ValueError(f"{name} is not a table: it holds {what}.")
    return Content(name, kind, data)


def _unpack(name, data):
    """Return the kind of some bytes, and the bytes themselves or, of the kind "packed", what they were packed from."""
    if data.startswith(_PARQUET):
        return "parquet", data
    for magic, decompress in _UNPACKERS.items():
        if data.startswith(magic):
            try:
                return "packed", decompress(data)
            except (EOFError, OSError, ValueError, lzma.LZMAError, zlib.error) as error:
                raise ValueError(f"{name} can't be unpacked: {error}.") from error
    if data.startswith(_ZIP):
        return _unpack_zip(name, data)
    return "text", data


def _unpack_zip(name, data):
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [
                member
                for member in archive.namelist()
                if not member.endswith("/") and not member.startswith("__MACOSX/") and not _is_hidden(member)
            ]
            if members and all(member.endswith(".npy") for member in members):
                return "npz", data
            if "[Content_Types].xml" in members or "mimetype" in members:
                raise ValueError(f"{name} is not a table: it holds a workbook or document; save its table as CSV.")
            if len(members) != 1:
                held = ", ".join(map(repr, members[:3])) + (", ..." if len(members) > 3 else "") or "none"
                raise ValueError(f"{name} should hold one table, but holds {len(members)} files: {held}.")
            return "packed", archive.read(members[0])
    except (EOFError, NotImplementedError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{name} can't be unpacked: {' '.join(str(error).split()).rstrip('.')}.") from error


def _is_hidden(member):
    return member.rpartition("/")[2].startswith(".")
