"""Files of the user: read within a limit, and replaced whole or not at all.

Knows nothing of what is in them. No error quotes what a file holds.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile

from .errors import ConfigError, FileError
from .interrupts import ignoring, is_interrupt

__all__ = ["FilePath", "read_file", "write_file"]

FilePath = str | os.PathLike[str]

PIECE = 1 << 20
"""Bytes that are read at a time: a file may be larger than it said."""


def read_file(path: object, *, what: str, max_size: int) -> bytes:
    """All bytes of a regular file.

    Args:
        path: The file. A pipe or a device is refused: it may never end.
        what: What the file is, for errors.
        max_size: Most bytes that it may have.

    Raises:
        FileError: It cannot be read.
        ConfigError: It is too large or no regular file, or the path is no path.
    """
    try:
        data = _read(path, what, max_size)
    except (OSError, ValueError) as error:
        if is_interrupt(error):
            raise
        data = _failure(f"{what}: cannot read", path, error)
    if isinstance(data, ConfigError):  # raised out here: its context would be a foreign exception
        raise data
    return data


def write_file(path: object, data: bytes, *, what: str) -> None:
    """Replace a file by one that only its owner may read.

    A failure leaves it as it was. A link stays one; the file that it leads to is replaced.

    Args:
        path: The file. It need not be there.
        data: What it will hold.
        what: What the file is, for errors.

    Raises:
        FileError: It cannot be written.
        ConfigError: The path leads to something that is no regular file, or it is no path.
    """
    try:
        problem = _write(path, data, what)
    except (OSError, ValueError) as error:
        if is_interrupt(error):
            raise
        problem = _failure(f"{what}: cannot write", path, error)
    if problem is not None:
        raise problem


def _read(path: object, what: str, max_size: int) -> bytes | ConfigError:
    if not isinstance(path, str | os.PathLike):
        return _no_path(what, path)
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return ConfigError(f"{what}: expected a regular file, got a pipe or a device")
        data = _pieces(file, max_size) if status.st_size <= max_size else None
        if data is None:
            got = max(status.st_size, max_size + 1)
            return ConfigError(f"{what}: expected at most {max_size} bytes, got {got} or more")
    return data


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe without a writer too, which would be waited for otherwise."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _pieces(file: io.FileIO, max_size: int) -> bytes | None:
    """What a file holds; None when that is too much, whatever size it said it had."""
    pieces, size = [], 0
    while piece := file.read(PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > max_size:
            return None
    return b"".join(pieces)


def _write(path: object, data: bytes, what: str) -> ConfigError | None:
    if not isinstance(path, str | os.PathLike):
        return _no_path(what, path)
    target = os.path.realpath(os.fsdecode(path))
    if os.path.exists(target) and not os.path.isfile(target):
        return ConfigError(f"{what}: expected a regular file, got a folder, a pipe or a device")
    # mkstemp() makes the file readable for its owner only.
    descriptor, temporary = tempfile.mkstemp(".tmp", ".", os.path.dirname(target))
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power failure could leave an empty file
        os.replace(temporary, target)
    except BaseException:
        with ignoring(OSError):
            os.unlink(temporary)
        raise
    return None


def _no_path(what: str, path: object) -> ConfigError:
    return ConfigError(f"{what}: expected a str or a path, got {type(path).__name__}")


def _failure(failed: str, path: object, error: OSError | ValueError) -> FileError:
    """The error for the user. A text that cannot be a path is not shown: it may be the prompt."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None or number == errno.ENAMETOOLONG or not isinstance(path, str | os.PathLike):
        return FileError(f"{failed}: expected a path, got a text that is none", errno=number)
    return FileError(f"{failed} {os.fspath(path)!a:.200}: {os.strerror(number)}", errno=number)
