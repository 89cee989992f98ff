"""The database's URL, default file and drivers, and the settings of a connection.

The only file that knows how connecting differs between the three kinds of database. Puts no
password into an error or a log. Knows nothing of the tables.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import platformdirs
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from websopy_sync.errors import ConfigError

from .forks import ForkWaitsError, fork_waits

__all__ = ["URL_VARIABLE", "Database"]

URL_VARIABLE = "WEBSOPY_PERSISTENCE_URL"

CONNECT_TIMEOUT = 5
"""Seconds to wait for a database server to answer; the writer tries again later."""

STATEMENT_TIMEOUT = 30
"""Most seconds of one statement, before the server counts as gone."""

LOCK_STEP = 0.1
"""Seconds of one wait for an SQLite lock. It cannot be interrupted; a fork happens between two."""

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",  # the scheme that hosting services hand out
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}

_WRITER_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL")
"""A process that dies loses nothing that was committed; only a power cut may lose the last commits.

Readers do not wait for the writer, nor it for them. https://www.sqlite.org/wal.html
"""

_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql"}


@attrs.frozen
class Database:
    """Where the history is. `Database.at(None)` follows the environment and the defaults.

    Attributes:
        url: SQLAlchemy's, with its driver.
        path: The file of an SQLite database, else None.
        busy_timeout: Seconds to wait for another process that holds a lock.
    """

    url: URL = attrs.field(repr=lambda url: url.render_as_string(hide_password=True))
    path: Path | None = None
    busy_timeout: float = 5.0

    @classmethod
    def at(
        cls,
        url: str | Path | None,
        *,
        environ: Mapping[str, str] = os.environ,
        busy_timeout: float = 5.0,
    ) -> Database:
        """The database at a URL or path, at WEBSOPY_PERSISTENCE_URL, or the default one.

        Args:
            url: A URL, or the path of an SQLite file.
            environ: The environment variables.
            busy_timeout: Seconds to wait for another process that holds a lock.

        Raises:
            ConfigError: The URL cannot be used. The error never quotes it.
        """
        url = url or environ.get(URL_VARIABLE) or _default_path()
        if isinstance(url, Path):
            return cls._file(url, busy_timeout)
        parsed = _parsed(url)
        if parsed.get_backend_name() != "sqlite":
            return cls(parsed, busy_timeout=busy_timeout)
        if not parsed.database or parsed.database == ":memory:" or parsed.query or parsed.host:
            raise ConfigError(
                "database URL: expected sqlite:/// and a file's path, without options: a database "
                "in memory would keep nothing"
            )
        return cls._file(Path(parsed.database), busy_timeout)

    @classmethod
    def _file(cls, path: Path, busy_timeout: float) -> Database:
        # Absolute: the process may change its directory before the first stream.
        path = Path(os.path.abspath(path.expanduser()))
        return cls(URL.create("sqlite+pysqlite", database=str(path)), path, busy_timeout)

    @property
    def _busy_ms(self) -> int:
        return max(int(self.busy_timeout * 1000), 1)

    @property
    def fork_patience(self) -> float:
        """Seconds that a fork waits for a transaction to end.

        A child could never write to an SQLite file whose connection it inherited; a server's
        connection it can leave alone.
        """
        return 0.5 if self.path is None else 5.0

    @property
    def description(self) -> str:
        """Its address for people, without the password and without options, which may have one."""
        if self.path is not None:
            return str(self.path)
        return self.url.set(query={}).render_as_string(hide_password=True)

    @property
    def secret(self) -> str | None:
        """The password in the URL, which no message may show."""
        return self.url.password

    def engine_for_writing(self) -> Engine:
        """An engine whose transactions wait for other writers, and not for ever.

        A transaction of SQLite's that begins with reading fails at once when it turns to writing
        while somebody else wrote: it waits (busy_timeout) only for those that say so at BEGIN.
        """
        begin = functools.partial(_begin_immediate, self.busy_timeout)
        engine = self._engine(_connected_for_writing, begin)
        if self.url.get_backend_name() == "postgresql":
            # SET LOCAL, for this transaction: a pooler gives the session to another client.
            limits = (
                f"SELECT set_config('lock_timeout', '{self._busy_ms}', true), "
                f"set_config('statement_timeout', '{STATEMENT_TIMEOUT * 1000}', true)"
            )
            event.listen(engine, "begin", lambda it: it.exec_driver_sql(limits) and None)
        return engine

    def engine_for_reading(self) -> Engine:
        """An engine for reading. It never creates the file of an SQLite database."""
        return self._engine(_connected_for_reading, _begin)

    def create_file(self) -> None:
        """Make the file of an SQLite database, for its owner only, when there is none.

        What was streamed is private. SQLite gives its side files (-wal, -shm) the same mode.
        """
        if self.path is None:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            pass

    def file_identity(self) -> tuple[int, int] | None:
        """The file at the path now. SQLite keeps writing to a file that was removed."""
        if self.path is None:
            return None
        status = os.stat(self.path)
        return status.st_dev, status.st_ino

    def _engine(
        self, connect: Callable[..., sqlite3.Connection], begin: Callable[[Connection], None]
    ) -> Engine:
        if self.path is None:
            return _created(self.url, connect_args=self._server_options())
        creator = functools.partial(connect, self.path.as_uri(), self.busy_timeout)
        engine = _created(self.url, creator=creator)
        event.listen(engine, "begin", begin)
        return engine

    def _server_options(self) -> dict[str, Any]:
        # The URL's own options override these.
        options: dict[str, Any] = {}
        if self.url.get_driver_name() == "psycopg":
            options = {
                "connect_timeout": CONNECT_TIMEOUT,
                "client_encoding": "utf8",
                "tcp_user_timeout": STATEMENT_TIMEOUT * 1000,
                "application_name": "websopy-persistence",
                "prepare_threshold": None,  # PgBouncer keeps no prepared statements
            }
        elif self.url.get_driver_name() == "pymysql":
            seconds = max(round(self.busy_timeout), 1)
            options = {
                "connect_timeout": CONNECT_TIMEOUT,
                "read_timeout": STATEMENT_TIMEOUT,
                "write_timeout": STATEMENT_TIMEOUT,
                "charset": "utf8mb4",
                "init_command": f"SET SESSION innodb_lock_wait_timeout = {seconds}, "
                f"lock_wait_timeout = {seconds}",
            }
        return {name: value for name, value in options.items() if name not in self.url.query}


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(patience: float, connection: Connection) -> None:
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    statement = "BEGIN IMMEDIATE"
    try:
        _run_unlocked(driver, statement, patience)
    except sqlite3.Error as error:
        raise DBAPIError.instance(
            statement, None, error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
        ) from None


def _run_unlocked(driver: sqlite3.Connection, statement: str, patience: float) -> None:
    """Run a statement as soon as nobody holds a lock that is in its way.

    Raises sqlite3's errors, also when that takes too long, and ForkWaitsError when a fork waits.
    """
    until = time.monotonic() + patience
    driver.execute(f"PRAGMA busy_timeout={int(min(patience, LOCK_STEP) * 1000)}")
    try:
        while not _try_to_run(driver, statement, raises=time.monotonic() >= until):
            time.sleep(0.005)  # for some locks SQLite does not wait at all
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")


def _try_to_run(driver: sqlite3.Connection, statement: str, *, raises: bool) -> bool:
    if fork_waits():
        raise ForkWaitsError
    try:
        driver.execute(statement)
    except sqlite3.OperationalError as error:
        if raises or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _default_path() -> Path:
    return platformdirs.user_data_path("websopy-sync", appauthor=False) / "history.db"


def _parsed(url: object) -> URL:
    if not isinstance(url, str):
        raise ConfigError(f"database URL: expected str or Path, got {type(url).__name__}")
    try:
        parsed = make_url(url)
        parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        kind, driver_is_async = parsed.get_backend_name(), parsed.get_dialect().is_async
    except (ArgumentError, NoSuchModuleError, ValueError):
        kind, driver_is_async = "", False
    except ModuleNotFoundError as error:
        raise ConfigError(_explained(error)) from None
    if kind not in _DRIVERS or driver_is_async:
        raise ConfigError(
            "database URL: expected sqlite:///, postgresql://, mysql:// or mariadb:// with a "
            "blocking driver; it is not quoted here, as it may hold a password"
        )
    return parsed


def _explained(error: ModuleNotFoundError) -> str:
    name = error.name or "the driver"
    extra = _EXTRAS.get(name)
    remedy = f": pip install 'websopy-persistence[{extra}]'" if extra else ""
    return f"database URL: its driver {name} is not installed{remedy}"


def _created(url: URL, **options: Any) -> Engine:
    try:
        engine = create_engine(
            url,
            poolclass=NullPool,
            pool_reset_on_return=None,  # a closed connection needs no ROLLBACK
            hide_parameters=True,
            **options,
        )
    except ModuleNotFoundError as error:
        problem = _explained(error)
    else:
        if url.get_driver_name() == "psycopg":
            # Its own executemany warns in the log when the server is gone. This is one INSERT of
            # many rows instead, as psycopg2 has it by default.
            engine.dialect.use_insertmanyvalues_wo_returning = True
        return engine
    raise ConfigError(problem)


def _connected_for_writing(address: str, patience: float) -> sqlite3.Connection:
    connection = _connected(f"{address}?mode=rwc", patience)
    try:
        for pragma in _WRITER_PRAGMAS:
            _run_unlocked(connection, f"PRAGMA {pragma}", patience)
    except BaseException:
        connection.close()
        raise
    return connection


def _connected_for_reading(address: str, patience: float) -> sqlite3.Connection:
    return _connected(f"{address}?mode=rw", patience)


def _connected(address: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address,
        uri=True,
        timeout=timeout,
        isolation_level=None,  # transactions begin where SQLAlchemy says
        check_same_thread=False,  # close() may come from another thread than the writer's
    )
    connection.execute("PRAGMA foreign_keys=ON")
    return connection
