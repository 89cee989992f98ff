"""A hostile visitor: ids of others, cursors of others, owners that are none."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pytest
from relay_browser import Reader, begin, ends_of, events_of, first_event, until
from tables import each
from websopy_relay import Beat, LogError, MemoryLog, Record, Refusal, Relay, Terms, Write

from websopy_sync import ConfigError
from websopy_sync.sandbox import done, say, silence, wait

Asking = Callable[..., Any]

ANSWERS = [
    "", "x", "0" * 32, "' OR 1=1 --", "*", "\x00", "\ud800", "../../etc/passwd", "é" * 10_000,
    "websopy:answer:*", "\r\nX-Header: 1", None, 7, b"bytes", ["list"],
]  # fmt: skip
"""Ids that nobody was given."""


def told(body: Any) -> tuple[int, dict[str, str], list[bytes]]:
    """All that a visitor can see of a response."""
    return body.status, dict(body.headers), list(body)


def test_another_owner_sees_what_one_sees_of_no_answer(
    relay: Relay, other: Relay, asking: Asking
) -> None:
    """Status, headers and body are the same, while it runs and after; nothing of it changes."""
    gate = threading.Event()
    body = relay.start(asking(say("secret"), wait(gate), say("b"), done()), owner="alice")
    answer_id, rest = begin(body)
    reader = Reader(rest)
    unknown = told(relay.follow(secrets.token_hex(16), owner="mallory"))
    assert (unknown[0], unknown[2]) == (404, [])
    for running in (True, False):
        for where in (relay, other):
            for cursor in (None, "0", "1", "2", "99", "-1", "nonsense"):
                got = told(where.follow(answer_id, owner="mallory", last_event_id=cursor))
                assert got == unknown, (running, cursor)
            assert where.stop(answer_id, owner="mallory") is False
            assert where.delete(answer_id, owner="mallory") is False
        gate.set()
        assert ends_of(reader.events()) == ["done"]
    assert events_of(other.follow(answer_id, owner="alice"))[1:] == reader.events()


class Asked(MemoryLog):
    """Notes what it is asked for, and how many events it gives away."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []
        self.is_down = False

    def read(self, key: str, after: int) -> Record | None:
        if self.is_down:
            raise LogError("down")
        record = super().read(key, after)
        self.reads.append((after, len(record.events) if record else 0))
        return record


def test_another_owner_costs_what_no_answer_costs(asking: Asking) -> None:
    """The same work, so that no clock tells them apart; with a log that is down, too."""
    log, gate = Asked(), threading.Event()
    with Relay(log) as relay, Relay(log) as other:
        body = relay.start(asking(say("secret"), wait(gate), done()), owner="alice")
        answer_id, rest = begin(body)
        mirrored = Reader(other.follow(answer_id, owner="alice"))
        assert until(lambda: mirrored.pieces)
        log.reads.clear()
        for where in (relay, other):
            for asked in (answer_id, "unknown"):
                where.follow(asked, owner="mallory")
                where.stop(asked, owner="mallory")
                where.delete(asked, owner="mallory")
        assert len(log.reads) == 12 and len(set(log.reads)) == 1 and log.reads[0][1] == 0
        log.is_down = True
        for asked in (answer_id, "unknown"):
            assert relay.follow(asked, owner="mallory").status == 503
            with pytest.raises(LogError):
                relay.stop(asked, owner="mallory")
        log.is_down = False
        gate.set()
        assert ends_of(events_of(rest)) == ends_of(mirrored.events()) == ["done"]


def test_more_followers_than_an_owner_may_have(
    make_relay: Callable[..., Relay], asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    """One visitor cannot hold every thread of a server; another, and one who left, is let in."""
    relay = make_relay(max_followers_per_owner=3)
    source = asking(*[[silence()]] * 3)
    body = relay.start(source, owner="me")
    answer_id = first_event(body)
    followers = [relay.follow(answer_id, owner="me") for _ in range(2)]
    refused = relay.follow(answer_id, owner="me")
    assert (refused.status, refused.headers["Retry-After"], list(refused)) == (429, "5", [])
    assert "max_followers_per_owner" in caplog.text
    assert relay.start(source, owner="me").status == 429, "it would be followed, too"
    assert relay.follow(answer_id, owner="mallory").status == 404
    assert relay.start(source, owner="you").status == 200
    assert relay.follow(answer_id, owner="me", last_event_id=99).status == 409
    followers[0].close()
    assert until(lambda: relay.follow(answer_id, owner="me").status == 200)
    assert relay.stop(answer_id, owner="me"), "a stop holds no thread"
    assert ends_of(events_of(body)) == ["cancelled"]


class Sluggish(MemoryLog):
    """Takes its time for each sign of life."""

    def beat(self, produced: Mapping[str, int], followed: Collection[str], terms: Terms) -> Beat:
        time.sleep(0.1)
        return super().beat(produced, followed, terms)


def test_those_who_left_are_counted_at_once(asking: Asking) -> None:
    """All of them, not one for each sign of life: a page that is reloaded is not kept out."""
    with Relay(Sluggish(), lease=0.3, max_followers_per_owner=20) as relay:
        body = relay.start(asking(silence()), owner="me")
        answer_id = first_event(body)
        bodies = [relay.follow(answer_id, owner="me") for _ in range(20)]
        assert [body.status for body in bodies] == [200] * 19 + [429]
        for followed in bodies:
            followed.close()

        def all_are_let_in() -> bool:
            statuses = [relay.follow(answer_id, owner="me").status for _ in range(19)]
            return statuses == [200] * 19

        assert until(all_are_let_in, seconds=1.5)


@each("owner", ["alicf", "alice ", "Alice", "alic", "alice\0", "é", "\ud800"])
def test_almost_the_owner(relay: Relay, asking: Asking, owner: str) -> None:
    """Only the very same str is."""
    answer_id = first_event(relay.start(asking(done()), owner="alice"))
    assert relay.follow(answer_id, owner=owner).status == 404


@each("owner", ["", None, 0, 7, b"alice", [], object()])
def test_no_owner(relay: Relay, asking: Asking, owner: Any) -> None:
    """Every visitor without a session would be the same one: it is the view's mistake."""
    source = asking(done())
    for call in (
        lambda: relay.start(source, owner=owner),
        lambda: relay.follow("x", owner=owner),
        lambda: relay.stop("x", owner=owner),
        lambda: relay.delete("x", owner=owner),
    ):
        with pytest.raises(ConfigError, match="owner"):
            call()


@each("answer_id", ANSWERS)
def test_an_id_that_nobody_was_given(relay: Relay, answer_id: Any) -> None:
    """It is no error of the server."""
    assert relay.follow(answer_id, owner="me").status == 404
    assert relay.stop(answer_id, owner="me") is False
    assert relay.delete(answer_id, owner="me") is False


CURSORS = [
    "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "abc", "１", "٣", "4", "99999", "9" * 5000,
    "\x00", "1\n", "\ud800", "null", True, 1.0, -1, 10**30, b"1", [1],
]  # fmt: skip


@each("cursor", CURSORS)
def test_a_cursor_that_the_answer_does_not_have(
    relay: Relay, other: Relay, asking: Asking, cursor: Any
) -> None:
    """409, so that a page neither misses events nor takes them twice."""
    body = relay.start(asking(say("a"), done()), owner="me")
    answer_id, rest = begin(body)
    list(rest)
    for where in (relay, other):
        assert told(where.follow(answer_id, owner="me", last_event_id=cursor))[::2] == (409, [])


def test_an_expired_answer_is_as_unknown_as_any(
    make_relay: Callable[..., Relay], asking: Asking
) -> None:
    """After its time it is told apart from nothing."""
    relay, other = make_relay(keep=0.2), make_relay(keep=0.2)
    body = relay.start(asking(done()), owner="me")
    answer_id, rest = begin(body)
    list(rest)
    unknown = told(other.follow("x", owner="me"))
    assert until(lambda: told(other.follow(answer_id, owner="me")) == unknown, seconds=5)
    assert told(relay.follow(answer_id, owner="me")) == unknown


def test_an_answer_under_way_does_not_expire(
    make_relay: Callable[..., Relay], asking: Asking
) -> None:
    """However short `keep` is, and however long the model thinks."""
    relay, other = make_relay(keep=0.0), make_relay(keep=0.0)
    answer_id = first_event(relay.start(asking(silence()), owner="me"))
    time.sleep(0.25)
    body = other.follow(answer_id, owner="me")
    assert body.status == 200
    assert other.stop(answer_id, owner="me")
    assert ends_of(events_of(body)[1:]) == ["cancelled"]


def test_ids_are_long_and_differ(relay: Relay, asking: Asking) -> None:
    """128 random bits."""
    source = asking(*[[done()]] * 5)
    ids = {first_event(relay.start(source, owner="me")) for _ in range(5)}
    assert len(ids) == 5 and {len(bytes.fromhex(answer_id)) for answer_id in ids} == {16}


def test_neither_ids_nor_owners_are_logged(
    make_relay: Callable[..., Relay], asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    """A log file must not let its readers into the answers."""
    caplog.set_level(logging.DEBUG)
    relay, other = make_relay(), make_relay()
    body = relay.start(asking(say("a"), silence()), owner="alice-the-owner")
    answer_id, rest = begin(body)
    for owner in ("alice-the-owner", "mallory"):
        other.follow(answer_id, owner=owner, last_event_id="x")
        other.follow(answer_id, owner=owner)
        other.stop(answer_id, owner=owner)
    list(rest)
    other.delete(answer_id, owner="alice-the-owner")
    relay.close()
    assert answer_id not in caplog.text and "alice" not in caplog.text
    assert answer_id not in repr(relay) + repr(body)


class Deaf(MemoryLog):
    """Another process's connection to a log, which takes no events."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__()
        self._answers = log._answers

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        raise LogError("deaf")


def test_an_id_that_two_owners_have(asking: Asking) -> None:
    """Begun in two processes while the log was down for one: neither reads or stops the other's."""
    log, id = MemoryLog(), "i" * 32
    with Relay(log) as relay, Relay(Deaf(log)) as other:
        theirs = other.start(asking(say("secret"), silence()), owner="mallory", id=id)
        first_event(theirs)
        first_event(relay.start(asking(say("mine"), silence()), owner="alice", id=id))
        with pytest.raises(LogError):
            other.stop(id, owner="alice")
        assert other.follow(id, owner="alice").status == 503
        assert other.follow(id, owner="mallory").status == 200
