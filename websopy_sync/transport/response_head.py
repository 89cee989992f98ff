"""The head of an HTTP/1 response: bytes in, a frozen `ResponseHead` out. No I/O.

Knows nothing of sockets, and of the body only where it begins. The headers that we send are in
`headers`. After RFC 9112 sections 2 to 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from ..errors import StreamProtocolError

__all__ = ["HeadParser", "ResponseHead", "is_early_refusal", "join_headers"]

MAX_INTERIM = 16
"""Interim responses (status 1xx) before the final one."""

MAX_HEADERS = 100
"""Header lines; http.client has the same limit."""

MAX_LINE = 65536
"""Bytes of one line with its line end; http.client has the same limit."""

_VERSIONS = {b"HTTP/1.0": 10, b"HTTP/1.1": 11}

_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")

_INTERIM_HEAD = re.compile(rb"HTTP/1\.[01] 1\d\d[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")

_INTERIM_OR_SUCCESS = re.compile(rb"HTTP/1\.[01] [12]\d\d(?!\d)")


@attrs.frozen
class ResponseHead:
    """The head of a final response.

    Attributes:
        version: 10 for HTTP/1.0, 11 for HTTP/1.1.
        status: The status code, 200 to 999.
        reason: The reason phrase, "" if the server sent none.
        headers: Names as they came and values without surrounding blanks, in order.
    """

    version: int
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]

    @property
    def keeps_connection(self) -> bool:
        """Whether the server reads another request from this connection (RFC 9112 9.3).

        False also for a body that is both chunked and counted: such a response may hide another.
        """
        named = join_headers(self.headers)
        options = {option.strip() for option in named.get("connection", "").lower().split(",")}
        if "close" in options or ("transfer-encoding" in named and "content-length" in named):
            return False
        return self.version == 11 or "keep-alive" in options


class HeadParser:
    """Parses the head of one response, and skips the interim responses before it."""

    def __init__(self) -> None:
        self.body_start: bytes = b""
        """What `feed` was given after the head: the first bytes of the body."""
        self._buffer = bytearray()
        self._searched = 0  # this much of the buffer has no line end
        self._lines: list[bytes] = []
        self._interim_left = MAX_INTERIM

    def feed(self, data: bytes) -> ResponseHead | None:
        """Parse the next bytes of the connection.

        Returns:
            The head once it is complete, else None.

        Raises:
            StreamProtocolError: It is no head of HTTP/1, or one beyond the limits above.
        """
        self._buffer += data
        while (line := self._next_line()) is not None:
            head = self._take_line(line)
            if head is not None:
                self.body_start = bytes(self._buffer)
                return head
        return None

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched, MAX_LINE) + 1
        if not end:
            self._searched = len(self._buffer)
            if self._searched > MAX_LINE:
                raise StreamProtocolError(f"HTTP head: expected lines of at most {MAX_LINE} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._searched = 0
        return line

    def _take_line(self, line: bytes) -> ResponseHead | None:
        if self._lines and line in (b"\r\n", b"\n"):
            return self._end_head()
        if not self._lines:
            _parse_status_line(line)  # a wrong one is refused before the next line comes
        elif len(self._lines) > MAX_HEADERS:
            raise StreamProtocolError(f"HTTP head: expected at most {MAX_HEADERS} headers")
        elif not (_HEADER_NAME.match(line) or (line[:1] in b" \t" and len(self._lines) > 1)):
            raise StreamProtocolError("HTTP head: expected lines of 'name: value'")
        self._lines.append(line)
        return None

    def _end_head(self) -> ResponseHead | None:
        """The head that an empty line ended; None for that of an interim response."""
        first, *others = self._lines
        self._lines = []
        version, status, reason = _parse_status_line(first)
        if status >= 200:
            return ResponseHead(version, status, reason, _parse_headers(others))
        if status == 101:
            raise StreamProtocolError("HTTP status 101: no other protocol was asked for")
        if not self._interim_left:
            raise StreamProtocolError(f"expected at most {MAX_INTERIM} interim HTTP responses")
        self._interim_left -= 1
        return None


def _parse_status_line(line: bytes) -> tuple[int, int, str]:
    line = line.rstrip(b"\r\n")
    version, code, reason = (*line.split(None, 2), b"", b"", b"")[:3]
    if version not in _VERSIONS or len(code) != 3 or not code.isdigit() or code < b"100":
        shown = repr(line[:80].decode("latin-1"))
        raise StreamProtocolError(f"expected an HTTP/1 status line, got {shown}")
    return _VERSIONS[version], int(code), reason.strip().decode("latin-1")


def _parse_headers(lines: list[bytes]) -> tuple[tuple[str, str], ...]:
    headers: list[tuple[str, str]] = []
    for line in lines:
        # A lone CR is a line end to some programs, so one in a value could smuggle a header in. RFC
        # 9112 2.2 allows to read it as a blank.
        text = line.rstrip(b"\r\n").replace(b"\r", b" ").decode("latin-1")
        if text[:1] in (" ", "\t"):  # the rest of the value above (RFC 9112 5.2)
            name, value = headers.pop()
            value += " " + text.strip(" \t")
        else:
            name, _, value = text.partition(":")
        headers.append((name, value.strip(" \t")))
    return tuple(headers)


def join_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by name in lower case; the values of one that came twice are joined by ", "."""
    joined: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def is_early_refusal(received: bytes) -> bool:
    """Whether a server that has not got the whole request wants no more of it.

    An interim response does not say so (RFC 9112 9.5), nor does a success, which may come early
    too. The status line is enough: the rest of the head may come late.

    Args:
        received: What the server has sent so far.
    """
    while interim := _INTERIM_HEAD.match(received):
        received = received[interim.end() :]
    line, end, _ = received.partition(b"\n")
    return end != b"" and _INTERIM_OR_SUCCESS.match(line) is None
