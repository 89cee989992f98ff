"""What is stored of a request's body: all of it, or no prompt, and no large image or file.

Pure. Knows nothing of databases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .neutral import part_of

__all__ = ["question_in", "stored_body", "without_prompts"]

LONGEST_DATA = 1024 * 1024
"""Most characters of images and files, as base64, that are stored of one request.

Each request of a conversation has the images of all turns before it again, and MariaDB refuses a
row of 16 MiB.
"""


def without_prompts(body: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a body that cannot be a prompt: model, numbers and switches."""
    return {
        name: value
        for name, value in body.items()
        if name == "model" or value is None or isinstance(value, bool | int | float)
    }


def stored_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body with a text in the place of each image and file that is too large; the last ones stay.

    The text tells the model, when the conversation is continued, what was there.
    """
    turns, left = body.get("messages"), LONGEST_DATA
    if not isinstance(turns, list):
        return dict(body)
    stored = []
    for turn in reversed(turns):
        kept, left = _within(turn, left)
        stored.append(kept)
    return {**body, "messages": stored[::-1]}


def _within(turn: Any, left: int) -> tuple[Any, int]:
    """A turn with as much data as may be stored, and how much may be stored of others."""
    if not (isinstance(turn, dict) and isinstance(turn.get("content"), list)):
        return turn, left
    parts = []
    for part in reversed(turn["content"]):
        size = len(_data_in(part))
        fits = size <= left
        left -= size if fits else 0
        text = f"[{_name_of(part)}, {size * 3 // 4} bytes: not stored]"
        parts.append(part if fits else {"type": "text", "text": text})
    return {**turn, "content": parts[::-1]}, left


def question_in(body: Mapping[str, Any]) -> str | None:
    """The last user message as a text, in which an image or a file is only named."""
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            parts = content if isinstance(content, list) else [content]
            return "\n".join(map(_shown, parts))
    return None


def _shown(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else f"[{_name_of(part)}]"


def _name_of(part: Any) -> str:
    """The name of a file, the type of an image, or of any other part its kind."""
    if not isinstance(part, dict):
        return type(part).__name__
    neutral = part_of(part)
    names = (neutral.get(name) for name in ("name", "media_type", "type"))
    return next((name for name in names if isinstance(name, str) and name), "part")


def _data_in(part: Any) -> str:
    data = part_of(part).get("data") if isinstance(part, dict) else None
    return data if isinstance(data, str) else ""
