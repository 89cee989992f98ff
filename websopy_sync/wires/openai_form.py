"""Forms of OpenAI's that other services took over: function tools, data URLs, usage.

Pure. Knows no wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..usage import Usage
from .pieces import usage_of

__all__ = ["data_url", "function_tool", "usage_in"]


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
    sent, written = usage.get(f"{prompt}_details"), usage.get(f"{completion}_details")
    return usage_of(
        *(usage.get(name) for name in (prompt, completion, "total_tokens")),
        cached=sent.get("cached_tokens") if isinstance(sent, dict) else None,
        reasoning=written.get("reasoning_tokens") if isinstance(written, dict) else None,
    )
