"""Reads the events of OpenAI Responses.

Does no I/O. Knows nothing of requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...chunks import DoneChunk, StreamChunk, UnknownChunk
from ..base import ReadResult
from ..lenient_json import cleaned
from ..openai_form import usage_in
from ..pieces import (
    Texts,
    arguments_text,
    beyond_allowance,
    collected,
    error_chunk,
    event_object,
    optional,
    text_in,
    whole_call,
)
from .turns import CALL, PLACES, STATE

__all__ = ["ResponsesReader"]

_SENT_BACK = ("type", "id", "summary", "encrypted_content")
"""Fields of a reasoning item that the service takes back. It refuses others that it sends."""

_OWN_CALLS = {
    *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
    *("mcp_call", "mcp_list_tools", "tool_search_output", "program", "program_output"),
}
"""Items of tools that the service runs itself. They go back with the reasoning that led to them."""

_BESIDE = ("phase", "namespace", "caller")
"""Fields of messages and calls that say what they are for. They go back with their place."""

_REASONS = {"max_output_tokens": "length", "max_tokens": "length"}
"""Why a response is incomplete, in the words of `DoneChunk`."""


class ResponsesReader:
    """Reads the events of one response; see `Reader`. An event's type stands in its data, too."""

    done: DoneChunk | None = None
    """None: an event says that the response is complete."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._kept: list[dict[str, Any]] = []
        self._sources: list[Any] = []  # where the text has it from
        self._cited = False  # whether an event has named one of them
        self._size = 0
        self._said: set[str] = set()  # the places of the items whose text has come in pieces
        self._told = False  # whether text has come as a whole
        self._told_parts = False  # whether an event of a part had its whole text
        self._thought = False  # whether reasoning has come in pieces
        self._came = Counter[str]()  # the kinds of items that have come
        self._named = Counter[str]()  # and their names
        self._begun: dict[str, tuple[str, dict[str, Any]]] = {}  # the calls that have, in places
        self._arguments: dict[str, str] = {}  # of the calls, by the place of each

    @property
    def held(self) -> int:
        """Characters of what the service must get back, and of names of parts; see `Reader`."""
        return beyond_allowance(self._size)

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
        place = _place_of(fields)  # without the part's index: vLLM counts each piece
        if text and place not in self._said:
            self._said.add(place)
            self._size += len(place)
        known = fields.get("logprobs")
        yield from self._texts.say(text, {"logprobs": cleaned(known)} if known else None)

    def _said_whole(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        """The text of a part once more; some servers send it only now."""
        if _place_of(fields) not in self._said:
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
        yield _unknown(fields["type"], fields)

    def _begin(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        item = optional(fields, "item", dict)
        call = f"{_place_of(fields)} {item.get('call_id')}"
        if item.get("type") == CALL and call not in self._begun:
            place = _place_of({"item_id": item.get("id"), **fields})
            known = {"type": CALL, "call_id": item.get("call_id"), "name": item.get("name")}
            self._begun[call] = place, known
            self._size += len(str(self._begun[call]))
        yield from ()

    def _note_arguments(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        place, text = _place_of(fields), arguments_text(fields.get("arguments"))
        self._arguments[place] = text
        self._size += len(place) + len(text)
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
        if item.get("type") == CALL:
            told = self._arguments.pop(_place_of({"item_id": item.get("id"), **fields}), "")
            self._size -= len(told)
            if item.get("arguments") in (None, ""):  # some name them before only
                item = {**item, "arguments": told}
        yield from self._take(item)

    def _message(self, item: dict[str, Any]) -> Iterator[StreamChunk]:
        for part in optional(item, "content", list):
            text = _whole_text(part)
            self._told = self._told or bool(text)
            yield from self._texts.say(text)

    def _take(self, item: dict[str, Any]) -> Iterator[StreamChunk]:
        """An item but for its text: a tool call stands there as a whole."""
        kind = text_in(item, "type")
        if kind == "reasoning" and not text_in(item, "encrypted_content"):
            return
        self._came[str(kind)] += 1
        self._named[name := _name_of(item)] += 1
        self._size += len(name)
        if kind == CALL:
            yield whole_call(item, item.get("arguments"), text_in(item, "call_id"))
        if kind in PLACES:
            self._keep({"type": kind} | cleaned({n: item[n] for n in _BESIDE if item.get(n)}))
        elif kind == "reasoning":
            fields = {name: item[name] for name in _SENT_BACK if name in item}
            self._keep({"summary": [], **cleaned(fields)})
        elif kind:  # what the service's own tools did, or a call of a tool of another kind
            if kind in _OWN_CALLS or item.get("execution") == "server":
                self._keep(cleaned(item))
            yield _unknown(kind, item)

    def _keep(self, item: dict[str, Any]) -> None:
        self._kept.append(item)
        self._size += len(str(item))

    def _end(self, fields: dict[str, Any]) -> Iterator[StreamChunk]:
        response = optional(fields, "response", dict)
        if response.get("error") or response.get("status") in ("failed", "cancelled"):
            yield from self._fail(fields)
            return
        yield from self._not_said(optional(response, "output", list))
        if self._came[CALL] < len(self._begun):
            yield from self._take_begun()
        yield from self._texts.flush()
        cut = _cut(fields["type"], response)
        kinds = Counter(item["type"] for item in self._kept)
        if kinds[CALL] < len(self._begun) and not cut:
            begun = f"{len(self._begun)} tool calls that began"
            raise TypeError(f"expected {begun}, got {kinds[CALL]}")
        must = "reasoning" in kinds or any(item.keys() & set(_BESIDE) for item in self._kept)
        yield DoneChunk(
            usage_in(response.get("usage"), "input_tokens", "output_tokens"),
            cut or ("tool_calls" if CALL in kinds else "stop"),
            text_in(response, "model"),
            text_in(response, "id"),
            state={STATE: {"items": self._kept}} if must else None,
            extra={"annotations": self._sources} if self._sources else None,
        )

    def _not_said(self, output: list[Any]) -> Iterator[StreamChunk]:
        """Read what came in no earlier event: some servers send items and text only now."""
        left, named = Counter(self._came), Counter(self._named)
        silent, without_sources = not (self._said or self._told), not self._sources
        again = []
        for item in output:
            kind, name = optional(item, "type", str), _name_of(item)
            again.append(named[name] > 0)
            named[name] -= again[-1]
            left[kind] -= again[-1]
        for item, is_known in zip(output, again, strict=True):
            kind = item.get("type")
            if not is_known:  # or under another name: some servers change it
                left[kind] -= kind != "reasoning" or bool(text_in(item, "encrypted_content"))
                yield from self._take(item) if left[kind] < 0 else ()
            if kind == "message" and without_sources:
                self._cite_all(item)
            yield from self._message(item) if kind == "message" and silent else ()

    def _take_begun(self) -> Iterator[StreamChunk]:
        """The calls whose arguments are whole though no item said so, as of SGLang's router."""
        for place, item in self._begun.values():
            if not self._named[_name_of(item)] and place in self._arguments:
                yield from self._take({**item, "arguments": self._arguments.pop(place)})

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


def _unknown(kind: str, fields: Mapping[str, Any]) -> UnknownChunk:
    return UnknownChunk(kind, cleaned(fields))  # type: ignore[arg-type]  # any text


def _whole_text(part: Mapping[str, Any]) -> str:
    text: str = optional(part, "text", str) or optional(part, "refusal", str)
    return text


def _place_of(fields: Mapping[str, Any]) -> str:
    """What names the item that an event belongs to. Some servers change the item's id."""
    return repr(fields.get("item_id" if fields.get("output_index") is None else "output_index"))


def _name_of(item: Mapping[str, Any]) -> str:
    """What names an item, if it has a name."""
    return repr((item.get("type"), item.get("call_id") or item.get("id")))


def _cut(event: str, response: Mapping[str, Any]) -> str | None:
    """Why a response is incomplete, None if it is complete."""
    reason = text_in(optional(response, "incomplete_details", dict), "reason")
    cut = "incomplete" in (event.rpartition(".")[2], response.get("status"))
    return _REASONS.get(reason, reason) if reason else "length" if cut else None
