"""The items of one response of OpenAI Responses: which have come, and which go back.

Does no I/O. Knows neither events nor text: a tool call stands in its item as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ...chunks import StreamChunk
from ..lenient_json import cleaned
from ..pieces import arguments_text, optional, text_in, unknown_chunk, whole_call
from .turns import CALL, PLACES, STATE

__all__ = ["Items", "place_of"]

_SENT_BACK = ("type", "id", "summary", "encrypted_content")
"""Fields of a reasoning item that the service takes back. It refuses others that it sends."""

_OWN_CALLS = {
    *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
    *("mcp_call", "mcp_list_tools", "tool_search_output", "program", "program_output"),
}
"""Items of tools that the service runs itself. They go back with the reasoning that led to them."""

_BESIDE = ("phase", "namespace", "caller")
"""Fields of messages and calls that say what they are for. They go back with their place."""


class Items:
    """Collects the items, from the events of one response.

    Attributes:
        size: Characters of what is kept of them.
    """

    def __init__(self) -> None:
        self.size: int = 0
        self._kept: list[dict[str, Any]] = []
        self._came = Counter[str]()  # their kinds
        self._named = Counter[str]()  # and their names
        self._begun: dict[str, tuple[str, dict[str, Any]]] = {}  # the calls that have, in places
        self._arguments: dict[str, str] = {}  # of the calls, by the place of each

    @property
    def calls(self) -> int:
        """How many tool calls have come whole."""
        return sum(item["type"] == CALL for item in self._kept)

    def begin(self, fields: dict[str, Any]) -> None:
        """Note a call that begins."""
        item = optional(fields, "item", dict)
        call = f"{place_of(fields)} {item.get('call_id')}"
        if item.get("type") == CALL and call not in self._begun:
            place = place_of({"item_id": item.get("id"), **fields})
            known = {"type": CALL, "call_id": item.get("call_id"), "name": item.get("name")}
            self._begun[call] = place, known
            self.size += len(str(self._begun[call]))

    def note_arguments(self, fields: dict[str, Any]) -> None:
        """Note the whole arguments of a call, which its item may lack."""
        place, text = place_of(fields), arguments_text(fields.get("arguments"))
        self._arguments[place] = text
        self.size += len(place) + len(text)

    def with_arguments(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The item of an event, a call with the arguments that were noted if it has none."""
        item: dict[str, Any] = optional(fields, "item", dict)
        if item.get("type") == CALL:
            told = self._arguments.pop(place_of({"item_id": item.get("id"), **fields}), "")
            self.size -= len(told)
            if item.get("arguments") in (None, ""):  # some name them before only
                item = {**item, "arguments": told}
        return item

    def take(self, item: dict[str, Any]) -> Iterator[StreamChunk]:
        """Take an item that is complete. Yields what it says beside text."""
        kind = text_in(item, "type")
        if kind == "reasoning" and not text_in(item, "encrypted_content"):
            return
        self._came[str(kind)] += 1
        self._named[name := _name_of(item)] += 1
        self.size += len(name)
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
            yield unknown_chunk(kind, item)

    def _keep(self, item: dict[str, Any]) -> None:
        self._kept.append(item)
        self.size += len(str(item))

    def compared(self, output: list[Any]) -> list[tuple[dict[str, Any], bool]]:
        """Each item of the whole response, and whether it has not come before."""
        left, named = Counter(self._came), Counter(self._named)
        again = []
        for item in output:
            kind, name = optional(item, "type", str), _name_of(item)
            again.append(named[name] > 0)
            named[name] -= again[-1]
            left[kind] -= again[-1]
        compared = []
        for item, is_known in zip(output, again, strict=True):
            kind = item.get("type")
            if not is_known:  # or under another name: some servers change it
                left[kind] -= kind != "reasoning" or bool(text_in(item, "encrypted_content"))
            compared.append((item, not is_known and left[kind] < 0))
        return compared

    def take_begun(self) -> Iterator[StreamChunk]:
        """The calls whose arguments are whole though no item said so, as of SGLang's router."""
        if self._came[CALL] >= len(self._begun):
            return
        for place, item in self._begun.values():
            if not self._named[_name_of(item)] and place in self._arguments:
                yield from self.take({**item, "arguments": self._arguments.pop(place)})

    def check_calls(self) -> None:
        """Raise TypeError unless all calls that began have come whole."""
        if self.calls < len(self._begun):
            begun = f"{len(self._begun)} tool calls that began"
            raise TypeError(f"expected {begun}, got {self.calls}")

    def state(self) -> dict[str, Any] | None:
        """What must go back with the message; None where the places of its parts say nothing."""
        must = any(item["type"] == "reasoning" or item.keys() & set(_BESIDE) for item in self._kept)
        return {STATE: {"items": self._kept}} if must else None


def place_of(fields: Mapping[str, Any]) -> str:
    """What names the item that an event belongs to. Some servers change the item's id."""
    return repr(fields.get("item_id" if fields.get("output_index") is None else "output_index"))


def _name_of(item: Mapping[str, Any]) -> str:
    """What names an item, if it has a name."""
    return repr((item.get("type"), item.get("call_id") or item.get("id")))
