"""The five framings of a response body: how a client learns where the body ends.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Protocol

from .steps import Framing

__all__ = ["Framer", "framer"]


class Framer(Protocol):
    """Frames the pieces of one body."""

    headers: Mapping[str, str]

    def frame(self, data: bytes) -> bytes:
        """A piece, never an empty one, in this framing."""

    def end(self) -> bytes:
        """The bytes that complete the body."""


class Plain:
    """The bytes themselves; the headers say that a length or the connection's end ends them."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers

    def frame(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class Chunked:
    """An HTTP chunk for each piece."""

    headers: Mapping[str, str] = {"Transfer-Encoding": "chunked"}

    def frame(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    def end(self) -> bytes:
        return b"0\r\n\r\n"


class Trickle:
    """One HTTP chunk for the whole body, sent in pieces."""

    headers: Mapping[str, str] = Chunked.headers

    def __init__(self, size: int) -> None:
        self._opening = b"%x\r\n" % size
        self._closing = b""

    def frame(self, data: bytes) -> bytes:
        opening, self._opening, self._closing = self._opening, b"", b"\r\n"
        return opening + data

    def end(self) -> bytes:
        return self._closing + b"0\r\n\r\n"


class Gzip:
    """Compressed and in HTTP chunks; each piece is flushed, so that it can be read at once."""

    headers: Mapping[str, str] = {**Chunked.headers, "Content-Encoding": "gzip"}

    def __init__(self) -> None:
        self._gzip = zlib.compressobj(wbits=31)
        self._chunked = Chunked()

    def frame(self, data: bytes) -> bytes:
        compressed = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        return self._chunked.frame(compressed)

    def end(self) -> bytes:
        return self._chunked.frame(self._gzip.flush()) + self._chunked.end()


def framer(framing: Framing, *, size: int) -> Framer:
    """The framer of one body.

    Args:
        framing: chunked: an HTTP chunk for each piece. content-length: the size first. close: the
            connection's end. gzip: compressed, in HTTP chunks. trickle: one HTTP chunk, in pieces.
        size: The body's length in bytes, for framings that announce it.
    """
    if framing == "content-length":
        return Plain({"Content-Length": str(size)})
    if framing == "close":
        return Plain({"Connection": "close"})
    if framing == "gzip":
        return Gzip()
    return Trickle(size) if framing == "trickle" else Chunked()
