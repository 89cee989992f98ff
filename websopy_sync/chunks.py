"""The pieces of a response that a user gets: chunks, tool calls and usage.

Frozen values. Knows nothing of a service's JSON, which `wires` reads and writes: the names here are
Python's, and the dicts of `to_dict` are this package's own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import attrs

from .errors import ConfigError, ToolArgumentsError
from .interrupts import is_interrupt

__all__ = [
    "ContentChunk",
    "DoneChunk",
    "ErrorChunk",
    "StreamChunk",
    "ToolCall",
    "ToolCallChunk",
    "UnknownChunk",
    "Usage",
    "from_dict",
]

MAX_COUNT = 2**63 - 1
"""Largest number of tokens in a usage: what a signed 64-bit integer holds, in databases too."""

if TYPE_CHECKING:
    # A literal that differs from the known names, so that `chunk.type ==` narrows the union. With
    # `str`, pyright would keep UnknownChunk in every branch.
    UnknownType = Literal["(a type that this version does not know)"]
else:
    UnknownType = str


def _is_str(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name}: expected str, got {type(value).__name__}")


def _is_count(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole and 0 <= value <= MAX_COUNT):  # type: ignore[operator]  # `whole` says that it is an int
        got = "another one" if whole else type(value).__name__
        raise TypeError(f"{attribute.name}: expected an int from 0 to {MAX_COUNT}, got {got}")


@attrs.frozen
class Usage:
    """How many tokens a response cost, as the service counts them.

    Attributes:
        prompt_tokens: Tokens of what was sent.
        completion_tokens: Tokens of what the model wrote.
        total_tokens: The sum of the two unless the service gave another.
    """

    prompt_tokens: int = attrs.field(validator=_is_count)
    completion_tokens: int = attrs.field(validator=_is_count)
    total_tokens: int = attrs.field(
        default=attrs.Factory(lambda self: self.prompt_tokens + self.completion_tokens, True),
        validator=_is_count,
    )

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dict that `json.dumps` takes."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Usage:
        """The usage that `to_dict` was called on.

        Args:
            fields: What `to_dict` returned.

        Raises:
            ConfigError: They are not the fields of a usage.
        """
        return _build(cls, fields)


@attrs.frozen
class ToolCall:
    """A tool that the model wants called.

    Attributes:
        name: The tool's name.
        arguments: The arguments as the model wrote them, which should be JSON.
        id: The service's id for this call, None if it gave none.
    """

    name: str = attrs.field(validator=_is_str)
    arguments: str = attrs.field(validator=_is_str)
    id: str | None = attrs.field(default=None, validator=attrs.validators.optional(_is_str))

    def parse_arguments(self) -> dict[str, Any]:
        """The arguments as a dict.

        Raises:
            ToolArgumentsError: They are no JSON object, as a model can write anything. It is a
                ValueError. `arguments` still holds the text.
        """
        try:
            parsed = json.loads(self.arguments)
            problem = "" if isinstance(parsed, dict) else f"got JSON {type(parsed).__name__}"
        except (ValueError, RecursionError) as error:
            if is_interrupt(error):
                raise
            parsed, problem = None, str(error) or type(error).__name__
        if problem:
            raise ToolArgumentsError(
                f"arguments of tool {self.name!r:.200}: expected a JSON object: {problem:.200}"
            )
        return dict(parsed)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dict that `json.dumps` takes."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ToolCall:
        """The tool call that `to_dict` was called on.

        Args:
            fields: What `to_dict` returned.

        Raises:
            ConfigError: They are not the fields of a tool call.
        """
        return _build(cls, fields)


# Chunks have no validators: a wire checks each field before it makes one, and `from_dict` checks
# too. A validator would add 0.3 µs to each chunk of a stream.


@attrs.frozen
class ContentChunk:
    """A piece of the text.

    Attributes:
        content: The text.
    """

    content: str
    type: ClassVar[Literal["content"]] = "content"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "content", "content": …}`."""
        return {"type": "content", "content": self.content}


@attrs.frozen
class ToolCallChunk:
    """A tool that the model wants called.

    Attributes:
        tool: The call.
    """

    tool: ToolCall
    type: ClassVar[Literal["tool_call"]] = "tool_call"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "tool_call", "tool": {"name", "arguments", "id"}}`."""
        return {"type": "tool_call", "tool": self.tool.to_dict()}


@attrs.frozen
class DoneChunk:
    """The message is complete.

    Attributes:
        usage: Its tokens, None when the service did not say.
    """

    usage: Usage | None = None
    type: ClassVar[Literal["done"]] = "done"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "done", "usage": {…} or None}`."""
        return {"type": "done", "usage": self.usage and self.usage.to_dict()}


@attrs.frozen
class ErrorChunk:
    """The service failed; the next step of the loop raises StreamServerError.

    The texts are the service's own, and may echo the request. Those of the error do not.

    Attributes:
        message: What happened.
        code: The service's code for it, or None.
    """

    message: str
    code: str | None = None
    type: ClassVar[Literal["error"]] = "error"

    def to_dict(self) -> dict[str, Any]:
        """`{"type": "error", "message": …, "code": …}`."""
        return {"type": "error", "message": self.message, "code": self.code}


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

    def to_dict(self) -> dict[str, Any]:
        """`{"type": …, "data": {…}}`."""
        return {"type": self.type, "data": self.data}


StreamChunk = ContentChunk | ToolCallChunk | DoneChunk | ErrorChunk | UnknownChunk


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


def _unknown(fields: Mapping[str, Any]) -> StreamChunk:
    data: Any = fields["data"]
    if not isinstance(data, Mapping):
        raise TypeError(f"data: expected a dict, got {type(data).__name__}")
    return UnknownChunk(fields["type"], data)  # type: ignore[arg-type]  # see UnknownType


def _done(fields: Mapping[str, Any]) -> StreamChunk:
    usage = fields.get("usage")
    return DoneChunk(None if usage is None else Usage.from_dict(usage))


def _error(fields: Mapping[str, Any]) -> StreamChunk:
    code = fields.get("code")
    return ErrorChunk(_text(fields, "message"), None if code is None else _text(fields, "code"))


_FROM_DICT: Mapping[str, Callable[[Mapping[str, Any]], StreamChunk]] = {
    "content": lambda fields: ContentChunk(_text(fields, "content")),
    "tool_call": lambda fields: ToolCallChunk(ToolCall.from_dict(fields["tool"])),
    "done": _done,
    "error": _error,
}

Value = TypeVar("Value", Usage, ToolCall)


def _build(cls: type[Value], fields: Mapping[str, Any]) -> Value:
    try:
        return cls(**fields)
    except TypeError as error:
        problem = str(error)
    raise ConfigError(f"{cls.__name__}: {problem:.200}")
