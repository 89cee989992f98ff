"""Reads the events of OpenAI Responses.

Does no I/O. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...chunks import DoneChunk, StreamChunk
from ..base import ReadResult
from ..lenient_json import cleaned
from ..openai_form import usage_in
from ..pieces import (
    Texts,
    beyond_allowance,
    collected,
    error_chunk,
    event_object,
    optional,
    text_in,
    unknown_chunk,
)
from .items import Items, place_of

__all__ = ["ResponsesReader"]

_REASONS = {"max_output_tokens": "length", "max_tokens": "length"}
"""Why a response is incomplete, in the words of `DoneChunk`."""


class ResponsesReader:
    """Reads the events of one response; see `Reader`. An event's type stands in its data, too."""

    done: DoneChunk | None = None
    """None: an event says that the response is complete."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._items = Items()
        self._sources: list[Any] = []  # where the text has it from
        self._cited = False  # whether an event has named one of them
        self._size = 0
        self._said: set[str] = set()  # the places of the items whose text has come in pieces
        self._told = False  # whether text has come as a whole
        self._told_parts = False  # whether an event of a part had its whole text
        self._thought = False  # whether reasoning has come in pieces

    @property
    def held(self) -> int:
        """Characters of what the service must get back, and of names of parts; see `Reader`."""
        return beyond_allowance(self._size + self._items.size)

    def read(self, data: str) -> ReadResult:
        """Read the data of one event; see `Reader.read`."""
        fields = event_object(data)
        if fields is None or (kind := fields.get("type")) in ("keepalive", "ping"):
            return None
        read = _EVENTS.get(kind) if isinstance(kind, str) else None
        if read is None and fields.get("error"):
            return [*self._texts.flush(), error_chunk(fields)]
        return collected(read(self, fields) if read else (), data)

    def _say(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        text = optional(fields, "delta", str)
        place = place_of(fields)  # without the part's index: vLLM counts each piece
        if text and place not in self._said:
            self._said.add(place)
            self._size += len(place)
        known = fields.get("logprobs")
        yield from self._texts.say(text, {"logprobs": cleaned(known)} if known else None)

    def _said_whole(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        """The text of a part once more; some servers send it only now."""
        if place_of(fields) not in self._said:
            self._told = self._told_parts = True
            yield from self._texts.say(_whole_text(fields))

    def _think(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        self._thought = True
        yield from self._texts.think(optional(fields, "delta", str))

    def _annotate(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        self._cited = True
        self._cite([fields["annotation"]] if fields.get("annotation") else [])
        yield from ()

    def _cite(self, notes: list[Any]) -> None:
        self._sources += cleaned(notes)
        self._size += len(str(notes)) if notes else 0

    def _cite_all(self, item: dict[str, Any]) -> None:
        """Note the sources that the text of a message names, where no event has."""
        for part in [] if self._cited else optional(item, "content", list):
            notes = part.get("annotations") if isinstance(part, dict) else None
            self._cite(notes if isinstance(notes, list) else [])

    def _other(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        yield unknown_chunk(fields["type"], fields)

    def _begin(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        self._items.begin(fields)
        yield from ()

    def _note_arguments(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        self._items.note_arguments(fields)
        yield from ()

    def _item(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        """An item that is complete. Some servers send the text of a message only now."""
        item = optional(fields, "item", dict)
        if item.get("type") == "message":
            self._cite_all(item)
            yield from () if self._said or self._told_parts else self._message(item)
        if item.get("type") == "reasoning" and not self._thought:
            for part in optional(item, "content", list) or optional(item, "summary", list):
                yield from self._texts.think(_whole_text(part))
        yield from self._items.take(self._items.with_arguments(fields))

    def _message(self, item: dict[str, Any]) -> Iterator[StreamChunk]:
        for part in optional(item, "content", list):
            text = _whole_text(part)
            self._told = self._told or bool(text)
            yield from self._texts.say(text)

    def _end(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        response = optional(fields, "response", dict)
        if response.get("error") or response.get("status") in ("failed", "cancelled"):
            yield from self._fail(fields)
            return
        yield from self._not_said(optional(response, "output", list))
        yield from self._items.take_begun()
        yield from self._texts.flush()
        cut = _cut(fields["type"], response)
        if not cut:
            self._items.check_calls()
        yield DoneChunk(
            usage_in(response.get("usage"), "input_tokens", "output_tokens"),
            cut or ("tool_calls" if self._items.calls else "stop"),
            text_in(response, "model"),
            text_in(response, "id"),
            state=self._items.state(),
            extra={"annotations": self._sources} if self._sources else None,
        )

    def _not_said(self, output: list[Any]) -> Iterator[StreamChunk]:
        """Read what came in no earlier event: some servers send items and text only now."""
        silent, without_sources = not (self._said or self._told), not self._sources
        for item, is_new in self._items.compared(output):
            yield from self._items.take(item) if is_new else ()
            if item.get("type") == "message":
                if without_sources:
                    self._cite_all(item)
                yield from self._message(item) if silent else ()

    def _fail(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        yield from self._texts.flush()
        yield error_chunk(optional(fields, "response", dict) or fields)


_EVENTS: Mapping[str, Callable[[ResponsesReader, dict[str, Any]], Iterator[StreamChunk]]] = {
    "response.output_text.delta": ResponsesReader._say,
    "response.output_text.done": ResponsesReader._said_whole,
    "response.output_text.annotation.added": ResponsesReader._annotate,
    "response.image_generation_call.partial_image": ResponsesReader._other,
    "response.audio.delta": ResponsesReader._other,
    "response.audio.transcript.delta": ResponsesReader._other,
    "response.refusal.delta": ResponsesReader._say,
    "response.refusal.done": ResponsesReader._said_whole,
    "response.reasoning_text.delta": ResponsesReader._think,
    "response.reasoning_summary_text.delta": ResponsesReader._think,
    "response.function_call_arguments.done": ResponsesReader._note_arguments,
    "response.output_item.added": ResponsesReader._begin,
    "response.output_item.done": ResponsesReader._item,
    "response.completed": ResponsesReader._end,
    "response.done": ResponsesReader._end,  # of OpenRouter
    "response.incomplete": ResponsesReader._end,
    "response.failed": ResponsesReader._fail,
    "response.cancelled": ResponsesReader._fail,
    "error": ResponsesReader._fail,
}
"""The events with content, errors and the end. The others describe the structure only."""


def _whole_text(part: Mapping[str, Any]) -> str:
    text: str = optional(part, "text", str) or optional(part, "refusal", str)
    return text


def _cut(event: str, response: Mapping[str, Any]) -> str | None:
    """Why a response is incomplete, None if it is complete."""
    reason = text_in(optional(response, "incomplete_details", dict), "reason")
    cut = "incomplete" in (event.rpartition(".")[2], response.get("status"))
    return _REASONS.get(reason, reason) if reason else "length" if cut else None
