"""The SQLite file of a log: its tables, and a connection for each use.

Knows no verbs. A connection belongs to one lock, so that no two threads use it at once, and none
is open while the process forks: SQLite's locks do not survive that.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from websopy_sync.interrupts import find_interrupt

from .forks import register
from .log import LogError

try:
    import fcntl
except ImportError:  # Windows
    HAS_FCNTL = False
else:
    HAS_FCNTL = True

PATIENCE = 1.0
"""Seconds to wait for another process's transaction."""

# `renewed` and `followed` are times.monotonic(), which all processes of a machine share and no
# clock's jump changes; `touched` is the wall clock, for the purge after a reboot.
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, worker TEXT NOT NULL,
    last INTEGER NOT NULL, end TEXT NOT NULL, stop INTEGER NOT NULL DEFAULT 0,
    renewed REAL NOT NULL, lease REAL NOT NULL, followed REAL, touched REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS stopped ON answers (worker) WHERE stop;
CREATE INDEX IF NOT EXISTS by_age ON answers (touched);
CREATE TABLE IF NOT EXISTS events (
    answer INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (answer, seq)
) WITHOUT ROWID;
"""

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",  # a killed process loses nothing; a power cut the last commits
    "PRAGMA secure_delete = ON",
)

BESIDE = ("-wal", "-shm")
"""What the names of the files beside it end in, which are there while a connection is open."""

Files: TypeAlias = tuple[tuple[int, int] | None, ...]
"""Device and inode of the file and of those beside it; None where there is none."""


class Connection:
    """One connection, opened when it is used, with the lock of those who use it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lock = threading.RLock()
        self._open: sqlite3.Connection | None = None
        self._files: Files = ()  # that it was opened on

    @contextlib.contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. An open transaction is rolled back at an error.

        Raises:
            LogError: SQLite refused something. The next use opens a new connection.
        """
        with self.lock:
            try:
                self._leave_removed()
                if self._open is None:
                    self._open, self._files = _connect(self._path)
                yield self._open
            except BaseException as error:
                self.close()
                if not isinstance(error, sqlite3.Error) or find_interrupt(error):
                    raise
                raise LogError(f"the answers' file: {type(error).__name__}: {error}") from None

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self.lock:
            connection, self._open = self._open, None
            if connection is not None:
                connection.close()

    def _leave_removed(self) -> None:
        """Close if the files were removed or replaced: what is written there, nobody finds."""
        if self._open is None or _files_at(self._path) == self._files:
            return
        with contextlib.suppress(OSError), _alone(self._path):
            # Without those beside it, it is no longer whole. Another process may have made a new
            # one meanwhile, with another inode while this one is open.
            if _files_at(self._path)[0] == self._files[0]:
                self._path.unlink(missing_ok=True)
        self.close()


class SQLiteFile:
    """A file and its connections: to write, to read, and to watch.

    Args:
        path: The file; made if it is not there, for its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.writing, self.reading, self.watching = (Connection(path) for _ in range(3))
        register(self)

    def _all(self) -> tuple[Connection, ...]:
        return (self.writing, self.reading, self.watching)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all():
            connection.close()

    def before_fork(self) -> None:
        """Wait for the transactions under way, and close."""
        for connection in self._all():
            connection.lock.acquire()
            connection.close()

    def after_fork(self, *, in_child: bool) -> None:
        """Let the connections open again, in both processes."""
        for connection in self._all():
            connection.lock.release()


def _files_at(path: Path) -> Files:
    """Which files are there; none is ever the same as another that is still open."""
    files: list[tuple[int, int] | None] = []
    for ending in ("", *BESIDE):
        try:
            found = os.stat(f"{path}{ending}")
        except OSError:
            files.append(None)
        else:
            files.append((found.st_dev, found.st_ino))
    return tuple(files)


def _connect(path: Path) -> tuple[sqlite3.Connection, Files]:
    """A connection, and the files that it is open on."""
    until = time.monotonic() + PATIENCE
    while True:
        if not path.exists():
            _make(path)
        before = _files_at(path)
        try:
            connection = _opened(path)
        except sqlite3.OperationalError as error:
            # Changing to WAL, and its end with the last connection, do not wait for the time-out.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        else:
            files = _files_at(path)
            if files[0] == before[0] or time.monotonic() > until:
                return connection, files
            connection.close()
        time.sleep(0.01)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from making or removing the file. No fork happens meanwhile."""
    if not HAS_FCNTL:  # and no file is removed that is open
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _make(path: Path) -> None:
    """Make the file, for its owner only. SQLite says what is wrong with the path."""
    with contextlib.suppress(OSError), _alone(path):
        if path.exists():  # another process was first, and may have written
            return
        for ending in BESIDE:  # of a file that was removed
            Path(f"{path}{ending}").unlink(missing_ok=True)
        # Only a new one: closing another would drop the locks that this process has on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma)
        connection.executescript(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
