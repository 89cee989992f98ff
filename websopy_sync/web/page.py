"""The messages that a page may send: what a visitor wrote, and what the page was answered.

A browser can send anything. Knows nothing of requests and frameworks.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import ConfigError
from ..interrupts import discreet, is_interrupt
from ..surrogates import scalar_text

__all__ = ["ConversationTooLongError", "page_messages"]

MAX_MESSAGES = 1000
MAX_BYTES = 1024 * 1024


class ConversationTooLongError(ConfigError):
    """A page sent more turns or text than the view takes: for a status of 413."""


@discreet
def page_messages(
    body: bytes | Any, *, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES
) -> list[dict[str, str]]:
    """The turns in the JSON that a page sent, checked: texts of the user and the assistant only.

    A visitor's browser could also send instructions of the system, tool results that no tool gave,
    or images for you to pay. Add turns of that kind on your server.

    `useChat` of the AI SDK sends each turn as `{"role", "parts": […]}`. Its texts are joined by
    empty lines. Of an assistant's turn the other parts are left out (reasoning, tool calls), and so
    is the turn if it has no text. A user's turn may have texts only.

    Args:
        body: The body of the request as bytes, or the JSON that you read of it:
            `{"messages": [{"role", "content"}, …]}`. Its other fields are left out. Bytes are
            better: some parsers of frameworks fail, instead of refusing, when brackets are nested
            very deeply.
        max_messages: The most turns that it may have.
        max_bytes: The most bytes of text in all turns together, as UTF-8.

    Returns:
        New turns with a role and a content each. A lone half of a character is U+FFFD.

    Raises:
        ConversationTooLongError: It has more turns or text.
        ConfigError: It is no JSON, or has no messages, or another role, content or field in one.
            Both are ValueErrors, and quote no text.
    """
    _check_limit("max_messages", max_messages)
    _check_limit("max_bytes", max_bytes)
    if isinstance(body, bytes):
        body = _json(body)
    sent = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(sent, list) or not sent:
        example = '{"messages": [{"role": "user", "content": "…"}]}'
        raise ConfigError(f"messages: expected a list of turns, as in {example}")
    if len(sent) > max_messages:
        raise ConversationTooLongError(
            f"messages: expected at most {max_messages}, got {len(sent)}"
        )
    read = [_turn(turn, f"messages[{index}]") for index, turn in enumerate(sent)]
    turns = [turn for turn in read if turn]
    if not turns:
        raise ConfigError("messages: expected a text, got none")
    size = sum(len(turn["content"].encode()) for turn in turns)
    if size > max_bytes:
        raise ConversationTooLongError(
            f"messages: expected at most {max_bytes} bytes of text, got {size}"
        )
    return turns


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
    raise ConfigError("body: expected JSON")  # without the cause, which quotes the body


def _check_limit(name: str, value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}: expected an int above 0, got {value!r:.200}")


def _turn(turn: Any, name: str) -> dict[str, str] | None:
    """A turn of its two fields; None for an answer of the AI SDK without a text."""
    if not isinstance(turn, dict):
        raise ConfigError(f"{name}: expected a role and a content, and nothing else")
    if "parts" not in turn and turn.keys() != {"role", "content"}:
        raise ConfigError(f"{name}: expected a role and a content, and nothing else")
    role = turn.get("role")
    if role not in ("user", "assistant"):
        raise ConfigError(f"{name}: expected the role user or assistant")
    if "parts" in turn:
        content = "\n\n".join(_texts(turn["parts"], role, f"{name}.parts"))
        if not content and role == "user":
            raise ConfigError(f"{name}: expected a text, got none")
        return {"role": role, "content": scalar_text(content)} if content else None
    if not isinstance(turn["content"], str):
        raise ConfigError(f"{name}: expected str content, got {type(turn['content']).__name__}")
    return {"role": role, "content": scalar_text(turn["content"])}


def _texts(parts: Any, role: str, name: str) -> list[str]:
    """The texts in the parts of a UI message of the AI SDK."""
    if not isinstance(parts, list):
        raise ConfigError(f"{name}: expected a list, got {type(parts).__name__}")
    texts = []
    for index, part in enumerate(parts):
        if not isinstance(part, dict):
            got = type(part).__name__
            raise ConfigError(f"{name}[{index}]: expected a part, got {got}")
        if part.get("type") == "text":
            if not isinstance(part.get("text"), str):
                raise ConfigError(f"{name}[{index}]: expected a str text")
            texts.append(part["text"])
        elif role == "user":
            raise ConfigError(f"{name}[{index}]: expected a part of type text")
    return [text for text in texts if text]
