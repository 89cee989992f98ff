"""Forms of OpenAI's that other services took over: function tools, data URLs, usage.

Pure. Knows no wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..usage import Usage
from .lenient_json import cleaned
from .pieces import usage_of

__all__ = ["data_url", "function_tool", "usage_in"]


_NAMED = ("cached_tokens", "reasoning_tokens")
"""Counts that have a name in `Usage`, too."""


def function_tool(tool: Any) -> Any:
    """A tool of `ChatRequest` as a function; one in another form stays as it is."""
    known = isinstance(tool, Mapping) and "parameters" in tool and "function" not in tool
    return {"type": "function", "function": dict(tool)} if known else tool


def data_url(part: Mapping[str, Any]) -> str:
    """The data of an image or a file as a URL (RFC 2397)."""
    return f"data:{part.get('media_type')};base64,{part.get('data')}"


def usage_in(usage: Any, prompt: str, completion: str) -> Usage | None:
    """The tokens of a usage; None when it has none.

    Args:
        usage: The object, or anything else.
        prompt: The name of the count of prompt tokens; its details have that name, too.
        completion: The same for completion tokens.
    """
    if not isinstance(usage, dict):
        return None
    counts = (prompt, completion, "total_tokens")
    sent, written, total = map(usage.get, counts)
    reasoning = _named(usage, completion, "reasoning_tokens")
    if reasoning and _is_sum(total, (sent, written, reasoning)):
        written += reasoning  # xAI counts it apart
    others = {name: _without_known(usage[name]) for name in usage if name not in counts + _NAMED}
    return usage_of(
        sent,
        written,
        total,
        cached=_named(usage, prompt, "cached_tokens"),
        reasoning=reasoning,
        details={name: value for name, value in others.items() if value},
    )


def _named(usage: Mapping[str, Any], of: str, name: str) -> Any:
    """A count among the details of another one; of Moonshot and SGLang beside it."""
    details = usage.get(f"{of}_details")
    return (details if isinstance(details, dict) else usage).get(name)


def _is_sum(total: Any, counts: Iterable[Any]) -> bool:
    return all(type(count) is int for count in counts) and sum(counts) == total


def _without_known(value: Any) -> Any:
    """A field of a usage; its own fields but for those with a name in `Usage`, and zeros."""
    if not isinstance(value, dict):
        return cleaned(value)
    return {name: cleaned(count) for name, count in value.items() if count and name not in _NAMED}
