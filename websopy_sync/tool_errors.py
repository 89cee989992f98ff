"""The errors of tools and of runs; `errors` has the tree of all.

Knows nothing of how a tool is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import WebsopyError
from .tool_call import ToolCall

__all__ = ["MaxTurnsError", "ToolError"]


class ToolError(WebsopyError):
    """A tool call failed, and `strict_tools` was asked for. `__cause__` is the tool's exception.

    A tool may raise it too: then its text is what the model is told, instead of the name of an
    exception.

    Args:
        message: What happened.
        call: The call that failed; None until the run knows.
    """

    def __init__(self, message: str = "", *, call: ToolCall | None = None) -> None:
        super().__init__(message)
        self.call = call


class MaxTurnsError(WebsopyError):
    """A run had `max_turns` answers, and the last one still asked for tools.

    Those tools were run, so another run with `messages` goes on from there.

    Args:
        message: What happened.
        messages: The turns so far, with the last results.
        turns: How many answers there were.
    """

    def __init__(
        self, message: str = "", *, messages: Iterable[Mapping[str, Any]] = (), turns: int = 0
    ) -> None:
        super().__init__(message)
        self.messages: list[dict[str, Any]] = [dict(turn) for turn in messages]
        self.turns = turns
