"""SIGKILL at any moment: what is stored is a prefix, nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
import sqlalchemy
from websopy_persistence import History
from websopy_persistence.history import StoredStream
from websopy_persistence.identity import Identity

from websopy_sync.sandbox import Sandbox, pause, say

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@attrs.define
class Killer:
    """Lets a process stream as a seed says, and kills it at a moment that the seed says too."""

    process: subprocess.Popen[str]
    kills: int = 0
    stored: dict[str, int] = attrs.Factory(dict)

    def kill_one(self, seed: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()
        pid, streaming = 0, False
        for line in self.process.stdout:
            match line.split():
                case ["dead"]:
                    return
                case ["streaming"]:
                    streaming = True
                case ["stored", key, count]:
                    self.stored[key] = int(count)
                case [number]:
                    pid = int(number)
            if pid and streaming:
                time.sleep(random.Random(seed).uniform(0, 0.12))
                os.kill(pid, signal.SIGKILL)
                self.kills += 1
                pid = 0
        raise AssertionError("the child's parent ended")


@contextlib.contextmanager
def killer(url: str) -> Iterator[Killer]:
    with subprocess.Popen(
        [sys.executable, str(HERE / "killed.py"), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Killer(process)
        finally:
            process.kill()


def look_over(history: History, stream: StoredStream, acknowledged: int) -> None:
    """What is stored of one stream is a prefix of it, and holds what was acknowledged."""
    pieces = history.chunks(stream.id)
    assert [piece.seq for piece in pieces] == list(range(len(pieces)))
    texts = [piece.chunk.content for piece in pieces if piece.chunk.type == "content"]
    assert texts == [f"{index} " for index in range(len(texts))]
    assert len(texts) >= acknowledged
    assert stream.chunks == len(pieces)
    assert stream.answer == "".join(texts)
    if stream.status == "done":
        assert pieces[-1].chunk.type == "done"
    else:
        assert stream.status == "interrupted"


def is_one_open(url: str) -> bool:
    """Whether the next open leaves a dead process's stream open.

    A server may still be at work on the process's last commit, and finish it behind the look; then
    it is the open after that which counts.
    """
    for _ in range(1 if url.startswith("sqlite") else 20):
        with History(url) as history:
            if not history.list(status="open"):
                return False
        time.sleep(0.05)
    return True


def kill_many(url: str, seeds: range) -> None:
    with killer(url) as killing:
        for seed in seeds:
            killing.kill_one(seed)
            assert not is_one_open(url)
    assert killing.kills == len(seeds)
    assert len(killing.stored) > len(seeds) / 4, "too little was acknowledged to prove anything"
    with History(url) as history:
        streams = {stream.idempotency_key: stream for stream in history.list(limit=None)}
        assert any(stream.status == "interrupted" for stream in streams.values())
        for key, count in killing.stored.items():
            assert streams[key].chunks >= count
        for key, stream in streams.items():
            look_over(history, stream, killing.stored.get(str(key), 0))


@pytest.mark.parametrize("first", [0, 50, 100, 150])
def test_killed_200_times(tmp_path, first: int) -> None:
    """On SQLite; four times fifty, so that a failure names its seeds."""
    file = tmp_path / "history.db"
    kill_many(f"sqlite:///{file}", range(first, first + 50))
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_killed_on_postgresql(postgres) -> None:
    """The same, shorter, on PostgreSQL."""
    kill_many(postgres.url, range(1001, 1031, 2))


SCRIPT = """
import sys
from websopy_persistence import PersistencePlugin
from websopy_sync import WebsopyClient
plugin = PersistencePlugin(sys.argv[2])
client = WebsopyClient(api_key="secret-key", base_url=sys.argv[1], plugins=[plugin])
for chunk in client.ai.chat_stream("a question"):
    if plugin.flush():
        print(chunk.content, flush=True)
"""


def test_a_client_is_killed(history_file) -> None:
    """A script over real HTTP, killed in the middle of its answer."""
    steps = [step for index in range(500) for step in (say(f"{index} "), pause(0.005))]
    with (
        Sandbox(steps) as sandbox,
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, sandbox.url, str(f"sqlite:///{history_file}")],
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        seen = [next(process.stdout).strip() for _ in range(10)]
        with History(history_file) as history:
            (stream,) = history.list()
            assert stream.status == "open"  # it lives
        process.kill()
    with History(history_file) as history:
        (stream,) = history.list()
        look_over(history, stream, acknowledged=len(seen))
    assert (stream.status, stream.question) == ("interrupted", "a question")
    assert stream.finished is not None
    assert stream.last_event_id
    assert b"secret-key" not in history_file.read_bytes()


def test_the_next_writer_marks_too(history_file, keep, ask) -> None:
    """An open is any open: the plugin's as well as a history's."""
    with killer(f"sqlite:///{history_file}") as killing:
        killing.kill_one(4711)
    plugin = keep(history_file)
    ask(plugin)
    assert plugin.flush()
    with contextlib.closing(sqlite3.connect(history_file)) as connection:
        rows = connection.execute("SELECT status, count(*) FROM streams GROUP BY 1").fetchall()
    assert dict(rows)["open"] == 1
    assert dict(rows)["interrupted"] >= 1


@pytest.mark.parametrize(
    ("hours", "changes", "status"),
    [
        (0, {"pid": 1}, "interrupted"),  # another process has this id now: it began elsewhen
        (0, {"started": "1"}, "interrupted"),
        (0, {"boot": "another"}, "interrupted"),  # before the last restart of this machine
        (0, {"space": "another"}, "open"),  # in a container
        (2, {"space": "another"}, "interrupted"),
        (99, {}, "open"),  # this very process
    ],
)
def test_only_the_dead_are_marked(history_file, keep, ask, hours, changes, status) -> None:
    """A process is dead for certain, or nobody knows and it was silent for an hour."""
    if not Identity.of_this_process().started:
        pytest.skip("needs /proc")
    plugin = keep(history_file)
    ask(plugin)
    assert plugin.flush()
    identity = attrs.evolve(Identity.of_this_process(), **changes)
    pretend(f"sqlite:///{history_file}", identity, datetime.now(UTC) - timedelta(hours=hours))
    with History(history_file) as history:
        assert [stream.status for stream in history.list()] == [status]


def test_a_server_is_for_many_machines(postgres, keep, ask) -> None:
    """There, another boot id may be another machine's, whose process lives."""
    plugin = keep(postgres.url)
    ask(plugin)
    assert plugin.flush()
    elsewhere = attrs.evolve(Identity.of_this_process(), boot="another", host="elsewhere")
    url = plugin.database.url.render_as_string(hide_password=False)
    pretend(url, elsewhere, datetime.now(UTC) - timedelta(minutes=50))
    with History(postgres.url) as history:
        assert [stream.status for stream in history.list()] == ["open"]
    pretend(url, elsewhere, datetime.now(UTC) - timedelta(minutes=70))
    with History(postgres.url) as history:
        assert [stream.status for stream in history.list()] == ["interrupted"]


def pretend(url: str, writer: Identity, seen: datetime) -> None:
    """Have the only stream be of another writer, last seen some time ago."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    moment = seen.replace(tzinfo=None) if url.startswith("sqlite") else seen
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE streams SET writer = :writer, seen = :seen"),
            {"writer": str(writer), "seen": str(moment)},
        )


def test_marked_by_mistake_is_put_right(history_file, keep, ask) -> None:
    """A process that was only cut off for long still has the last word."""
    plugin = keep(history_file)
    answer = ask(plugin).tell("so far")
    assert plugin.flush()
    other = attrs.evolve(Identity.of_this_process(), started="1")
    pretend(f"sqlite:///{history_file}", other, datetime.now(UTC))
    with History(history_file) as history:
        assert [stream.status for stream in history.list()] == ["interrupted"]
        answer.tell(" and on").done()
        assert plugin.flush()
        (stream,) = history.list()
    assert (stream.status, stream.answer, stream.lost) == ("done", "so far and on", 0)


def test_a_forked_child_writes_its_own(history_file, keep, ask) -> None:
    """It inherits streams that are its parent's, and a connection that is too."""
    plugin = keep(history_file)
    answer = ask(plugin, "parent's").tell("one ")
    assert plugin.flush()
    pid = os.fork()
    if pid == 0:
        try:
            answer.tell("not the child's to tell")
            ask(plugin, "child's").tell("text").done()
            os._exit(0 if plugin.flush() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    answer.tell("two").done()
    assert plugin.flush()
    with History(history_file) as history:
        child, parent = history.list()
    assert (child.question, child.answer, child.status) == ("child's", "text", "done")
    assert (parent.question, parent.answer, parent.chunks) == ("parent's", "one two", 3)


def test_a_script_that_ends_while_it_has_to_wait(history_file, keep, ask) -> None:
    """The process stays until what it told is stored."""
    plugin = keep(history_file)
    ask(plugin, "before").done()
    plugin.close()
    script = (
        "import runpy, sys\n"
        "tools = runpy.run_path(sys.argv[1])\n"
        "plugin = tools['PersistencePlugin'](sys.argv[2])\n"
        "tools['Answer'](plugin, key='k', body={}).tell('text').done()\n"
        "print('ends', flush=True)\n"
    )
    arguments = [str(HERE / "conftest.py"), f"sqlite:///{history_file}"]
    with contextlib.closing(sqlite3.connect(history_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ends\n"
            time.sleep(0.3)
            other.execute("ROLLBACK")
    assert process.returncode == 0
    with History(history_file) as history:
        assert history.list()[0].answer == "text"


def test_a_script_that_just_ends(history_file) -> None:
    """What waits at the end of a script is stored before the process goes."""
    script = SCRIPT.replace("    if plugin.flush():\n        print", "    print")
    with Sandbox() as sandbox:
        done = subprocess.run(
            [sys.executable, "-c", script.replace("chunk.content", "chunk.type"), sandbox.url,
             f"sqlite:///{history_file}"],
            capture_output=True, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    with History(history_file) as history:
        (stream,) = history.list()
    assert (stream.status, stream.lost) == ("done", 0)
    assert stream.chunks == len(done.stdout.split())
