"""A response as our connections read it: head and body, straight from the socket.

`response` is what the rest of the package sees of it. Knows nothing of our errors for a lost
connection: whatever the socket and http.client raise comes out.
"""

from __future__ import annotations

import http.client
import io
from typing import Any, Protocol

from ..cancel import CancelScope
from ..errors import StreamProtocolError
from .body_framing import BodyReader, ChunkedReader, UntilCloseReader, body_reader_for
from .content_coding import Inflater, inflater_for
from .response_head import HeadParser, ResponseHead, join_headers
from .socket_reader import SocketReader
from .socket_writer import SocketWriter
from .tls_in_tls import InnerTLS

__all__ = ["READ_SIZE", "InflatedResponse", "RawResponse", "ResponseBody"]

READ_SIZE = 65536
"""Bytes that one receive may return."""


class ResponseBody(Protocol):
    """The body of a response as it arrives."""

    @property
    def trailing_data(self) -> bool:
        """Whether bytes came after the response that belong to none."""

    def decoded(self) -> ResponseBody:
        """The same body with its Content-Encoding undone."""

    def receive(self) -> bytes:
        """The next bytes, as soon as there are any; b"" once the body is complete."""


class RawResponse(http.client.HTTPResponse):
    """http.client's response, its head read by `response_head` and its body by `body_framing`.

    Args:
        sock: The socket of the connection.
        scope: Its limits hold for each receive.
        writer: What sent the request; it may have received the start of the response.
    """

    version: int
    code: int
    status: int
    reason: str
    headers: http.client.HTTPMessage
    msg: http.client.HTTPMessage
    chunked: bool
    length: int | None
    will_close: bool

    def __init__(
        self, sock: Any, *args: Any, scope: CancelScope, writer: SocketWriter, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self._scope = scope
        self._socket = sock
        self._socket_reader = SocketReader(sock, scope, received=writer.received)
        self._request_is_whole = not writer.stopped
        # http.client reads the head of a tunnel's response from it, line by line.
        self.fp: Any = io.BufferedReader(self._socket_reader, READ_SIZE)
        self.trailing_data: bool = False
        """Whether bytes came after the response that belong to none."""
        self._body: BodyReader = UntilCloseReader()
        self._body_start = b""  # came with the head, and is not fed to the body yet

    def begin(self) -> None:
        """Read the head."""
        head = self._read_head()
        self.version, self.status, self.reason = head.version, head.status, head.reason
        self.code = head.status
        self.headers = self.msg = http.client.HTTPMessage()
        for name, value in head.headers:
            self.msg[name] = value
        try:
            self._body = body_reader_for(head.status, join_headers(head.headers))
        except StreamProtocolError:
            if head.status < 300:
                raise
            # The status of a refusal is what matters. urllib3 would stumble over two lengths.
            del self.msg["content-length"]
        self.chunked, self.length = isinstance(self._body, ChunkedReader), None
        self.will_close = (
            not self._request_is_whole  # the server would take the next for the rest of it
            or not head.keeps_connection
            or isinstance(self._body, UntilCloseReader)
        )

    def _read_head(self) -> ResponseHead:
        parser = HeadParser()
        while True:
            data = self.fp.read1(READ_SIZE)
            if not data:
                raise http.client.RemoteDisconnected("the connection ended inside the head")
            head = parser.feed(data)
            if head is not None:
                self._body_start = parser.body_start
                return head

    def decoded(self) -> ResponseBody:
        """The body with its Content-Encoding undone. Raises StreamProtocolError."""
        inflater = inflater_for(join_headers(self.headers.items()))
        return self if inflater is None else InflatedResponse(self, inflater, self._scope)

    def receive(self) -> bytes:
        """The next bytes of the body, as soon as there are any; b"" once it is complete."""
        body = self._body
        while not (body.complete or body.failure):
            if self._body_start:
                received, self._body_start = self._body_start, b""
            else:
                received = self._socket_reader.receive(READ_SIZE)
            if not received and not body.end():
                raise http.client.IncompleteRead(b"")
            data = body.feed(received)
            if data:
                return data
        _raise_for(body.failure)
        self._complete()
        return b""

    def _complete(self) -> None:
        fp, self.fp = self.fp, None  # no fp: what http.client takes for "read to its end"
        if fp is not None:
            unread = isinstance(self._socket, InnerTLS) and self._socket.has_unread
            self.trailing_data = self._body.trailing_data or self._body_start != b"" or unread
            fp.close()


class InflatedResponse:
    """The body of a `RawResponse` with its Content-Encoding undone."""

    def __init__(self, raw: RawResponse, inflater: Inflater, scope: CancelScope) -> None:
        self._raw = raw
        self._inflater = inflater
        self._scope = scope

    def decoded(self) -> InflatedResponse:
        """Itself."""
        return self

    @property
    def trailing_data(self) -> bool:
        """Whether bytes came after the response that belong to none."""
        return self._raw.trailing_data

    def receive(self) -> bytes:
        """The next decoded bytes, as soon as there are any; b"" once the body is complete."""
        while True:
            data = self._inflater.take()
            if data:  # maybe the thousandth step of one receive: look at the clock
                self._scope.check()
                self._scope.allow_late(len(data))
                return data
            _raise_for(self._inflater.failure)
            coded = self._raw.receive()
            if not coded:
                if not self._inflater.complete:
                    raise http.client.IncompleteRead(b"")
                return b""
            self._inflater.feed(coded)


def _raise_for(failure: str) -> None:
    if failure:
        raise StreamProtocolError(failure)
