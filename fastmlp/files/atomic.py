"""Files that are written whole or not at all."""

import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path


def check_writable(path):
    """Check that a file could be written, before the work whose result it shall hold.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    OSError
        In one sentence, if it couldn't.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder, not a file that could be written.")
    folder = path.resolve().parent
    if _is_special(path):
        writable = os.access(path, os.W_OK)
    elif not folder.is_dir():
        raise FileNotFoundError(f"{str(path)!r} can't be written: its folder doesn't exist.")
    else:
        writable = os.access(folder, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
    if not writable:
        raise PermissionError(f"{str(path)!r} can't be written: permission denied.")


def _is_special(path):
    """Return whether there is something that isn't a regular file, such as a pipe or a device."""
    return path.exists() and not path.is_file()


def _sync_folder(folder):
    """Have the new name written to disk as well, so that it outlives a loss of power; not every system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replaced_file(path):
    """Open a file for writing, such that an earlier file of that name is kept until all is well.

    The content goes to a temporary file in the same folder, which takes the name at the end. After
    an exception, an interrupt or a full disk the earlier file is as it was.

    Parameters
    ----------
    path : path
        The file. What isn't a regular file (a pipe, ``/dev/stdout``) is written directly.

    Yields
    ------
    file object
        Open for writing bytes.
    """
    check_writable(path)
    path = Path(path)
    if _is_special(path):
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()  # replaces what a symbolic link points to, not the link
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
