"""Stored text made fit for a terminal, and cut to its columns.

Knows no stream. What a model wrote may hold escape sequences that clear the screen, retitle the
window or type for the user, and marks that turn the direction of what follows.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["column", "harmless", "json_line"]

# C0 (without tab and line feed), DEL, C1, and the marks that reorder or end lines.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def harmless(text: str) -> str:
    """`text` with U+FFFD for whatever could steer a terminal; line feeds and tabs stay."""
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n"))


def json_line(line: str) -> str:
    """The same JSON with whatever could steer a terminal as escapes: nothing is lost."""
    return _UNSAFE.sub(lambda character: f"\\u{ord(character[0]):04x}", line)


def column(text: str, width: int) -> str:
    """`text` on one line, cut or filled up to `width` columns; Chinese takes two a character."""
    text = " ".join(harmless(text).split())
    taken = 0
    for index, character in enumerate(text):
        taken += _columns(character)
        if taken > width:
            cut = text[:index]
            while sum(map(_columns, cut)) > width - 1:
                cut = cut[:-1]
            return cut + "…" + " " * (width - 1 - sum(map(_columns, cut)))
    return text + " " * (width - taken)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
