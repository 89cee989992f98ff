"""The SQLite file of a log among the processes that make it, purge it and find it gone."""

from __future__ import annotations

import time
from pathlib import Path

from websopy_relay import SQLiteLog, Terms, Write
from websopy_relay.sqlite_file import SQLiteFile

TERMS = Terms("worker-1", lease=0.5, keep=60.0)


def write(key: str, end: str = "done") -> Write:
    return Write(key, "owner", 1, (b"event 1",), end)


class SlowToLook(type(Path())):  # type: ignore[misc]  # the class differs by system
    """Is told whether a file is there, and does nothing before another process has made it."""

    def exists(self, **options: bool) -> bool:
        was_there = super().exists(**options)
        other = SQLiteLog(str(self))
        other.append([write("k")], TERMS)
        others.append(other)
        return was_there


others: list[SQLiteLog] = []


def test_two_processes_that_make_the_file(tmp_path: Path) -> None:
    """The second one leaves what the first one has written meanwhile."""
    path = tmp_path / "answers.db"
    file = SQLiteFile(SlowToLook(path))
    with file.writing.use() as connection:
        assert connection.execute("SELECT end FROM answers").fetchall() == [("done",)]
    file.close()
    first = others.pop(0)
    assert first.read("k", 0) is not None
    for log in (first, *others):
        log.close()


def test_many_answers_that_expire_at_once(tmp_path: Path) -> None:
    """Each sign of life removes some, or a busy site's file would grow for ever."""
    log, terms = SQLiteLog(tmp_path / "answers.db"), Terms("worker-1", lease=0.1, keep=0.2)
    log.append([write(f"k{number}") for number in range(250)], terms)
    time.sleep(0.25)
    for _ in range(3):
        log.beat({}, [], terms)
    assert not any(log.read(f"k{number}", 0) for number in range(250))
    log.close()


def test_a_stop_while_another_is_taken(tmp_path: Path) -> None:
    """None is lost between the look for stops and the note that they were taken."""
    log, other = (SQLiteLog(tmp_path / "answers.db") for _ in range(2))
    log.append([write("a", end=""), write("b", end="")], TERMS)
    log.watch({}, TERMS.worker, 0.0)
    other.request_stop("a")

    def ask_for_another(statement: str) -> None:
        if statement.startswith("UPDATE answers SET stop = 0"):
            other.request_stop("b")

    with log._file.watching.use() as connection:
        connection.set_trace_callback(ask_for_another)
    taken = [log.watch({}, TERMS.worker, 0.0).stops for _ in range(2)]
    assert frozenset().union(*taken) == {"a", "b"}
    log.close()
    other.close()
