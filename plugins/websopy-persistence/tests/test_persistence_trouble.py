"""A database in trouble, for real: the stream goes on, it is said once, and what waited comes in.

The trouble lasts until the whole stream was told. So a stream that waited for the database would
never end, and no test here has to measure time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import sqlalchemy
from websopy_persistence import History, HistoryError, Limits

PIECES = 200

PATIENT = Limits(period=0.02, retry=0.02, longest_retry=0.05, tries=10**6)


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


@pytest.fixture
def reports(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The warnings so far."""
    caplog.set_level(logging.INFO, "websopy_persistence")
    return lambda: [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]


def only_stream(url: str | Path):
    with History(url) as history:
        (stream,) = history.list()
        return stream, history.message(stream.id)


def is_whole(url: str | Path) -> bool:
    stream, message = only_stream(url)
    return (stream.status, stream.lost, stream.chunks) == ("done", 0, PIECES + 1) and (
        message.content == "text" * PIECES
    )


def test_locked_by_another_writer(history_file, keep, ask, reports) -> None:
    """SQLITE_BUSY for longer than anybody waits."""
    plugin = keep(history_file, busy_timeout=0.05, limits=PATIENT)
    answer = ask(plugin)
    assert plugin.flush()
    with locked(history_file):
        answer.tell(*["text"] * PIECES).done()
        wait_until(lambda: plugin.problem)
        assert not plugin.flush(0.2)
        assert len(reports()) == 1
        assert "database is locked" in reports()[0]
    assert plugin.flush()
    assert plugin.problem == ""
    assert len(reports()) == 1
    assert is_whole(history_file)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another program, in the middle of writing to the same file."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A disk that is full: no file of this process grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_that_gets_room_again(history_file, keep, ask, reports) -> None:
    """What waited is stored as soon as there is room."""
    plugin = keep(history_file, limits=PATIENT)
    answer = ask(plugin)
    assert plugin.flush()
    with file_size_limit(4096):  # less than any of its files has already
        answer.tell(*["text"] * PIECES).done()
        wait_until(lambda: plugin.problem)
        assert not plugin.flush(0.2)
        assert len(reports()) == 1
    assert plugin.flush()
    assert len(reports()) == 1
    assert is_whole(history_file)


@pytest.mark.slow
def test_full_disk_that_takes_small_things(history_file, keep, ask, reports) -> None:
    """What does not fit is given up after some tries, and the stream's row says how much."""
    plugin = keep(history_file, limits=attrs.evolve(PATIENT, tries=3))
    ask(plugin, "small before").done()
    assert plugin.flush()
    plugin.close()
    with file_size_limit(300_000):
        answer = ask(plugin, "large").tell("small")
        assert plugin.flush()
        answer.tell(*["x" * 400_000] * 2, "small").done()
        assert plugin.flush(20)
        assert plugin.lost_chunks == 4
        ask(plugin, "small after").done()
        assert plugin.flush()
    with History(history_file) as history:
        after, large, before = history.list()
        assert (after.status, after.lost, before.lost) == ("done", 0, 0)
        assert [piece.seq for piece in history.chunks(large.id)] == [0]
    assert (large.status, large.chunks, large.lost, large.answer) == ("done", 1, 4, "small")
    assert sum("cannot be written" in report for report in reports()) == 1


def test_a_request_that_the_database_refuses(history_file, keep, ask, reports) -> None:
    """It is too large for a row: the stream is stored without it, its answer whole."""
    plugin = keep(history_file)
    ask(plugin, "small").done()
    assert plugin.flush()
    with contextlib.closing(sqlite3.connect(history_file)) as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON streams WHEN length(NEW.request) > 1500000 "
            "BEGIN SELECT RAISE(ABORT, 'Packet too large'); END"
        )
        other.commit()
    ask(plugin, "large" * 400_000).tell("ans", "wer").done()
    assert plugin.flush(20)
    with History(history_file) as history:
        stream = history.list()[0]
    assert (stream.status, stream.answer, stream.lost) == ("done", "answer", 0)
    assert (stream.request, stream.question) == (None, None)
    assert (plugin.lost_chunks, plugin.lost_streams) == (0, 0)


def test_read_only_file_and_folder(keep, ask, reports, tmp_path_factory) -> None:
    """Files that another user made; they become writable later."""
    folder = tmp_path_factory.mktemp("read-only")
    file = folder / "history.db"
    first = keep(file)
    ask(first, "before").done()
    assert first.flush()
    first.close()
    with unprivileged(folder):
        plugin = keep(file, limits=PATIENT)
        ask(plugin, "meanwhile").tell(*["text"] * PIECES).done()
        wait_until(lambda: plugin.problem)
        assert not plugin.flush(0.2)
        assert len(reports()) == 1
    assert plugin.flush()
    assert len(reports()) == 1
    with History(file) as history:
        assert [stream.question for stream in history.list()] == ["meanwhile", "before"]


@contextlib.contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """As somebody who may read the folder's files and write none, even if this is root."""
    parents = [folder, *folder.parents[:2]]  # pytest's own are closed to others
    modes = [(path, path.stat().st_mode) for path in [*folder.iterdir(), *parents]]
    for path, _ in modes:
        path.chmod(0o555 if path in parents else 0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, mode in reversed(modes):
            path.chmod(mode)


def test_removed_file(history_file, keep, ask, reports) -> None:
    """A new file is begun; the row there says what went with the old one."""
    plugin = keep(history_file)
    answer = ask(plugin, model="w-1").tell("gone", " with", " the file")
    assert plugin.flush()
    history_file.unlink()
    answer.tell(" and more")
    assert plugin.flush()
    answer.tell(" to the end").done()
    assert plugin.flush()
    assert len(reports()) <= 2
    assert sum("cannot be written" in report for report in reports()) == 1
    assert history_file.stat().st_mode & 0o777 == 0o600
    stream, message = only_stream(history_file)
    assert (stream.status, stream.chunks, stream.lost) == ("done", 0, 6)
    assert (stream.model, stream.question) == ("w-1", "question")
    assert message.content == "gone with the file and more to the end"
    ask(plugin, "next").tell(*["text"] * PIECES).done()
    assert plugin.flush()
    with History(history_file) as history:
        assert history.list()[0].chunks == PIECES + 1


def test_file_that_is_no_database(history_file, keep, ask, reports) -> None:
    """Nothing of it is touched; when it is out of the way, a new one is begun."""
    garbage = b"no database at all " * 1000
    history_file.write_bytes(garbage)
    plugin = keep(history_file, limits=PATIENT)
    ask(plugin).tell(*["text"] * PIECES).done()
    wait_until(lambda: plugin.problem)
    assert not plugin.flush(0.2)
    assert len(reports()) == 1
    assert history_file.read_bytes() == garbage
    with History(history_file) as history, pytest.raises(HistoryError):
        history.list()
    history_file.unlink()
    assert plugin.flush()
    assert is_whole(history_file)


def test_corrupted_while_it_is_written(history_file, keep, ask, reports) -> None:
    """Overwritten in place, under the open connection."""
    plugin = keep(history_file)
    answer = ask(plugin)
    assert plugin.flush()
    for file in history_file.parent.iterdir():
        with open(file, "r+b") as opened:
            opened.write(b"\xff" * file.stat().st_size)
    answer.tell(*["text"] * PIECES).done()
    wait_until(lambda: plugin.problem)
    assert len(reports()) == 1


def test_folder_in_the_way(tmp_path, keep, ask, reports) -> None:
    """A path that can be no file, like one below a file."""
    (tmp_path / "file").write_text("")
    plugin = keep(tmp_path / "file" / "history.db")
    ask(plugin).tell(*["text"] * PIECES).done()
    wait_until(lambda: plugin.problem)
    assert len(reports()) == 1


def test_connections_are_terminated(postgres, keep, ask, reports) -> None:
    """pg_terminate_backend in mid-stream: said once, and nothing is lost."""
    plugin = keep(postgres.url)
    answer = ask(plugin).tell(*["text"] * (PIECES // 2))
    assert plugin.flush()
    assert postgres.terminate_backends() == 1
    answer.tell(*["text"] * (PIECES // 2)).done()
    assert plugin.flush()
    assert len(reports()) == 1
    assert "terminat" in reports()[0]
    assert is_whole(postgres.url)


def test_server_restarts(postgres, keep, ask, reports) -> None:
    """The server is away for the rest of the stream, and what waited is stored when it is back."""
    plugin = keep(postgres.url, limits=PATIENT)
    answer = ask(plugin).tell(*["text"] * (PIECES // 2))
    assert plugin.flush()
    postgres.stop()
    try:
        answer.tell(*["text"] * (PIECES // 2)).done()
        wait_until(lambda: plugin.problem)
        assert not plugin.flush(0.2)
        assert len(reports()) == 1
    finally:
        postgres.start()
    assert plugin.flush(20)
    assert len(reports()) == 1
    assert is_whole(postgres.url)


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_locked_tables(kind, request, keep, ask, reports) -> None:
    """Somebody holds a lock on a server's tables for longer than anybody waits."""
    database = request.getfixturevalue(kind)
    url = database if isinstance(database, str) else database.url
    plugin = keep(url, busy_timeout=0.2, limits=PATIENT)
    answer = ask(plugin)
    assert plugin.flush()
    engine = plugin.database.engine_for_reading()
    with engine.connect() as other:
        statements = {"postgres": "LOCK TABLE chunks", "mariadb": "LOCK TABLES chunks WRITE"}
        other.exec_driver_sql(statements[kind])
        answer.tell(*["text"] * PIECES).done()
        wait_until(lambda: plugin.problem)
        assert len(reports()) == 1
    assert plugin.flush()
    assert len(reports()) == 1
    assert is_whole(url)


@pytest.mark.slow
def test_server_that_never_answers(keep, ask, reports) -> None:
    """One that takes the connection and is silent holds up nobody but the writer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        plugin = keep(f"postgresql://user:pa55word@127.0.0.1:{port}/db?connect_timeout=2")
        ask(plugin).tell(*["text"] * PIECES).done()
        wait_until(lambda: plugin.problem)
        plugin.close()
    assert "pa55word" not in "".join(reports())
    assert reports()


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_no_server_at_all(kind, keep, ask, reports) -> None:
    """Said once, without the password; given up when the plugin is closed, with a count."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    plugin = keep(f"{kind}://user:pa55word@127.0.0.1:{port}/db")
    ask(plugin).tell(*["text"] * PIECES).done()
    wait_until(lambda: plugin.problem)
    assert len(reports()) == 1
    plugin.close()
    assert (plugin.lost_chunks, plugin.lost_streams) == (PIECES + 1, 1)
    assert len(reports()) == 2
    assert "pa55word" not in "".join(reports()) + repr(plugin) + plugin.problem


def test_too_much_waits(history_file, keep, ask, reports) -> None:
    """Chunks that find no room are lost from there on, which the row says; all texts are kept."""
    plugin = keep(history_file, busy_timeout=0.02, limits=attrs.evolve(PATIENT, weight=20_000))
    answer = ask(plugin, "first")
    assert plugin.flush()
    with locked(history_file):
        answer.tell(*["text"] * 2000)
        late = ask(plugin, "second").tell("text")
        late.done()
    assert plugin.flush()
    answer.tell("there would be room again").done()
    assert plugin.flush()
    with History(history_file) as history:
        second, first = history.list()
        assert (first.question, first.status, second.status) == ("first", "done", "done")
        assert first.chunks + first.lost == 2002
        assert 0 < first.chunks < 2000
        text = "text" * 2000 + "there would be room again"
        assert (first.answer, history.message(first.id).content) == (text, text)
        assert (second.question, second.answer, second.lost) == ("second", "text", 2)
    assert (plugin.lost_chunks, plugin.lost_streams) == (first.lost + 2, 0)
    assert any("lost" in report for report in reports())


def test_too_many_characters_wait(history_file, keep, ask) -> None:
    """A few huge chunks are as much as many small ones."""
    plugin = keep(history_file, busy_timeout=0.02, limits=attrs.evolve(PATIENT, weight=10_000))
    answer = ask(plugin)
    assert plugin.flush()
    with locked(history_file):
        answer.tell(*["x" * 4_000] * 3).done()
    assert plugin.flush()
    stream, _ = only_stream(history_file)
    assert (stream.chunks, stream.lost, stream.answer) == (2, 2, "x" * 12_000)


def test_one_bad_chunk_keeps_no_other_stream(postgres, keep, ask, reports) -> None:
    """A value that the database refuses costs its own stream's later chunks only."""
    plugin = keep(postgres.url, limits=attrs.evolve(PATIENT, period=0.2))
    bad, good = ask(plugin, "bad").tell("one"), ask(plugin, "good").tell("one")
    assert plugin.flush()
    engine = sqlalchemy.create_engine(plugin.database.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE chunks ADD CHECK (data NOT LIKE '%%bad%%')")
    engine.dispose()
    bad.tell("bad", "two")
    good.tell("two").done()
    bad.done()
    assert plugin.flush()
    with History(postgres.url) as history:
        second, first = history.list()
        assert history.message(second.id).content == "onetwo"
        assert (second.lost, first.lost, plugin.lost_chunks) == (0, 3, 3)
        assert (first.status, first.answer) == ("done", "onebadtwo")
    assert "cannot be written" in reports()[0]


def test_another_programs_tables(history_file, keep, ask, reports) -> None:
    """A database with a table of our names is refused, and left as it is."""
    with contextlib.closing(sqlite3.connect(history_file)) as other:
        other.execute("CREATE TABLE streams (title TEXT)")
        other.commit()
        plugin = keep(history_file)
        ask(plugin).done()
        wait_until(lambda: plugin.problem)
        assert "of its own" in reports()[0]
        names = other.execute("SELECT name FROM sqlite_master").fetchall()
    assert names == [("streams",)]
    with History(history_file) as history, pytest.raises(HistoryError, match="of its own"):
        history.list()


def test_a_later_versions_tables(history_file, keep, ask, reports) -> None:
    """They are left to the later version."""
    first = keep(history_file)
    ask(first).done()
    first.close()
    with contextlib.closing(sqlite3.connect(history_file)) as other:
        other.execute("UPDATE schema_version SET version = 2")
        other.commit()
    plugin = keep(history_file)
    ask(plugin).done()
    wait_until(lambda: plugin.problem)
    assert "upgrade" in reports()[0]
    with History(history_file) as history, pytest.raises(HistoryError, match="upgrade"):
        history.list()


def test_what_was_streamed_is_in_no_report(history_file, keep, ask, caplog) -> None:
    """A database likes to quote what it refused."""
    caplog.set_level(logging.DEBUG)
    plugin = keep(history_file)
    answer = ask(plugin, "my secret question").tell("my secret answer")
    assert plugin.flush()
    with contextlib.closing(sqlite3.connect(history_file)) as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON chunks BEGIN "
            "SELECT RAISE(ABORT, 'my secret answer'); END"
        )
        other.commit()
    answer.tell("my secret answer").done()
    assert plugin.flush()
    assert "secret" not in caplog.text
    assert "IntegrityError" in caplog.text
    stream, _ = only_stream(history_file)
    assert (stream.status, stream.chunks, stream.lost) == ("done", 1, 2)


@pytest.mark.slow
def test_silent_streams_end_in_a_process_without_log(tmp_path) -> None:
    """A script that set up no logging sees one line on stderr, and ends at once and well."""
    (tmp_path / "file").write_text("")
    script = (
        "import runpy, sys\n"
        "tools = runpy.run_path(sys.argv[1])\n"
        "plugin = tools['PersistencePlugin'](sys.argv[2])\n"
        "answer = tools['Answer'](plugin, key='k', body={'messages': []})\n"
        "answer.tell(*['text'] * 1000).done()\n"
        "print(answer.current_message.content.count('text'))\n"
    )
    url = f"sqlite:///{tmp_path / 'file' / 'history.db'}"
    conftest = Path(__file__).with_name("conftest.py")
    done = subprocess.run(
        [sys.executable, "-c", script, str(conftest), url], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "1000\n")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "cannot be written" in lines[0]
    assert "lost 1001 chunks, and 1 streams" in lines[1]
