"""Text and JSON that every database can store.

PostgreSQL refuses NUL, SQLite and psycopg refuse lone surrogates, and SQLite's length() and LIKE
stop at a NUL. JSON escapes them all, without loss. Knows no database.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["clipped", "dumped", "storable"]

_HALF = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` with U+FFFD for each NUL and lone surrogate; pairs of surrogates are joined."""
    if _HALF.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def clipped(text: object, length: int) -> str | None:
    """The first `length` characters of a str, storable; None for anything else."""
    return storable(text[:length]) if isinstance(text, str) else None


def dumped(value: Any) -> str:
    """`value` as one line of JSON that every database can store.

    Args:
        value: Anything that json.dumps() takes; it raises for anything else.
    """
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", line)
