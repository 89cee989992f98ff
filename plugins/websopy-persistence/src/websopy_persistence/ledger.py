"""What still has to be written, stream by stream, and what may be.

No I/O and no threads: the writer puts records in and takes parts out. The rule that it keeps: the
chunks that are stored of a stream are its first ones, without a gap. So a stream that lost one
chunk, for whatever reason, gets none of the later ones either; its row then says how many.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .records import Begin, End, Piece, Record
from .store import Part

__all__ = ["Entry", "Freed", "Ledger"]


@attrs.frozen
class Freed:
    """How many records, with how many characters, need not be kept any more."""

    records: int
    weight: int

    @classmethod
    def all_of(cls, records: Sequence[Record]) -> Freed:
        """All of these."""
        return cls(len(records), sum(record.weight for record in records))

    def __add__(self, other: Freed) -> Freed:
        return Freed(self.records + other.records, self.weight + other.weight)


@attrs.define(eq=False)
class Entry:
    """One stream that is open or not wholly written.

    stored: how many chunks the database has; has_row: whether its row is there; certain: whether
    the two are known, and not only what they were before a failure.
    """

    begin: Begin
    pieces: list[Piece] = attrs.Factory(list)
    end: End | None = None
    stored: int = 0
    has_row: bool = False
    certain: bool = True
    tries: int = 0

    @property
    def waiting(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.pieces) or self.end is not None or not self.has_row

    def found(self, stored: int | None) -> None:
        """Take note of what the database says it has: so many chunks, or None for no row."""
        self.has_row, self.stored, self.certain = stored is not None, stored or 0, True

    def part(self) -> Part:
        """All that can be written now: the pieces that follow on the stored ones, one by one.

        Some may be stored already, when only the answer to a commit was lost; and some may be
        missing, when they were given up, or the database lost what it had.
        """
        pieces: list[Piece] = []
        for piece in self.pieces:
            if piece.seq == self.stored + len(pieces):
                pieces.append(piece)
        begin = None if self.has_row else self.begin
        return Part(self.begin.stream, begin, pieces, self.stored + len(pieces), self.end)


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

    def doubt(self) -> None:
        """Something failed: what was believed of the database must be asked again."""
        for entry in self.entries.values():
            entry.certain = False

    def written(self, entry: Entry, part: Part) -> Freed:
        """Note that a part is in the database."""
        freed = _dropped(entry)
        entry.stored, entry.has_row, entry.tries = part.stored, True, 0
        return freed if part.end is None else freed + self._forget(entry)

    def give_up(self, entry: Entry) -> Freed:
        """Let go of what cannot be written, bit by bit: chunks, then the text, then the stream."""
        entry.tries = 0
        if entry.pieces:
            return _dropped(entry)
        if entry.end is not None and entry.end.answer:
            weight = entry.end.weight
            entry.end = attrs.evolve(entry.end, answer=None)
            return Freed(0, weight)
        return self._forget(entry)

    def _forget(self, entry: Entry) -> Freed:
        del self.entries[entry.begin.stream]
        return Freed.all_of([entry.begin] if entry.end is None else [entry.begin, entry.end])


def _dropped(entry: Entry) -> Freed:
    freed = Freed.all_of(entry.pieces)
    entry.pieces.clear()
    return freed
