"""Reads plain text without the wire's own reader, once it knows the JSON around the text.

Pure, and the same for all wires. It relies on the rule of `Reader`: two events that differ in their
text alone give chunks that differ in their text alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed leaves it out
from typing import Any

from ..chunks import (
    ContentChunk,
    DoneChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCallChunk,
    plain_text,
)
from ..errors import StreamProtocolError
from ..interrupts import find_interrupt, is_interrupt
from .base import Reader, ReadResult, chunks_of

__all__ = ["FastReader"]

MAX_LESSONS = 100
"""Events that are learned from. A service that pads each event never sends the same JSON twice."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape that may be half of a surrogate pair."""

_SAYS_MORE = (ContentChunk, ReasoningChunk, ToolCallChunk)

PROBE = "\x01"
"""A text for probes, which no service sends."""


class FastReader:
    """The reader of a wire, with a fast path around it (docs/benchmarks.md).

    From an event with plain text it learns the JSON before and after the text, and proves it: with
    a probe in the place of the text, a new reader must give the probe, and nothing else. An event
    that has both around one JSON string is that event with another text. After any other event all
    of it is forgotten, as the reader may hold something back.

    It also stands between the stream and a reader that somebody else wrote: what that one raises,
    or returns that is no chunk, comes out as StreamProtocolError.

    Args:
        make: Makes a reader of the wire.
        name: The wire's name, for errors.

    Attributes:
        done: What ends the response if its bytes end now; see `Reader`.
        held: Characters that the reader holds back; see `Reader`.
    """

    def __init__(self, make: Callable[[], Reader], *, name: str) -> None:
        self._make = make
        self._name = name
        self._reader = make()
        self._before = ""
        self._after = ""
        self._start = 0
        self._lessons = MAX_LESSONS
        self.done: DoneChunk | None = None
        self._text_after_done = False
        self.held: int = 0

    def read(self, data: str) -> ReadResult:
        """Read the data of one event; see `Reader.read`."""
        start = self._start
        if start and data.startswith(self._before) and data.endswith(self._after):
            try:
                text, end = scanstring(data, start)
            except ValueError as error:
                if is_interrupt(error):
                    raise
                text, end = "", 0
            # Empty text is the reader's: many services mean nothing by it. Text as long as its
            # JSON has no escape, and so no half.
            if (
                text
                and end == len(data) - len(self._after)
                and (end - start == len(text) + 1 or _has_no_half(data))
            ):
                return plain_text(text)
        was_done = self.done is not None
        result = self._read(data)
        self._start = 0
        if self.done is not None and result is not None:
            chunks = chunks_of(result)
            if was_done and any(isinstance(chunk, _SAYS_MORE) for chunk in chunks):
                self._text_after_done = True
            return chunks  # never as plain text, for which the stream would not look at `done`
        if type(result) is ContentChunk and self._lessons and not result.extra:
            self._learn(data, result.content)
        return result

    def may_end(self, whole: bool) -> bool:
        """Whether the response is complete though no event has said that it ends.

        Some servers name a finish reason in each event. Once text has followed `done`, a silence
        or a lost connection does not complete the response; only a whole body does.

        Args:
            whole: Whether the bytes have ended as they should.
        """
        return self.done is not None and (whole or not self._text_after_done)

    def _read(self, data: str) -> ReadResult:
        interrupt = None
        try:
            result = self._reader.read(data)
            self.done, self.held = self._reader.done, getattr(self._reader, "held", 0)
            if all(isinstance(chunk, StreamChunk) for chunk in chunks_of(result)):
                return result
            problem = f"returned no chunk but a {type(result).__name__}"
        except StreamProtocolError:
            raise
        except Exception as error:  # noqa: BLE001  # another package's own; its frames hold the data
            interrupt = find_interrupt(error)
            problem = f"raised {type(error).__name__}"
        if interrupt is not None:
            raise interrupt
        raise StreamProtocolError(f"wire {self._name!r}: its reader {problem:.200}")

    def _learn(self, data: str, text: str) -> None:
        self._lessons -= 1
        if not _has_no_half(data):
            return
        for ascii in (False, True):
            before, found, after = data.rpartition(json.dumps(text, ensure_ascii=ascii))
            if found and self._probe(f'{before}"\\u0001"{after}') == ContentChunk(PROBE):
                self._before, self._after = before + '"', after
                self._start = len(before) + 1
                return

    def _probe(self, data: str) -> Any:
        interrupt = None
        try:
            return self._make().read(data)
        except Exception as error:  # noqa: BLE001  # another package's own may not like the probe
            interrupt = find_interrupt(error)
        if interrupt is not None:
            raise interrupt
        return None


def _has_no_half(data: str) -> bool:
    return "\\u" not in data or not _HALF.search(data)
