"""The thread that stores records in batches.

A stream's thread only puts a record into the inbox and wakes this thread. Only this thread waits
for the database. It spaces its tries, and counts what cannot be stored. Knows neither tables nor
hooks. Above 350 lines: the thread, its wake-ups and its retries share one state.

A destructor or a signal handler may call it in the middle of any line, in the same thread. So the
code for the streams' threads uses reentrant parts only: an RLock and a SimpleQueue.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from sqlalchemy.exc import InterfaceError, OperationalError

from websopy_sync.threads import start_thread

from .forks import ForkWaitsError, at_exit, connected, register
from .inbox import Inbox
from .ledger import Entry, Ledger
from .records import End, Piece, Record
from .store import Part, Stored
from .trouble import Trouble, log

__all__ = ["Limits", "OpenStore", "Writer"]


class OpenStore(Protocol):
    """The part of a store that the writer uses."""

    def stored(self, stream: str) -> Stored | None:
        """How much of a stream is stored; None when it has no row."""

    def write(self, parts: Sequence[Part]) -> None:
        """Write the parts, all or none."""

    def close(self) -> None:
        """Disconnect from the database."""


@attrs.frozen
class Limits:
    """When to write, and how much may wait. Times are in seconds.

    Args:
        batch: Chunks of one stream that are written at once.
        period: The age at which a smaller batch is written.
        weight: Most characters that wait for the database; further chunks are lost. Rows and
            final texts may take four times that.
        retry: The wait after a failure; it doubles with each.
        longest_retry: The longest such wait.
        tries: Most tries of one stream, while others can be written, after failures of the
            connection or the disk.
        bad_tries: Most tries of one stream after the database refused its data.
        touch: The time between two signs of life of a silent stream.
        idle: The time after which an idle thread ends and the connection is closed.
    """

    batch: int = 50
    period: float = 0.25
    weight: int = 32 * 1024 * 1024
    retry: float = 0.25
    longest_retry: float = 5.0
    tries: int = 20
    bad_tries: int = 2
    touch: float = 60.0
    idle: float = 10.0


# Why the thread is woken, by urgency.
_STIR, _HURRY, _FORCE = 1, 2, 3


class Writer:
    """Stores records in the background, for any thread; a forked child starts with none.

    Args:
        open_store: Opens the database; may raise anything, and take any time.
        trouble: Reports failures and losses.
        limits: When to write, and how much may wait.
        fork_patience: Seconds that a fork of this process waits for a transaction to end.
    """

    def __init__(
        self,
        open_store: Callable[[], OpenStore],
        trouble: Trouble,
        *,
        limits: Limits | None = None,
        fork_patience: float = 5.0,
    ) -> None:
        self._open_store = open_store
        self._trouble = trouble
        self._limits = limits or Limits()
        self._fork_patience = fork_patience
        self._inherited: list[OpenStore | None] = []
        self._store: OpenStore | None = None
        self.start_over()
        register(self)

    def start_over(self) -> None:
        """Start without records, in a forked child: its parent stores those that wait."""
        # Not closed: a connection that was open at the fork belongs to the parent.
        self._inherited.append(self._store)
        self._trouble.forget()
        self._lock = threading.RLock()
        self._wake: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._woken = 0
        self._thread: threading.Thread | None = None
        self._at_exit: Callable[[], object] = lambda: None
        self._stopping = False
        self._inbox = Inbox(weight=self._limits.weight, batch=self._limits.batch)
        self._flushes: list[threading.Event] = []
        # Below: used by the thread alone.
        self._taken_flushes: list[threading.Event] = []
        self._ledger = Ledger()
        self._store = None
        self._failures = 0
        self._all_seen = time.monotonic()
        self._pid = os.getpid()  # last: from now on all of this belongs to this process

    # Called by any thread

    def put(self, record: Record) -> bool:
        """Queue a record, and return at once. False when it is refused; an End never is."""
        self._check_process()
        inbox = self._inbox
        taken = inbox.put(record)
        urgent = isinstance(record, End) or inbox.has_batch
        self._rouse(_HURRY if urgent else _STIR)
        if not taken:
            self._trouble.overflowed()
        return taken

    def flush(self, seconds: float) -> bool:
        """Wait until all records so far are stored, at most so many seconds; False if not."""
        self._check_process()
        stored = threading.Event()
        with self._lock:
            if self._thread is None and self._inbox.empty:
                return True
            self._flushes.append(stored)
            self._rouse(_FORCE)
        return stored.wait(seconds)

    def close(self, seconds: float = 5.0) -> None:
        """Try once more to store what waits, then end the thread and close the connection.

        Records that are put later start both again.

        Args:
            seconds: The longest wait.
        """
        self._check_process()
        with self._lock:
            if self._thread is None and self._inbox.empty:
                return
            self._stopping = True
            thread = self._thread
            if thread is None:  # none could be started: this thread does the work
                self._thread = threading.current_thread()
            self._rouse(
                _FORCE
            )  # inside the lock, or a thread that has just ended would start again
        if thread is None:
            self._run()
        elif thread is not threading.current_thread():
            thread.join(seconds)

    @property
    def lost_chunks(self) -> int:
        """The number of chunks that will never be stored."""
        return self._inbox.lost_chunks

    def miss(self) -> None:
        """Count a chunk that is not put because an earlier one was refused."""
        self._check_process()
        self._inbox.lose(chunks=1)

    @property
    def lost_streams(self) -> int:
        """The number of streams that are not stored at all."""
        return self._inbox.lost_streams

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # forked by code that does not run Python's fork hooks
            self.start_over()

    def disconnect(self) -> None:
        """Close the connection before a fork; the next batch opens another."""
        self._close_store()

    def _rouse(self, urgency: int) -> None:
        # Without a lock, as each chunk passes here. The thread sees the record, or this starts one:
        # _take() resets _woken before it takes, and _may_end() clears _thread before it looks at
        # the inbox for the last time.
        if urgency > self._woken:
            self._woken = urgency
            self._wake.put(urgency)
        if self._thread is None:
            self._start_thread()

    def _start_thread(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="websopy-history", daemon=True)
            self._thread = thread
            self._at_exit()  # of a thread that could not start
            self._at_exit = at_exit(self.close)
            try:
                error = start_thread(thread)
            finally:
                if thread.ident is None:  # it never ran, whatever was raised
                    self._thread = None
            if error is not None and threading.main_thread().is_alive():
                self._trouble.began(error)  # otherwise the interpreter is ending

    # Called in the writer's thread

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
        """Sleep until there is work. True when nothing came during the whole wait."""
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
        """The streams to write now: those that wait, and once in `touch` seconds all of them."""
        if time.monotonic() < self._all_seen + self._limits.touch:
            return self._ledger.waiting()
        self._all_seen = time.monotonic()
        return list(self._ledger.entries.values())

    def _take(self) -> bool:
        """Take the records from the inbox. True when this includes all from before a close()."""
        with self._lock:
            stopping = self._stopping
            self._taken_flushes += self._flushes
            self._flushes.clear()
        # The order matters: the garbage collector may run a destructor here, in this thread, which
        # puts a record. It must not wait for the next one.
        while not self._wake.empty():
            self._wake.get()
        self._woken = 0
        for record in self._inbox.take():
            if not self._ledger.take(record):
                self._inbox.free(record.weight)
                self._inbox.lose(chunks=record.count if isinstance(record, Piece) else 0)
        return stopping

    def _try(self, entries: Sequence[Entry]) -> None:
        """Write, or note the failure. Raises nothing."""
        if entries:
            try:
                self._write_between_forks(entries)
            except Exception as error:  # noqa: BLE001 - a driver may raise anything at all
                self._failures += 1
                self._trouble.began(error)
                return
            self._failures = 0
            self._trouble.ended()
        self._trouble.lost(chunks=self.lost_chunks, streams=self.lost_streams)
        while self._taken_flushes:
            self._taken_flushes.pop().set()

    def _write_between_forks(self, entries: Sequence[Entry]) -> None:
        while True:
            try:
                with connected(self._fork_patience):
                    return self._write_all(entries)
            except ForkWaitsError:  # the next connected() waits for the end of the fork
                continue

    def _write_all(self, entries: Sequence[Entry]) -> None:
        """Write in one transaction; if that fails, stream by stream.

        So a bad or too large chunk does not keep other streams from being stored.
        """
        self._open()
        try:
            self._write(entries)
            return
        except ForkWaitsError:
            self._doubt()
            raise
        except Exception as error:  # noqa: BLE001 - a driver may raise anything at all
            self._trouble.began(error)
            self._doubt()
        failure = None
        for entry in entries:
            self._open()  # raises when the whole database fails
            try:
                self._write([entry])
            except ForkWaitsError:
                self._doubt()
                raise
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
            missing = (piece for piece in entry.pieces if piece.seq >= part.stored.chunks)
            self._inbox.lose(chunks=sum(piece.count for piece in missing))
            self._inbox.free(self._ledger.written(entry, part))

    def _doubt(self) -> None:
        self._ledger.doubt()
        self._close_store()

    def _blame(self, entry: Entry, error: Exception) -> None:
        """Count the failure of one stream, and give up after too many."""
        entry.tries += 1
        passing = isinstance(error, OperationalError | InterfaceError | OSError)
        if entry.tries < (self._limits.tries if passing else self._limits.bad_tries):
            return
        before = entry.chunks
        self._inbox.free(self._ledger.give_up(entry))
        streams = int(entry.begin.stream not in self._ledger.entries)
        self._inbox.lose(chunks=before - entry.chunks, streams=streams)

    def _may_end(self, *, idle: bool, stopping: bool) -> bool:
        if not (idle or stopping):
            return False
        with connected(self._fork_patience):
            self._close_store()
        with self._lock:
            if stopping and self._trouble.problem:
                self._abandon()
            thread, self._thread = self._thread, None
            if self._flushes or not self._inbox.empty:
                self._thread = thread
                return False
            self._at_exit()
            self._stopping = False
        return True

    def _abandon(self) -> None:
        """Drop everything that is not stored: nobody will try again."""
        self._take()  # records that came after the close()
        waiting = self._ledger.waiting()
        rowless = sum(entry.stored is None for entry in waiting)
        self._inbox.lose(chunks=sum(entry.chunks for entry in waiting), streams=rowless)
        self._trouble.lost(chunks=self.lost_chunks, streams=self.lost_streams)
        self._inbox.free(self._ledger.weight)
        self._ledger, self._stopping = Ledger(), False
        self._taken_flushes.clear()
        self._flushes.clear()

    def _close_store(self) -> None:
        store, self._store = self._store, None
        try:
            if store is not None:
                store.close()
        except Exception as error:  # noqa: BLE001 - closing a broken one may fail too
            log.debug("closing the history: %s", type(error).__name__)
