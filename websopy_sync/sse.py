"""Server-Sent Events: bytes in, events out, and back. A protocol core with no I/O.

Follows the HTML Standard: 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event
stream". Section numbers below refer to it. Knows nothing of HTTP or of what the data means.
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
"""Default limit for the bytes of one event, or one line."""

MAX_BARE_SIZE = 64 * 1024
"""Characters of an error without a field's name."""

_BOM = "\ufeff"

Fields = tuple[str, str, str, bool]
"""An event's type, data and last event ID, and whether the event itself has that ID."""


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
    """Turns the bytes of one connection, split anywhere, into events.

    An event that is incomplete when the bytes end is dropped, as the standard says.

    Args:
        last_event_id: The last event ID of the previous connection, "" for none.
        max_event_size: Bytes that one event, or one line, may have.
        ignore: A type of events that are left out, such as pings. They do not count for
            `resumable`.
        error_field: A field that the standard does not know, whose JSON is read as an event with
            the data `{"error": …}`. llama.cpp sent errors so until September 2025. With it, a JSON
            object that has no field's name before it and says "error" is an event as well: Gemini
            sends such.
    """

    def __init__(
        self,
        last_event_id: str = "",
        *,
        max_event_size: int = MAX_EVENT_SIZE,
        ignore: str | None = None,
        error_field: str | None = None,
    ) -> None:
        self.last_event_id: str = last_event_id
        """The last event ID, as of the last blank line."""
        self.retry_ms: int | None = None
        """Milliseconds to wait before a reconnection, None until the server sends them."""
        self.resumable: bool = True
        """Whether the last event ID covers every dispatched event: False from an event without
        its own ID to the next ID."""
        self._max_event_size = max_event_size
        # A character has at most four bytes, so shorter lines need no encoding to be measured.
        self._surely_small = max_event_size >> 2
        self._ignore = ignore
        self._error_field = error_field
        self._bare: list[str] = []  # lines of JSON without a field's name
        self._bare_size = 0
        self._waiting = bytearray()  # an incomplete line; a bytearray grows without copies
        self._after_cr = False
        self._at_start = True
        self._id_buffer = last_event_id
        self._id_came = False  # there was an id line since the last blank line
        self._in_event = False  # there were lines since the last blank line
        self._event_type = ""
        self._data = io.StringIO()  # a list of many short lines would take ten times the memory
        self._data_lines = 0
        self._data_size = 0  # bytes of those lines as sent
        self._failure = ""
        self._calm = False  # no state is left that affects the next event or is affected by it

    def feed(self, data: bytes) -> Iterable[ServerSentEvent]:
        """Decode the next bytes.

        They are decoded at once, whether or not the result is iterated.

        Args:
            data: The bytes.

        Returns:
            The events that they complete, in order.

        Raises:
            StreamProtocolError: An event or line is larger than max_event_size. The iteration
                raises it after the events before. The decoder cannot be used any more.
        """
        return itertools.starmap(_event_of, self.take(data))

    def take(self, data: bytes) -> Iterable[Fields]:
        """Decode the next bytes like `feed`, into tuples, which cost less than objects.

        Args:
            data: The bytes.

        Raises:
            StreamProtocolError: As `feed` does.
        """
        # Fast path: one `data:` line alone, after another such event (docs/benchmarks.md).
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
        if 0x0D in data:  # a CR; searching for b"\r" takes ten times as long
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        # Neither CR nor LF is part of a longer UTF-8 sequence, valid or not, so whole lines can be
        # cut off in the bytes and decoded together.
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
        """Keep an incomplete line until its end arrives."""
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
        """The events that these complete lines dispatch; `lines` ends in LF."""
        text = lines.decode("utf-8", "replace")
        if self._at_start:
            self._at_start = False
            text = text.removeprefix(_BOM)
        events: list[Fields] = []
        blocks = text.split("\n\n")
        rest = blocks.pop()
        in_event = self._in_event  # the blank line after each block ends its event
        for block in blocks:
            # Fast path: an event that is one data line (docs/benchmarks.md).
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
        """Process a line, given without its end (9.2.6)."""
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
            # int() refuses more than 4,300 digits; 10**18 ms is longer than any limit of ours.
            self.retry_ms = int(value[-18:]) if len(value.lstrip("0")) <= 18 else 10**18
        elif self._error_field:
            self._take_other(line, field, value, events)

    def _add_data(self, line: str, value: str) -> None:
        self._data.write("\n" + value if self._data_lines else value)
        self._data_lines += 1
        self._data_size += _size(line) + 1
        if self._data_size > self._max_event_size:
            self._fail()

    def _take_other(self, line: str, field: str, value: str, events: list[Fields]) -> None:
        """Take a line that the standard ignores. No blank line may follow the end of bare JSON."""
        if field == self._error_field:
            self._add_data(line, f'{{"error": {value}}}')
            return
        if not (self._bare or line.startswith("{")):
            return
        self._bare.append(line)
        self._bare_size += len(line)
        whole = line[0] == "}" or (line[-1] == "}" and len(self._bare) == 1)
        if whole and '"error"' in (text := "\n".join(self._bare)):
            self._add_data(text, text)
            self._dispatch(events)
        elif whole or self._bare_size > MAX_BARE_SIZE:
            self._bare, self._bare_size = [], 0

    def _too_large(self, line: str) -> bool:
        """Whether a line exceeds the limit; if so, decoding ends."""
        if _size(line) > self._max_event_size:
            self._fail()
        return self._failure != ""

    def _dispatch(self, events: list[Fields]) -> None:
        """Dispatch the event (9.2.6)."""
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
        if self._bare:
            self._bare, self._bare_size = [], 0


def _event_of(event: str, data: str, id_: str, _: bool) -> ServerSentEvent:
    return ServerSentEvent(event, data, id_)


def _size(text: str) -> int:
    """Bytes of a text in UTF-8; ASCII is not copied."""
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
