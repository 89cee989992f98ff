"""The messages that a page may send: what a visitor wrote, and what the page was answered.

A browser can send anything. Knows nothing of requests and frameworks.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError

__all__ = ["page_messages"]


def page_messages(body: Any) -> list[dict[str, str]]:
    """The turns in the JSON that a page sent, checked: texts of the user and the assistant only.

    A visitor's browser could also send instructions of the system, tool results that no tool gave,
    or images for you to pay. Add turns of that kind on your server.

    Args:
        body: The JSON of the request: `{"messages": [{"role", "content"}, …]}`. Its other fields
            are left out.

    Returns:
        New turns with a role and a content each.

    Raises:
        ConfigError: It has no messages, or another role, content or field in one. It is a
            ValueError, and quotes no text.
    """
    turns = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(turns, list) or not turns:
        raise ConfigError("messages: expected a list of turns")
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict) or turn.keys() != {"role", "content"}:
            raise ConfigError(f"messages[{index}]: expected a role and a content, and nothing else")
        if turn["role"] not in ("user", "assistant"):
            raise ConfigError(f"messages[{index}]: expected the role user or assistant")
        if not isinstance(turn["content"], str):
            got = type(turn["content"]).__name__
            raise ConfigError(f"messages[{index}]: expected str content, got {got}")
    return [dict(turn) for turn in turns]
