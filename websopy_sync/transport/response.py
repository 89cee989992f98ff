"""An HTTP response as the rest of the package sees it: status, headers, body, and its end.

Knows nothing of sockets or of SSE. `raw_response` reads it from a connection of ours,
`custom_adapter` from one of the user's.
"""

from __future__ import annotations

import requests

from ..interrupts import find_interrupt
from .failures import TRANSLATED, body_failure
from .raw_response import ResponseBody
from .request_context import RequestContext
from .response_head import join_headers

__all__ = ["HTTPResponse"]

DRAIN_SECONDS = 0.002
"""How long a response that is done is given to end properly, so that its connection can be kept.

What is missing is usually the last, empty HTTP chunk, which is there already or a packet away.
"""


class HTTPResponse:
    """One response: its status and headers, and its body as it arrives.

    Args:
        response: requests' response.
        body: Where its body is read from.
        context: The request that it answers.
    """

    def __init__(
        self, response: requests.Response, body: ResponseBody, context: RequestContext
    ) -> None:
        self.status_code: int = response.status_code
        self.headers: dict[str, str] = join_headers(response.raw.headers.items())
        """Names in lower case; the values of a header that came twice are joined by ", "."""
        self._response = response
        self._body = body
        self._context = context
        self._scope = context.scope

    def decode(self) -> None:
        """Undo the body's Content-Encoding. Raises StreamProtocolError for an unknown one."""
        self._body = self._body.decoded()

    def receive(self) -> bytes:
        """The next bytes of the body, as soon as there are any; b"" once it is complete.

        Raises:
            StreamInterruptedError: The body was cut.
            APITimeoutError: A limit of the scope passed.
            StreamCancelledError: The scope was aborted.
            StreamProtocolError: The framing or the coding is broken.
        """
        try:
            return self._body.receive()
        except Exception as error:
            if not isinstance(error, TRANSLATED) and not self._scope.aborted:
                raise
            lost = error
        failure = find_interrupt(lost) or body_failure(lost, self._context)
        del lost  # its traceback holds what the libraries below hold
        raise failure

    def read_error_body(self, *, limit: int, seconds: float) -> bytes:
        """Read the body of an error response, as far as these bounds allow.

        A body that is cut, broken or slow is no failure: what came of it is returned.

        Args:
            limit: The most bytes to return.
            seconds: The longest wait for the next of them.
        """
        body = b""
        interrupt = None
        self._scope.limit("idle", seconds)
        try:
            self.decode()
            while len(body) < limit:
                data = self._body.receive()
                if not data:
                    break
                body += data
        except TRANSLATED as error:  # the status is what matters, and it is known
            interrupt = find_interrupt(error)
        if interrupt is not None:
            raise interrupt
        return body[:limit]

    def release(self) -> None:
        """End the response: keep its connection if it ends properly within 2 ms, else close it."""
        try:
            self._scope.limit("idle", DRAIN_SECONDS)
            ended = self._drain()
            if self._scope.let_go() and ended:
                self._response.raw.release_conn()
                return
        except BaseException:  # an interrupt
            self.close()
            raise
        self._response.close()

    def _drain(self) -> bool:
        """Read the rest of the body. Returns whether it ends properly, with nothing after it."""
        try:
            while self._body.receive():
                pass
        except TRANSLATED as error:
            interrupt = find_interrupt(error)
        else:
            return not self._body.trailing_data  # else it would be taken for the next response
        if interrupt is not None:
            raise interrupt
        return False

    def close(self) -> None:
        """Close the connection now; the server sees it gone at once."""
        self._scope.cut()
        self._response.close()
