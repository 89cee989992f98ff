"""Body framing of HTTP/1.1: a connection's bytes in, the body's bytes out. No I/O.

Knows nothing of sockets, of Content-Encoding or of SSE; the chunks here are those of HTTP. After
RFC 9112 sections 6 and 7, stricter than http.client, which takes `-5` and `1_0` for chunk sizes.

A reader is fed whatever has arrived and returns the payload in it at once, even out of a chunk that
is still arriving. Several chunks that arrived together are returned as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from ..errors import StreamProtocolError

__all__ = [
    "BodyReader",
    "ChunkedReader",
    "ContentLengthReader",
    "UntilCloseReader",
    "body_reader_for",
]

MAX_LINE = 65536
"""Bytes of a chunk's size line, or of all trailers; http.client allows as much for a header."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")


class BodyReader(Protocol):
    """A body as it is framed on the wire."""

    complete: bool
    """Whether all of it has come."""
    trailing_data: bool
    """Whether bytes came after its end."""
    failure: str
    """What is wrong with the framing after the payload that was returned; "" if nothing."""

    def feed(self, data: bytes) -> bytes:
        """The payload in the next bytes of the connection."""

    def end(self) -> bool:
        """Say that the connection ended. Returns whether that completes the body."""


class ContentLengthReader:
    """A body of as many bytes as Content-Length says."""

    failure: str = ""
    trailing_data: bool = False

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete: bool = length == 0

    def feed(self, data: bytes) -> bytes:
        """The bytes up to the end of the body."""
        self.trailing_data = len(data) > self._left
        data = data[: self._left]
        self._left -= len(data)
        self.complete = self._left == 0
        return data

    def end(self) -> bool:
        """Whether all had come."""
        return self.complete


class UntilCloseReader:
    """A body that ends with its connection, where a cut looks like an end."""

    complete: bool = False
    failure: str = ""
    trailing_data: bool = False

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        return data

    def end(self) -> bool:
        """True: this is its end."""
        self.complete = True
        return True


class ChunkedReader:
    """A body in chunks (RFC 9112 7.1)."""

    def __init__(self) -> None:
        self.complete: bool = False
        self.trailing_data: bool = False
        self.failure: str = ""
        self._left = 0  # bytes of the current chunk still to come, with its CRLF
        self._rest = b""  # a size line or trailer that is not complete yet
        self._in_trailers = False
        self._trailer_size = 0
        self._sizes: dict[bytes, int] = {}  # size lines seen: most recur, and a look-up is cheap
        self._between = True  # a size line comes next
        self._lone: dict[int, bytes] = {}  # length of a whole chunk → its size line with CRLF

    def end(self) -> bool:
        """Whether all had come."""
        return self.complete

    def feed(self, data: bytes) -> bytes:
        """The payload of all chunks in these bytes, joined."""
        # Fast path: one whole chunk alone, of a size that came before (docs/benchmarks.md).
        if self._between:
            line = self._lone.get(len(data))
            if line is not None and data.startswith(line) and data.endswith(b"\r\n"):
                return data[len(line) : -2]
        if self._rest:
            data = self._rest + data
            self._rest = b""
        pieces: list[bytes] = []
        try:
            self._parse(data, pieces)
        except StreamProtocolError as error:
            self.failure = error.message
        self._between = not (self._left or self._rest or self._in_trailers or self.failure)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _parse(self, data: bytes, pieces: list[bytes]) -> None:
        position = self._continue_chunk(data, pieces) if self._left else 0
        length = len(data)
        while position < length and not self._in_trailers:
            end = data.find(b"\r\n", position)
            if end < 0:
                self._keep(data[position:])
                break
            line = data[position:end]
            size = self._sizes.get(line) or self._size_of(line)
            start = end + 2
            position = start + size + 2
            if not size:
                self._in_trailers = True
                position = start
            elif data[position - 2 : position] == b"\r\n":
                pieces.append(data[start : position - 2])
            else:
                self._left = size + 2
                position = self._continue_chunk(data, pieces, start)
        if self._in_trailers and not self.complete:
            self._skip_trailers(data[position:])

    def _continue_chunk(self, data: bytes, pieces: list[bytes], start: int = 0) -> int:
        """Take the part of a chunk that has arrived. Returns the position after it."""
        stop = min(start + self._left, len(data))
        self._left -= stop - start
        payload = data[start:stop]
        # The last two bytes are the chunk's CRLF, which may be cut in the middle.
        ending = max(0, min(2 - self._left, len(payload)))
        if ending:
            expected = b"\r\n"[max(0, 2 - self._left - ending) : 2 - self._left]
            if payload[len(payload) - ending :] != expected:
                raise StreamProtocolError("HTTP chunk: expected a line end after its data")
            payload = payload[: len(payload) - ending]
        if payload:
            pieces.append(payload)
        return stop

    def _size_of(self, line: bytes) -> int:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise StreamProtocolError(f"HTTP chunk size: expected hex digits, got {line[:40]!r}")
        size = int(match[1], 16)
        if size and len(line) <= 16 and len(self._sizes) < 1024:
            self._sizes[line] = size
            self._lone[len(line) + size + 4] = line + b"\r\n"
        return size

    def _keep(self, rest: bytes) -> None:
        if len(rest) > MAX_LINE:
            raise StreamProtocolError(f"HTTP chunk size: expected at most {MAX_LINE} bytes")
        self._rest = rest

    def _skip_trailers(self, data: bytes) -> None:
        """Skip the trailers, up to the empty line that ends the body."""
        while not self.complete:
            line, end, data = data.partition(b"\r\n")
            if not end:
                self._rest = line
                break
            self._trailer_size += len(line) + 2
            self.complete = not line
        self.trailing_data = self.complete and data != b""
        if self._trailer_size + len(self._rest) > MAX_LINE:
            raise StreamProtocolError(f"HTTP trailers: expected at most {MAX_LINE} bytes")


def body_reader_for(status: int, headers: Mapping[str, str]) -> BodyReader:
    """The reader for the framing that a response's head announces (RFC 9112 6.3).

    Args:
        status: The status code.
        headers: Names in lower case.

    Raises:
        StreamProtocolError: The head announces no framing that can be trusted.
    """
    if status in (204, 304):
        return ContentLengthReader(0)
    coding = headers.get("transfer-encoding", "").strip().lower()
    if coding == "chunked":
        return ChunkedReader()
    if coding:
        raise StreamProtocolError(f"Transfer-Encoding: expected chunked, got {coding!r:.200}")
    lengths = {length.strip() for length in headers.get("content-length", "").split(",")}
    length = lengths.pop()
    if lengths or (length and not (length.isascii() and length.isdigit())):
        raise StreamProtocolError("Content-Length: expected one number of bytes")
    return ContentLengthReader(int(length[:19])) if length else UntilCloseReader()
