"""A request as it came to the sandbox.

A frozen value. Knows nothing of what a good request is: service.py does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import attrs

__all__ = ["RecordedRequest"]


@attrs.frozen
class RecordedRequest:
    """One request as it came.

    Attributes:
        number: From 1, in order of arrival.
        connection: The number of its connection, from 1.
        method: Its method.
        target: Path and query as sent.
        headers: Its headers, names in lower case.
        body: Its body.
    """

    number: int
    connection: int
    method: str
    target: str
    headers: Mapping[str, str] = attrs.field(hash=False)
    body: bytes = b""

    @property
    def request_id(self) -> str:
        """The `X-Request-Id` of the response."""
        return f"sandbox-{self.number}"

    @property
    def size(self) -> int:
        """Its memory in bytes, about."""
        headers = sum(len(name) + len(value) + 200 for name, value in self.headers.items())
        return 1000 + len(self.target) + headers + len(self.body)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query's names, each with its last value."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: It is no JSON.
        """
        return json.loads(self.body)

    @property
    def idempotency_key(self) -> str:
        """The `Idempotency-Key`, "" without one."""
        return self.headers.get("idempotency-key", "")

    @property
    def last_event_id(self) -> str:
        """The `Last-Event-ID`, "" without one. UTF-8 on the wire."""
        sent = self.headers.get("last-event-id", "")
        return sent.encode("latin-1", "replace").decode("utf-8", "replace")
