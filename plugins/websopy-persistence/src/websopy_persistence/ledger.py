"""What still has to be written, stream by stream, and what may be.

No I/O and no threads: the writer puts records in and takes parts out. The rule that it keeps: the
chunks that are stored of a stream are its first ones, without a gap. So a stream that lost one
chunk, for whatever reason, gets none of the later ones either; its row then says how many.
"""

from __future__ import annotations

import attrs

from .records import Begin, End, Piece, Record
from .store import Part, Stored

__all__ = ["Entry", "Ledger"]


@attrs.define(eq=False)
class Entry:
    """One stream that is open or not wholly written.

    stored: what the database has of it, None for nothing; certain: whether that is known, and not
    only what it was before a failure. row_waits: whether its row was not stored yet, ever.
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
        """Whether there is anything to write."""
        return bool(self.pieces) or self.end is not None or self.stored is None

    @property
    def chunks(self) -> int:
        """How many chunks wait."""
        return sum(piece.count for piece in self.pieces)

    @property
    def weight(self) -> int:
        """Characters that wait. A row that was stored once is kept for the case that it vanishes,
        but counts no more: with many open streams their questions would leave no room.
        """
        pieces = sum(piece.weight for piece in self.pieces)
        begin = self.begin.weight if self.row_waits else 0
        return pieces + begin + (0 if self.end is None else self.end.weight)

    def found(self, stored: Stored | None) -> None:
        """Take note of what the database says it has."""
        self.stored, self.certain = stored, True

    def part(self) -> Part:
        """All that can be written now: the pieces that follow on the stored ones, one by one.

        Some may be stored already, when only the answer to a commit was lost; and some may be
        missing, when they were given up, or the database lost what it had.
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
    """The streams that are open or not wholly written. For one thread."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def take(self, record: Record) -> bool:
        """Put a record in. False when it belongs to no stream here, and is let go."""
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
        """What all that is kept here costs."""
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
        """Let go of what cannot be written, bit by bit: chunks, then the text, then the stream."""
        before, entry.tries = entry.weight, 0
        if entry.pieces:
            entry.pieces.clear()
        elif entry.end is not None and entry.end.answer:
            entry.end = attrs.evolve(entry.end, answer=None)
        else:
            return self._forget(entry)
        return before - entry.weight

    def _forget(self, entry: Entry) -> int:
        del self.entries[entry.begin.stream]
        return entry.weight
