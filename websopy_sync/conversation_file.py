"""The file of a saved conversation: its turns as JSON, and a version.

Knows nothing of a conversation but its turns.
"""

from __future__ import annotations

import json
from typing import Any

from .errors import ConfigError
from .files import FilePath, read_file, write_file
from .interrupts import is_interrupt
from .request_body import encode_body
from .turns import turns_of

__all__ = ["read_turns", "write_turns"]

VERSION = 1
"""Of the file's form: `{"version": 1, "messages": […]}`."""

MAX_SIZE = 256 * 1024 * 1024
"""Most bytes of a file, read or written: several images of the largest size fit."""

WHAT = "conversation file"


def write_turns(path: FilePath, messages: list[Any], *, max_size: int = MAX_SIZE) -> None:
    """Save turns.

    Args:
        path: The file, which is replaced.
        messages: The turns. Values such as images are written as their dicts.
        max_size: Most bytes that the file may have.

    Raises:
        FileError: The file cannot be written.
        ConfigError: These are no turns, or more than a file may hold.
    """
    turns = turns_of(messages) if messages else []
    if isinstance(turns, ConfigError):
        raise turns
    data = encode_body({"version": VERSION, "messages": turns})
    if isinstance(data, ConfigError):
        raise data
    if len(data) > max_size:
        raise ConfigError(f"{WHAT}: expected at most {max_size} bytes, got {len(data)}")
    _checked(_turns_in(data))  # what could not be loaded must not replace what can
    write_file(path, data, what=WHAT)


def read_turns(path: FilePath, *, max_size: int = MAX_SIZE) -> list[dict[str, Any]]:
    """Load turns.

    Args:
        path: The file.
        max_size: Most bytes that it may have.

    Raises:
        FileError: The file cannot be read.
        ConfigError: It is no file that `write_turns` has written.
    """
    return _checked(_turns_in(read_file(path, what=WHAT, max_size=max_size)))


def _checked(turns: list[dict[str, Any]] | str) -> list[dict[str, Any]]:
    if isinstance(turns, str):
        raise ConfigError(f"{WHAT}: {turns}")
    return turns


def _turns_in(data: bytes) -> list[dict[str, Any]] | str:
    """The turns in a file's bytes, or what is wrong with them. No text is quoted."""
    try:
        saved = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        deep = isinstance(error, RecursionError)
        return "nested too deeply" if deep else "expected JSON in UTF-8, got something else"
    if not isinstance(saved, dict):
        return f"expected a JSON object, got {type(saved).__name__}"
    version, messages = saved.get("version"), saved.get("messages")
    if type(version) is not int or version != VERSION:
        number = isinstance(version, int) and not isinstance(version, bool)
        got = f"version {version}"[:100] if number else "none"
        hint = "; a later websopy-sync may have saved it" if number else ""
        return f"expected version {VERSION}, got {got}{hint}"
    if not isinstance(messages, list):
        return f"expected a list of messages, got {type(messages).__name__}"
    turns = turns_of(messages) if messages else []
    return turns.message if isinstance(turns, ConfigError) else turns
