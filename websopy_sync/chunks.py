"""The pieces of a response that a user gets: chunks.

Frozen values. Knows nothing of a service's JSON, which `wires` reads and writes: the names here are
Python's, and the dicts of `to_dict` are this package's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from .errors import ConfigError
from .tool_call import ToolCall
from .usage import Usage
from .value_fields import copied, given

__all__ = [
    "ContentChunk",
    "DoneChunk",
    "ErrorChunk",
    "ReasoningChunk",
    "StreamChunk",
    "ToolCall",
    "ToolCallChunk",
    "UnknownChunk",
    "Usage",
    "from_dict",
    "plain_text",
]

if TYPE_CHECKING:
    # A literal that differs from the known names, so that `chunk.type ==` narrows the union. With
    # `str`, pyright would keep UnknownChunk in every branch.
    UnknownType = Literal["(a type that this version does not know)"]
else:
    UnknownType = str


# Chunks have no validators: a wire checks each field before it makes one, and `from_dict` checks
# too. A validator would add 0.3 µs to each chunk of a stream.


@attrs.frozen
class _KnownChunk:
    """What every chunk of a known type has."""

    # No part of comparisons: a service that adds a field must not change what is equal.
    _extra: Mapping[str, Any] | None = attrs.field(
        default=None, alias="extra", kw_only=True, eq=False, repr=False
    )

    @property
    def extra(self) -> dict[str, Any]:
        """Fields that this version does not know, as the service sent them; mostly none.

        A field of an object inside the chunk stands in an object here too. Each access gives a new
        copy.
        """
        return copied(self._extra)


@attrs.frozen
class ContentChunk(_KnownChunk):
    """A piece of the text.

    Attributes:
        content: The text.
        extra: Fields that this version does not know, as the service sent them; mostly none.
    """

    content: str
    type: ClassVar[Literal["content"]] = "content"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "content", "content": …}`, with `extra` when there is any."""
        return {"type": "content", "content": self.content} | given(extra=self.extra)


_set_content = vars(ContentChunk)["content"].__set__
_set_extra = vars(_KnownChunk)["_extra"].__set__


def plain_text(content: str, _new: Callable[[Any], Any] = object.__new__) -> ContentChunk:
    """`ContentChunk(content)`, in less than two thirds of the time (docs/benchmarks.md).

    A frozen attrs class sets its fields by `object.__setattr__`, which looks each one up.

    Args:
        content: The text.
    """
    chunk: ContentChunk = _new(ContentChunk)
    _set_content(chunk, content)
    _set_extra(chunk, None)
    return chunk


@attrs.frozen
class ReasoningChunk(_KnownChunk):
    """A piece of what the model thinks before it answers. It is no part of the answer's text.

    Attributes:
        text: The piece.
        extra: Fields that this version does not know, as the service sent them; mostly none.
    """

    text: str
    type: ClassVar[Literal["reasoning"]] = "reasoning"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "reasoning", "text": …}`, with `extra` when there is any."""
        return {"type": "reasoning", "text": self.text} | given(extra=self.extra)


@attrs.frozen
class ToolCallChunk(_KnownChunk):
    """A tool that the model wants called.

    Attributes:
        tool: The call.
        extra: Fields that this version does not know, as the service sent them; mostly none.
    """

    tool: ToolCall
    type: ClassVar[Literal["tool_call"]] = "tool_call"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "tool_call", "tool": {"name", "arguments", "id"}}`, and `extra` if any."""
        return {"type": "tool_call", "tool": self.tool.to_dict()} | given(extra=self.extra)


@attrs.frozen
class DoneChunk(_KnownChunk):
    """The message is complete.

    Attributes:
        usage: Its tokens, None when the service did not say.
        finish_reason: Why the model stopped: "stop", "length" (it reached the limit of its length),
            "tool_calls", "content_filter", or the service's own word. None when it did not say.
        model: The model that answered, None when the service did not say.
        id: The service's id of the answer, None when it gave none.
        state: What the service must get back with the message, such as the signatures of its
            reasoning. Only the wire that wrote it reads it. Mostly None.
        extra: Fields that this version does not know, as the service sent them; mostly none.
    """

    usage: Usage | None = None
    finish_reason: str | None = None
    model: str | None = None
    id: str | None = None
    _state: Mapping[str, Any] | None = attrs.field(
        default=None, alias="state", kw_only=True, hash=False, repr=False
    )
    type: ClassVar[Literal["done"]] = "done"

    @property
    def state(self) -> dict[str, Any] | None:
        """What the service must get back with the message; each access gives a new copy."""
        return copied(self._state) or None

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "done", "usage": {…} or None}`, and the other fields that are set."""
        fields = {"type": "done", "usage": self.usage and self.usage.to_dict()}
        return fields | given(
            finish_reason=self.finish_reason,
            model=self.model,
            id=self.id,
            state=self.state,
            extra=self.extra,
        )


@attrs.frozen
class ErrorChunk(_KnownChunk):
    """The service failed; the next step of the loop raises StreamServerError.

    The texts are the service's own, and may echo the request. Those of the error do not.

    Attributes:
        message: What happened.
        code: The service's code for it, or None.
        extra: Fields that this version does not know, as the service sent them; mostly none.
    """

    message: str
    code: str | None = None
    type: ClassVar[Literal["error"]] = "error"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "error", "message": …, "code": …}`, with `extra` when there is any."""
        return {"type": "error", "message": self.message, "code": self.code} | given(
            extra=self.extra
        )


@attrs.frozen
class UnknownChunk:
    """A chunk of a type that this version does not know.

    Attributes:
        type: The service's own string. A type checker sees a literal that is none of the known
            names, so write `str(chunk.type) == "later"` to compare it.
        data: The service's JSON as it came.
    """

    type: UnknownType
    _data: Mapping[str, Any] = attrs.field(alias="data", converter=copy.deepcopy, hash=False)

    @property
    def data(self) -> dict[str, Any]:
        """The service's JSON object; each access gives a new copy."""
        return copy.deepcopy(dict(self._data))

    @property
    def extra(self) -> dict[str, Any]:
        """Empty: `data` has every field."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """`{"type": …, "data": {…}}`."""
        return {"type": self.type, "data": self.data}


StreamChunk = ContentChunk | ReasoningChunk | ToolCallChunk | DoneChunk | ErrorChunk | UnknownChunk


def from_dict(fields: Mapping[str, Any]) -> StreamChunk:
    """The chunk that `to_dict` was called on.

    Args:
        fields: What `to_dict` returned.

    Raises:
        ConfigError: They are not the fields of a chunk.
    """
    if not isinstance(fields, Mapping):
        raise ConfigError(f"chunk: expected a dict, got {type(fields).__name__}")
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise ConfigError(f"chunk: expected a str 'type', got {type(kind).__name__}")
    try:
        return _FROM_DICT.get(kind, _unknown)(fields)
    except (KeyError, TypeError) as error:
        problem = f"no field {error}" if isinstance(error, KeyError) else str(error)
    except RecursionError:
        problem = "nested too deeply"
    raise ConfigError(f"chunk of type {kind!r:.200}: {problem:.200}")


def _text(fields: Mapping[str, Any], name: str) -> str:
    if not isinstance(fields[name], str):
        raise TypeError(f"{name}: expected str, got {type(fields[name]).__name__}")
    return str(fields[name])


def _optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)


def _mapping(fields: Mapping[str, Any], name: str) -> Any:
    if not isinstance(fields[name], Mapping):
        raise TypeError(f"{name}: expected a dict, got {type(fields[name]).__name__}")
    return fields[name]


def _copied(fields: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    return None if fields.get(name) is None else copied(_mapping(fields, name))


def _extra(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    return _copied(fields, "extra")


def _unknown(fields: Mapping[str, Any]) -> StreamChunk:
    return UnknownChunk(fields["type"], _mapping(fields, "data"))


def _tool_call(fields: Mapping[str, Any]) -> StreamChunk:
    return ToolCallChunk(ToolCall.from_dict(fields["tool"]), extra=_extra(fields))


def _done(fields: Mapping[str, Any]) -> StreamChunk:
    usage = fields.get("usage")
    texts = (_optional_text(fields, name) for name in ("finish_reason", "model", "id"))
    usage = None if usage is None else Usage.from_dict(usage)
    return DoneChunk(usage, *texts, state=_copied(fields, "state"), extra=_extra(fields))


def _error(fields: Mapping[str, Any]) -> StreamChunk:
    message, code = _text(fields, "message"), _optional_text(fields, "code")
    return ErrorChunk(message, code, extra=_extra(fields))


_FROM_DICT: Mapping[str, Callable[[Mapping[str, Any]], StreamChunk]] = {
    "content": lambda fields: ContentChunk(_text(fields, "content"), extra=_extra(fields)),
    "reasoning": lambda fields: ReasoningChunk(_text(fields, "text"), extra=_extra(fields)),
    "tool_call": _tool_call,
    "done": _done,
    "error": _error,
}
