"""What every log does: memory, SQLite, Redis and Valkey by the same tests."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from relay_browser import until
from relay_servers import NEEDED, RedisServer, program_of, redis_server
from tables import each
from web_apps.running import free_port
from websopy_relay import DELETED, Beat, Log, Record, RedisLog, Relay, SQLiteLog, Terms, Write

from websopy_sync import ConfigError

TERMS = Terms("worker-1", lease=0.5, keep=60.0)
OTHERS = Terms("worker-2", lease=0.5, keep=60.0)

MakeLog = Callable[[], Log]


def numbers(first: int, last: int) -> tuple[bytes, ...]:
    return tuple(b"event %d" % number for number in range(first, last + 1))


def write(seq: int, last: int, end: str = "", key: str = "k") -> Write:
    return Write(key, "owner", seq, numbers(seq, last), end)


def test_what_was_written_is_read(make_log: MakeLog) -> None:
    """From any number on, in another process too, bytes as they were."""
    log, other = make_log(), make_log()
    odd = (b"\x00\xff\r\n", "é€😀".encode(), b"")
    assert log.append([write(1, 3)], TERMS) == {}
    assert log.append([Write("k", "owner", 4, odd, "done")], TERMS) == {}
    for after in range(8):
        record = other.read("k", after)
        assert record is not None
        assert (record.owner, record.end) == ("owner", "done")
        assert record.events == (*numbers(1, 3), *odd)[after:]
    assert other.read("unknown", 0) is None


@each(("seq", "last"), [(1, 1), (2, 2), (3, 4), (5, 5), (6, 7), (1, 9)])
def test_a_gap_or_a_double_is_refused(make_log: MakeLog, seq: int, last: int) -> None:
    """Only the number that follows the last one is taken, from whichever process."""
    log = make_log()
    log.append([write(1, 3)], TERMS)
    if seq == 1 and isinstance(log, RedisLog):
        return  # begins anew there: what a restart lost is written again
    assert make_log().append([write(seq, last)], OTHERS).keys() == {"k"}
    record = log.read("k", 0)
    assert record is not None and record.events == numbers(1, 3)


def test_nothing_follows_the_end(make_log: MakeLog) -> None:
    """No event, no second end, no new beginning: a frozen worker that wakes writes nothing."""
    log, other = make_log(), make_log()
    log.append([write(1, 2), write(1, 1, key="open")], TERMS)
    assert other.append([write(3, 3, "interrupted")], OTHERS) == {}
    for late in (write(3, 3), write(4, 4), write(4, 3, "done"), write(1, 5), write(3, 3, "done")):
        assert log.append([late], TERMS) == {"k": "ended"}
    record = log.read("k", 0)
    assert record is not None and (record.events, record.end) == (numbers(1, 3), "interrupted")


def test_one_refusal_leaves_the_others(make_log: MakeLog) -> None:
    """A transaction has the writes of many answers."""
    log = make_log()
    writes = [write(1, 2, key="a"), write(7, 8, key="b"), write(1, 1, key="c")]
    assert log.append(writes, TERMS).keys() == {"b"}
    assert log.read("a", 0) and log.read("c", 0) and not log.read("b", 0)


def test_two_processes_that_end_an_answer_at_once(make_log: MakeLog) -> None:
    """One of them does."""
    make_log().append([write(1, 1)], TERMS)
    logs = [make_log() for _ in range(6)]
    said: list[object] = []
    barrier = threading.Barrier(6)

    def end(log: Log, name: int) -> None:
        barrier.wait()
        said.append(log.append([write(2, 2, f"end {name}")], OTHERS))

    threads = [threading.Thread(target=end, args=(log, n)) for n, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, said)) == [False] + [True] * 5
    record = make_log().read("k", 0)
    assert record is not None and record.events == numbers(1, 2)


@pytest.mark.timing
def test_watching_sees_what_others_write(make_log: MakeLog) -> None:
    """Events and the end, of the followed answers only, and soon."""
    log, watching = make_log(), make_log()
    log.append([write(1, 2), write(1, 2, key="not followed")], TERMS)
    assert watching.watch({"k": 2}, "worker-2", 0.05).answers == {}
    timer = threading.Timer(0.05, log.append, ([write(3, 4, "done")], TERMS))
    timer.start()
    begun = time.monotonic()
    record = None
    while record is None and time.monotonic() < begun + 5:
        record = watching.watch({"k": 2}, "worker-2", 1.0).answers.get("k")
    timer.join()
    assert time.monotonic() - begun < 0.5
    assert record is not None and (record.events, record.end) == (numbers(3, 4), "done")


def test_a_stop_reaches_the_process_that_produces(make_log: MakeLog) -> None:
    """And no other, and once."""
    log, other = make_log(), make_log()
    log.append([write(1, 1), write(1, 1, "done", key="ended")], TERMS)
    for key in ("k", "ended", "unknown"):
        other.request_stop(key)
    assert other.watch({}, "worker-2", 0.01).stops == frozenset()
    assert log.watch({}, "worker-1", 1.0).stops == {"k"}
    assert log.watch({}, "worker-1", 0.01).stops == frozenset()


@pytest.mark.slow
def test_leases(make_log: MakeLog) -> None:
    """An answer is an orphan once its process has given no sign for a lease."""
    log, other = make_log(), make_log()
    log.append([write(1, 1), write(1, 1, "done", key="ended")], TERMS)
    followed = ["k", "ended", "unknown"]
    assert other.beat({}, followed, OTHERS).orphans == {"unknown"}
    for _ in range(3):
        time.sleep(0.25)
        log.beat({"k": 1}, [], TERMS)
        assert other.beat({}, followed, OTHERS).orphans == {"unknown"}
    assert until(lambda: other.beat({}, followed, OTHERS).orphans == {"k", "unknown"}, seconds=2)


def test_a_sign_of_life_while_another_process_waits_for_the_lock(tmp_path: Path) -> None:
    """A beat that had to wait judges leases by the time at which it looks."""
    log, other = (SQLiteLog(tmp_path / "answers.db") for _ in range(2))
    log.append([write(1, 1)], TERMS)
    blocker = sqlite3.connect(tmp_path / "answers.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    beats: list[Beat] = []
    waiting = threading.Thread(target=lambda: beats.append(other.beat({}, ["k"], OTHERS)))
    waiting.start()
    time.sleep(0.1)
    blocker.execute("UPDATE answers SET renewed = ?", (time.monotonic(),))
    blocker.execute("COMMIT")
    blocker.close()
    waiting.join()
    assert [beat.orphans for beat in beats] == [frozenset()]
    log.close()
    other.close()


def test_clocks_that_jump(tmp_path: Path) -> None:
    """The wall clock by a day: no live answer goes. The other by a reboot: no dead one lives."""
    file = tmp_path / "answers.db"
    log = SQLiteLog(file)
    log.append([write(1, 1), write(1, 1, "done", key="ended")], TERMS)
    log.delete("deleted")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as clock:
        clock.execute("UPDATE answers SET touched = touched - 86400")
        assert SQLiteLog(file).beat({}, ["k"], OTHERS).orphans == frozenset()
        assert log.read("k", 0) is not None and log.read("ended", 0) is None
        assert log.append([write(2, 2, key="deleted")], TERMS) == {"deleted": "ended"}
        clock.execute("UPDATE answers SET renewed = renewed + 1e6")
        assert SQLiteLog(file).beat({}, ["k"], OTHERS).orphans == {"k"}
    log.close()


@pytest.mark.slow
def test_what_a_beat_tells_a_producer(make_log: MakeLog) -> None:
    """Whether others follow its answers, and which ones the log no longer has as they were."""
    log, other = make_log(), make_log()
    log.append([write(1, 1, key=key) for key in ("a", "b", "ended", "deleted")], TERMS)
    assert log.beat({"a": 1, "b": 1}, [], TERMS).followed == frozenset()
    other.beat({}, ["b"], OTHERS)
    other.append([write(2, 2, "interrupted", key="ended")], OTHERS)
    other.delete("deleted")
    beat = log.beat({"a": 1, "b": 1, "ended": 1, "deleted": 1}, [], TERMS)
    assert (beat.followed, beat.refused) == ({"b"}, {"ended", "deleted"})
    assert until(lambda: not log.beat({"a": 1, "b": 1}, [], TERMS).followed, seconds=2)


def test_a_deleted_answer_is_gone(make_log: MakeLog) -> None:
    """Also for a process that still writes it, or has not begun."""
    log, other = make_log(), make_log()
    log.append([write(1, 2)], TERMS)
    other.delete("k")
    other.delete("unknown")
    gone = Record("", (), DELETED)
    assert log.read("k", 0) == log.read("unknown", 0) == gone
    for late in (write(3, 3), write(1, 3), write(3, 3, "done"), write(1, 1, key="unknown")):
        assert log.append([late], TERMS) == {late.key: "ended"}
    assert log.read("k", 0) == gone


def test_another_process_does_not_begin_the_same_answer(make_log: MakeLog) -> None:
    """Neither while it goes on, nor with a whole one; whose it is can be told from the record."""
    log, other = make_log(), make_log()
    log.append([write(1, 2)], TERMS)
    for late in (write(1, 1), write(1, 5), write(1, 5, "done")):
        assert other.append([late], OTHERS) == {"k": "ended"}
    assert other.read("k", 0) == Record("owner", numbers(1, 2), "", TERMS.worker)
    assert log.append([write(3, 3)], TERMS) == {}


@pytest.mark.slow
def test_what_redis_evicts(
    servers: Callable[[str], RedisServer], needs: Callable[[object, str], None]
) -> None:
    """An answer without its events is none, rather than an empty one; its producer is told."""
    needs(program_of("redis"), NEEDED["redis"])
    server = servers("redis")
    for evicted in ("answer", "events"):
        server.do("FLUSHALL")
        log = RedisLog(server.url)
        log.append([write(1, 2), write(1, 2, "done", key="ended")], TERMS)
        server.do("DEL", f"websopy:{evicted}:k", f"websopy:{evicted}:ended")
        assert log.read("k", 0) is None and log.read("ended", 0) is None
        assert log.beat({"k": 2}, [], TERMS).refused == {"k"}
        assert log.append([write(3, 3)], TERMS) == {"k": "gone"}
        assert log.append([write(1, 3)], TERMS) == {}
        record = log.read("k", 0)
        assert record is not None and record.events == numbers(1, 3)
        log.close()


@pytest.mark.slow
@pytest.mark.parametrize("query", ["protocol=3", "decode_responses=1"])
def test_a_url_with_options_of_the_client(
    servers: Callable[[str], RedisServer], needs: Callable[[object, str], None], query: str
) -> None:
    """None of them changes how answers are read."""
    needs(program_of("redis"), NEEDED["redis"])
    log = RedisLog(f"{servers('redis').url}?{query}", prefix=query)
    log.append([Write("k", "owner", 1, (b"\xff",))], TERMS)
    assert log.read("k", 0) == Record("owner", (b"\xff",), "", TERMS.worker)
    assert log.watch({"k": 0}, "w", 0.05).answers["k"].events == (b"\xff",)
    log.close()


@pytest.mark.slow
@pytest.mark.parametrize("query", ["", "?protocol=3"])
def test_a_server_at_a_port(needs: Callable[[object, str], None], query: str) -> None:
    """A connection over TCP has more of the client's own defaults than one over a Unix socket."""
    needs(program_of("redis"), NEEDED["redis"])
    port = free_port()
    with redis_server("redis", "--port", str(port), "--bind", "127.0.0.1"):
        log = RedisLog(f"redis://127.0.0.1:{port}/0{query}")
        log.append([write(1, 2)], TERMS)
        assert log.read("k", 0) == Record("owner", numbers(1, 2), "", TERMS.worker)
        log.close()


@pytest.mark.slow
def test_an_answer_is_kept_for_its_time(make_log: MakeLog) -> None:
    """After the end; one that goes on lives longer."""
    log = make_log()
    terms = Terms("worker-1", lease=0.3, keep=1.0)
    log.append([write(1, 1, "done", key="ended"), write(1, 1, key="open")], terms)
    begun = time.monotonic()
    while time.monotonic() < begun + 2.0:
        log.beat({"open": 1}, [], terms)
        time.sleep(0.1)
    assert log.read("ended", 0) is None
    assert log.read("open", 0) is not None


def test_a_closed_log_opens_again(make_log: MakeLog) -> None:
    """A relay may be closed before the last request is over."""
    log = make_log()
    log.append([write(1, 1)], TERMS)
    log.close()
    log.close()
    assert log.append([write(2, 2)], TERMS) == {}


def test_many_threads_write_and_read(make_log: MakeLog) -> None:
    """Each answer whole and in order."""
    log, other = make_log(), make_log()
    failed: list[object] = []

    def produce(key: str) -> None:
        for number in range(1, 41):
            failed.extend(log.append([write(number, number, key=key)], TERMS))

    threads = [threading.Thread(target=produce, args=(f"k{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    seen: dict[str, int] = dict.fromkeys((f"k{n}" for n in range(8)), 0)
    deadline = time.monotonic() + 20
    while min(seen.values()) < 40 and time.monotonic() < deadline:
        for key, record in other.watch(seen, "w", 0.2).answers.items():
            assert record.events == numbers(seen[key] + 1, seen[key] + len(record.events))
            seen[key] += len(record.events)
    for thread in threads:
        thread.join()
    assert not failed and set(seen.values()) == {40}


@each("path", ["", ":memory:", "file:x", None, 7, b"x"])
def test_a_path_that_is_none(path: object) -> None:
    """Each connection would have a file of its own."""
    with pytest.raises(ConfigError, match="path"):
        SQLiteLog(path)  # type: ignore[arg-type]  # on purpose


@each("url", ["", "http://x", "redis://:hunter2@host:port", None])
def test_a_url_that_is_none(url: object) -> None:
    """What is said about it has no password."""
    with pytest.raises(ConfigError, match="url") as caught:
        RedisLog(url)  # type: ignore[arg-type]  # on purpose
    assert "hunter2" not in str(caught.value)


def test_no_password_in_a_repr() -> None:
    """Crash reporters show it."""
    log = RedisLog("redis://me:hunter2@127.0.0.1:1/0")
    with Relay(log) as relay:
        assert "hunter2" not in repr(log) + repr(relay)
