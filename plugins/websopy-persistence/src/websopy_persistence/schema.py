"""The tables, and how they are made in a database that has none.

Knows nothing of hooks or threads. A change of these tables makes a new VERSION, whose migration may
only add: a process of the version before may be writing at that moment.

streams         one row for each question
chunks          its answer, chunk by chunk; (stream, seq) is the key
schema_version  one row: whose tables these are, and their version
"""

from __future__ import annotations

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
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable, Index

from .errors import ForeignDatabaseError

__all__ = ["VERSION", "check", "chunks", "prepare", "streams", "touch"]

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

_INDEXES = (Index("streams_started", streams.c.started), Index("streams_status", streams.c.status))

_ATTEMPTS = 3


def touch(connection: Connection) -> None:
    """Write, changing nothing: raises what a database that can only be read, or is full, raises."""
    connection.execute(update(versions).values(version=versions.c.version))


def prepare(connection: Connection) -> None:
    """Make the missing tables.

    Two processes may do so at once, and not every database makes `IF NOT EXISTS` safe then: the
    second one looks again. Raises ForeignDatabaseError and SQLAlchemy's errors.
    """
    for attempts_left in range(_ATTEMPTS - 1, -1, -1):
        try:
            with connection.begin():
                return None if check(connection) else _create(connection)
        except SQLAlchemyError:
            if not attempts_left:
                raise


def check(connection: Connection) -> bool:
    """Whether the tables are there and complete.

    Raises ForeignDatabaseError when others are there, which are not touched.
    """
    names = set(inspect(connection).get_table_names())
    if versions.name not in names:
        if names & set(metadata.tables):
            raise ForeignDatabaseError(_foreign("it has tables of these names already"))
        return False
    columns = {column["name"] for column in inspect(connection).get_columns(versions.name)}
    if columns != {column.name for column in versions.columns}:
        raise ForeignDatabaseError(_foreign("its schema_version is another program's"))
    version = connection.scalar(select(versions.c.version).where(versions.c.product == PRODUCT))
    if version is not None and version > VERSION:
        raise ForeignDatabaseError(
            f"the history is of schema {version}, and this version knows {VERSION}: upgrade "
            f"websopy-persistence"
        )
    return version is not None and set(metadata.tables) <= names


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
    existing = {index["name"] for index in inspect(connection).get_indexes(streams.name)}
    for index in _INDEXES:
        if index.name not in existing:
            connection.execute(CreateIndex(index))
    connection.execute(insert(versions).values(product=PRODUCT, version=VERSION))
