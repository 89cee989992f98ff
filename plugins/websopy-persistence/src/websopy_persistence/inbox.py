"""What streams put for the writer, until it takes it: bounded in characters, and joined.

Knows no thread and no database. What is bounded is all that is not stored yet, also what the writer
has taken: it says when that is stored. Chunks that find no room are refused. A stream's row and its
end are taken as long as memory allows at all, so that its final text is kept.

A stream's end may be told out of a destructor or a signal handler, in the middle of any line here
in the same thread: so the lock is reentrant, and no sum calls anything between its reading and its
writing of a number.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import attrs

from .records import Begin, Piece, Record

__all__ = ["Inbox"]

RESERVE = 4
"""How much more than chunks may take is there for the rows and the final texts of streams."""


class Inbox:
    """Takes records from any thread.

    weight: how many characters chunks may take. batch: how many chunks may wait as a row each; of
    those that come while so many wait, each stream's are joined to its last row.
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
        """Whether there is nothing to take."""
        return not self._records

    def put(self, record: Record) -> bool:
        """Take a record in, or refuse and count it: whether it was taken. An End always is."""
        with self._lock:
            if isinstance(record, Piece):
                return self._put_piece(record)
            weight = record.weight
            if self._weight + weight > RESERVE * self._limit:
                if isinstance(record, Begin):
                    self.lost_streams += 1
                    return False
                record = attrs.evolve(record, answer=None)
                weight = record.weight
            self._records.append(record)
            self._weight += weight
            return True

    def take(self) -> Sequence[Record]:
        """All that was put since the last time."""
        with self._lock:
            records, self._records = self._records, []
            self._pieces.clear()
            self._chunks = 0
            self.has_batch = False
        return records

    def free(self, weight: int) -> None:
        """Note that so many characters of what was taken are stored, or given up."""
        with self._lock:
            self._weight -= weight

    def lose(self, *, chunks: int, streams: int = 0) -> None:
        """Count what will never be stored."""
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
