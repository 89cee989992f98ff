"""Answers that outlive their request: followed, resumed, stopped and ended, over every log."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from relay_browser import Reader, begin, ends_of, events_of, first_event, ids_of, texts_of, until
from tables import each
from websopy_relay import (
    LogError,
    MemoryLog,
    Record,
    Refusal,
    Relay,
    SQLiteLog,
    Terms,
    Write,
)

from websopy_sync import CancelToken, ChatStream, ConfigError, RateLimitError, StreamError
from websopy_sync.sandbox import before_headers, cut, done, headers, say, silence, status, wait

WORDS = [f"word {number} " for number in range(30)]

MakeRelay = Callable[..., Relay]
Asking = Callable[..., Any]


def test_an_answer_is_named_numbered_and_ended(relay: Relay, asking: Asking) -> None:
    """The id first, then each chunk under the next number; the end is an event as well."""
    body = relay.start(asking([say(word) for word in WORDS], done(3, 5)), owner="me")
    assert body.status == 200
    assert body.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    events = events_of(body)
    assert [event.event for event in events] == ["answer"] + ["message"] * 31
    assert ids_of(events) == list(range(1, 33))
    assert texts_of(events) == WORDS and ends_of(events) == ["done"]


def test_a_reload_at_every_tenth(relay: Relay, other: Relay, asking: Asking) -> None:
    """Each event once and in order, whichever process the page reaches next."""
    gates, end = [threading.Event() for _ in range(10)], threading.Event()
    script = [
        [wait(gate), [say(word) for word in WORDS[3 * n : 3 * n + 3]]]
        for n, gate in enumerate(gates)
    ]
    body = relay.start(asking(script, wait(end), done()), owner="me")
    answer_id, rest = begin(body)
    pieces: list[bytes] = []
    for number, gate in enumerate(gates):
        gate.set()
        read: list[bytes] = []
        while len(texts_of(events_of(read))) < 3:
            read.append(next(rest))
        pieces += read
        last = events_of(read)[-1].id
        body.close()
        body = (other, relay)[number % 2].follow(answer_id, owner="me", last_event_id=last)
        assert body.status == 200
        rest = iter(body)
    end.set()
    events = events_of([*pieces, *rest])
    assert ids_of(events) == list(range(2, 33))
    assert texts_of(events) == WORDS and ends_of(events) == ["done"]


def test_an_id_of_a_deleted_answer(relay: Relay, other: Relay, asking: Asking) -> None:
    """A task that is delivered again does not ask the service anew."""
    source = asking([say("a"), done()])
    assert ends_of(events_of(relay.start(source, owner="me", id="i" * 32))[1:]) == ["done"]
    assert other.delete("i" * 32, owner="me")
    assert other.start(source, owner="me", id="i" * 32).status == 409


def test_an_id_that_the_program_made(relay: Relay, other: Relay, asking: Asking) -> None:
    """Another process may know it before. A second answer of that id is none, wherever it is."""
    id = "0f1c0e7d-3a5b-4c0e-9d2b-8a7f6e5d4c3b"
    source = asking([say("a"), done()])
    body = relay.start(source, owner="me", id=id)
    answer_id, rest = begin(body)
    assert answer_id == id and ends_of(events_of(rest)) == ["done"]
    assert texts_of(events_of(other.follow(id, owner="me"))) == ["a"]
    for where in (relay, other):
        for owner in ("me", "you"):
            second = where.start(source, owner=owner, id=id)
            assert second.status == 409 and list(second) == []


@each("id", ["", "short", "a" * 31, "a" * 129, "é" * 32, "a" * 32 + "\n", 7, b"a" * 32])
def test_an_id_that_could_be_guessed(make_relay: MakeRelay, asking: Asking, id: Any) -> None:
    with pytest.raises(ConfigError, match="id: expected 32 to 128") as caught:
        make_relay().start(asking([done()]), owner="me", id=id)
    assert "aaa" not in str(caught.value)


def test_an_id_that_is_taken_while_the_log_is_down(asking: Asking) -> None:
    """This process knows its own answers without the log."""
    with Relay(SQLiteLog("/proc/answers.db")) as relay:
        source = asking(say("a"), silence())
        first = relay.start(source, owner="me", id="i" * 32)
        assert relay.start(source, owner="me", id="i" * 32).status == 409
        assert relay.start(source, owner="you", id="i" * 32).status == 409
        assert relay.stop("i" * 32, owner="me")
        assert ends_of(events_of(first)[1:]) == ["cancelled"]


class Blind(MemoryLog):
    """Cannot be read until told."""

    blind = False

    def read(self, key: str, after: int) -> Record | None:
        if self.blind:
            raise LogError("not now")
        return super().read(key, after)


def test_two_processes_that_begin_one_answer(asking: Asking) -> None:
    """The log has the first one's; the other's is cancelled, whoever asked for it."""
    log, gate = Blind(), threading.Event()
    with Relay(log, lease=0.6) as relay, Relay(log, lease=0.6) as other:
        first = relay.start(asking(say("a"), wait(gate), done()), owner="me", id="i" * 32)
        _, rest = begin(first)
        log.blind = True
        second = other.start(asking(say("b"), silence()), owner="you", id="i" * 32)
        log.blind = False
        assert ends_of(events_of(second)) == ["cancelled"]
        gate.set()
        events = events_of(rest)
        assert texts_of(events) == ["a"] and ends_of(events) == ["done"]
        assert events_of(other.follow("i" * 32, owner="me"))[1:] == events


class Late(Blind):
    """Says late that it has refused a write."""

    def __init__(self) -> None:
        super().__init__()
        self.refused, self.told = threading.Event(), threading.Event()

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        refused = super().append(writes, terms)
        if refused:
            self.blind = False
            self.refused.set()
            self.told.wait(5.0)
        return refused


def test_a_second_answer_that_goes_on_while_it_is_refused(asking: Asking) -> None:
    """What it adds meanwhile does not end the first one, in whichever process that is."""
    log, gate, more = Late(), threading.Event(), threading.Event()
    with Relay(log) as relay, Relay(log) as other:
        _, rest = begin(relay.start(asking(wait(gate), done()), owner="me", id="i" * 32))
        log.blind = True
        second = other.start(asking(wait(more), say("b"), silence()), owner="me", id="i" * 32)
        assert log.refused.wait(5.0)
        more.set()
        (answer,) = other._engine.answers.all()
        assert until(lambda: len(answer.events) == 2)
        log.told.set()
        assert ends_of(events_of(second)) == ["cancelled"]
        gate.set()
        assert ends_of(events_of(rest)) == ["done"]


@each("last", [None, "", "0", 0, "1", "7", "31", 31])
def test_following_after_the_end(relay: Relay, other: Relay, asking: Asking, last: Any) -> None:
    """All that comes after the number, from memory and from the log."""
    body = relay.start(asking([say(word) for word in WORDS], done()), owner="me")
    answer_id, rest = begin(body)
    whole = events_of(rest)
    for where in (relay, other):
        followed = events_of(where.follow(answer_id, owner="me", last_event_id=last))
        assert ids_of(followed) == list(range(int(last or 0) + 1, 33))
        assert followed[-20:] == whole[-min(20, len(followed)) :]


def test_two_followers_here_and_two_elsewhere(relay: Relay, other: Relay, asking: Asking) -> None:
    """All of them read the same."""
    gate = threading.Event()
    body = relay.start(
        asking(say("a"), wait(gate), [say(word) for word in WORDS], done()), owner="me"
    )
    answer_id = first_event(body)
    readers = [Reader(w.follow(answer_id, owner="me")) for w in (relay, relay, other, other)]
    gate.set()
    for reader in readers:
        assert texts_of(reader.events()) == ["a", *WORDS]
        assert ends_of(reader.events()) == ["done"]
    body.close()


def test_one_who_leaves_does_not_end_the_answer(relay: Relay, asking: Asking) -> None:
    """Not even the one who asked: a reload comes back."""
    gate = threading.Event()
    body = relay.start(asking(say("a"), wait(gate), say("b"), done()), owner="me")
    answer_id = first_event(body)
    body.close()
    assert list(body) == []
    gate.set()
    assert texts_of(events_of(relay.follow(answer_id, owner="me"))) == ["a", "b"]


def test_leaving_waits_for_no_lock(make_relay: MakeRelay, asking: Asking) -> None:
    """The garbage collector does it in any thread, which may hold what our lock's holder wants."""
    relay = make_relay(heartbeat=60.0)
    body = relay.start(asking(silence()), owner="me")
    reader = Reader(begin(body)[1])
    leaving = threading.Thread(target=body.leave, daemon=True)
    with relay._engine.answers.lock:
        leaving.start()
        leaving.join(2.0)
        assert not leaving.is_alive()
    assert reader.events() == []


@pytest.mark.timing
@pytest.mark.parametrize("script", [[silence()], [say("a"), silence()]], ids=["silent", "begun"])
def test_a_stop_from_another_process(
    relay: Relay, other: Relay, asking: Asking, script: list[Any]
) -> None:
    """It reaches the service, and every follower sees one and the same end."""
    body = relay.start(asking(script), owner="me")
    answer_id, rest = begin(body)
    here, there = Reader(rest), Reader(other.follow(answer_id, owner="me"))
    begun = time.monotonic()
    assert other.stop(answer_id, owner="me")
    assert ends_of(here.events()) == ends_of(there.events()) == ["cancelled"]
    assert time.monotonic() - begun < 2.0
    assert other.follow(answer_id, owner="me", last_event_id=here.events()[-1].id).status == 204
    assert other.stop(answer_id, owner="me"), "the second press of the button"


def test_a_stop_before_the_headers(relay: Relay, other: Relay, asking: Asking) -> None:
    """The token reaches a request that has no response yet."""
    never = threading.Event()
    body = relay.start(asking(before_headers(wait(never))), owner="me")
    answer_id, rest = begin(body)
    assert other.stop(answer_id, owner="me")
    assert ends_of(events_of(rest)) == ["cancelled"]
    never.set()


def test_a_failure_is_the_last_event(relay: Relay, other: Relay, asking: Asking) -> None:
    """With a number, in the log: a reload sees the same end."""
    body = relay.start(asking(say("a"), cut()), owner="me")
    answer_id, rest = begin(body)
    events = events_of(rest)
    assert (texts_of(events), ends_of(events)) == (["a"], ["interrupted"])
    assert ids_of(events) == [2, 3]
    again = events_of(other.follow(answer_id, owner="me", last_event_id="1"))
    assert again == events


def test_a_refusal_is_an_event_or_the_views(relay: Relay, asking: Asking) -> None:
    """`wait_for_status` chooses; the answer of a refusal that was raised is not kept."""
    refused = asking(status(429, retry_after=0))
    assert ends_of(events_of(relay.start(refused, owner="me"))[1:]) == ["rate_limited"]
    with pytest.raises(RateLimitError):
        relay.start(refused, owner="me", wait_for_status=5.0)
    fine = relay.start(asking(say("a"), done()), owner="me", wait_for_status=5.0)
    assert texts_of(events_of(fine)[1:]) == ["a"]


def test_a_refusal_after_a_sign_of_life(make_relay: MakeRelay, asking: Asking) -> None:
    """It leaves nothing in the log: a task that is tried again begins the same answer."""
    relay, refusing = make_relay(lease=0.1), asking(status(429, retry_after=0))

    def late(cancel: CancelToken) -> ChatStream:
        time.sleep(0.2)
        opened: ChatStream = refusing(cancel)
        return opened

    with pytest.raises(RateLimitError):
        relay.start(late, owner="me", id="i" * 32, wait_for_status=5.0)
    again = relay.start(asking([say("a"), done()]), owner="me", id="i" * 32)
    assert again.status == 200 and texts_of(events_of(again)[1:]) == ["a"]


def test_a_service_that_lets_the_view_wait(relay: Relay, asking: Asking) -> None:
    """The answer begins all the same when the time is over."""
    gate = threading.Event()
    body = relay.start(
        asking(before_headers(wait(gate)), say("a"), done()), owner="me", wait_for_status=0.1
    )
    first_event(body)
    gate.set()
    assert texts_of(events_of(body)) == ["a"]


def test_a_time_limit_of_the_view(relay: Relay, asking: Asking) -> None:
    """It comes out at once, and the request is cancelled at the service."""
    never, cancelled = threading.Event(), threading.Event()
    source = asking(before_headers(wait(never)))

    def watched(cancel: CancelToken) -> ChatStream:
        cancel.subscribe(cancelled.set)
        return source(cancel)

    def ring(*_: object) -> None:
        raise TimeoutError("of the view")

    former = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(TimeoutError, match="of the view"):
            relay.start(watched, owner="me", wait_for_status=10.0)
    finally:
        signal.signal(signal.SIGALRM, former)
    assert cancelled.wait(2.0)
    never.set()


def test_waiting_in_an_event_loop(relay: Relay, asking: Asking) -> None:
    """It would stop every other request of the loop."""

    async def view() -> None:
        relay.start(asking(done()), owner="me", wait_for_status=1.0)

    with pytest.raises(ConfigError, match="event loop"):
        asyncio.run(view())
    for seconds in (-1, "2", None, float("nan")):
        with pytest.raises(ConfigError, match="wait_for_status"):
            relay.start(asking(done()), owner="me", wait_for_status=seconds)  # type: ignore[arg-type]  # on purpose


def test_what_is_no_source(relay: Relay) -> None:
    """It is said at once."""
    with pytest.raises(ConfigError, match="source"):
        relay.start("a question", owner="me")  # type: ignore[arg-type]  # on purpose


def test_a_bug_in_the_source(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    """The visitor is told a code, the operator the traceback."""
    events = events_of(relay.start(lambda cancel: {}["no such key"], owner="me"))
    assert ends_of(events[1:]) == ["internal"]
    assert "no such key" in caplog.text


def test_context_variables(relay: Relay, asking: Asking) -> None:
    """The source sees those of the view."""
    user = contextvars.ContextVar("user", default="nobody")
    user.set("alice")
    source, seen = asking(done()), []
    body = relay.start(lambda cancel: seen.append(user.get()) or source(cancel), owner="me")
    events_of(body)
    assert seen == ["alice"]


def test_signs_of_life_while_the_model_is_silent(relay: Relay, asking: Asking) -> None:
    """In the process that produces and in others: a server notices a gone browser by them."""
    body = relay.start(asking(silence()), owner="me")
    first_event(body)
    assert next(body) == b": keep-alive\n\n"
    relay.close()


@pytest.mark.parametrize("grace", [0.0, 0.3])
def test_an_answer_without_followers(make_relay: MakeRelay, asking: Asking, grace: float) -> None:
    """It is cancelled after the grace, not before."""
    relay = make_relay(grace=grace)
    body = relay.start(asking(say("a"), silence()), owner="me")
    answer_id, rest = begin(body)
    next(rest)
    begun = time.monotonic()
    body.close()
    ended = until(lambda: relay.follow(answer_id, owner="me", last_event_id=3).status == 204)
    assert ended and time.monotonic() - begun >= grace


@pytest.mark.slow
def test_a_follower_elsewhere_keeps_an_answer_going(make_relay: MakeRelay, asking: Asking) -> None:
    """The grace counts from the moment when nobody follows anywhere."""
    relay, other, gate = make_relay(grace=0.5), make_relay(), threading.Event()
    body = relay.start(asking(say("a"), wait(gate), done()), owner="me")
    answer_id = first_event(body)
    elsewhere = Reader(other.follow(answer_id, owner="me"))
    body.close()
    time.sleep(0.3)
    time.sleep(0.3)
    time.sleep(0.3)
    gate.set()
    assert ends_of(elsewhere.events()) == ["done"]


def test_a_reload_reaches_another_process_within_a_short_grace(
    make_relay: MakeRelay, asking: Asking
) -> None:
    """The producer asks the log who follows before it cancels, however far its next beat is."""
    relay, other = make_relay(grace=0.1, lease=3.0), make_relay(lease=3.0)
    gate = threading.Event()
    body = relay.start(asking(say("a"), wait(gate), say("b"), done()), owner="me")
    answer_id = first_event(body)
    body.close()
    reader = Reader(other.follow(answer_id, owner="me"))
    time.sleep(0.3)
    gate.set()
    assert ends_of(reader.events()) == ["done"]


def test_a_callback_that_raises(asking: Asking, caplog: pytest.LogCaptureFixture) -> None:
    """A source has subscribed it to its token: other answers still end after their grace."""

    def source(cancel: CancelToken) -> ChatStream:
        cancel.subscribe(lambda: next(iter([])))
        return opens(cancel)  # type: ignore[no-any-return]

    def ends_when_left() -> bool:
        body = relay.start(source, owner="me")
        answer_id = first_event(body)
        body.close()
        return until(lambda: relay.follow(answer_id, owner="me", last_event_id=2).status == 204)

    with Relay(MemoryLog(), grace=0.0) as relay:
        opens = asking(silence(), silence())
        assert ends_when_left()
        assert ends_when_left()
    assert caplog.text.count("a callback of a cancel token raised") == 2


@pytest.mark.parametrize("job", ["writer", "watcher", "keeper"])
def test_no_thread_for_the_relay(job: str, asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is asked to come again, and nothing is left; the next request tries again."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == f"websopy-relay-{job}":
            raise RuntimeError("can't start new thread")
        start(thread)

    with Relay(MemoryLog(), max_answers=1, lease=0.3) as relay, monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        source = asking(say("a"), done())
        assert relay.start(source, owner="me").status == 503
        patch.undo()
        answer_id, rest = begin(relay.start(source, owner="me"))
        assert ends_of(events_of(rest)) == ["done"]
        assert relay.stop(answer_id, owner="me")


def test_an_interrupt_as_the_threads_start(
    relay: Relay, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has begun is not started again: two writers would be in each other's way."""
    source, start = asking(say("a"), done()), threading.Thread.start

    def strike(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", strike)
        with pytest.raises(KeyboardInterrupt):
            relay.start(source, owner="me")
    assert ends_of(events_of(relay.start(source, owner="me"))) == ["done"]
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("websopy-relay-writer") == 1


def test_finish_reads_on_up_to_its_cap(make_relay: MakeRelay, asking: Asking) -> None:
    """The answer that was left first gives way."""
    relay = make_relay(on_disconnect="finish", max_unfollowed=1, grace=0.0)
    gate = threading.Event()
    source = asking(*[[say("a"), wait(gate), say("b"), done()]] * 2)
    ids = []
    for _ in range(2):
        body = relay.start(source, owner="me")
        ids.append(first_event(body))
        next(body)
        body.close()
        time.sleep(0.05)
    first = events_of(relay.follow(ids[0], owner="me"))
    gate.set()
    second = events_of(relay.follow(ids[1], owner="me"))
    assert (ends_of(first), ends_of(second)) == (["cancelled"], ["done"])


@pytest.mark.parametrize("limit", [{"max_events": 10}, {"max_bytes": 600}], ids=str)
def test_an_answer_without_end(
    make_relay: MakeRelay, asking: Asking, limit: dict[str, int]
) -> None:
    """It ends at its limit, at the service too."""
    relay = make_relay(**limit)
    events = events_of(relay.start(asking([say("x" * 40)] * 5000, silence()), owner="me"))
    assert ends_of(events[1:]) == ["too_long"]
    assert len(events) <= 12


def test_more_answers_than_a_process_may_have(make_relay: MakeRelay, asking: Asking) -> None:
    """The next one is refused, not queued; one that ended makes room."""
    relay = make_relay(max_answers=3, max_answers_per_owner=2)
    source = asking(*[[silence()]] * 8)
    bodies = [relay.start(source, owner=owner) for owner in ("a", "a", "b")]
    assert [body.status for body in bodies] == [200] * 3
    refused = relay.start(source, owner="c")
    assert refused.status == 429 and refused.headers["Retry-After"] and list(refused) == []
    assert relay.stop(first_event(bodies[2]), owner="b")
    assert until(lambda: relay.start(source, owner="c").status == 200)
    assert relay.stop(first_event(bodies[0]), owner="a")
    assert until(lambda: relay.start(source, owner="a").status == 200)
    assert relay.start(source, owner="a").status == 429, "one owner may have two"


def test_a_deleted_answer(relay: Relay, other: Relay, asking: Asking) -> None:
    """It is stopped, and nowhere to be read."""
    body = relay.start(asking(say("a"), silence()), owner="me")
    answer_id, rest = begin(body)
    next(rest)
    assert other.delete(answer_id, owner="me")
    assert ends_of(events_of(rest)) == ["cancelled"]
    assert until(lambda: other.follow(answer_id, owner="me").status == 404)
    body.close()
    assert until(lambda: relay.follow(answer_id, owner="me").status == 404)
    assert not relay.delete(answer_id, owner="me")


def test_an_answer_that_is_deleted_where_it_is_followed(
    relay: Relay, other: Relay, make_relay: MakeRelay, asking: Asking
) -> None:
    """Every follower sees the same end: in that process, in a third one, at the producer."""
    body = relay.start(asking(say("a"), silence()), owner="me")
    answer_id, rest = begin(body)
    readers = [Reader(rest)]
    readers += [
        Reader(w.follow(answer_id, owner="me", last_event_id=1)) for w in (other, make_relay())
    ]
    assert until(lambda: all(texts_of(events_of(list(r.pieces))) for r in readers))
    assert other.delete(answer_id, owner="me")
    assert other.follow(answer_id, owner="me").status == 404
    assert [ends_of(reader.events()) for reader in readers] == [["cancelled"]] * 3
    assert len({tuple(ids_of(reader.events())) for reader in readers}) == 1


class Slow(MemoryLog):
    """Takes no writes until told."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()

    def append(self, writes: Sequence[Write], terms: Terms) -> Mapping[str, Refusal]:
        self.open.wait(5)
        return super().append(writes, terms)


class FollowedMeanwhile(MemoryLog):
    """Calls `meanwhile` before it deletes."""

    meanwhile: Callable[[], object]

    def delete(self, key: str) -> None:
        self.meanwhile()
        super().delete(key)


def test_a_follower_that_comes_while_an_answer_is_deleted(asking: Asking) -> None:
    """It is told the end, too."""
    log = FollowedMeanwhile()
    with Relay(log, lease=0.5) as relay, Relay(log, lease=0.5) as other:
        answer_id = first_event(relay.start(asking(say("a"), silence()), owner="me"))
        bodies = []
        log.meanwhile = lambda: bodies.append(other.follow(answer_id, owner="me"))
        assert other.delete(answer_id, owner="me")
        assert ends_of(Reader(bodies[0]).events(seconds=2.0)) == ["cancelled"]


def test_draining_before_the_first_event(asking: Asking) -> None:
    """The page is told the id first: without it, it could not come back."""
    log = Slow()
    with Relay(log) as relay:
        body = relay.start(asking(silence()), owner="me")
        reader = Reader(body)
        assert until(lambda: reader.pieces)
        relay.drain()
        threading.Timer(0.1, log.open.set).start()
        events = reader.events()
        assert [event.event for event in events] == ["answer", "error"]
        assert ends_of(events[1:]) == ["restarting"]


def test_no_signal_drains_outside_the_main_thread(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """A test client runs an application in another thread, where no handler can be set."""
    former = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=relay.drain_at)
    thread.start()
    thread.join()
    assert "drain_at was not called in the main thread" in caplog.text
    assert signal.getsignal(signal.SIGTERM) is former


def test_draining(relay: Relay, other: Relay, asking: Asking) -> None:
    """Bodies end with an event that has the page come back; the answer goes on for it."""
    gate = threading.Event()
    body = relay.start(asking(say("a"), wait(gate), say("b"), done()), owner="me")
    answer_id, rest = begin(body)
    reader = Reader(rest)
    assert until(lambda: b"data:" in b"".join(reader.pieces))
    relay.drain()
    events = reader.events()
    assert (texts_of(events), ends_of(events), events[-1].id) == (["a"], ["restarting"], "2")
    assert b"retry: 1000\n" in reader.pieces[-1]
    assert relay.start(asking(done()), owner="me").status == 503
    gate.set()
    rest = events_of(other.follow(answer_id, owner="me", last_event_id=2))
    assert (texts_of(rest), ends_of(rest)) == (["b"], ["done"])


def test_draining_with_a_slow_browser(relay: Relay, other: Relay, asking: Asking) -> None:
    """It is not sent all that waits: the server would kill the process before. It gets the rest."""
    long = ["x" * 30_000] * 9
    body = relay.start(asking([say(text) for text in long], done()), owner="me")
    answer_id, rest = begin(body)
    assert until(lambda: other.follow(answer_id, owner="me", last_event_id=11).status == 204)
    relay.drain()
    first = events_of(rest)
    assert ends_of(first) == ["restarting"] and len(texts_of(first)) < 5
    last = [event.id for event in first if event.id][-1] if texts_of(first) else 1
    second = events_of(other.follow(answer_id, owner="me", last_event_id=last))
    assert texts_of(first) + texts_of(second) == long and ends_of(second) == ["done"]


def test_closing(make_relay: MakeRelay, asking: Asking) -> None:
    """What still runs is ended at the service and in the log, and no thread is left."""
    relay, other = make_relay(), make_relay()
    body = relay.start(asking(say("a"), silence()), owner="me")
    answer_id, rest = begin(body)
    next(rest)
    relay.close()
    relay.close()
    assert not [t for t in threading.enumerate() if t.name == "websopy-relay-answer"]
    assert ends_of(events_of(rest))[0] in ("interrupted", "restarting")
    rest = events_of(other.follow(answer_id, owner="me", last_event_id=1))
    assert (texts_of(rest), ends_of(rest)) == (["a"], ["interrupted"])
    assert relay.start(asking(done()), owner="me").status == 503


def test_closing_with_patience(make_relay: MakeRelay, asking: Asking) -> None:
    """Answers may end by themselves."""
    relay = make_relay()
    gate = threading.Event()
    body = relay.start(asking(say("a"), wait(gate), say("b"), done()), owner="me")
    answer_id = first_event(body)
    threading.Timer(0.1, gate.set).start()
    relay.close(finish=5.0)
    other = make_relay()
    if other.follow(answer_id, owner="me").status != 404:  # a memory log is the same object
        assert ends_of(events_of(other.follow(answer_id, owner="me"))[1:]) == ["done"]


def test_one_reader_at_a_time(relay: Relay, asking: Asking) -> None:
    """A body is one reader's, as every body is."""
    body = relay.start(asking(headers(), silence()), owner="me")
    first_event(body)
    reader = Reader(body)
    time.sleep(0.05)
    with pytest.raises(StreamError):
        next(body)
    body.close()
    reader.join(2.0)
    assert not reader.is_alive()


@each(
    "options",
    [
        {"lease": 0}, {"lease": "5"}, {"lease": float("nan")}, {"grace": -1}, {"keep": None},
        {"heartbeat": 0}, {"on_disconnect": "stop"}, {"max_answers": 0}, {"max_events": 1.5},
        {"max_bytes": True}, {"max_unfollowed": -1}, {"max_answers_per_owner": "2"},
        {"max_followers_per_owner": 0},
        {"grace": float("inf")},
    ],
)  # fmt: skip
def test_an_option_that_means_nothing(options: dict[str, Any]) -> None:
    """It is named."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        Relay(MemoryLog(), **options)


@each("log", ["answers.db", Path("answers.db"), [], None])
def test_what_is_no_log(log: Any) -> None:
    """A path alone would keep nothing, and say so only in the program's log."""
    with pytest.raises(ConfigError, match=r"log: expected SQLiteLog\("):
        Relay(log)
