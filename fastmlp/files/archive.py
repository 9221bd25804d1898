"""Archives of numeric arrays from strangers: ``.npz`` files, read strictly.

What :func:`write_archive` writes is what :func:`numpy.savez` writes, so that NumPy reads it too.
:func:`read_archive` accepts that and nothing else: no pickle, no compression (so that no member can
be larger than the file), no header that would have to be evaluated, and no name that is a path.
"""

import math
import os
import re
import struct
import zipfile
from pathlib import Path

import numpy as np

MAX_MEMBERS = 10_000
_MEMBER_NAME = re.compile(r"[a-z][a-z_]*(_[0-9]+)?\.npy", re.ASCII)
# Little-endian, so that a file means the same on every machine.
_DTYPES = ("<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "|b1")
_ARRAY_MAGIC = b"\x93NUMPY\x01\x00"
_ARRAY_HEADER = re.compile(
    rb"\{'descr': '([<|][a-z][0-9])', 'fortran_order': False, "
    rb"'shape': \(([0-9]{1,18},|[0-9]{1,18}(?:, [0-9]{1,18})+)\), \} *\n"
)


def require_few_members(n_members):
    """Refuse more members than a file may have."""
    if n_members > MAX_MEMBERS:
        raise ValueError(f"a file holds {MAX_MEMBERS} arrays at most, and these are {n_members}: take fewer layers")


def write_archive(file, arrays):
    """Write arrays to an open file.

    Parameters
    ----------
    file : file object
        Open for writing bytes.
    arrays : dict of str to ndarray
        Numeric or boolean arrays, of one dimension at least; names are lower-case letters and
        underscores, with a number at the end if you like.

    Raises
    ------
    ValueError
        If :func:`read_archive` would refuse such a file; then nothing has been written.
    """
    require_few_members(len(arrays))
    portable = {}
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype.str not in _DTYPES or array.ndim == 0 or not _MEMBER_NAME.fullmatch(f"{name}.npy"):
            raise ValueError(f"An archive can't hold {name!r}, an array of {array.dtype}.")
        portable[name] = np.ascontiguousarray(array, dtype)
    np.savez(file, allow_pickle=False, **portable)


def read_archive(path):
    """Read the arrays of a file.

    Memory is taken for twice the size of the file at most, whatever the file claims to hold.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict of str to ndarray
        Arrays that the caller owns.

    Raises
    ------
    OSError
        If there is no such file, or it can't be read.
    ValueError
        If it isn't such an archive, or is damaged.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{str(path)!r} is not a file.")
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("it is not a .npz archive")
        try:
            with zipfile.ZipFile(file) as archive:
                return dict(_read_members(archive, os.fstat(file.fileno()).st_size))
        except (
            EOFError,
            NotImplementedError,  # zipfile's answer to a compression or a version of the format that it doesn't know
            OSError,
            OverflowError,
            RuntimeError,
            UnicodeError,
            struct.error,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(f"it is damaged ({error})") from error


def _read_members(archive, n_bytes):
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or len({member.filename for member in members}) < len(members):
        raise ValueError("it has too many members, or two of one name")
    if sum(member.file_size for member in members) > n_bytes:
        raise ValueError("its members claim to be larger than the file")
    for member in members:
        if not _MEMBER_NAME.fullmatch(member.filename):
            raise ValueError("it has a member with a foreign name")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError("it has a compressed member")
        array = _parse_array(archive.read(member))
        if array is None:
            raise ValueError(f"its member {member.filename!r} is not a plain array")
        yield member.filename.removesuffix(".npy"), array


def _parse_array(content):
    """Parse a ``.npy`` file; None if it isn't exactly what NumPy writes for a numeric array."""
    if content[:8] != _ARRAY_MAGIC or len(content) < 10:
        return None
    start = 10 + int.from_bytes(content[8:10], "little")
    header = _ARRAY_HEADER.fullmatch(content[10:start])
    if header is None:
        return None
    descriptor = header[1].decode("ascii")
    shape = tuple(int(size) for size in header[2].split(b",") if size)
    if descriptor not in _DTYPES or len(shape) > 8:
        return None
    dtype = np.dtype(descriptor)
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        return None
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        return None  # neither True nor False
    return array.astype(dtype.newbyteorder("="))
