"""Formatters that hide keys in a log line: for text, and for JSON lines.

They redact the finished line. A logger's filter does not see its children's records, and a
handler's filter sees no traceback. Knows nothing of streams.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["FIELDS", "JsonFormatter", "RedactingFormatter"]

FIELDS = "websopy"
"""The attribute of a log record with its fields as a dict."""

HIDDEN = "***"

SHORTEST_SECRET = 6
"""Characters. A shorter secret is no secret, and would hide half of every line."""

_NAME = (
    r"(?i:(?:api|access|private)[_-]?key|client[_-]?secret|secret|password|passwd|"
    r"(?<![a-z])(?:(?:access|auth|refresh|id|session)[_-]?)?token|authorization)\b"
)
# No value contains a quote or a backslash, so that a redacted line of JSON is still JSON.
PATTERNS = (
    # "x-api-key": "…", api_key='…', in nested JSON too: everything up to the end quote
    r"(" + _NAME + r"\\{0,8}[\"']?\s{0,8}[:=]\s{0,8}\\{0,8}[\"'])[^\"'\\]+",
    # WEBSOPY_API_KEY=…, X-Api-Key: …, Authorization: Basic …
    r"(" + _NAME + r"\s{0,8}[:=]\s{0,8}(?:(?i:bearer|basic|token)\s{1,8})?)[^\s\"'\\,;)}\]]+",
    # Bearer … (RFC 6750 2.1)
    r"((?i:\bbearer)\s{1,8})[A-Za-z0-9._~+/=\-]+",
    # sk-…, as several services write their keys
    r"(\bsk-)[A-Za-z0-9_\-]+",
    # https://user:password@host
    r"(\b[A-Za-z][A-Za-z0-9+.\-]{0,20}://)[^\s/@\"'\\]+(?=@)",
)
"""Regular expressions for secrets; their first group stays, the rest is hidden."""


class RedactingFormatter(logging.Formatter):
    """Formats with another formatter, then hides keys in the line and its traceback.

    Args:
        inner: Formats the line. None: time, level, logger and message.
        secrets: Further strings to hide. The current value of WEBSOPY_API_KEY is always hidden.
        patterns: Further regular expressions to hide, whole.
    """

    def __init__(
        self,
        inner: logging.Formatter | None = None,
        *,
        secrets: Iterable[str] = (),
        patterns: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        known = {*secrets, os.environ.get("WEBSOPY_API_KEY", "").strip()}
        literal = [re.escape(secret) for secret in known if len(secret) >= SHORTEST_SECRET]
        # The longest first: one secret may begin with another.
        own = [*sorted(literal, key=len, reverse=True), *patterns]
        self._whole = [re.compile(pattern) for pattern in own]
        self._after_name = [re.compile(pattern) for pattern in PATTERNS]

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record without secrets."""
        return self.redact(self._inner.format(record))

    def redact(self, text: str) -> str:
        """Any text without secrets."""
        for pattern in self._whole:
            text = pattern.sub(HIDDEN, text)
        for pattern in self._after_name:
            text = pattern.sub(rf"\g<1>{HIDDEN}", text)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, then the record's fields or its message.

    The time is UTC, ISO 8601 with milliseconds. A traceback is in `traceback`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, FIELDS, None)
        line |= fields if isinstance(fields, Mapping) else {"message": record.getMessage()}
        if record.exc_info and record.exc_info[0]:
            line["traceback"] = self.formatException(record.exc_info)
        text = json.dumps(line, ensure_ascii=False, default=str)
        # A str may contain a lone surrogate, which UTF-8 cannot encode.
        return text.encode("utf-8", "replace").decode()
