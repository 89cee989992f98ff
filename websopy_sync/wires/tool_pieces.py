"""Puts tool calls together that come in pieces, and tells them apart.

Pure. Knows no service's field names.
"""

from __future__ import annotations

import re

import attrs

from ..chunks import ToolCall, ToolCallChunk
from ..errors import StreamProtocolError
from ..interrupts import is_interrupt
from ..surrogates import scalar_text
from .lenient_json import WHITE_SPACE, scan

__all__ = ["ToolCallPieces"]

SMALLEST_CALL = 64
"""Characters that a call counts for at least: an empty one takes memory too."""

ANY_KEY = repr(None)
"""Where a piece without a key looks for its call."""

_NEXT_OBJECT = re.compile(r"\}[ \t\n\r]*\{")


@attrs.define
class _Call:
    place: str
    id: str = ""
    name: str = ""
    arguments: list[str] = attrs.field(factory=list)

    def is_before(self, arguments: str) -> bool:
        """Whether another object begins: a server has left out the name of the next call."""
        last = self.arguments[-1].rstrip(WHITE_SPACE) if self.arguments else ""
        return last.endswith("}") and arguments.lstrip(WHITE_SPACE).startswith("{")


class ToolCallPieces:
    """Puts tool calls together that come in pieces, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._known: dict[tuple[str, str], _Call] = {}
        """The call of each key and id, and with "" as id the last call of each key."""
        self.size: int = 0
        """Characters of the calls, each counted for 64 at least."""

    def add(self, key: object, *, id: str, name: str, arguments: str) -> None:
        """Add a piece.

        A new id with a name begins another call, also under a known key: some servers give every
        call the same index. A new id without a name begins none: others make up an id for each
        piece. Where there are no ids, another name begins a call. Without a key, each name does.
        Without a name, a piece under a key that is not known goes on with the call of its id, or
        with the last one: some servers count a call's first piece and the others differently. Not
        so an object after another: that is a call whose name was left out.

        Args:
            key: What the service tells the calls of one answer apart by; None without it.
            id: The call's id, "" when the piece has none.
            name: The tool's name, "" when the piece has none.
            arguments: A piece of the arguments' text.
        """
        place = repr(key)
        call = self._known.get((place, id)) or self._known.get((place, ""))
        if call is None and not name:
            call = self._known.get((ANY_KEY, id))
        if call is None or self._begins_another(call, place, key, id, name, arguments):
            call = _Call(place)
            self._calls.append(call)
            self._known[place, ""] = self._known[ANY_KEY, ""] = call
            self.size += SMALLEST_CALL
        elif (place, "") not in self._known:
            self.size += SMALLEST_CALL  # the place takes memory too
        call.id, call.name = call.id or id, call.name or name
        self._known.setdefault((place, call.id), call)
        self._known.setdefault((place, ""), call)
        self._known.setdefault((ANY_KEY, call.id), call)
        call.arguments += [arguments] if arguments else []
        self.size += len(arguments)

    def _begins_another(
        self, call: _Call, place: str, key: object, id: str, name: str, arguments: str
    ) -> bool:
        if not name and place not in (call.place, ANY_KEY) and call.is_before(arguments):
            return True
        if id and call.id:
            return id != call.id and bool(name or key is None)
        return bool(name and call.name) and (key is None or name != call.name)

    def take(self) -> list[ToolCallChunk]:
        """The calls, which are complete now.

        Raises:
            StreamProtocolError: One has no name.
        """
        calls, self._calls, self._known, self.size = self._calls, [], {}, 0
        if not all(call.name for call in calls):
            raise StreamProtocolError("tool call: expected a name, got none")
        return [
            ToolCallChunk(ToolCall(scalar_text(call.name), text, identity))
            for call in calls
            for text, identity in _apart(scalar_text(_arguments_of(call)), call.id)
        ]


def _arguments_of(call: _Call) -> str:
    """The arguments of a call.

    All pieces of a call with an id belong to it. So an empty object before other pieces is a
    placeholder (Bedrock). Of pieces that each repeat the earlier ones, the last counts (Qianfan).
    """
    pieces = call.arguments
    if call.id and len(pieces) > 1:
        if pieces[0].strip(WHITE_SPACE) == "{}" and "".join(pieces[1:]).strip(WHITE_SPACE):
            pieces = pieces[1:]
        repeated = all(map(str.startswith, pieces[1:], pieces))
        if repeated and len(_objects(pieces[-1])) == 1 and len(_objects("".join(pieces))) != 1:
            return pieces[-1]
    return "".join(pieces)


def _apart(arguments: str, id: str) -> list[tuple[str, str | None]]:
    """The arguments of a call, and its id.

    Some servers send several calls of a tool as if they were one: an object follows another. The
    first of them has the id.
    """
    objects = _objects(arguments) if _NEXT_OBJECT.search(arguments) else []
    if id and len(set(objects)) == 1:  # the same arguments once more, in whole
        del objects[1:]
    first, *others = objects or [arguments]
    return [(first, scalar_text(id) or None), *((other, None) for other in others)]


def _objects(text: str) -> list[str]:
    """The JSON objects that a text consists of; none if there is anything else in it."""
    found, at, text = list[str](), 0, text.strip(WHITE_SPACE)
    try:
        while at < len(text):
            value, end = scan(text, at)
            if not isinstance(value, dict):
                return []
            found.append(text[at:end])
            follows = _NEXT_OBJECT.match(text, end - 1)
            at = follows.end() - 1 if follows else end
    except (ValueError, RecursionError, StopIteration) as error:
        if is_interrupt(error):
            raise
        return []
    return found
