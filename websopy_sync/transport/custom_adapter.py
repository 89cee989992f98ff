"""A request through an adapter that the user mounted on the session.

Knows nothing of our connections. The adapter does as it likes; what it returns is read as it
arrives, each wait bounded by the limits as far as its socket can be found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from ..cancel import CancelScope
from ..interrupts import find_interrupt, is_interrupt
from ..timeouts import LATE
from .failures import TRANSLATED
from .raw_response import READ_SIZE
from .request_context import RequestContext

__all__ = ["AdapterResponse", "send_within_limits"]


class AdapterResponse:
    """The body of a response that came by the user's adapter.

    Each receive of its socket is bounded by the limits. urllib3 may need several of them before it
    returns something.

    Args:
        raw: The `raw` of requests' response, usually urllib3's response.
        scope: The limits and the off-switch.
    """

    trailing_data = False

    def __init__(self, raw: Any, scope: CancelScope) -> None:
        self._raw = raw
        self._scope = scope
        # The socket is in private attributes of urllib3, http.client and socket. That of the
        # connection is no help: http.client takes it from there if the body ends with it.
        file = getattr(getattr(raw, "_fp", None), "fp", None)
        self._socket = getattr(getattr(file, "raw", None), "_sock", None)
        scope.hold(self._socket)

    def decoded(self) -> AdapterResponse:
        """Itself: urllib3 decodes while reading."""
        return self

    def receive(self) -> bytes:
        """The next bytes of the body; b"" at its end."""
        try:
            self._wait_at_most(self._scope.timeout())
        except TimeoutError as passed:
            if is_interrupt(passed):
                raise
            return self._receive_late(passed)
        data: bytes = self._raw.read1(READ_SIZE, decode_content=True)
        self._scope.check()
        if not data:  # urllib3 has put the connection back for the next call
            self._socket = None
            self._scope.hold(None)
        return data

    def _wait_at_most(self, seconds: float | None) -> None:
        if self._socket is not None:
            self._socket.settimeout(seconds)

    def _receive_late(self, passed: TimeoutError) -> bytes:
        """What is here without waiting. If nothing is, the limit that has passed is raised."""
        self._wait_at_most(0)
        try:
            data: bytes = self._raw.read1(READ_SIZE, decode_content=True) if self._socket else b""
            self._scope.allow_late(len(data))
        except (*TRANSLATED, ValueError, TypeError) as error:
            if find_interrupt(error):
                raise
            data = b""
        self._scope.check()
        if not data:
            raise passed
        return data


def send_within_limits(
    context: RequestContext, send: Callable[..., requests.Response]
) -> requests.Response:
    """Send by the user's adapter, which gets the limits as requests' `timeout`.

    Args:
        context: The request.
        send: The adapter's `send` with all its arguments but `timeout`.
    """
    connect = context.scope.timeout()
    context.scope.limit(*context.limit, late=LATE)
    try:
        return send(timeout=(connect, context.scope.timeout()))
    except requests.Timeout as error:
        context.sent = not isinstance(error, requests.ConnectTimeout)
        if not context.sent:
            context.scope.limit("connect", 0)
        raise
