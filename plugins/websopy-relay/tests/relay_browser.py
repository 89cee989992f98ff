"""What a browser reads of a body, and how long a test waits for something."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from websopy_sync.sse import Decoder, ServerSentEvent
from websopy_sync.web import EventStreamBody


def events_of(pieces: Iterable[bytes]) -> list[ServerSentEvent]:
    """What a strict parser makes of a body."""
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def begin(body: EventStreamBody) -> tuple[str, Iterator[bytes]]:
    """Read the event that names the answer: its id, and what follows."""
    said = next(piece for piece in body if not piece.startswith(b":"))
    first, _, rest = said.partition(b"\n\n")
    (event,) = events_of([first + b"\n\n"])
    assert event.event == "answer"
    return str(json.loads(event.data)["id"]), itertools.chain([rest] if rest else [], body)


def first_event(body: EventStreamBody) -> str:
    """Read the event that names the answer; its id."""
    return begin(body)[0]


def texts_of(events: Iterable[ServerSentEvent]) -> list[str]:
    """The texts of the content events."""
    data = [json.loads(event.data) for event in events]
    return [chunk["content"] for chunk in data if chunk.get("type") == "content"]


def ends_of(events: Iterable[ServerSentEvent]) -> list[str]:
    """The endings: "done", or the code of an error."""
    data = [json.loads(event.data) for event in events]
    return [
        chunk["error"]["code"] if chunk["type"] == "error" else "done"
        for chunk in data
        if chunk.get("type") in ("done", "error")
    ]


def ids_of(events: Iterable[ServerSentEvent]) -> list[int]:
    return [int(event.id) for event in events]


def until(condition: Callable[[], object], *, seconds: float = 5.0) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Reader(threading.Thread):
    """A browser that reads a body in its own thread."""

    def __init__(self, body: Iterable[bytes]) -> None:
        super().__init__(daemon=True)
        self.body = body
        self.pieces: list[bytes] = []
        self.start()

    def run(self) -> None:
        self.pieces += self.body

    def events(self, seconds: float = 10.0) -> list[ServerSentEvent]:
        """All events, once the body has ended."""
        self.join(seconds)
        assert not self.is_alive(), "the body does not end"
        return events_of(self.pieces)
