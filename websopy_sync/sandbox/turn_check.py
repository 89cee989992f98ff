"""What the sandbox asks of the turns in a request, and which tool results they carry.

The turns have the form of `ChatRequest`. A part or a tool call in another form passes, as another
service may want it. The texts are for the client; those about turns quote names, and no contents.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from .steps import ExpectToolResult

__all__ = ["calls_of", "results_in", "text_of", "turns_problem", "unmet"]

Turn = Mapping[str, Any]


def turns_problem(turns: object) -> str:
    """Why these are no turns; "" when they are good."""
    if not isinstance(turns, list) or not turns:
        return "messages: expected a list of at least one message"
    for index, turn in enumerate(turns):
        problem = _turn_problem(turn)
        if problem:
            return f"messages[{index}]{problem}"
    return _order_problem(turns)


def _turn_problem(turn: object) -> str:
    if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
        return ": expected an object with a role and a content"
    content, calls = turn.get("content"), turn.get("tool_calls")
    if isinstance(content, list) and content:
        problems = (_part_problem(index, part) for index, part in enumerate(content))
        return next(filter(None, problems), "")
    if isinstance(content, str) or (content is None and calls):
        return ""
    return ": expected as its content a string or a list of parts, or tool calls without one"


_PART_FIELDS: Mapping[str, tuple[Sequence[Sequence[str]], str]] = {
    "text": ([("text",)], "a text"),
    "image": ([("url",), ("media_type", "data")], "a url, or a mediaType and data in base64"),
    "file": ([("name", "media_type", "data")], "a name, a mediaType and data in base64"),
}
"""By the type of a part: the sets of fields of which it has one, and how to say that."""


def _part_problem(index: int, part: object) -> str:
    where = f".content[{index}]: expected a part with "
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return where + "a type"
    sets, words = _PART_FIELDS.get(part["type"], ([()], ""))
    if not any(all(isinstance(part.get(name), str) for name in names) for names in sets):
        return where + words
    try:
        base64.b64decode(part.get("data") or "", validate=True)
    except (ValueError, TypeError):  # a part of another service's may have any data
        return where + words if words else ""
    return ""


def _order_problem(turns: Sequence[Turn]) -> str:
    """Each tool call has its result in the turns right after it, and each result has its call."""
    calls: list[Turn] = []
    other_form = False
    for index, turn in enumerate(turns):
        if turn["role"] == "tool":
            if not (_answered(calls, turn) or other_form):
                return f"messages[{index}]: a result of a tool that no earlier turn calls"
        elif calls:
            return f"messages[{index}]: expected the result of the tool {_names(calls)} before it"
        else:
            calls, other_form = calls_of(turn), _in_other_form(turn)
    return f"messages: expected the result of the tool {_names(calls)} at the end" if calls else ""


def _in_other_form(turn: Turn) -> bool:
    return bool(turn.get("tool_calls")) and not calls_of(turn)


def _answered(calls: list[Turn], result: Turn) -> bool:
    """Take the call out that a result belongs to; False when there is none."""
    wanted, name = result.get("tool_call_id"), result.get("name")
    for place, call in enumerate(calls):
        if call["name"] == name if wanted is None else call.get("id") == wanted:
            del calls[place]
            return True
    return False


def _names(calls: Sequence[Turn]) -> str:
    return ", ".join(f"{call['name']!r:.100}" for call in calls[:5])


def calls_of(turn: Turn) -> list[Turn]:
    """The tool calls of a turn; none when they have a form that is not ours."""
    calls = turn.get("tool_calls")
    listed = calls if isinstance(calls, list) else []
    found: list[Turn] = [
        call for call in listed if isinstance(call, dict) and isinstance(call.get("name"), str)
    ]
    return found if len(found) == len(listed) else []


def text_of(turn: Turn) -> str:
    """The text of a turn, without images and files."""
    content = turn.get("content") or ""
    parts = content if isinstance(content, list) else [{"text": content}]
    return " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def results_in(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """The name and the text of each tool result after the last turn that calls tools."""
    names: dict[str, str] = {}
    results: list[tuple[str, str]] = []
    for turn in turns:
        if turn["role"] == "tool":
            name = turn.get("name") or names.get(str(turn.get("tool_call_id")), "")
            results.append((str(name), text_of(turn)))
        elif turn["role"] == "assistant":
            names = {str(call.get("id")): call["name"] for call in calls_of(turn)}
            results = []
    return results


def unmet(expected: Sequence[ExpectToolResult], turns: Sequence[Turn]) -> str:
    """What the latest tool results lack of what a script expects; "" when they have it all."""
    came = results_in(turns)
    for step in expected:
        if not any(step.name == name and step.content in (None, text) for name, text in came):
            content = "" if step.content is None else f" with the content {step.content!r:.200}"
            shown = [f"{name!r:.100} with the content {text!r:.200}" for name, text in came[:5]]
            got = f"got {', '.join(shown)}" if came else "got no tool result"
            return f"expected the result of the tool {step.name!r:.100}{content}, {got}"
    return ""
