"""Content-Encoding: gzip and deflate undone in steps of bounded size. No I/O.

Knows nothing of how the body was framed. After RFC 9110 section 8.4.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from ..errors import StreamProtocolError

__all__ = ["Inflater", "inflater_for"]

INFLATE_STEP = 65536
"""Bytes that one step of inflation may return."""


class Inflater:
    """Undoes one gzip or deflate coding, in bounded steps.

    `take` returns at most INFLATE_STEP bytes a call, however much is packed into what was fed. Call
    it until it returns nothing.

    Args:
        coding: `gzip`, `x-gzip` or `deflate`.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self.failure: str = ""
        """What is wrong with the coding after the bytes that were returned; "" if nothing."""
        self._engine: Any = None  # chosen by the first two bytes
        self._fed = b""
        self._full = False  # whether the last step was: the engine may hold more

    @property
    def complete(self) -> bool:
        """Whether the coding has reached its end mark, or nothing came at all."""
        return self._engine.eof if self._engine else not self._fed

    def feed(self, data: bytes) -> None:
        """Add coded bytes to those that are not decoded yet."""
        self._fed += data

    def take(self) -> bytes:
        """The next decoded bytes, b"" when more must be fed."""
        data = self._step()
        # A step stops at the end of a gzip member, which may be empty: try the next member.
        while not data and self._engine and self._engine.eof and len(self._fed) >= 2:
            data = self._step()
        return data

    def _step(self) -> bytes:
        if self._engine is None or (self._engine.eof and self._fed):  # gzip has members
            if len(self._fed) < 2:
                return b""
            self._engine = zlib.decompressobj(self._window())
        if not self._fed and not self._full:
            return b""
        before = self._engine.copy()
        try:
            data: bytes = self._engine.decompress(self._fed, INFLATE_STEP)
        except zlib.error:
            data = self._inflate_good_part(before)
        self._full = len(data) == INFLATE_STEP
        self._fed = self._engine.unconsumed_tail or self._engine.unused_data
        return data

    def _inflate_good_part(self, engine: Any) -> bytes:
        """The bytes before the broken one: an engine that fails returns nothing of its input."""
        good = b""
        try:
            for byte in self._fed:
                good += engine.decompress(bytes((byte,)), INFLATE_STEP)
        except zlib.error:
            self.failure = f"Content-Encoding {self._coding}: the body cannot be inflated"
        return good

    def _window(self) -> int:
        """zlib's `wbits` for the format. Some servers send deflate without its zlib header."""
        if self._coding != "deflate":
            return 31
        first, second = self._fed[0], self._fed[1]
        return 15 if first & 15 == 8 and (first * 256 + second) % 31 == 0 else -15


def inflater_for(headers: Mapping[str, str]) -> Inflater | None:
    """What undoes a response's Content-Encoding, None when there is none.

    Args:
        headers: Names in lower case.

    Raises:
        StreamProtocolError: The coding is unknown, or there are several.
    """
    coding = headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip", "deflate"):
        return Inflater(coding)
    raise StreamProtocolError(
        f"Content-Encoding: expected identity, gzip or deflate, got {coding!r:.200}"
    )
