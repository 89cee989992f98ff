"""Which database a URL, the environment or the default means, and what it is never to show."""

from __future__ import annotations

import contextlib
import os
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy
from websopy_persistence import History, PersistencePlugin
from websopy_persistence.database import Database

from websopy_sync.errors import ConfigError

PASSWORD = "pa55-word"


@pytest.mark.parametrize(
    "url",
    [
        f"oracle://user:{PASSWORD}@host/db",
        f"postgresql+asyncpg://user:{PASSWORD}@host/db",
        f"sqlite+aiosqlite:///{PASSWORD}",
        f"nonsense{PASSWORD}",
        f"postgresql+nonsense://user:{PASSWORD}@host/db",
        f"postgresql://user:{PASSWORD}@host:port/db",
        f"http://user:{PASSWORD}@host",
        f"://{PASSWORD}",
        "sqlite://",
        "sqlite:///:memory:",
        f"sqlite:///history.db?password={PASSWORD}",
        f"sqlite://{PASSWORD}/history.db",
        f"/home/{PASSWORD}/history.db",
        PASSWORD.encode(),
        42,
    ],
)
def test_urls_that_cannot_be_used(url) -> None:
    """ConfigError at once, which does not quote what may be a password."""
    for make in (PersistencePlugin, History):
        with pytest.raises(ConfigError) as caught:
            make(url)
        assert PASSWORD not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://host/db", "postgresql+psycopg"),
        ("postgres://host/db", "postgresql+psycopg"),
        ("postgresql+psycopg://host/db", "postgresql+psycopg"),
        ("mysql://host/db", "mysql+pymysql"),
        ("mariadb://host/db", "mariadb+pymysql"),
        ("sqlite:////tmp/x.db", "sqlite+pysqlite"),
    ],
)
def test_drivers(url: str, driver: str) -> None:
    """A URL need not name the driver that the extras install."""
    assert Database.at(url).url.drivername == driver


@pytest.mark.slow
def test_a_driver_that_is_not_installed(tmp_path: Path) -> None:
    """The error names the extra. In a process that finds no third driver."""
    script = (
        "import sys\n"
        "sys.modules['psycopg'] = None\n"
        "from websopy_persistence import PersistencePlugin\n"
        "PersistencePlugin('postgresql://host/db')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "websopy_sync.errors.ConfigError: database URL: its driver psycopg is not installed: "
        "pip install 'websopy-persistence[postgresql]'"
    )


def test_the_password_is_never_shown() -> None:
    """Nor is what stands behind the question mark, where some drivers take one too."""
    url = f"postgresql://user:{PASSWORD}@host/db?sslpassword={PASSWORD}"
    shown = [Database.at(url).description, repr(PersistencePlugin(url)), repr(History(url))]
    assert PASSWORD not in "".join(shown) + repr(Database.at(f"mysql://user:{PASSWORD}@host/db"))
    assert "user:***@host/db" in shown[0]


def test_environment_and_default(tmp_path: Path) -> None:
    """The argument goes before WEBSOPY_PERSISTENCE_URL, and that before the user's data folder."""
    named = {"WEBSOPY_PERSISTENCE_URL": f"sqlite:///{tmp_path}/named.db"}
    assert Database.at(None, environ=named).path == tmp_path / "named.db"
    assert Database.at(tmp_path / "x.db", environ=named).path == tmp_path / "x.db"
    for empty in ({}, {"WEBSOPY_PERSISTENCE_URL": ""}):
        path = Database.at(None, environ=empty).path
        assert path is not None
        assert path.parts[-2:] == ("websopy-sync", "history.db")


def test_the_path_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative one is the folder's at the beginning; `~` is the home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Database.at("sqlite:///history.db").path == tmp_path / "history.db"
    assert Database.at("sqlite:///~/history.db").path == tmp_path / "home" / "history.db"


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "what?.db", "a#b.db", "历史.db", "a&b=c.db"])
def test_paths_with_odd_characters(tmp_path: Path, keep, ask, name: str) -> None:
    """What means something in a URL means nothing in a path."""
    plugin = keep(tmp_path / name)
    ask(plugin).done()
    assert plugin.flush()
    assert (tmp_path / name).exists()
    with History(tmp_path / name) as history:
        assert len(history.list()) == 1


def test_the_file_is_its_owners(tmp_path: Path, keep, ask) -> None:
    """Mode 0600, its side files too, and the folder 0700, whatever the umask."""
    umask = os.umask(0)
    try:
        file = tmp_path / "data" / "history.db"
        plugin = keep(file)
        ask(plugin)
        assert plugin.flush()
    finally:
        os.umask(umask)
    files = sorted(file.parent.iterdir())
    assert [path.name for path in files] == ["history.db", "history.db-shm", "history.db-wal"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_settings_of_the_connection(tmp_path: Path, keep, ask) -> None:
    """Write-ahead log; the tables' rule that no chunk is without its stream."""
    plugin = keep(tmp_path / "history.db")
    ask(plugin)
    assert plugin.flush()
    connection = plugin.database.engine_for_writing().raw_connection()
    values = {
        name: connection.cursor().execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    connection.close()
    assert values == {
        "journal_mode": "wal",
        "synchronous": 1,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }


def test_a_history_that_is_not_there(tmp_path: Path) -> None:
    """Looking makes no file; what is not there is empty, until it is."""
    with History(tmp_path / "history.db") as history:
        assert history.list() == []
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "history.db").touch()
        assert history.list() == []
        assert (tmp_path / "history.db").stat().st_size == 0


def test_a_closed_history(tmp_path: Path) -> None:
    """It does not answer any more."""
    with History(tmp_path / "history.db") as history:
        pass
    with pytest.raises(Exception, match="closed"):
        history.list()


@pytest.mark.parametrize("limit", [-1, True, "3", 1.5])
def test_limits_that_are_none(tmp_path: Path, limit) -> None:
    """ConfigError."""
    with History(tmp_path / "history.db") as history, pytest.raises(ConfigError):
        history.list(limit=limit)


@pytest.mark.parametrize(
    ("value", "stored"), [("", True), ("1", True), ("no", False), ("OFF", False), ("0", False)]
)
def test_prompts_by_environment(tmp_path, ask, value: str, stored: bool) -> None:
    """WEBSOPY_PERSISTENCE_PROMPTS; they are stored unless it says no."""
    environ = {"WEBSOPY_PERSISTENCE_PROMPTS": value}
    plugin = PersistencePlugin(tmp_path / "history.db", environ=environ)
    ask(plugin, "my question").done()
    plugin.close()
    with History(tmp_path / "history.db") as history:
        assert history.list()[0].question == ("my question" if stored else None)


def test_prompts_by_a_word_that_is_none(tmp_path) -> None:
    """A mistyped switch must not store what was to be left out."""
    with pytest.raises(ConfigError, match="WEBSOPY_PERSISTENCE_PROMPTS"):
        PersistencePlugin(tmp_path / "x.db", environ={"WEBSOPY_PERSISTENCE_PROMPTS": "nope"})


def test_deleted_text_is_gone_from_the_disk(tmp_path, keep, ask) -> None:
    """SQLite alone would leave it in free pages and in the write-ahead log."""
    file = tmp_path / "history.db"
    plugin = keep(file)
    for _ in range(20):
        ask(plugin, "to be forgotten " * 50).tell("to be forgotten " * 50).done()
    assert plugin.flush()  # it stays open, and with it the write-ahead log
    assert b"to be forgotten" in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with History(file) as history:
        for stream in history.list(limit=None):
            history.delete(stream.id)
    assert b"to be forgotten" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM chunks").fetchone() == (0,)


def test_stored_streams_pickle(tmp_path, keep, ask) -> None:
    """They are plain values."""
    plugin = keep(tmp_path / "history.db")
    ask(plugin).done()
    assert plugin.flush()
    with History(tmp_path / "history.db") as history:
        (stream,) = history.list()
    assert pickle.loads(pickle.dumps(stream)) == stream


def test_a_schema_of_its_own(postgres, keep, ask) -> None:
    """Beside another program's tables of the same names, by the URL alone."""
    engine = sqlalchemy.create_engine(Database.at(postgres.url).url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE streams (title TEXT)")
        connection.exec_driver_sql("CREATE SCHEMA websopy")
    engine.dispose()
    url = f"{postgres.url}&options=-csearch_path=websopy"
    plugin = keep(url)
    ask(plugin, "question").tell("answer").done()
    assert plugin.flush()
    with History(url) as history:
        assert [stream.answer for stream in history.list()] == ["answer"]
