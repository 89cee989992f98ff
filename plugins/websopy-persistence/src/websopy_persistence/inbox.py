"""The bounded queue between the streams' threads and the writer.

The bound covers everything that is not stored yet, also what the writer has taken. Chunks beyond it
are refused. A stream's row and end get four times that, so that its final text is kept. Knows
neither threads nor databases.

A destructor or a signal handler may call it in the middle of any line, in the same thread. So the
lock is reentrant, and no call stands between reading a number and writing it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .records import Begin, Piece, Record

__all__ = ["Inbox"]

RESERVE = 4
"""Rows and final texts may take this many times the limit of chunks."""


class Inbox:
    """Takes records from any thread.

    Args:
        weight: Most characters of waiting chunks.
        batch: Most waiting chunks with their own row. Further ones are joined to the last row of
            their stream.
    """

    def __init__(self, *, weight: int, batch: int) -> None:
        self._limit = weight
        self._batch = batch
        self._lock = threading.RLock()
        self._records: list[Record] = []
        self._pieces: dict[str, tuple[int, Piece]] = {}  # by stream: first seq and last piece
        self._chunks = 0
        self._weight = 0
        self.has_batch = False
        """Whether a whole batch of one stream's chunks can be taken."""
        self.lost_chunks = 0
        self.lost_streams = 0

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._records

    def put(self, record: Record) -> bool:
        """Add a record. False when it is refused, and counted; an End never is."""
        with self._lock:
            if isinstance(record, Piece):
                return self._put_piece(record)
            weight = record.weight
            if self._weight + weight > RESERVE * self._limit:
                if isinstance(record, Begin):
                    self.lost_streams += 1
                    return False
                record = record.without_text()
                weight = record.weight
            self._records.append(record)
            self._weight += weight
            return True

    def take(self) -> Sequence[Record]:
        """All records since the last call."""
        with self._lock:
            records, self._records = self._records, []
            self._pieces.clear()
            self._chunks = 0
            self.has_batch = False
        return records

    def free(self, weight: int) -> None:
        """Note that so many characters are stored or given up."""
        with self._lock:
            self._weight -= weight

    def lose(self, *, chunks: int, streams: int = 0) -> None:
        """Count chunks and streams that will never be stored."""
        with self._lock:
            self.lost_chunks += chunks
            self.lost_streams += streams

    def _put_piece(self, piece: Piece) -> bool:
        weight = piece.weight
        if self._weight + weight > self._limit:
            self.lost_chunks += 1
            return False
        first, last = self._pieces.get(piece.stream, (piece.seq, None))
        self._chunks += 1
        self.has_batch = self.has_batch or piece.seq - first + 1 >= self._batch
        if last is not None and self._chunks > self._batch:
            before = last.weight
            if last.join(piece):
                weight = last.weight - before
                self._weight += weight
                return True
        self._records.append(piece)
        self._pieces[piece.stream] = (first, piece)
        self._weight += weight
        return True
