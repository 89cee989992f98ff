"""The thread that writes: takes records from the streams' threads at once, stores them in batches.

Knows no table and no hook. A stream's thread only ever appends to a list here. Whatever the
database does, for however long, the thread here bears it: what waits is bounded, tries are spaced,
and what does not fit is counted and not kept.

A stream's end may be told out of a destructor or a signal handler, in the middle of any line here
in the same thread. So what those threads touch is reentrant: an RLock and a SimpleQueue.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from sqlalchemy.exc import InterfaceError, OperationalError

from .ledger import Entry, Freed, Ledger
from .records import End, Piece, Record
from .store import Part
from .trouble import Trouble, log

__all__ = ["Limits", "OpenStore", "Writer"]


class OpenStore(Protocol):
    """What the writer needs of a store."""

    def stored(self, stream: str) -> int | None:
        """How many chunks of a stream are there; None when it has no row."""

    def write(self, parts: Sequence[Part]) -> None:
        """Write the parts, all or none."""

    def close(self) -> None:
        """Let go of the database."""


@attrs.frozen
class Limits:
    """When to write, and how much may wait. Times are seconds.

    batch, period: a batch is written when it has so many chunks or is so old. records, weight:
    how many records, with how many characters, may wait for the database. retry, longest_retry:
    the wait after a failure, doubled with each up to the longest. tries, bad_tries: how often one
    stream is tried, while others can be written, after failures of the connection or the disk,
    and after refusals of the data. touch: between signs of life of silent streams. idle: after
    which thread and connection are let go.
    """

    batch: int = 50
    period: float = 0.25
    records: int = 10_000
    weight: int = 32 * 1024 * 1024
    retry: float = 0.25
    longest_retry: float = 5.0
    tries: int = 20
    bad_tries: int = 2
    touch: float = 60.0
    idle: float = 10.0


# What wakes the thread, the more urgent the higher.
_STIR, _HURRY, _FORCE = 1, 2, 3


class Writer:
    """Stores records in the background. Any thread may put; a forked child starts with nothing.

    open_store: opens the database; may raise anything, and take any time.
    """

    def __init__(
        self, open_store: Callable[[], OpenStore], trouble: Trouble, *, limits: Limits | None = None
    ) -> None:
        self._open_store = open_store
        self._trouble = trouble
        self._limits = limits or Limits()
        self._inherited: list[object] = []
        self._start_over()

    def _start_over(self) -> None:
        self._lock = threading.RLock()
        self._wake: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._woken = 0
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._records: list[Record] = []
        self._held = 0
        self._weight = 0
        self._lost_chunks = 0
        self._lost_streams = 0
        self._flushes: list[threading.Event] = []
        # From here on for the thread alone.
        self._taken_flushes: list[threading.Event] = []
        self._ledger = Ledger()
        self._store: OpenStore | None = None
        self._failures = 0
        self._all_seen = time.monotonic()
        self._pid = os.getpid()  # last: now all of this is this process's own

    # --- for any thread --------------------------------------------------------------------------

    def put(self, record: Record) -> bool:
        """Have a record stored. False when too much waits already; an End is always taken.

        Returns at once.
        """
        self._check_process()
        with self._lock:
            taken = self._put(record)
        if not taken:
            self._trouble.overflowed()
        return taken

    def flush(self, seconds: float) -> bool:
        """Wait until all that was put so far is stored, at most so many seconds; whether it is."""
        self._check_process()
        stored = threading.Event()
        with self._lock:
            if self._thread is None and not self._records:
                return True
            self._flushes.append(stored)
            self._rouse(_FORCE)
        return stored.wait(seconds)

    def close(self, seconds: float = 5.0) -> None:
        """Try once more to store what waits, then let go of thread and connection.

        Waits at most so many seconds. What is put afterwards starts anew.
        """
        self._check_process()
        with self._lock:
            thread = self._thread
            if thread is None:
                return
            self._stopping = True
            self._rouse(_FORCE)
        if thread is not threading.current_thread():
            thread.join(seconds)

    @property
    def lost_chunks(self) -> int:
        """How many chunks will never be stored."""
        return self._lost_chunks

    def miss(self) -> None:
        """Count a chunk that is not put, because the one before it was refused."""
        self._check_process()
        self._lose(chunks=1, streams=0)

    @property
    def lost_streams(self) -> int:
        """How many streams were not stored at all."""
        return self._lost_streams

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            # Closing what was inherited would end the parent's connection, so it is kept.
            self._inherited += [self._store, self._thread]
            self._start_over()

    # --- under the lock --------------------------------------------------------------------------

    def _put(self, record: Record) -> bool:
        weight = record.weight
        if self._is_full(weight):
            if not isinstance(record, End):
                self._refuse(record)
                return False
            record, weight = attrs.evolve(record, answer=None), 0
        self._records.append(record)
        self._held += 1
        self._weight += weight
        urgent = isinstance(record, End) or len(self._records) >= self._limits.batch
        self._rouse(_HURRY if urgent else _STIR)
        return True

    def _is_full(self, weight: int) -> bool:
        return self._held >= self._limits.records or self._weight + weight > self._limits.weight

    def _refuse(self, record: Record) -> None:
        piece = isinstance(record, Piece)
        self._lose(chunks=int(piece), streams=int(not piece))
        self._rouse(_STIR)

    def _lose(self, *, chunks: int, streams: int) -> None:
        with self._lock:
            self._lost_chunks += chunks
            self._lost_streams += streams

    def _rouse(self, urgency: int) -> None:
        if urgency > self._woken:
            self._woken = urgency
            self._wake.put(urgency)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="websopy-history", daemon=True)
            try:
                self._thread.start()
                atexit.register(self.close)
            except RuntimeError:  # the interpreter is ending, and takes no new thread
                self._thread = None

    # --- in the writer's thread ------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            rested = self._rest()
            stopping = self._take()
            due = self._due()
            self._try(due)
            idle = rested and not due and not self._ledger.entries
            if self._may_end(idle=idle, stopping=stopping):
                return

    def _rest(self) -> bool:
        """Sleep until there is something to do. True when nothing came in the whole time."""
        calm, nothing_came = not self._is_backing_off(), True
        until = time.monotonic() + self._patience()
        while (left := until - time.monotonic()) > 0:
            try:
                urgency = self._wake.get(timeout=left)
            except queue.Empty:
                break
            nothing_came = False
            if urgency >= (_HURRY if calm else _FORCE):
                break
            if calm:
                until = min(until, time.monotonic() + self._limits.period)
        return nothing_came

    def _is_backing_off(self) -> bool:
        return bool(self._trouble.problem and self._ledger.waiting())

    def _patience(self) -> float:
        limits = self._limits
        if self._is_backing_off():
            return min(limits.retry * 2.0 ** min(self._failures - 1, 30), limits.longest_retry)
        return limits.touch if self._ledger.entries else limits.idle

    def _due(self) -> Sequence[Entry]:
        """What is to be written now: what waits, and now and then a sign of life of each."""
        if time.monotonic() < self._all_seen + self._limits.touch:
            return self._ledger.waiting()
        self._all_seen = time.monotonic()
        return list(self._ledger.entries.values())

    def _take(self) -> bool:
        """Take over what was put. True when all that came before a close() is taken now."""
        with self._lock:
            stopping = self._stopping
            self._taken_flushes += self._flushes
            self._flushes.clear()
            records, self._records = self._records, []
            self._woken = 0
            while not self._wake.empty():
                self._wake.get()
        self._free(Freed.all_of([it for it in records if not self._ledger.take(it)]))
        return stopping

    def _free(self, freed: Freed) -> None:
        with self._lock:
            self._held -= freed.records
            self._weight -= freed.weight

    def _try(self, entries: Sequence[Entry]) -> None:
        """Write, or take note that it could not be done. Nothing comes out of here."""
        if entries:
            try:
                self._write_all(entries)
            except Exception as error:  # noqa: BLE001 - a driver may raise anything at all
                self._failures += 1
                self._trouble.began(error)
                return
            self._failures = 0
            self._trouble.ended()
        self._trouble.lost(chunks=self._lost_chunks, streams=self._lost_streams)
        while self._taken_flushes:
            self._taken_flushes.pop().set()

    def _write_all(self, entries: Sequence[Entry]) -> None:
        """Write in one transaction; if that fails, stream by stream, so that one bad chunk, or
        one that is too large, keeps no other stream from being stored."""
        self._open()
        try:
            self._write(entries)
            return
        except Exception as error:  # noqa: BLE001 - a driver may raise anything at all
            self._trouble.began(error)
            self._doubt()
        failure = None
        for entry in entries:
            self._open()  # raises when it is the database as a whole
            try:
                self._write([entry])
            except Exception as error:  # noqa: BLE001 - raised below
                self._doubt()
                self._blame(entry, error)
                failure = error
        if failure is not None:
            raise failure

    def _open(self) -> None:
        if self._store is None:
            self._store = self._open_store()

    def _write(self, entries: Sequence[Entry]) -> None:
        store = self._store
        assert store is not None
        for entry in entries:
            if not entry.certain:
                entry.found(store.stored(entry.begin.stream))
        parts = [entry.part() for entry in entries]
        store.write(parts)
        for entry, part in zip(entries, parts, strict=True):
            self._lose(chunks=sum(piece.seq >= part.stored for piece in entry.pieces), streams=0)
            self._free(self._ledger.written(entry, part))

    def _doubt(self) -> None:
        self._ledger.doubt()
        self._close_store()

    def _blame(self, entry: Entry, error: Exception) -> None:
        """Count a failure that is one stream's; give up on what fails too often."""
        entry.tries += 1
        passing = isinstance(error, OperationalError | InterfaceError | OSError)
        if entry.tries < (self._limits.tries if passing else self._limits.bad_tries):
            return
        lost = len(entry.pieces)
        self._free(self._ledger.give_up(entry))
        self._lose(chunks=lost, streams=int(entry.begin.stream not in self._ledger.entries))

    def _may_end(self, *, idle: bool, stopping: bool) -> bool:
        if not (idle or stopping):
            return False
        self._close_store()
        with self._lock:
            if stopping and self._trouble.problem:
                self._abandon()
            elif self._records or self._flushes:
                return False
            atexit.unregister(self.close)
            self._thread, self._stopping, self._woken = None, False, 0
        return True

    def _abandon(self) -> None:
        """Let go of all that is not stored; nobody will try again."""
        self._take()  # what came after the close()
        entries = self._ledger.waiting()
        waiting = sum(len(entry.pieces) for entry in entries)
        self._lose(chunks=waiting, streams=sum(not entry.has_row for entry in entries))
        self._trouble.lost(chunks=self._lost_chunks, streams=self._lost_streams)
        self._ledger, self._records, self._held, self._weight = Ledger(), [], 0, 0
        self._taken_flushes.clear()
        self._flushes.clear()

    def _close_store(self) -> None:
        store, self._store = self._store, None
        try:
            if store is not None:
                store.close()
        except Exception as error:  # noqa: BLE001 - what is broken may not close either
            log.debug("closing the history: %s", type(error).__name__)
