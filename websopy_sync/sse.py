"""Server-Sent Events: bytes in, events out, and back. A protocol core with no I/O.

Follows the WHATWG text to the letter (HTML Standard, 9.2.5 "Parsing an event stream" and 9.2.6
"Interpreting an event stream"); section names below are of that text. Knows nothing of HTTP or
of what the data means.

How it stays linear and prompt: bytes are taken up to the last line end that is there; what is
behind it waits, unjoined, for the next one. Line ends can be found in the bytes, because neither
CR nor LF is ever part of a longer UTF-8 sequence, good or broken; so each stretch of whole lines
is decoded at once. A CR ends its line at once, and an LF that follows it, now or in the next
feed, belongs to it.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator

import attrs

from .errors import ConfigError, StreamProtocolError
from .surrogates import scalar_text

__all__ = ["MAX_EVENT_SIZE", "Decoder", "Fields", "ServerSentEvent", "encode"]

MAX_EVENT_SIZE = 16 * 1024 * 1024
"""Bytes that one event, or one line, may have unless told otherwise."""

_BOM = "\ufeff"

Fields = tuple[str, str, str, bool]
"""The type, data and id of an event, and whether it brought that id itself."""


@attrs.frozen
class ServerSentEvent:
    """One dispatched event.

    Attributes:
        event: Its type, "message" when the server named none.
        data: Its data lines, joined by LF.
        id: The last event ID at the time of dispatch, "" when none was set.
    """

    event: str = "message"
    data: str = ""
    id: str = ""


class Decoder:
    """Turns the bytes of one stream, cut anywhere, into its events.

    last_event_id: what a former connection had reached; the standard keeps it over reconnections.
    max_event_size: bytes one event or one line may have. ignore: a type of events that are left
    out, such as pings, and do not count for `resumable`.

    A decoder serves one connection. What is left when the bytes end was no whole event, and is
    dropped with the decoder, as the standard says.
    """

    def __init__(
        self,
        last_event_id: str = "",
        *,
        max_event_size: int = MAX_EVENT_SIZE,
        ignore: str | None = None,
    ) -> None:
        self.last_event_id: str = last_event_id
        """The last event ID, committed by the last blank line."""
        self.retry_ms: int | None = None
        """Milliseconds the server asks to wait before reconnecting; None until it did."""
        self.resumable: bool = True
        """Whether the last event ID names all that was dispatched: False from an event that
        brought no id of its own until the next id."""
        self._max_event_size = max_event_size
        # A character has at most four bytes: lines of so many need not be measured.
        self._surely_small = max_event_size >> 2
        self._ignore = ignore
        self._waiting = bytearray()  # a line whose end has not come; it grows without copies
        self._after_cr = False
        self._at_start = True
        self._id_buffer = last_event_id
        self._id_came = False  # an id line has, since the last blank one
        self._in_event = False  # lines have come since the last blank one
        self._event_type = ""
        self._data = io.StringIO()  # of many short lines, a list would take ten times the room
        self._data_lines = 0
        self._data_size = 0  # bytes of those lines on the wire
        self._failure = ""
        self._calm = False  # nothing is left over that the next event must heed or change

    def feed(self, data: bytes) -> Iterable[ServerSentEvent]:
        """Take the next bytes; the events they complete, in order.

        The bytes are taken at once, whether the result is iterated or not.

        Raises StreamProtocolError for an event or line above max_event_size: out of the
        iteration, after the events before it. The decoder is of no use after that.
        """
        return itertools.starmap(_event_of, self.take(data))

    def take(self, data: bytes) -> Iterable[Fields]:
        """What `feed` gives, as bare fields: an object for each would cost 22 bytecodes."""
        # Most often one event of one data line comes alone, after another such one: 51 bytecodes
        # instead of 180.
        if (
            self._calm
            and data.startswith(b"data: ")
            and data.endswith(b"\n\n")
            and data.count(b"\n") == 2
            and 0x0D not in data
            and len(data) <= self._surely_small
        ):
            return (("message", data[6:-2].decode("utf-8", "replace"), self.last_event_id, False),)
        events = self._take(data)
        self._calm = not (
            self._at_start
            or self._after_cr
            or self._waiting
            or self._in_event
            or self.resumable
            or self._failure
        )
        return events

    def _take(self, data: bytes) -> Iterable[Fields]:
        if self._failure:
            raise StreamProtocolError(self._failure)
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if 0x0D in data:  # a CR; looking for b"\r" costs ten times as much
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = data.rfind(b"\n") + 1
        if not end:
            return self._wait(data, [])
        lines = data[:end] if end < len(data) else data
        if self._waiting:
            self._waiting += lines
            lines = bytes(self._waiting)
            self._waiting = bytearray()
        events = self._take_lines(lines)
        return self._wait(data[end:], events) if end < len(data) else self._result(events)

    def _wait(self, data: bytes, events: list[Fields]) -> Iterable[Fields]:
        """Keep the beginning of a line until its end comes."""
        self._waiting += data
        if len(self._waiting) + self._data_size > self._max_event_size:
            self._fail()
        return self._result(events)

    def _result(self, events: list[Fields]) -> Iterable[Fields]:
        return _then_raise(events, self._failure) if self._failure else events

    def _fail(self) -> None:
        self._failure = f"event too large: expected at most {self._max_event_size} bytes"
        self._waiting.clear()
        self._data = io.StringIO()
        self._data_lines = 0

    def _take_lines(self, lines: bytes) -> list[Fields]:
        """The events of some whole lines; `lines` ends in LF."""
        text = lines.decode("utf-8", "replace")
        if self._at_start:
            self._at_start = False
            text = text.removeprefix(_BOM)
        events: list[Fields] = []
        blocks = text.split("\n\n")
        rest = blocks.pop()
        in_event = self._in_event  # the blank line behind each block ends its event
        for block in blocks:
            # Most events are one data line and nothing before it: no need to walk its lines.
            if block.startswith("data: ") and not in_event and "\n" not in block:
                if len(block) > self._surely_small and self._too_large(block):
                    break
                self.resumable = False
                self.last_event_id = self._id_buffer
                events.append(("message", block[6:], self._id_buffer, False))
            elif block or in_event:
                self._walk(block + "\n", events)
                if self._failure:
                    break
                in_event = False
        if rest:
            self._walk(rest[:-1], events)
        return events

    def _walk(self, lines: str, events: list[Fields]) -> None:
        for line in lines.split("\n"):
            self._take_line(line, events)

    def _take_line(self, line: str, events: list[Fields]) -> None:
        """9.2.6: what to do with one line, without its end."""
        if self._failure or (len(line) > self._surely_small and self._too_large(line)):
            return
        if not line:
            self._dispatch(events)
            return
        self._in_event = True
        field, _, value = line.partition(":")
        if value[:1] == " ":
            value = value[1:]
        if field == "data":
            self._add_data(line, value)
        elif field == "event":
            self._event_type = value
        elif field == "id":
            if "\0" not in value:
                self._id_buffer = value
                self._id_came = True
        elif field == "retry" and value.isascii() and value.isdigit():
            # A number too long for int() asks for longer than anybody waits.
            self.retry_ms = int(value[-18:]) if len(value.lstrip("0")) <= 18 else 10**18

    def _add_data(self, line: str, value: str) -> None:
        self._data.write("\n" + value if self._data_lines else value)
        self._data_lines += 1
        self._data_size += _size(line) + 1
        if self._data_size > self._max_event_size:
            self._fail()

    def _too_large(self, line: str) -> bool:
        """Whether a line is above the limit, which ends the decoder."""
        if _size(line) > self._max_event_size:
            self._fail()
        return self._failure != ""

    def _dispatch(self, events: list[Fields]) -> None:
        """9.2.6: dispatch the event."""
        dispatched = self._data_lines > 0 and self._event_type != self._ignore
        self.last_event_id = self._id_buffer
        named = self._id_came and self._id_buffer != ""
        self.resumable = self._id_came or (self.resumable and not dispatched)
        self._id_came = False
        if dispatched:
            kind = self._event_type or "message"
            events.append((kind, self._data.getvalue(), self._id_buffer, named))
        if self._data_lines:
            self._data = io.StringIO()
            self._data_lines = self._data_size = 0
        self._event_type = ""
        self._in_event = False


def _event_of(event: str, data: str, id_: str, _: bool) -> ServerSentEvent:
    return ServerSentEvent(event, data, id_)


def _size(text: str) -> int:
    """Bytes of a text in UTF-8, without a copy for the common case."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def _then_raise(events: list[Fields], failure: str) -> Iterator[Fields]:
    yield from events
    raise StreamProtocolError(failure)


def encode(event: ServerSentEvent, *, retry_ms: int | None = None) -> bytes:
    """The bytes of an event, such that a decoder gives the same event back.

    The id is written when there is one; the type when it is not "message". Data may hold LF;
    a CR in it cannot be written and read back, as the standard ends a line there.

    A lone surrogate half comes out as U+FFFD.

    Raises ConfigError for a CR in the data, a line end in id or type, NUL in the id, and a
    negative retry_ms.
    """
    if "\r" in event.data:
        raise ConfigError("event data: expected no carriage return, which ends a line in SSE")
    for name, value, bad in (("type", event.event, "\r\n"), ("id", event.id, "\r\n\0")):
        if any(character in value for character in bad):
            raise ConfigError(f"event {name}: expected no line end (nor NUL in an id)")
    if retry_ms is not None and retry_ms < 0:
        raise ConfigError(f"retry_ms: expected 0 or more, got {retry_ms!r:.200}")
    lines = [f"retry: {retry_ms:d}"] if retry_ms is not None else []
    if event.event not in ("message", ""):
        lines.append(f"event: {event.event}")
    if event.id:
        lines.append(f"id: {event.id}")
    lines += [f"data: {line}" for line in event.data.split("\n")]
    return scalar_text("\n".join(lines) + "\n\n").encode()
