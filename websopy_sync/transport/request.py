"""An HTTP request as it is sent, as a value.

Knows nothing of how it is sent, nor of what its body says.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ..errors import Phase

__all__ = ["HTTPRequest", "Limit"]

Limit = tuple[Phase, float | None]
"""A phase and how many seconds it may take, None for no limit."""


@attrs.frozen(repr=False)
class HTTPRequest:
    """One HTTP request. Its repr shows only the method, because the body holds a prompt.

    Attributes:
        method: `GET` or `POST`.
        url: The URL without the query.
        headers: All headers but Content-Length and the key, which the transport adds.
        body: None for no body.
        query: The encoded query, "" for none. It is kept apart, because urllib3 logs URLs.
    """

    method: str
    url: str
    headers: Mapping[str, str | bytes]
    body: bytes | None = None
    query: str = ""

    @property
    def is_repeatable(self) -> bool:
        """Whether a request that may have arrived can be sent again (RFC 9110 9.2.2)."""
        names = map(str.lower, self.headers)
        return self.method in ("GET", "HEAD") or "idempotency-key" in names

    def __repr__(self) -> str:
        return f"<HTTPRequest {self.method}>"
