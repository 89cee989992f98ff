"""Tool calls among the turns of a chat: which have no result yet, and the turn of a result.

Pure. Knows nothing of tools and of how they run.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .errors import ConfigError
from .interrupts import find_interrupt
from .tool_call import ToolCall

__all__ = ["open_calls", "result_text", "result_turn", "shown"]


def open_calls(turns: Sequence[object]) -> list[ToolCall]:
    """The tool calls of the last assistant's turn that have no result in the turns after it.

    A call without an id is answered by a result without one that has its name.

    Args:
        turns: The turns, which may be of any form. What is no tool call of ours counts for nothing.
    """
    roles = [_field(turn, "role") for turn in turns]
    if "assistant" not in roles:
        return []
    last = len(roles) - 1 - roles[::-1].index("assistant")
    calls = _calls_of(turns[last])
    for turn in turns[last + 1 :]:
        if _field(turn, "role") == "tool":
            _take(calls, _field(turn, "tool_call_id"), _field(turn, "name"))
    return calls


def _field(turn: object, name: str) -> object:
    return turn.get(name) if isinstance(turn, Mapping) else None


def _calls_of(turn: object) -> list[ToolCall]:
    calls = _field(turn, "tool_calls")
    found = []
    for fields in calls if isinstance(calls, list | tuple) else ():
        try:
            found.append(ToolCall.from_dict(fields))
        except ConfigError:  # another service's form, which goes out as it is
            continue
    return found


def _take(calls: list[ToolCall], call_id: object, name: object) -> None:
    """Take the call out that a result belongs to."""
    for index, call in enumerate(calls):
        if call.id == call_id and (call_id is not None or call.name == name):
            del calls[index]
            return


def result_turn(call: ToolCall | str, result: object, turns: Sequence[object]) -> dict[str, Any]:
    """The turn that gives a call its result.

    Args:
        call: The call, or its id.
        result: What came of it; see `result_text`.
        turns: The turns so far.

    Raises:
        ConfigError: The call is not open, or the result cannot be sent.
    """
    if not isinstance(call, ToolCall | str):
        raise ConfigError(f"call: expected a ToolCall or its id, got {type(call).__name__}")
    waiting = open_calls(turns)
    found = next((other for other in waiting if _same(other, call)), None)
    if found is None:
        names = ", ".join(map(shown, waiting)) or "none"
        raise ConfigError(f"call: expected one that has no result yet ({names}), got another")
    text = result_text(result)
    if isinstance(text, ConfigError):
        raise text
    return {"role": "tool", "tool_call_id": found.id, "name": found.name, "content": text}


def _same(call: ToolCall, other: ToolCall | str) -> bool:
    if isinstance(other, str):
        return call.id == other
    return call == other if call.id is None else call.id == other.id


def shown(call: ToolCall) -> str:
    """A call for an error's message: its tool's name, and its id. The arguments are left out."""
    return f"{call.name!a:.100}" + ("" if call.id is None else f" with id {call.id!a:.100}")


def result_text(result: object) -> str | ConfigError:
    """A tool's result as text for the model.

    Args:
        result: A str as it is, or what JSON can hold. Objects of dataclasses, attrs classes,
            pydantic models and msgspec Structs count as dicts, and members of an Enum as values.

    Returns:
        The text. A problem is returned, not raised: a traceback from here would hold the result.
    """
    try:
        if isinstance(result, str):
            text = str.__str__(result)  # str() of a member of an Enum is its name
        else:
            text = json.dumps(result, ensure_ascii=False, allow_nan=False, default=_plain)
        text.encode()
        return text
    except UnicodeEncodeError:
        got = "a lone surrogate, which is no text"
    except Exception as error:  # a result's own attributes may raise any
        if find_interrupt(error) is not None:
            raise
        got = str(error) if isinstance(error, _NoJSON) else type(error).__name__
    return ConfigError(f"result: expected a str or what JSON can hold, got {got:.200}")


class _NoJSON(TypeError):
    """A value that JSON cannot hold; the text is its type."""


def _plain(value: Any) -> Any:
    """An object as what the encoder takes, which then asks for the values in it."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(kind, "model_dump"):  # a pydantic model
        return value.model_dump(mode="json")
    if attrs.has(kind):
        names = [field.name for field in attrs.fields(kind)]
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(value)]
    elif hasattr(kind, "__struct_fields__"):  # a msgspec Struct
        names = kind.__struct_fields__
    else:
        raise _NoJSON(kind.__name__)
    return {name: getattr(value, name) for name in names}
