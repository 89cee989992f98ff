"""What still has to be written, stream by stream, and what may be.

No I/O and no threads: the writer puts records in and takes parts out. The rule that it keeps: the
chunks that are stored of a stream are its first ones, without a gap. So a stream that lost one
chunk, for whatever reason, gets none of the later ones either; its row then says how many.
"""

from __future__ import annotations

import attrs

from .records import Begin, End, Piece, Record
from .store import Part

__all__ = ["Entry", "Ledger"]


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
        """All that can be written now: the pieces that follow on the stored ones."""
        pieces = [piece for piece in self.pieces if piece.seq >= self.stored]
        if pieces and pieces[0].seq > self.stored:
            pieces = []  # the database lost some that it had
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

    def written(self, entry: Entry, part: Part) -> list[Record]:
        """Note that a part is in the database. Tells the records that need not be kept on."""
        released: list[Record] = [*entry.pieces]
        entry.pieces.clear()
        entry.stored, entry.has_row, entry.tries = part.stored, True, 0
        if part.end is not None:
            released += self._forget(entry)
        return released

    def give_up(self, entry: Entry) -> list[Record]:
        """Let go of what cannot be written: the chunks first, then the stream as a whole."""
        entry.tries = 0
        if entry.pieces:
            released: list[Record] = [*entry.pieces]
            entry.pieces.clear()
            return released
        return self._forget(entry)

    def _forget(self, entry: Entry) -> list[Record]:
        del self.entries[entry.begin.stream]
        return [record for record in (entry.begin, entry.end) if record is not None]
