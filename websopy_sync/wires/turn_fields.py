"""What several wires read in a turn alike: whose it is, its tool calls, what a service gets back.

Pure. Knows no service: each wire passes the names of its own format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..interrupts import is_interrupt

__all__ = [
    "calls_in",
    "in_places",
    "is_system",
    "object_in",
    "own_state",
    "shortened",
    "state_in",
    "with_ids",
]


def is_system(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is the system's. `developer` is OpenAI's newer word for it."""
    return turn.get("role") in ("system", "developer")


def calls_in(turn: Mapping[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """The id, the name and the arguments of each tool call of a turn.

    A call may be in OpenAI's form, too.

    Raises:
        ConfigError: A call is no dict.
    """
    calls = turn.get("tool_calls")
    for call in calls if isinstance(calls, list | tuple) else ():
        if not isinstance(call, Mapping):
            raise ConfigError(f"tool_calls: expected dicts, got {type(call).__name__}")
        function = call.get("function")
        fields = function if isinstance(function, Mapping) else call
        yield call.get("id"), fields.get("name"), fields.get("arguments")


def with_ids(
    turns: Iterable[Mapping[str, Any]], fit: Callable[[str], str] = str
) -> Iterator[Mapping[str, Any]]:
    """The turns, with an id of its own for each tool call, which its result names.

    A call that another service gave no id gets one, and so does one whose id an earlier call has:
    some servers count from 0 in each answer, or give all calls of an answer one id.

    Args:
        turns: The turns. They stay as they are.
        fit: Makes an id one that the service takes.
    """
    taken: set[str] = set()
    waiting: list[tuple[Any, str]] = []
    for place, turn in enumerate(turns):
        calls = turn.get("tool_calls")
        if turn.get("role") == "tool":
            yield _with_id_of_call(turn, waiting, fit)
        elif turn.get("role") == "assistant" and isinstance(calls, list | tuple):
            waiting = []
            identified = []
            for number, call in enumerate(calls):
                identified.append(_identified(call, f"call_{place}_{number}", taken, fit))
                waiting += _waiting(call, identified[-1])
            yield {**turn, "tool_calls": identified}
        else:
            yield turn


def shortened(identity: str, limit: int) -> str:
    """An id that has at most so many characters, of a service that allows itself more.

    LiteLLM keeps a signature in an id, after "__thought__", and must get that back.
    """
    if len(identity) <= limit or "__thought__" in identity:
        return identity
    return f"call_{hashlib.sha256(identity.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _identified(call: Any, default: str, taken: set[str], fit: Callable[[str], str]) -> Any:
    identity = call.get("id") if isinstance(call, Mapping) else 0
    if not isinstance(identity, str | None):
        return call
    sent = fit(default if identity is None else identity)
    if sent in taken:
        sent = fit(f"{identity}_{default}")
    taken.add(sent)
    return {**call, "id": sent}


def _waiting(call: Any, identified: Any) -> Iterator[tuple[Any, str]]:
    """What a result says of its call, and the id that is sent."""
    if isinstance(call, Mapping) and isinstance(identified.get("id"), str):
        name = next(calls_in({"tool_calls": [call]}))[1]
        yield _key(call.get("id"), name), identified["id"]


def _with_id_of_call(
    turn: Mapping[str, Any], waiting: list[tuple[Any, str]], fit: Callable[[str], str]
) -> Mapping[str, Any]:
    identity = turn.get("tool_call_id")
    key = _key(identity, turn.get("name"))
    call = next((call for call in waiting if call[0] == key), None)
    if call:
        waiting.remove(call)
        return {**turn, "tool_call_id": call[1]}
    return {**turn, "tool_call_id": fit(identity)} if isinstance(identity, str) else turn


def _key(identity: Any, name: Any) -> tuple[Any, Any]:
    """What tells a call from others: its id, or its name where there is none."""
    return (identity, None) if identity is not None else (None, name)


def object_in(arguments: Any) -> dict[str, Any] | None:
    """The arguments of a tool call as an object; None if a model wrote something else."""
    try:
        text = "{}" if arguments in (None, "") else arguments
        value = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        value = None
    return value if isinstance(value, dict) else None


def own_state(turn: Mapping[str, Any], format: str) -> Mapping[str, Any]:
    """The state of a turn in one format; empty for a turn that another service wrote."""
    value: Any = turn.get("state")
    own = value.get(format) if isinstance(value, Mapping) else None
    return own if isinstance(own, Mapping) else {}


def state_in(turn: Mapping[str, Any], format: str, field: str) -> list[dict[str, Any]]:
    """What the service must get back with a turn, in its order.

    Args:
        turn: The turn.
        format: The name of the service's format in the state.
        field: The field of that format's state that has the list.

    Returns:
        New dicts; none for a turn that another service wrote.
    """
    value = own_state(turn, format).get(field)
    listed = value if isinstance(value, list | tuple) else ()
    return [dict(part) for part in listed if isinstance(part, Mapping)]


def in_places(
    kept: Sequence[dict[str, Any]],
    texts: Sequence[Any],
    calls: Iterable[dict[str, Any]],
    *,
    kind_of: Callable[[Mapping[str, Any]], str | None],
) -> list[Any]:
    """What the service must get back, with the text and the calls of the turn in their places.

    Args:
        kept: What it must get back. A place of text or of a call is there without what it says.
        texts: The text and the other parts of the turn. The message has all its text in one, so
            they go to one place: the last one before the calls.
        calls: The calls of the turn, one for each place. Those left over come last.
        kind_of: Says of a kept dict whether it is the place of a "text" or of a "call".
    """
    kinds = [kind_of(part) for part in kept]
    first = kinds.index("call") if "call" in kinds else len(kinds)
    places = [place for place, kind in enumerate(kinds) if kind == "text"] or [first]
    text_at = max((place for place in places if place <= first), default=places[-1])
    rest = iter(calls)
    parts: list[Any] = []
    for place, (part, kind) in enumerate(zip(kept, kinds, strict=True)):
        if place == text_at and kind != "text":
            parts += texts  # no text came, and a user wrote one
        if kind == "call":
            parts += [part | call for call in [next(rest, None)] if call]
        elif kind == "text" and place == text_at and texts:
            parts += [*texts[:-1], part | texts[-1]]
        elif kind != "text" or len(part) > 1:  # a place with more than its kind, a signature say
            parts.append(part)
    return [*parts, *(texts if text_at == len(kept) else ()), *rest]
