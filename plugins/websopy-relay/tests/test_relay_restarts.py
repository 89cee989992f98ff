"""A log that stops, restarts, forgets or is locked: live answers go on, and the log gets them."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from relay_browser import Reader, begin, ends_of, events_of, first_event, ids_of, texts_of, until
from relay_servers import NEEDED, program_of, redis_server
from websopy_relay import (
    Beat,
    LogError,
    MemoryLog,
    RedisLog,
    Refusal,
    Relay,
    SQLiteLog,
    Terms,
    Write,
)
from websopy_relay.identity import key_of

from websopy_sync.sandbox import done, pause, say, silence, wait
from websopy_sync.web import EventStreamBody

Asking = Callable[..., Any]

FIRST, SECOND, THIRD = ([f"{name}{number} " for number in range(40)] for name in ("a", "b", "c"))
WORDS = [*FIRST, *SECOND, *THIRD]


def script_with(gates: list[threading.Event]) -> list[Any]:
    parts = [[say(word) for word in words] for words in (FIRST, SECOND, THIRD)]
    return [parts[0], wait(gates[0]), parts[1], wait(gates[1]), parts[2], wait(gates[2]), done()]


def read_of(reader: Reader) -> int:
    return len(texts_of(events_of(list(reader.pieces))))


def has(url: str, answer_id: str, count: int) -> bool:
    """Whether the log has so many events of an answer."""
    log = RedisLog(url)
    try:
        record = log.read(key_of(answer_id), 0)
    except LogError:
        return False
    finally:
        log.close()
    return record is not None and len(record.events) == count


PERSISTENCE = {
    "nothing kept": (),
    "every write kept": ("--appendonly", "yes", "--appendfsync", "always"),
    "an old snapshot kept": (),
}


@pytest.mark.slow
@pytest.mark.parametrize("kept", PERSISTENCE)
@pytest.mark.parametrize("kind", ["redis", "valkey"])
@pytest.mark.parametrize("moment", ["talking", "silent"])
def test_a_server_that_is_killed_and_restarts(
    kind: str, kept: str, moment: str, asking: Asking, needs: Callable[[object, str], None]
) -> None:
    """Followers here and elsewhere read each event once; the log has the whole answer after."""
    needs(program_of(kind), NEEDED[kind])
    gates = [threading.Event() for _ in range(3)]
    with redis_server(kind, *PERSISTENCE[kept]) as server:
        options = {"lease": 1.0, "heartbeat": 0.5}
        with (
            Relay(RedisLog(server.url), **options) as relay,
            Relay(RedisLog(server.url), **options) as other,
        ):
            answer_id, rest = begin(relay.start(asking(script_with(gates)), owner="me"))
            here, there = Reader(rest), Reader(other.follow(answer_id, owner="me"))
            assert until(lambda: read_of(here) == read_of(there) == 40)
            if kept == "an old snapshot kept":
                server.do("SAVE")
            gates[0].set()
            assert until(lambda: read_of(here) == read_of(there) == 80)
            server.kill()
            if moment == "talking":
                gates[1].set()
                assert until(lambda: read_of(here) == 120), "the log holds the answer up"
            server.start()
            if moment == "silent":
                assert until(lambda: has(server.url, answer_id, 81), seconds=10)
                gates[1].set()
            assert until(lambda: read_of(there) == 120, seconds=15)
            gates[2].set()
            for reader in (here, there):
                events = reader.events()
                assert texts_of(events) == WORDS and ends_of(events) == ["done"]
            assert until(lambda: has(server.url, answer_id, 122))
        with Relay(RedisLog(server.url)) as later:
            events = events_of(later.follow(answer_id, owner="me"))
            assert ids_of(events) == list(range(1, 123))
            assert texts_of(events) == WORDS and ends_of(events) == ["done"]


@pytest.mark.slow
def test_server_and_worker_lost_at_once(
    asking: Asking, needs: Callable[[object, str], None]
) -> None:
    """Nobody has the answer any more: followers elsewhere are told that it broke off."""
    needs(program_of("redis"), NEEDED["redis"])
    gates = [threading.Event() for _ in range(3)]
    with redis_server("redis") as server:
        with Relay(RedisLog(server.url), lease=0.5, heartbeat=0.3) as other:
            relay = Relay(RedisLog(server.url), lease=0.5, heartbeat=0.3)
            answer_id = first_event(relay.start(asking(script_with(gates)), owner="me"))
            there = Reader(other.follow(answer_id, owner="me"))
            assert until(lambda: read_of(there) == 40)
            server.kill()
            relay.close()
            server.start()
            events = there.events()
            assert texts_of(events) == FIRST and ends_of(events) == ["interrupted"]
            # It is in memory until the keeper has noted that its last follower left.
            assert until(lambda: other.follow(answer_id, owner="me").status == 404)


@pytest.mark.timing
@pytest.mark.slow
def test_a_server_that_is_not_there_yet(
    asking: Asking, needs: Callable[[object, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The answer goes on at once, and the log gets it when it comes."""
    needs(program_of("redis"), NEEDED["redis"])
    with redis_server("redis") as server:
        server.kill()
        with (
            Relay(RedisLog(server.url), lease=0.5) as relay,
            Relay(RedisLog(server.url), lease=0.5) as other,
        ):
            begun = time.monotonic()
            source = asking([say(word) for word in WORDS], done())
            answer_id, rest = begin(relay.start(source, owner="me"))
            assert texts_of(events_of(rest)) == WORDS
            assert time.monotonic() - begun < 2.0
            refused = other.follow(answer_id, owner="me")
            assert refused.status == 503 and refused.headers["Retry-After"]
            with pytest.raises(LogError):
                other.stop(answer_id, owner="me")
            assert relay.follow(answer_id, owner="me", last_event_id=5).status == 200
            server.start()
            assert until(lambda: other.follow(answer_id, owner="me").status == 200, seconds=10)
            assert texts_of(events_of(other.follow(answer_id, owner="me"))) == WORDS
    said = [record.message for record in caplog.records if "log of answers" in record.message]
    assert len([text for text in said if "is down" in text]) == 1, said


def test_a_file_that_another_process_locks(
    tmp_path: Path, asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    """A second at most is lost to it; the file gets the rest after."""
    file = tmp_path / "answers.db"
    gates = [threading.Event() for _ in range(3)]
    with Relay(SQLiteLog(file)) as relay, Relay(SQLiteLog(file)) as other:
        answer_id, rest = begin(relay.start(asking(script_with(gates)), owner="me"))
        here = Reader(rest)
        assert until(lambda: read_of(here) == 40)
        blocker = sqlite3.connect(file, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        gates[0].set()
        assert until(lambda: read_of(here) == 80, seconds=3.0)
        gates[1].set()
        assert until(lambda: read_of(here) == 120, seconds=0.5), "it waits again"
        blocker.execute("ROLLBACK")
        blocker.close()
        gates[2].set()
        assert ends_of(here.events()) == ["done"]
        there = lambda: other.follow(answer_id, owner="me", last_event_id=122)  # noqa: E731
        assert until(lambda: there().status == 204, seconds=10)
        assert texts_of(events_of(other.follow(answer_id, owner="me"))) == WORDS


@contextmanager
def followed_over(
    file: Path, asking: Asking, gates: list[threading.Event]
) -> Iterator[tuple[Reader, Reader, Callable[[], EventStreamBody]]]:
    """An answer that is read here and in another process, over a file, up to the first gate.

    The third begins to follow it in a process that has not used the file yet.
    """
    with (
        Relay(SQLiteLog(file), lease=0.5) as relay,
        Relay(SQLiteLog(file), lease=0.5) as other,
        Relay(SQLiteLog(file), lease=0.5) as later,
    ):
        answer_id, rest = begin(relay.start(asking(script_with(gates)), owner="me"))
        here, there = Reader(rest), Reader(other.follow(answer_id, owner="me"))
        assert until(lambda: read_of(here) == read_of(there) == 40)
        yield here, there, lambda: later.follow(answer_id, owner="me")


def test_a_file_that_is_removed(tmp_path: Path, asking: Asking) -> None:
    """A new one gets the answers under way, whole, for processes that begin later too."""
    file = tmp_path / "answers.db"
    gates = [threading.Event() for _ in range(3)]
    gates[1].set()
    with followed_over(file, asking, gates) as (here, there, later):
        for path in tmp_path.iterdir():
            path.unlink()
        gates[0].set()
        assert until(lambda: read_of(here) == read_of(there) == 120)
        assert later().status == 200
        gates[2].set()
        assert ends_of(here.events()) == ends_of(there.events()) == ["done"]


@pytest.mark.parametrize("ending", ["-wal", "-shm"])
def test_a_file_that_is_removed_in_steps(tmp_path: Path, asking: Asking, ending: str) -> None:
    """Also where the files beside it go later, when others of the same names stand there."""
    file = tmp_path / "answers.db"
    gates = [threading.Event() for _ in range(3)]
    with followed_over(file, asking, gates) as (here, there, later):
        file.unlink()
        gates[0].set()
        assert until(lambda: read_of(here) == read_of(there) == 80)
        file.with_name(file.name + ending).unlink()
        gates[1].set()
        assert until(lambda: read_of(here) == read_of(there) == 120)
        assert later().status == 200
        gates[2].set()
        assert ends_of(here.events()) == ends_of(there.events()) == ["done"]
        assert texts_of(events_of(later())) == WORDS


@pytest.mark.parametrize("place", ["/proc/answers.db", "/dev/null/answers.db"])
def test_a_file_that_cannot_be(place: str, asking: Asking) -> None:
    """Answers work without a log."""
    with Relay(SQLiteLog(place)) as relay:
        answer_id, rest = begin(relay.start(asking(say("a"), done()), owner="me"))
        assert texts_of(events_of(rest)) == ["a"]
        assert relay.follow(answer_id, owner="me").status == 200
        assert relay.follow("unknown", owner="me").status == 503


def test_a_log_that_stays_away(asking: Asking) -> None:
    """Answers that wait for it do not fill the memory: the oldest are given up."""
    with Relay(SQLiteLog("/proc/answers.db"), lease=0.3, max_answers=3) as relay:
        source, ids = asking(say("a"), done()), []
        for _ in range(6):
            body = relay.start(source, owner="me")
            answer_id, rest = begin(body)
            ids.append(answer_id)
            list(rest)
        statuses = lambda: [relay.follow(i, owner="me", last_event_id=3).status for i in ids]  # noqa: E731
        assert until(lambda: statuses() == [503] * 3 + [204] * 3)


class Away(MemoryLog):
    """Goes down when told, and does nothing then."""

    is_down = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("append", "read", "watch", "beat") and self.is_down:
            raise LogError("away")
        return super().__getattribute__(name)


@contextmanager
def followed_elsewhere(
    log: MemoryLog, answer: Any, *, lease: float
) -> Iterator[tuple[Relay, Relay, str, Reader, Reader]]:
    """Two relays of one log: the id of an answer, its reader at the first and at the other."""
    with Relay(log, lease=lease) as relay, Relay(log, lease=lease) as other:
        answer_id, rest = begin(relay.start(answer, owner="me"))
        here, there = Reader(rest), Reader(other.follow(answer_id, owner="me"))
        assert until(lambda: read_of(there) == 1)
        yield relay, other, answer_id, here, there


def test_a_follower_elsewhere_does_not_wait_for_ever(asking: Asking) -> None:
    """After four leases its page is sent to ask again, and goes on once the log is back."""
    log, gate = Away(), threading.Event()
    answer = asking(say("a"), wait(gate), say("b"), done())
    with followed_elsewhere(log, answer, lease=0.2) as (_relay, other, answer_id, here, there):
        log.is_down = True
        events = there.events()
        assert ends_of(events[1:]) == ["restarting"] and ids_of(events[:2]) == [1, 2]
        assert other.follow(answer_id, owner="me").status == 503
        log.is_down = False
        gate.set()
        events = here.events()
        assert texts_of(events) == ["a", "b"] and ends_of(events) == ["done"]
        assert until(lambda: other.follow(answer_id, owner="me", last_event_id=2).status == 200)
        rest = events_of(other.follow(answer_id, owner="me", last_event_id=2))
        assert texts_of(rest) == ["b"] and ends_of(rest) == ["done"]


class Forgetful(Away):
    """Forgets everything when told, as a server without a file does."""

    def forget(self) -> None:
        self._answers.clear()

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        gone = {w.key: w for w in writes if w.seq > 1 and w.key not in self._answers}
        refused = super().append([w for w in writes if w.key not in gone], terms)
        return {**refused, **dict.fromkeys(gone, "gone")}


def test_a_log_that_is_back_without_its_data(asking: Asking) -> None:
    """A page is not told that its answer is gone before the producer had time to write it anew."""
    log = Forgetful()
    with Relay(log, lease=1.0) as relay, Relay(log) as other, Relay(log) as third:
        answer_id = first_event(relay.start(asking(say("a"), silence()), owner="me"))
        log.is_down = True
        assert other.follow(answer_id, owner="me").status == 503
        with pytest.raises(LogError):
            third.stop(answer_id, owner="me")
        log.forget()
        log.is_down = False
        assert other.follow(answer_id, owner="me").status == 503
        with pytest.raises(LogError):
            third.stop(answer_id, owner="me")
        assert until(lambda: other.follow(answer_id, owner="me").status == 200)
        assert third.stop(answer_id, owner="me")


def test_a_log_that_is_back_behind_a_page(asking: Asking) -> None:
    """The page need not begin anew: the producer writes what it has seen meanwhile."""
    log, gate = Away(), threading.Event()
    with Relay(log) as relay, Relay(log) as other:
        body = relay.start(asking(say("a"), wait(gate), say("b"), silence()), owner="me")
        answer_id, rest = begin(body)
        reader = Reader(rest)
        assert until(lambda: read_of(reader) == 1)
        follow = lambda: other.follow(answer_id, owner="me", last_event_id=3).status  # noqa: E731
        assert follow() == 409
        log.is_down = True
        gate.set()
        assert until(lambda: read_of(reader) == 2)
        statuses = [follow()]
        log.is_down = False
        assert until(lambda: statuses.append(follow()) or statuses[-1] == 200)
        assert set(statuses) == {503, 200}
        assert relay.stop(answer_id, owner="me")


def test_a_log_that_was_away_for_a_while_is_written_at_once(asking: Asking) -> None:
    """Followers elsewhere wait for that, and would take the producer for dead."""
    log, gate = Full(), threading.Event()
    with Relay(log, lease=0.5) as relay:
        body = relay.start(asking(say("a"), wait(gate), done()), owner="me")
        key = key_of(first_event(body))
        log.is_full = True
        gate.set()
        time.sleep(0.3)
        log.is_full = False
        assert until(lambda: log.read(key, 0).end, seconds=0.35)


def test_a_log_that_was_away_for_longer_than_a_lease(asking: Asking) -> None:
    """A producer has time for a sign of life, however many followers look for it at once."""
    log, gate = Away(), threading.Event()
    answer = asking(say("a"), wait(gate), done())
    with followed_elsewhere(log, answer, lease=0.4) as (_relay, other, answer_id, here, there):
        log.is_down = True
        assert not until(lambda: not there.is_alive(), seconds=0.6)
        log.is_down = False
        for _ in range(20):
            other.follow(answer_id, owner="me").close()
            time.sleep(0.002)
        gate.set()
        assert ends_of(here.events()) == ends_of(there.events()) == ["done"]


class Full(MemoryLog):
    """Takes no events while it is full."""

    is_full = False

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        if self.is_full:
            raise LogError("full")
        return super().append(writes, terms)


def test_an_answer_that_ends_while_the_log_is_down(asking: Asking) -> None:
    """No follower elsewhere takes its producer for dead before the log has the rest."""
    log, gate = Full(), threading.Event()
    answer = asking(say("a"), wait(gate), say("b"), done())
    with followed_elsewhere(log, answer, lease=0.2) as (relay, _other, answer_id, here, there):
        log.is_full = True
        gate.set()
        assert ends_of(here.events()) == ["done"]
        assert not until(lambda: not there.is_alive(), seconds=0.5)
        log.is_full = False
        events = there.events()
        assert texts_of(events) == ["a", "b"] and ends_of(events) == ["done"]
        assert ends_of(events_of(relay.follow(answer_id, owner="me"))) == ["done"]


class Hasty(MemoryLog):
    """Takes every producer for dead, and every end of a follower comes a moment too late."""

    def beat(self, produced: Mapping[str, int], followed: Collection[str], terms: Terms) -> Beat:
        found = super().beat(produced, followed, terms)
        return attrs.evolve(found, orphans=frozenset(followed))

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        (write, *_) = writes
        if write.end == "interrupted":
            until(lambda: len(self.read(write.key, 0).events) >= write.seq, seconds=1)
        return super().append(writes, terms)


def test_a_producer_that_lives_after_all(asking: Asking) -> None:
    """A follower whose end the log refuses goes on reading."""
    log = Hasty()
    words = [[say(word), pause(0.005)] for word in WORDS]
    with Relay(log, lease=0.2) as relay, Relay(log, lease=0.2) as other:
        answer_id = first_event(relay.start(asking(words, done()), owner="me"))
        events = events_of(other.follow(answer_id, owner="me"))
    assert texts_of(events) == WORDS and ends_of(events) == ["done"]


class Broken:
    """A log of somebody's own that raises what no log may."""

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def call(*args: object, **kwargs: object) -> None:
            if verb != "close":
                raise RuntimeError(f"a bug in {verb}")

        return call


def test_a_log_with_a_bug(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    """It ends no answer, and the operator reads about it."""
    with Relay(Broken()) as relay:  # type: ignore[arg-type]  # on purpose
        _, rest = begin(relay.start(asking(say("a"), done()), owner="me"))
        assert texts_of(events_of(rest)) == ["a"]
    assert "a bug in append" in caplog.text
