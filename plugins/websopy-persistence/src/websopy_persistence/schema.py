"""The tables, and how they are made in a database that has none.

Knows nothing of hooks or threads.

streams         one row for each request
chunks          its answer, chunk by chunk; (stream, seq) is the key
schema_version  one row: whose tables these are, and which programs may use them

A later release may add columns that can be NULL, and indexes: `prepare` adds what is missing. That
is no new VERSION, because a process of an earlier release goes on writing, before and after it. A
VERSION is for a change after which it could not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    Label,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    insert,
    inspect,
    null,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable, Index

from .errors import ForeignDatabaseError

__all__ = [
    "VERSION",
    "check",
    "chunks",
    "prepare",
    "stream_columns",
    "streams",
    "touch",
]

PRODUCT = "websopy-persistence"
VERSION = 1


class UtcDateTime(TypeDecorator[datetime]):
    """A moment to the microsecond, stored as UTC and given back aware.

    SQLite stores it as text that sorts; MySQL would cut the fraction off without fsp.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """The type that keeps microseconds in this database."""
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC, without saying so where the database has no word for it."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The moment, aware."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


# MySQL's TEXT ends at 64 KiB, with an error in the middle of an answer.
_Text = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

# Bytewise, or `K` and `k` were one id there; utf8mb4, or an emoji were an error.
_OPTIONS: dict[str, Any] = {
    f"{dialect}_{name}": value
    for dialect in ("mysql", "mariadb")
    for name, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}

metadata = MetaData()

versions = Table(
    "schema_version",
    metadata,
    Column("product", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    **_OPTIONS,
)

streams = Table(
    "streams",
    metadata,
    Column("id", String(32), primary_key=True),
    # open | done | error | cancelled | interrupted
    Column("status", String(16), nullable=False),
    Column("started", UtcDateTime, nullable=False),
    Column("finished", UtcDateTime),
    # the writer's last sign of life
    Column("seen", UtcDateTime, nullable=False),
    Column("first_chunk_seconds", Double),
    Column("seconds", Double),
    Column("url", _Text),
    Column("model", String(255)),
    # the last user message, also for searching
    Column("question", _Text),
    # the body as JSON
    Column("request", _Text),
    # the answer's text, also for searching; while open, NULL
    Column("answer", _Text),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("total_tokens", BigInteger),
    # how many chunks are stored, and how many came that are not
    Column("chunks", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("error_type", String(255)),
    Column("error_code", String(255)),
    Column("error_message", _Text),
    Column("idempotency_key", _Text),
    Column("request_id", _Text),
    Column("last_event_id", _Text),
    Column("status_code", Integer),
    Column("retries", Integer),
    # host/pid/start/boot/namespace
    Column("writer", String(255), nullable=False),
    # Columns that a database of the first release lacks follow.
    Column("conversation", String(255)),
    # stop | length | tool_calls | content_filter | the service's own word
    Column("finish_reason", String(255)),
    # as the service names them in its answer
    Column("answer_model", String(255)),
    Column("answer_id", _Text),
    # what the model thought; NULL for nothing
    Column("reasoning", _Text),
    # parts of prompt_tokens and completion_tokens
    Column("cached_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    **_OPTIONS,
)

chunks = Table(
    "chunks",
    metadata,
    Column("stream", ForeignKey(streams.c.id, ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    # from the question to this chunk
    Column("seconds", Double, nullable=False),
    # the chunk's to_dict() as JSON
    Column("data", _Text, nullable=False),
    **_OPTIONS,
)

_INDEXES = (
    Index("streams_started", streams.c.started),
    Index("streams_status", streams.c.status),
    Index("streams_conversation", streams.c.conversation),
)

# MariaDB commits after each statement: two processes can collide at each index and at the last row.
_ATTEMPTS = len(_INDEXES) + 2


def touch(connection: Connection) -> None:
    """Write, changing nothing: raises what a database that can only be read, or is full, raises."""
    connection.execute(update(versions).values(version=versions.c.version))


def prepare(connection: Connection) -> None:
    """Make the missing tables, or add the columns that tables of an earlier release lack.

    Two processes may do so at once, and not every database makes `IF NOT EXISTS` safe then: the
    second one looks again. Raises ForeignDatabaseError and SQLAlchemy's errors.
    """
    for attempts_left in range(_ATTEMPTS - 1, -1, -1):
        try:
            with connection.begin():
                found = check(connection)
                return _add_columns(connection, found) if found else _create(connection)
        except SQLAlchemyError:
            if not attempts_left:
                raise


def check(connection: Connection) -> Collection[str]:
    """The columns of `streams`; none when the tables are not there, or not all of them.

    Raises ForeignDatabaseError when others are there, which are not touched.
    """
    names = set(inspect(connection).get_table_names())
    if versions.name not in names:
        if names & set(metadata.tables):
            raise ForeignDatabaseError(_foreign("it has tables of these names already"))
        return set()
    if _columns(connection, versions) != {column.name for column in versions.columns}:
        raise ForeignDatabaseError(_foreign("its schema_version is another program's"))
    version = connection.scalar(select(versions.c.version).where(versions.c.product == PRODUCT))
    if version is not None and version > VERSION:
        raise ForeignDatabaseError(
            f"the history is of schema {version}, and this version knows {VERSION}: upgrade "
            f"websopy-persistence"
        )
    if version is None or not set(metadata.tables) <= names:
        return set()
    return _columns(connection, streams)


def stream_columns(found: Collection[str]) -> Sequence[Column[Any] | Label[Any]]:
    """All columns of `streams` for a SELECT, with NULL for each that the database lacks."""
    return [column if column.name in found else null().label(column.name) for column in streams.c]


def _columns(connection: Connection, table: Table) -> set[str]:
    return {column["name"] for column in inspect(connection).get_columns(table.name)}


def _foreign(reason: str) -> str:
    return f"the history needs a database, or a schema, of its own: {reason}"


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if encoding not in ("UTF8", "SQL_ASCII"):  # neither refuses a character
            raise ForeignDatabaseError(_foreign(f"its encoding is {encoding}, expected UTF8"))
    # The version's table first: who sees the others without it takes them for somebody else's.
    for table in (versions, streams, chunks):
        connection.execute(CreateTable(table, if_not_exists=True))
    _add_columns(connection, _columns(connection, streams))
    connection.execute(insert(versions).values(product=PRODUCT, version=VERSION))


def _add_columns(connection: Connection, found: Collection[str]) -> None:
    """Add the missing columns and indexes of `streams`."""
    missing = [column for column in streams.c if column.name not in found]
    added = [f"ADD COLUMN {CreateColumn(it).compile(connection)}" for it in missing]
    # SQLite adds one at a time. Elsewhere one statement: MariaDB commits after each.
    together = not added or connection.dialect.name == "sqlite"
    for change in added if together else [", ".join(added)]:
        connection.exec_driver_sql(f"ALTER TABLE {streams.name} {change}")
    existing = {index["name"] for index in inspect(connection).get_indexes(streams.name)}
    for index in _INDEXES:
        if index.name not in existing:
            connection.execute(CreateIndex(index))
