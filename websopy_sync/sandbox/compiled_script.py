"""A script, ready to be played: flat, numbered, and with the bytes of each step.

The steps themselves are in steps.py. Opens no socket and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

import attrs

from ..chunks import DoneChunk
from ..sse import ServerSentEvent
from .steps import (
    BeforeHeaders,
    Chunk,
    Event,
    ExpectToolResult,
    Headers,
    NoIds,
    Raw,
    Step,
    Steps,
)
from .wires import Service

__all__ = ["Script"]


@attrs.frozen
class Script:
    """A script, ready to be played.

    Attributes:
        before: The steps before the headers.
        headers: The headers, status and framing.
        body: The other steps, with an event for each that the service makes of a chunk. Every event
            has its id, "" for none.
        data: What each step of `body` adds to the response's body, before framing.
        expected: What the request must have for anything to be played.
        on_request: The places in `body` of events that go only to a client that asks for them.
    """

    before: tuple[Step, ...]
    headers: Headers
    body: tuple[Step, ...]
    data: tuple[bytes, ...]
    expected: tuple[ExpectToolResult, ...] = ()
    on_request: frozenset[int] = frozenset()

    @classmethod
    def of(cls, steps: Steps, service: Service) -> Script:
        """The script of these steps, as a service plays it.

        Raises:
            TypeError: One is no step.
            ConfigError: SSE cannot carry an event.
        """
        flat = tuple(_flat(steps))
        heads = [step for step in flat if isinstance(step, Headers)]
        head = Headers(
            {name: value for head in heads for name, value in head.headers.items()},
            status=next((head.status for head in heads if head.status != 200), 200),
            framing=next((head.framing for head in heads if head.framing), None),
        )
        before = [s for step in flat if isinstance(step, BeforeHeaders) for s in step.steps]
        expected = tuple(step for step in flat if isinstance(step, ExpectToolResult))
        apart = Headers | BeforeHeaders | ExpectToolResult
        rest = [step for step in flat if not isinstance(step, apart)]
        body = tuple(_numbered(_written(rest, service), numbering=service.wire.resumable))
        data = tuple(_bytes_of(step, service) for step in body)
        events = ((place, step) for place, step in enumerate(body) if isinstance(step, Event))
        on_request = frozenset(place for place, event in events if event.on_request)
        return cls(tuple(before), head, body, data, expected, on_request)

    def after(self, last_event_id: str, *, played: int) -> list[int] | None:
        """The indexes in `body` of the steps after an event, for a client that resumes.

        Args:
            last_event_id: The id of that event.
            played: Index after the last step that has begun. Before it only events are repeated,
                so that a cut does not cut its own resumption.

        Returns:
            The indexes; None when no event has that id.
        """
        ids = [step.id if isinstance(step, Event) else None for step in self.body]
        if last_event_id not in ids:
            return None
        return [
            place
            for place in range(ids.index(last_event_id) + 1, len(ids))
            if place >= played or ids[place] is not None
        ]


def _flat(steps: Steps) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, get_args(Step)):
            yield step
        elif isinstance(step, list | tuple):
            yield from _flat(step)
        else:
            raise TypeError(f"script: expected steps such as say('AI'), got {step!r:.200}")


def _written(steps: Sequence[Step], service: Service) -> Iterator[Step]:
    """The steps with the events of each chunk in its place."""
    writer = service.writer()
    chunks = [step.chunk for step in steps if isinstance(step, Chunk)]
    writer.ending = next((chunk for chunk in chunks if isinstance(chunk, DoneChunk)), None)
    for step in steps:
        if isinstance(step, Chunk):
            events = writer.write(step.chunk)
            yield from (Event(**attrs.asdict(event), id=step.id) for event in events)
        else:
            yield step


def _bytes_of(step: Step, service: Service) -> bytes:
    """What a step adds to the body, before framing."""
    if isinstance(step, Event):
        return service.framed(ServerSentEvent(step.event, step.data, step.id or ""))
    return step.data if isinstance(step, Raw) else b""


def _numbered(steps: Iterable[Step], *, numbering: bool) -> Iterator[Step]:
    number = 0
    for step in steps:
        numbering = numbering and not isinstance(step, NoIds)
        if isinstance(step, Event) and step.id is None:
            number += 1
            step = attrs.evolve(step, id=str(number) if numbering else "")
        yield step
