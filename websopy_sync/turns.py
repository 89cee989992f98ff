"""The turns of a chat as the user passes them, checked.

Pure. Knows no service's format: a turn has a role and a content, and may have more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ConfigError

__all__ = ["Messages", "turns_of"]

Messages = str | list[dict[str, Any]]
"""One user message as text, or turns as `{"role": …, "content": …}`."""


def turns_of(messages: object) -> list[dict[str, Any]] | ConfigError:
    """The turns in what the user passed; a copy of each, so that an edit stays here.

    A problem is returned, not raised: a traceback from here would hold the prompt.
    """
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    problem = _problem(turns)
    if problem or not isinstance(turns, list | tuple):
        return ConfigError(problem)
    return [dict(turn) for turn in turns]


def _problem(messages: object) -> str:
    """Why these are no turns; "" if they are. No text is quoted."""
    if not isinstance(messages, list | tuple):
        return f"messages: expected a str or a list of dicts, got {type(messages).__name__}"
    if not messages:
        return "messages: expected at least one, got none"
    for index, message in enumerate(messages):
        problem = _turn_problem(message)
        if problem:
            return f"messages[{index}]: {problem}"
    return ""


def _turn_problem(turn: object) -> str:
    if not isinstance(turn, Mapping):
        return f"expected a dict with role and content, got {type(turn).__name__}"
    for field, kinds in (("role", (str,)), ("content", (str, list))):
        if field not in turn:
            return f"expected a {field!r}, got none"
        if not isinstance(turn[field], kinds):
            return f"expected str {field!r}, got {type(turn[field]).__name__}"
    return "" if turn["role"] else "expected a role, got an empty one"
