"""An HTTP/2 connection as a browser has it. h2 comes with hypercorn, which slow tests have only."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h2.connection
import h2.errors
import h2.events


class Http2:
    """A browser's connection to one host, which all of its tabs share."""

    def __init__(self, sock: ssl.SSLSocket, host: str) -> None:
        self._sock, self._host = sock, host
        self._state = h2.connection.H2Connection()
        self._state.initiate_connection()

    def ask(self, path: str) -> int:
        """Send a request, and return the number of its stream."""
        stream = self._state.get_next_available_stream_id()
        names = (":method", ":scheme", ":authority", ":path")
        headers = list(zip(names, ("GET", "https", self._host, path), strict=True))
        self._state.send_headers(stream, headers, end_stream=True)
        self._sock.sendall(self._state.data_to_send())
        return stream

    def read_some(self, stream: int) -> bytes:
        """Wait for bytes of this response."""
        while True:
            for event in self._state.receive_data(self._sock.recv(65536)):
                if isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                    return event.data
            self._sock.sendall(self._state.data_to_send())

    def abort(self, stream: int) -> None:
        """Do what `AbortController.abort()` does."""
        self._state.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self._sock.sendall(self._state.data_to_send())


@contextmanager
def http_2(url: str, certificate: Path) -> Iterator[Http2]:
    """A connection, until left."""
    host = url.removeprefix("https://")
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["h2"])
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as sock:
            yield Http2(sock, host)
