"""Stored text in the columns of a table on a terminal.

The core's `visible` removes control characters. Knows nothing of streams.
"""

from __future__ import annotations

import unicodedata

from websopy_sync.cli import visible

__all__ = ["column", "one_line"]


def one_line(text: str) -> str:
    """`text` in one line, without control characters that a terminal would obey."""
    return " ".join(visible(text).split())


def column(text: str, width: int) -> str:
    """`text` in one line of `width` columns, cut or padded; a Chinese character takes two."""
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
