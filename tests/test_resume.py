"""Which events of a resumed response are new: each rule, and a model of servers that resume."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from tables import each

from websopy_sync.cancel import CancelScope
from websopy_sync.errors import StreamInterruptedError
from websopy_sync.event_format import EventFormat
from websopy_sync.event_source import EventSource
from websopy_sync.resume import (
    MAX_EVENTS,
    MAX_HELD,
    MAX_ID,
    MAX_WITHOUT_IDS,
    ResumeGuard,
    event_as_text,
)
from websopy_sync.retry import RetryBudget, RetryPolicy
from websopy_sync.timeouts import Timeouts
from websopy_sync.transport import HTTPRequest
from websopy_sync.wires.base import chunks_of
from websopy_sync.wires.websopy import Websopy

HONEST = ("after", "after", "earlier", "start")
WORDS = ("ha", "ho", "hi", "the ", "cat ", "sat", ".", " ", "哈")


@attrs.frozen
class Item:
    """One block of the server's stream. text: None for an id alone. id: "" resets it."""

    text: str | None
    id: str | None = None

    def bytes(self) -> bytes:
        """The block as it is written."""
        lines = [] if self.id is None else [f"id: {self.id}" if self.id else "id"]
        if self.text is not None:
            chunk = (
                {"type": "done"} if self.text == "" else {"type": "content", "content": self.text}
            )
            lines.append(f"data: {json.dumps(chunk, ensure_ascii=False)}")
        return ("\n".join(lines) + "\n\n").encode()


class HTTPResponse:
    """One connection: its bytes in some pieces, then the end, which is a cut unless done came."""

    status_code = 200

    def __init__(self, pieces: list[bytes]) -> None:
        self.headers = {"content-type": "text/event-stream"}
        self.receive = iter([*pieces, b"", b""]).__next__

    def decode(self) -> None:
        """Nothing is packed."""

    def close(self) -> None:
        """Nothing is open."""


class Server:
    """Writes one answer, cuts its connections and resumes in one of several ways."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.honest = self.random.random() < 0.5
        self.items = self._items()
        self.cuts = self.random.randrange(1, 5)
        self.sent = 0  # items of the list that were written whole, on any connection
        self.ways: list[str] = []

    def _items(self) -> list[Item]:
        choose = self.random
        self.kind = choose.choice(["all", "all", "some", "some", "none", "odd"])
        words = choose.sample(WORDS, choose.randrange(1, len(WORDS)))
        items: list[Item] = []
        if self.honest:  # nothing in the answer looks like its beginning
            items.append(Item("Well, ", self._id(100, None, items)))
        for number in range(choose.randrange(1, 14)):
            text = choose.choice(words)
            if len(items) > 1 and choose.random() < 0.3:
                text = items[-1].text or text
            items.append(Item(text, self._id(number, text, items)))
            if self.kind == "odd" and choose.random() < 0.1:
                items.append(Item(None, f"{number}b"))
        return [*items, Item("", choose.choice([None, "end"]) if self.kind != "all" else "end")]

    def _id(self, number: int, text: str | None, items: list[Item]) -> str | None:
        if self.kind == "none":
            return None
        if self.kind == "odd":
            one = self.random.choice([str(number), str(number), None, "", "again"])
            # Two events that have the same id and the same text are one event to everybody.
            former = [item.id for item in items if item.text == text]
            if one == "again":
                one = self.random.choice([item.id for item in items] or [None])
            return None if one in former else one
        return str(number) if self.kind == "all" or self.random.random() < 0.5 else None

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(item.text or "" for item in self.items)

    # The transport's side.

    def send(self, http_request: HTTPRequest, *_: Any, **__: Any) -> HTTPResponse:
        """Answer a request."""
        last_id = http_request.headers.get("Last-Event-ID")
        return HTTPResponse(self.write(last_id if isinstance(last_id, bytes) else None))

    def write(self, last_id: bytes | None) -> list[bytes]:
        """The pieces of an answer to a request, cut off or whole."""
        items = self._answer(None if last_id is None else last_id.decode())
        whole = b"retry: 0\n\n" + b"".join(item.bytes() for item in items)
        if self.cuts:
            self.cuts -= 1
            whole = whole[: int(len(whole) * self.random.random() ** 0.5) + 1]
        if items and items[-1] is self.items[-1]:
            start, written = len(self.items) - len(items), whole.count(b"\n\n") - 1
            self.sent = max(self.sent, start + written)
        places = sorted(self.random.randrange(len(whole) + 1) for _ in range(3))
        pieces = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
        return [piece for piece in pieces if piece]

    def _answer(self, last_id: str | None) -> list[Item]:
        if last_id is None:
            return self.items
        sent = self.items[: self.sent]
        place = max(n for n, item in enumerate(sent) if item.id == last_id) + 1
        bad = ("fresh", "bare", "pieces", "reset")
        way = self.random.choice(HONEST if self.honest else HONEST + bad)
        self.ways.append(way)
        if way == "after":
            return self.items[place:]
        if way == "earlier":
            return self.items[self.random.randrange(place + 1) :]
        if way == "start":
            return self.items
        return list(self._anew(way))

    def _anew(self, way: str) -> Iterator[Item]:
        """The same answer from its start, which the header did not change."""
        prefix = f"f{len(self.ways)}-"
        for number, item in enumerate(self.items):
            if way == "bare" or (way == "reset" and 0 < number < 3):
                yield attrs.evolve(item, id=None)
            elif way == "reset" and number == 0:
                yield attrs.evolve(item, id="")
            elif way in ("fresh", "reset") or len(item.text or "") < 2:
                yield attrs.evolve(item, id=item.id and f"{prefix}{number}")
            else:  # cut into other pieces
                yield Item((item.text or "")[:1], f"{prefix}{number}a")
                yield Item((item.text or "")[1:], f"{prefix}{number}b")


def read(server: Server) -> tuple[str, bool]:
    """The text that a reader gets, and whether it ended with done."""
    source = EventSource(
        server,  # type: ignore[arg-type]  # the transport is played
        HTTPRequest("POST", "http://x", {}, b"{}"),
        CancelScope(None),
        timeouts=Timeouts(),
        retry=RetryPolicy(3, RetryBudget()),
        format=EventFormat(text_of=Websopy().text_of),
    )
    source.open(lambda error, delay: None)
    reader, text = Websopy().reader(), ""
    try:
        for _, data, *_ in source.events(lambda error, delay: None):
            (chunk,) = chunks_of(reader.read(data))
            if chunk.type == "done":
                return text, True
            text += chunk.content  # type: ignore[union-attr]  # the server writes no others
    except StreamInterruptedError:
        return text, False
    raise AssertionError("ended without done and without an error")


def must_resume(server: Server) -> bool:
    """Whether each event has an id, the server obeys it, and no word looks like a restart."""
    return server.kind == "all" and server.honest


@pytest.mark.parametrize(
    "seeds", [range(400), pytest.param(range(400, 4000), marks=pytest.mark.slow)]
)
def test_model_of_servers_that_resume(seeds: range) -> None:
    """Each run gives the server's text, or an interrupted beginning of it.

    It is resumed if the server gives each event an id and obeys `Last-Event-ID`.
    """
    resumed = 0
    for seed in seeds:
        server = Server(seed)
        text, whole = read(server)
        assert text == server.text if whole else server.text.startswith(text), seed
        # Nothing may have come before the first cut, or three times nothing new after it.
        assert whole or not must_resume(server) or len(server.ways) >= 3 or not text, seed
        resumed += whole and server.ways != []
    assert resumed > len(seeds) / 4, resumed


# ------------------------------------------------------------------------------ one rule at a time

Event = tuple[str, str, str, bool]


def with_id(data: str, id: str) -> Event:
    """An event that brings an id."""
    return "message", data, id, True


def without_id(data: str, name: str = "message", last_id: str = "former") -> Event:
    """An event that brings none."""
    return name, data, last_id, False


def deliver(guard: ResumeGuard, events: list[Event]) -> list[str]:
    """The data of the events that a reader delivers of these."""
    texts = []
    for _, data, id, has_id in events if guard.caught_up else guard.new_events(events):
        if has_id:
            guard.remember(data, id)
        elif guard.remembers:
            guard.remember_without_id(data)
        texts.append(data)
    return texts


def text_or_end(data: str) -> str | None:
    """A `TextOf` for responses that END ends."""
    return None if data == "END" else data


def cut_after(events: list[Event], last_id: str, text_of: Any = text_or_end) -> ResumeGuard:
    """A guard of a stream that was cut after these events, and is resumed after the last id."""
    guard = ResumeGuard(text_of)
    assert deliver(guard, events) == [event[1] for event in events]
    assert guard.end_connection(last_id, resumable=True)
    guard.begin_connection()
    return guard


A, B, C = with_id("A", "1"), with_id("B", "2"), with_id("C", "3")


@each(("before", "last_id", "after", "new"), [
        ([A, B], "2", [C], ["C"]),
        ([A, B], "2", [B, C], ["C"]),
        ([A, B], "2", [A, B, C], ["C"]),
        ([A, B], "2", [A, B, C, with_id("D", "1")], ["C", "D"]),
        ([A, B], "2", [with_id("B", "3")], ["B"]),
        ([A, B], "2", [without_id("B"), without_id("B"), C], ["B", "B", "C"]),
        ([without_id("A"), B], "2", [without_id("A"), B, C], ["C"]),
        ([A, without_id("X"), B], "2", [without_id("X"), B, C], ["C"]),
        ([A, without_id("X"), B], "2", [without_id("X"), C], ["X", "C"]),
        ([A, without_id("X"), B], "2", [without_id("X"), without_id("Y")], ["X", "Y"]),
        ([A, without_id("X"), B], "2", [without_id("X"), without_id("X")], []),
        ([A, without_id("X")], "only", [A, without_id("X"), C], ["C"]),
        ([A, without_id("", "ping"), B], "2", [A, B, C], ["C"]),
        ([A, B], "2", [A, without_id("{}", "ping"), B, C], ["C"]),
        ([A, B], "2", [without_id("{}", "ping"), A, B, C], ["{}", "C"]),
        ([A, without_id("X"), B], "2", [without_id("X"), without_id("{}", "ping"), B, C], ["C"]),
        ([], "0", [A, B], ["A", "B"]),
        ([A], "1", [without_id("A"), without_id("A"), B], ["A", "A", "B"]),
        ([A], "1", [without_id("A"), without_id("{}", "ping"), B], ["A", "{}", "B"]),
        ([A], "1", [without_id("A"), without_id("X")], []),
        ([A, without_id("X"), B], "2", [without_id("X"), without_id("END")], ["X", "END"]),
    ])  # fmt: skip
def test_what_is_new(before: list[Event], last_id: str, after: list[Event], new: list[str]) -> None:
    """An id tells a repeat; the next event with an id tells the ones before it."""
    for size in (1, len(after)):
        guard = cut_after(before, last_id)
        got: list[str] = []
        for at in range(0, len(after), size):
            got += deliver(guard, after[at : at + size])
        assert got == new


@each(("before", "last_id", "after"), [
        ([A, B], "2", [with_id("X", "2")]),
        ([A, B], "2", [with_id("X", "1")]),
        ([A, B], "2", [A, with_id("X", "2")]),
        ([A, B], "2", [A, C]),
        ([A, B], "2", [A, without_id("X")]),
        ([A, B], "2", [A, ("ping", "{}", "9", True), B]),
        ([A, B], "2", [B, A]),
        ([A, B], "2", [A, B, A]),
        ([A, B], "2", [with_id("A", "7"), with_id("B", "8"), with_id("C", "9")]),
        ([A, B], "2", [without_id("A"), without_id("B"), without_id("C"), without_id("END")]),
        ([without_id("A"), B], "2", [without_id("A"), without_id("B"), without_id("C")]),
        ([without_id("A"), B], "2", [without_id("A"), with_id("B", "7")]),
        ([A, B], "2", [with_id("AB", "7")]),
        ([with_id("AB", "1")], "1", [with_id("A", "7")]),
        ([A], "1", [without_id("A", last_id=""), B]),
        ([A, B], "2", [without_id("{}", "ping"), with_id("A", "7")]),
        ([A, without_id("X")], "only", [without_id("X"), C]),
    ])  # fmt: skip
def test_what_is_another_response(before: list[Event], last_id: str, after: list[Event]) -> None:
    """A known id with other data, a restart, and what cannot be decided end the stream."""
    guard = cut_after(before, last_id)
    with pytest.raises(StreamInterruptedError) as caught:
        for event in after:
            assert deliver(guard, [event]) in ([], ["{}"])
    assert caught.value.last_event_id == last_id


@each(
    ("events", "last_id", "resumable", "can"),
    [
        ([A, B], "2", True, True),
        ([A, B], "2", False, False),
        ([A, B], "", True, False),
        ([A, B], "1", True, False),
        ([A, with_id("B", "1")], "1", True, False),
        ([A, with_id("B", "1"), C], "3", True, True),
        ([A, without_id("B")], "1", True, False),
        ([A, without_id("B")], "only", True, True),
        ([A], "x" * MAX_ID, True, True),
        ([A], "x" * (MAX_ID + 1), True, False),
        ([A], "\u4e2d" * (MAX_ID // 3 + 1), True, False),
    ],
)
def test_what_can_be_resumed(events: list[Event], last_id: str, resumable: bool, can: bool) -> None:
    """The last id must name the last event alone, and fit into a header."""
    guard = ResumeGuard(str)
    deliver(guard, events)
    assert guard.end_connection(last_id, resumable=resumable) is can


def test_an_event_without_an_id_never_passes_for_one_with_an_id() -> None:
    """Whatever its hash: one bit of what is remembered says which it is."""
    for number in range(30):
        guard = ResumeGuard(str)
        deliver(guard, [A, without_id(str(number))])
        assert not guard.end_connection("1", resumable=True)


def test_replay_that_is_cut_keeps_the_last_id() -> None:
    """Repeats are no progress: the next request names the same place."""
    guard = cut_after([A, B], "2")
    assert deliver(guard, [A]) == []
    assert guard.end_connection("1", resumable=True)
    assert guard.last_id == "2"


def test_held_events_are_new_at_a_good_end() -> None:
    """Native events end with the bytes; a repeat would have come past a known id before."""
    guard = cut_after([A, without_id("X"), B], "2")
    assert deliver(guard, [without_id("X")]) == []
    assert [event[1] for event in guard.end()] == ["X"]
    for repeats in ([without_id("X"), B], [A]):
        guard = cut_after([A, without_id("X"), B], "2")
        assert deliver(guard, repeats) == []
        assert guard.end() == []


def test_held_events_of_a_restart_are_no_good_end() -> None:
    """If all held events may come from a restart, the stream is interrupted."""
    guard = cut_after([A, B], "2")
    assert deliver(guard, [without_id("A")]) == []
    with pytest.raises(StreamInterruptedError):
        guard.end()


def test_progress_moves_the_last_id() -> None:
    """The next request goes on after the last new event."""
    guard = cut_after([A, B], "2")
    assert deliver(guard, [B, C]) == ["C"]
    assert guard.progressed and guard.end_connection("3", resumable=True)
    assert guard.last_id == "3"


def test_repeats_are_forgotten_once_caught_up() -> None:
    """What told repeats from new events is as large as the stream is long, so it is dropped."""
    guard = cut_after([A, B], "2")
    assert guard._known and guard._known_ids
    assert deliver(guard, [B, C]) == ["C"]
    assert not guard._known and not guard._known_ids


def test_native_events_are_compared_as_a_whole() -> None:
    """An event that only begins as the first one did is no restart."""
    guard = cut_after([with_id("1", "a")], "a", event_as_text)
    assert deliver(guard, [with_id("10", "b")]) == ["10"]
    guard = cut_after([with_id("1", "a")], "a", event_as_text)
    with pytest.raises(StreamInterruptedError):
        deliver(guard, [with_id("1", "b")])


def test_what_is_remembered_is_bounded() -> None:
    """At most 16 bytes for each of 262,144 events; a longer stream is not resumed."""
    guard = ResumeGuard(str)
    events = [with_id("x", str(number)) for number in range(MAX_EVENTS)]
    deliver(guard, events)
    assert guard.end_connection(str(MAX_EVENTS - 1), resumable=True)
    deliver(guard, [with_id("x", "more")] * 3)
    assert not guard.end_connection("more", resumable=True)
    assert len(guard._hashes) == len(guard._ids) == MAX_EVENTS


def test_a_stream_without_ids_is_not_remembered() -> None:
    """After a thousand events without an id, no more are remembered."""
    guard = ResumeGuard(str)
    deliver(guard, [without_id("x")] * MAX_WITHOUT_IDS)
    assert guard.remembers
    deliver(guard, [without_id("x")] * 2)
    assert not guard.remembers and len(guard._hashes) == MAX_WITHOUT_IDS


def test_what_is_held_is_bounded() -> None:
    """Events that may be repeats are held back up to 1 MiB."""
    guard = cut_after([A, without_id("x" * 1000), B], "2")
    with pytest.raises(StreamInterruptedError):
        deliver(guard, [without_id("x" * 1000)] * (MAX_HELD // 1000))
