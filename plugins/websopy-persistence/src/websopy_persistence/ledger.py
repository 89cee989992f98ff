"""The records that are not stored yet, by stream, and which of them may be written next.

Its rule: the stored chunks of a stream are its first ones, without a gap. After a lost chunk, the
later ones are not stored either; the stream's row says how many. No I/O and no threads: the writer
puts records in and takes parts out.
"""

from __future__ import annotations

import attrs

from .records import Begin, End, Piece, Record
from .store import Part, Stored

__all__ = ["Entry", "Ledger"]

LARGE_REQUEST = 1024 * 1024
"""Characters. MariaDB refuses a row of 16 MiB, or what its administrator has set."""


@attrs.define(eq=False)
class Entry:
    """One stream that is open or not completely written.

    Attributes:
        begin: Its beginning.
        pieces: Its chunks that wait.
        end: Its end, once it has come.
        stored: What the database has of it; None for nothing.
        certain: False when `stored` dates from before a failure.
        row_waits: Whether its row was never stored.
        tries: Failed tries to write it.
    """

    begin: Begin
    pieces: list[Piece] = attrs.Factory(list)
    end: End | None = None
    stored: Stored | None = None
    certain: bool = True
    row_waits: bool = True
    tries: int = 0

    @property
    def waiting(self) -> bool:
        """Whether something has to be written."""
        return bool(self.pieces) or self.end is not None or self.stored is None

    @property
    def chunks(self) -> int:
        """The number of chunks that wait."""
        return sum(piece.count for piece in self.pieces)

    @property
    def weight(self) -> int:
        """The size of what waits, in characters.

        A stored row is kept in case it vanishes, but not counted: with many open streams, their
        questions would leave no room.
        """
        pieces = sum(piece.weight for piece in self.pieces)
        begin = self.begin.weight if self.row_waits else 0
        return pieces + begin + (0 if self.end is None else self.end.weight)

    def found(self, stored: Stored | None) -> None:
        """Note what the database has."""
        self.stored, self.certain = stored, True

    def part(self) -> Part:
        """Everything that can be written now: the pieces that follow the stored ones without a gap.

        Some pieces may be stored already, if the reply to a commit was lost. Some may be missing,
        if they were given up, or the database lost them.
        """
        stored = self.stored or Stored(0, 0)
        pieces: list[Piece] = []
        chunks = stored.chunks
        for piece in self.pieces:
            if piece.seq == chunks:
                pieces.append(piece)
                chunks += piece.count
        begin = None if self.stored else self.begin
        after = Stored(chunks, stored.rows + len(pieces))
        return Part(self.begin.stream, begin, pieces, stored.rows, after, self.end)


class Ledger:
    """The streams that are open or not completely written. For one thread."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def take(self, record: Record) -> bool:
        """Add a record. False when its stream is unknown: the record is dropped."""
        entry = self.entries.get(record.stream)
        if isinstance(record, Begin):
            self.entries[record.stream] = Entry(record)
        elif entry is None:  # given up, or begun before a fork
            return False
        elif isinstance(record, End):
            entry.end = record
        else:
            entry.pieces.append(record)
        return True

    def waiting(self) -> list[Entry]:
        """The streams with something to write."""
        return [entry for entry in self.entries.values() if entry.waiting]

    @property
    def weight(self) -> int:
        """The size of everything here, in characters."""
        return sum(entry.weight for entry in self.entries.values())

    def doubt(self) -> None:
        """Something failed: what was believed of the database must be asked again."""
        for entry in self.entries.values():
            entry.certain = False

    def written(self, entry: Entry, part: Part) -> int:
        """Note that a part is in the database; the weight that need not be kept any more."""
        before = entry.weight
        entry.pieces.clear()
        entry.stored, entry.row_waits, entry.tries = part.stored, False, 0
        freed = before - entry.weight
        return freed if part.end is None else freed + self._forget(entry)

    def give_up(self, entry: Entry) -> int:
        """Let go of what cannot be written, bit by bit: chunks, then the text, then the stream.

        A large request goes first while the row is missing: nothing else would help.
        """
        before, entry.tries = entry.weight, 0
        if entry.row_waits and len(entry.begin.request or "") > LARGE_REQUEST:
            entry.begin = entry.begin.without_text()
        elif entry.pieces:
            entry.pieces.clear()
        elif entry.end is not None and (entry.end.answer or entry.end.reasoning):
            entry.end = entry.end.without_text()
        else:
            return self._forget(entry)
        return before - entry.weight

    def _forget(self, entry: Entry) -> int:
        del self.entries[entry.begin.stream]
        return entry.weight
