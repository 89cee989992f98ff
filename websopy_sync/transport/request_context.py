"""What a connection must know about the request it sends.

requests and urllib3 have no argument that would carry it to the connection, so it travels in a
context variable. Each call sets its own.
"""

from __future__ import annotations

import contextvars
from urllib.parse import urlsplit

import attrs

from ..cancel import CancelScope
from .proxies import Proxy, host_and_port
from .raw_response import RawResponse
from .request import Limit

__all__ = ["RequestContext", "current_request"]


@attrs.define(repr=False)
class RequestContext:
    """A request on its way.

    Attributes:
        scope: The limits and the off-switch of the call.
        limit: The phase that begins when the request is sent, and its seconds.
        url: The request's URL without its query.
        query: The encoded query, "" for none.
        repeatable: Whether the request may be sent again after it was lost on its way.
        proxy: The proxy that leads there, None for none.
        sent: Whether the server may have seen some of the request.
        response: The response, as soon as a connection of ours waits for it.
    """

    scope: CancelScope
    limit: Limit
    url: str
    query: str
    repeatable: bool = True
    proxy: Proxy | None = None
    sent: bool = False
    response: RawResponse | None = None

    @property
    def place(self) -> str:
        """Where the request goes, as errors name it."""
        place = host_and_port(self.url)
        return f"{place} through the proxy {host_and_port(self.proxy.url)}" if self.proxy else place

    @property
    def uses_tls(self) -> bool:
        """Whether there is TLS on the way."""
        by_proxy = self.proxy is not None and self.proxy.scheme == "https"
        return by_proxy or urlsplit(self.url).scheme == "https"


current_request: contextvars.ContextVar[RequestContext] = contextvars.ContextVar(
    "websopy_sync.request"
)
