"""Text and JSON that every database takes.

Knows no database. PostgreSQL refuses NUL, SQLite and psycopg refuse halves of surrogate pairs, and
SQLite's length() and LIKE stop at a NUL. JSON gets round all of it by escapes, without loss.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["clipped", "dumped", "storable"]

_HALF = re.compile("[\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` with U+FFFD for each NUL and lone surrogate half; halves that belong are joined."""
    if _HALF.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def clipped(text: object, length: int) -> str | None:
    """The first `length` characters of a str, storable; None for anything else."""
    return storable(text[:length]) if isinstance(text, str) else None


def dumped(value: Any) -> str:
    """`value` as one line of JSON, any database's text, from which json.loads makes it again.

    Raises what json.dumps raises for what is no JSON.
    """
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", line)
