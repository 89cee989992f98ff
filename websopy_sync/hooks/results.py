"""Checks what a hook returned.

Pure. Knows neither plugins nor their order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

from ..interrupts import discreet
from ..turns import turns_of

__all__ = ["StoredConversation", "checked_conversation", "refuse_to_run"]


class StoredConversation(TypedDict):
    """A conversation that a plugin has stored.

    Attributes:
        id: Its id, as `metadata={"conversation": id}` gave it.
        messages: Its turns, as `chat_stream` takes them.
        model: The model that was asked last, if the plugin knows it.
    """

    id: str
    messages: list[dict[str, Any]]
    model: NotRequired[str]


def refuse_to_run(result: object) -> None:
    """Raise TypeError for a coroutine or generator, which nothing would run."""
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if inspect.iscoroutine(result):
            result.close()  # else Python warns that nobody awaited it
        raise TypeError(f"expected None from a hook, got a {type(result).__name__} nobody runs")


def checked_conversation(function: Callable[..., object]) -> Callable[..., object]:
    """The same function, whose result is a StoredConversation or None; else it raises TypeError.

    No local variable holds the result: it has prompts, and crash reporters show locals.
    """
    return lambda *arguments: _conversation(function(*arguments))


@discreet
def _conversation(result: object) -> StoredConversation | None:
    if result is None:
        return None
    if not isinstance(result, Mapping):
        raise TypeError(f"expected a dict with id and messages, got {type(result).__name__}")
    id, turns = result.get("id"), turns_of(result.get("messages"))
    if not isinstance(id, str):
        raise TypeError(f"id: expected str, got {type(id).__name__}")
    if not isinstance(turns, list):
        raise TypeError(str(turns))
    found: StoredConversation = {"id": id, "messages": turns}
    model = result.get("model")
    if model is not None and not isinstance(model, str):
        raise TypeError(f"model: expected str, got {type(model).__name__}")
    return {**found, "model": model} if model else found
