"""The connection that writes streams, after it has made the tables.

Used by one thread at a time. Each write() is one transaction. Every failure is raised; the writer
then closes the store and opens another. Knows neither queue nor retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs
from sqlalchemy import Connection, Engine, bindparam, func, insert, select, update

from websopy_sync.message import Message

from . import schema
from .database import Database
from .identity import Identity
from .records import Begin, End, Piece
from .rows import (
    chunk_row,
    end_values,
    message_of,
    new_row,
    position_values,
    text_values,
    usage_values,
)
from .schema import chunks, streams

__all__ = ["Part", "Store", "Stored", "mark_interrupted"]

LEASE = timedelta(hours=1)
"""Longest silence of a stream whose process cannot be checked from here."""

_UPDATE = update(streams).where(streams.c.id == bindparam("of"))


@attrs.frozen
class Stored:
    """How much of a stream the database has.

    Attributes:
        chunks: The number of chunks.
        rows: The number of their rows.
    """

    chunks: int
    rows: int


@attrs.frozen
class Part:
    """What one transaction writes of one stream.

    Attributes:
        stream: The stream's id.
        begin: Its row, if it is not stored yet.
        pieces: The chunks after the stored ones.
        row: The number of the first piece's row.
        stored: How much is stored afterwards.
        end: The stream's end, with or after the last piece.
    """

    stream: str
    begin: Begin | None
    pieces: Sequence[Piece]
    row: int
    stored: Stored
    end: End | None


class Store:
    """The history, open for writing. `open` makes it; close it with `close`."""

    def __init__(self, database: Database, connection: Connection, *, writer: Identity) -> None:
        self._database = database
        self._connection = connection
        self._writer = str(writer)
        self._file = database.file_identity()

    @classmethod
    def open(cls, database: Database, engine: Engine, *, writer: Identity) -> Store:
        """Connect, make the tables, mark what dead processes left open, and try to write.

        Raises OSError, SQLAlchemy's errors and ForeignDatabaseError; then nothing is left open.
        """
        database.create_file()
        connection = engine.connect()
        try:
            schema.prepare(connection)
            mark_interrupted(connection, database, here=writer)
            with connection.begin():
                schema.touch(connection)
            return cls(database, connection, writer=writer)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the connection, whatever its state."""
        self._connection.invalidate()
        self._connection.close()

    def stored(self, stream: str) -> Stored | None:
        """How much of a stream is stored; None when it has no row."""
        last = select(func.max(chunks.c.seq)).where(chunks.c.stream == stream).scalar_subquery()
        with self._connection.begin():
            row = self._connection.execute(
                select(streams.c.chunks, last).where(streams.c.id == stream)
            ).one_or_none()
        return row and Stored(row[0], 0 if row[1] is None else row[1] + 1)

    def write(self, parts: Sequence[Part]) -> None:
        """Write the parts, all or none."""
        if self._file != self._database.file_identity():
            raise FileNotFoundError("the history's file was replaced")
        begins = [new_row(part.begin, writer=self._writer) for part in parts if part.begin]
        pieces = [
            chunk_row(piece, seq=seq)
            for part in parts
            for seq, piece in enumerate(part.pieces, start=part.row)
        ]
        with self._connection.begin():
            if begins:
                self._connection.execute(insert(streams), begins)
            if pieces:
                self._connection.execute(insert(chunks), pieces)
            for part in parts:
                self._update(part)

    def _update(self, part: Part) -> None:
        last = part.pieces[-1] if part.pieces else None
        values = position_values(last, stored=part.stored.chunks, now=datetime.now(UTC))
        if part.end is not None:
            values |= end_values(part.end, stored=part.stored.chunks)
            if part.end.answer is None:
                message = _stored_message(self._connection, part.stream)
                values |= text_values(message.content, message.reasoning)
        # The columns are named by the parameters: a statement that is made anew for each stream
        # costs more than running it.
        self._connection.execute(_UPDATE, {"of": part.stream, **values})


def mark_interrupted(connection: Connection, database: Database, *, here: Identity) -> None:
    """Mark the open streams of dead processes as interrupted, with their stored text.

    A stream of a running process is never marked. If the process cannot be checked, in another
    container or on another machine, its stream is marked after an hour without a sign of life.

    Args:
        connection: The connection.
        database: Its database.
        here: This process.
    """
    query = select(streams.c.id, streams.c.writer, streams.c.seen).where(
        streams.c.status == "open", streams.c.writer != str(here)
    )
    with connection.begin():
        found = connection.execute(query).all()
        same_machine = _is_for_one_machine(connection, database)
    for row in found:
        if _is_dead(row.writer, row.seen, here, same_machine=same_machine):
            with connection.begin():
                _mark(connection, row.id)


def _is_for_one_machine(connection: Connection, database: Database) -> bool:
    # Processes that share a write-ahead log share memory: https://www.sqlite.org/wal.html, 1.
    if database.path is None:
        return False
    return bool(connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal")


def _is_dead(writer: str, seen: datetime, here: Identity, *, same_machine: bool) -> bool:
    process = Identity.parse(writer)
    life = here.life_of(process, same_machine=same_machine) if process else "unknown"
    return life == "dead" or (life == "unknown" and seen < datetime.now(UTC) - LEASE)


def _mark(connection: Connection, stream: str) -> None:
    # Writing first: SQLite waits for its lock only before a transaction has read anything.
    still_open = (streams.c.id == stream) & (streams.c.status == "open")
    change = update(streams).where(still_open)
    if not connection.execute(change.values(status="interrupted")).rowcount:
        return
    times = select(func.min(chunks.c.seconds), func.max(chunks.c.seconds))
    first, last = connection.execute(times.where(chunks.c.stream == stream)).one()
    message = _stored_message(connection, stream)
    connection.execute(
        update(streams)
        .where(streams.c.id == stream)
        .values(
            finished=streams.c.seen,
            first_chunk_seconds=first,
            seconds=last,
            **text_values(message.content, message.reasoning),
            **usage_values(message.usage),
        )
    )


def _stored_message(connection: Connection, stream: str) -> Message:
    """The message that a stream's stored chunks add up to."""
    query = select(chunks.c.data).where(chunks.c.stream == stream).order_by(chunks.c.seq)
    return message_of(connection.scalars(query))
