"""A log in the memory of one process: for tests, and for a site of one process.

An answer survives a reload there, but not the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs

from .forks import register
from .log import DELETED, Beat, News, Record, Refusal, Terms, Write

DELETED_KEPT = 3600.0
"""Seconds for which a deleted answer cannot begin anew."""


@attrs.define
class _Stored:
    owner: str
    worker: str
    events: list[bytes] = attrs.field(factory=list)
    end: str = ""
    stop: bool = False
    renewed: float = 0.0
    followed: float = float("-inf")
    expires: float = 0.0


class MemoryLog:
    """A log in memory. Also the shortest example of what `Log` asks for."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._answers: dict[str, _Stored] = {}
        register(self)

    def __repr__(self) -> str:
        return "MemoryLog()"

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        """See `Log.append`."""
        with self._changed:
            said = [(write.key, self._append(write, terms)) for write in writes]
            self._changed.notify_all()
        return {key: refusal for key, refusal in said if refusal}

    def _append(self, write: Write, terms: Terms) -> Refusal | None:
        stored = self._answers.get(write.key)
        if stored is None and write.seq == 1:
            stored = self._answers[write.key] = _Stored(write.owner, terms.worker)
        if stored is None or stored.end or write.seq != len(stored.events) + 1:
            return "ended"
        stored.events += write.events
        stored.end = write.end
        stored.renewed = time.monotonic()
        stored.expires = stored.renewed + terms.keep
        return None

    def read(self, key: str, after: int) -> Record | None:
        """See `Log.read`."""
        with self._changed:
            stored = self._answers.get(key)
            if stored is None:
                return None
            return Record(stored.owner, tuple(stored.events[after:]), stored.end, stored.worker)

    def watch(self, cursors: Mapping[str, int], worker: str, seconds: float) -> News:
        """See `Log.watch`."""
        with self._changed:
            news = self._news(cursors, worker)
            if not news.answers and not news.stops and self._changed.wait(seconds):
                news = self._news(cursors, worker)
            return news

    def _news(self, cursors: Mapping[str, int], worker: str) -> News:
        mine = [(k, s) for k, s in self._answers.items() if s.stop and s.worker == worker]
        for _, stored in mine:
            stored.stop = False
        return News(dict(self._new(cursors)), frozenset(key for key, _ in mine))

    def _new(self, cursors: Mapping[str, int]) -> Iterator[tuple[str, Record]]:
        for key, after in cursors.items():
            stored = self._answers.get(key)
            if stored and (stored.end or len(stored.events) > after):
                yield key, Record(stored.owner, tuple(stored.events[after:]), stored.end)

    def beat(self, produced: Mapping[str, int], followed: Collection[str], terms: Terms) -> Beat:
        """See `Log.beat`."""
        now = time.monotonic()
        with self._changed:
            mine = {key: self._answers.get(key) for key in produced}
            for stored in filter(None, mine.values()):
                stored.renewed, stored.expires = now, now + terms.keep
            theirs = {key: self._answers.get(key) for key in followed}
            for stored in filter(None, theirs.values()):
                stored.followed = now
            self._purge(now)
        return Beat(
            followed=frozenset(k for k, s in mine.items() if s and now - s.followed < terms.lease),
            refused=frozenset(k for k, s in mine.items() if not s or s.end),
            orphans=frozenset(
                k
                for k, s in theirs.items()
                if not s or (not s.end and now - s.renewed >= terms.lease)
            ),
        )

    def _purge(self, now: float) -> None:
        for key in [key for key, stored in self._answers.items() if stored.expires < now]:
            del self._answers[key]

    def request_stop(self, key: str) -> None:
        """See `Log.request_stop`."""
        with self._changed:
            stored = self._answers.get(key)
            if stored is not None and not stored.end:
                stored.stop = True
                self._changed.notify_all()

    def delete(self, key: str) -> None:
        """See `Log.delete`."""
        with self._changed:
            expires = time.monotonic() + DELETED_KEPT
            self._answers[key] = _Stored("", "", end=DELETED, expires=expires)
            self._changed.notify_all()

    def close(self) -> None:
        """See `Log.close`."""

    def before_fork(self) -> None:
        """Take the lock, which a child would otherwise find taken for ever."""
        self._lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        """Release it. The answers stay with the parent."""
        if in_child:
            self._answers.clear()
        self._lock.release()
