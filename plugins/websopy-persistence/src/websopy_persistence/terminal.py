"""Stored text in columns of a terminal.

Knows no stream. What may steer a terminal is taken out by the core's own `visible`.
"""

from __future__ import annotations

import unicodedata

from websopy_sync.cli import visible

__all__ = ["column", "one_line"]


def one_line(text: str) -> str:
    """`text` without line ends, and without any power over a terminal."""
    return " ".join(visible(text).split())


def column(text: str, width: int) -> str:
    """`text` on one line, cut or filled up to `width` columns; Chinese takes two a character."""
    text = one_line(text[: 4 * width])
    if sum(map(_columns, text)) <= width:
        return text + " " * (width - sum(map(_columns, text)))
    while sum(map(_columns, text)) > width - 1:
        text = text[:-1]
    return f"{text}…" + " " * (width - 1 - sum(map(_columns, text)))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
