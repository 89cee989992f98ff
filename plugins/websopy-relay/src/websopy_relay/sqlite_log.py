"""The log in one SQLite file, for the processes of one machine.

Knows how the verbs become SQL, and no connection's life (sqlite_file.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from websopy_sync import ConfigError

from .log import DELETED, Beat, News, Record, Refusal, Terms, Write
from .sqlite_file import SQLiteFile

GLANCE = 0.02
"""Seconds between two looks at whether another connection has written; a look takes 8 µs."""

PURGE_EVERY = 60.0
"""Seconds between two purges, at most."""

PURGED_AT_ONCE = 100
"""Answers that one purge removes, so that no writer waits for it."""

DELETED_KEPT = 86_400.0
"""More seconds for a deleted answer: one without a row is written anew by its producer."""

BEGIN = """
INSERT OR IGNORE INTO answers (key, owner, worker, last, end, renewed, lease, touched)
VALUES (:key, :owner, :worker, 0, '', :now, :lease, :wall)
"""

# The fence. What was written twice, out of order or after the end finds no row.
ADVANCE = """
UPDATE answers SET last = :last, end = :end, renewed = :now, touched = :wall
WHERE key = :key AND end = '' AND last = :seq - 1
RETURNING id
"""

NEWS = """
SELECT f.key, e.data FROM json_each(:cursors) f
JOIN answers a ON a.key = f.key JOIN events e ON e.answer = a.id AND e.seq > f.value
ORDER BY a.id, e.seq
"""

ENDS = """
SELECT a.key, a.owner, a.worker, a.end FROM json_each(:cursors) f JOIN answers a ON a.key = f.key
"""

LIVES = """
SELECT a.key, a.end, a.renewed <= :now AND :now < a.renewed + a.lease,
    a.followed <= :now AND :now < a.followed + :lease
FROM json_each(:keys) f JOIN answers a ON a.key = f.value
"""

# In one statement: between two, another process may ask for one more stop.
TAKE_STOPS = "UPDATE answers SET stop = 0 WHERE worker = ? AND stop RETURNING key"

DELETE = """
INSERT INTO answers (key, owner, worker, last, end, renewed, lease, touched)
VALUES (:key, '', '', 0, :end, 0, 0, :wall)
ON CONFLICT (key) DO UPDATE SET owner = '', worker = '', end = :end, stop = 0, touched = :wall
RETURNING id
"""

PURGE = """
SELECT id FROM answers WHERE touched < :oldest AND (end <> :deleted OR touched < :oldest - :kept)
AND (end <> '' OR NOT (renewed <= :now AND :now < renewed + lease)) LIMIT :most
"""


class SQLiteLog:
    """A log in an SQLite file of its own. Needs no server and no further package.

    Args:
        path: The file. It is made if it is not there, and only its owner can read it. Not on a
            network file system; not the file of another program or plugin.

    Raises:
        ConfigError: It is no path of a file: SQLite's ":memory:" is another for each connection.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = str(path) if isinstance(path, str | os.PathLike) else ""  # type: ignore[redundant-expr]  # a caller may not check types
        if not text or text.startswith((":", "file:")):
            raise ConfigError(f"path: expected the path of a file, got {path!r:.200}")
        self._path = Path(text).absolute()
        self._file = SQLiteFile(self._path)
        self._purged = 0.0

    def __repr__(self) -> str:
        return f"SQLiteLog({str(self._path)!r})"

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        """See `Log.append`."""
        refused: dict[str, Refusal] = {}
        with self._transaction() as connection:
            for write in writes:
                if not _append(connection, write, terms):
                    refused[write.key] = _refusal(connection, write.key)
        return refused

    def read(self, key: str, after: int) -> Record | None:
        """See `Log.read`."""
        with self._file.reading.use() as connection:
            return _look(connection, {key: after}).get(key)

    def watch(self, cursors: Mapping[str, int], worker: str, seconds: float) -> News:
        """See `Log.watch`."""
        until = time.monotonic() + seconds
        while True:
            with self._file.watching.use() as connection:
                seen = _data_version(connection)
                news = _news(connection, cursors, worker)
            if news.answers or news.stops or not self._wait_for_writer(seen, until):
                return news

    def _wait_for_writer(self, seen: int, until: float) -> bool:
        """Whether another connection has written before the time is over."""
        while time.monotonic() < until:
            time.sleep(GLANCE)
            with self._file.watching.use() as connection:
                if _data_version(connection) != seen:
                    return True
        return False

    def beat(self, produced: Mapping[str, int], followed: Collection[str], terms: Terms) -> Beat:
        """See `Log.beat`."""
        among = "key IN (SELECT value FROM json_each(:keys))"
        with self._transaction() as connection:
            # Not before: whoever had the lock meanwhile may have given a sign of life.
            times = {"now": time.monotonic(), "wall": time.time(), "lease": terms.lease}
            mine = {**times, "keys": json.dumps(list(produced))}
            theirs = {**times, "keys": json.dumps(list(followed))}
            connection.execute(
                f"UPDATE answers SET renewed = :now, touched = :wall WHERE {among} AND end = ''",
                mine,
            )
            connection.execute(f"UPDATE answers SET followed = :now WHERE {among}", theirs)
            lives = {key: rest for key, *rest in connection.execute(LIVES, mine)}
            others = {key: rest for key, *rest in connection.execute(LIVES, theirs)}
            self._purge(connection, terms)
        return Beat(
            followed=frozenset(key for key, (_, _, is_followed) in lives.items() if is_followed),
            refused=frozenset(key for key in produced if key not in lives or lives[key][0]),
            orphans=frozenset(key for key in followed if _is_orphan(others.get(key))),
        )

    def _purge(self, connection: sqlite3.Connection, terms: Terms) -> None:
        now = time.monotonic()
        if self._purged and now < self._purged + min(PURGE_EVERY, terms.keep):
            return
        values = {
            "oldest": time.time() - terms.keep,
            "now": now,
            "most": PURGED_AT_ONCE,
            "deleted": DELETED,
            "kept": DELETED_KEPT,
        }
        found = connection.execute(PURGE, values).fetchall()
        for (answer,) in found:
            _remove(connection, answer)
        if len(found) < PURGED_AT_ONCE:  # or the next beat goes on with it
            self._purged = now

    def request_stop(self, key: str) -> None:
        """See `Log.request_stop`."""
        with self._transaction() as connection:
            connection.execute("UPDATE answers SET stop = 1 WHERE key = ? AND end = ''", (key,))

    def delete(self, key: str) -> None:
        """See `Log.delete`. The text is overwritten in the file."""
        with self._transaction() as connection:
            values = {"key": key, "end": DELETED, "wall": time.time()}
            for (answer,) in connection.execute(DELETE, values).fetchall():
                connection.execute("DELETE FROM events WHERE answer = ?", (answer,))

    def close(self) -> None:
        """See `Log.close`."""
        self._file.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._file.writing.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")


def _append(connection: sqlite3.Connection, write: Write, terms: Terms) -> bool:
    values = {
        "key": write.key,
        "owner": write.owner,
        "worker": terms.worker,
        "lease": terms.lease,
        "seq": write.seq,
        "last": write.seq + len(write.events) - 1,
        "end": write.end,
        "now": time.monotonic(),
        "wall": time.time(),
    }
    if write.seq == 1:
        connection.execute(BEGIN, values)
    row = connection.execute(ADVANCE, values).fetchone()
    if row is None:
        return False
    rows = ((row[0], seq, data) for seq, data in enumerate(write.events, write.seq))
    connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
    return True


def _refusal(connection: sqlite3.Connection, key: str) -> Refusal:
    row = connection.execute("SELECT 1 FROM answers WHERE key = ?", (key,)).fetchone()
    return "ended" if row else "gone"  # the file was removed


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _look(connection: sqlite3.Connection, cursors: Mapping[str, int]) -> dict[str, Record]:
    """What the file has of these answers, all of it from one moment."""
    values = {"cursors": json.dumps(dict(cursors))}
    connection.execute("BEGIN")  # one snapshot for both
    ends = connection.execute(ENDS, values).fetchall()
    events: dict[str, list[bytes]] = {key: [] for key, *_ in ends}
    for key, data in connection.execute(NEWS, values):
        events[key].append(data)
    connection.execute("COMMIT")
    return {key: Record(owner, tuple(events[key]), end, worker) for key, owner, worker, end in ends}


def _news(connection: sqlite3.Connection, cursors: Mapping[str, int], worker: str) -> News:
    look = _look(connection, cursors) if cursors else {}
    stops: list[tuple[str]] = []
    if connection.execute("SELECT 1 FROM answers WHERE worker = ? AND stop", (worker,)).fetchone():
        stops = connection.execute(TAKE_STOPS, (worker,)).fetchall()
    new = {key: record for key, record in look.items() if record.events or record.end}
    return News(new, frozenset(key for (key,) in stops))


def _is_orphan(life: list[object] | None) -> bool:
    """Whether an answer has neither an end nor a producer that lives, or is not there."""
    return life is None or (not life[0] and not life[1])


def _remove(connection: sqlite3.Connection, answer: int) -> None:
    connection.execute("DELETE FROM events WHERE answer = ?", (answer,))
    connection.execute("DELETE FROM answers WHERE id = ?", (answer,))
