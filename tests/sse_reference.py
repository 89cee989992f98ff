"""The WHATWG event stream algorithms, one byte and one character at a time.

What the package's decoder is held against. Written from the texts alone, sharing no code and no
shortcut with the package: slow, and simple enough to be compared with the texts by eye.

- Encoding Standard, 8.1.1 "UTF-8 decoder" and 6 "UTF-8 decode" (drops one leading BOM).
- HTML Standard, 9.2.5 "Parsing an event stream" and 9.2.6 "Interpreting an event stream".
"""

from __future__ import annotations

from typing import NamedTuple

REPLACEMENT = "\ufffd"


class Event(NamedTuple):
    """A dispatched event: its type, its data, and the last event ID at that moment."""

    event: str
    data: str
    id: str


class Utf8Decoder:
    """Encoding Standard 8.1.1: the state machine, fed one byte at a time."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.code_point = 0
        self.seen = 0
        self.needed = 0
        self.lower = 0x80
        self.upper = 0xBF

    def byte(self, byte: int) -> str:
        """The characters that this byte completes: none, one, or a replacement and one."""
        if self.needed == 0:
            return self._first(byte)
        if not self.lower <= byte <= self.upper:
            self._forget()
            return REPLACEMENT + self._first(byte)  # the byte is restored and looked at again
        self.lower, self.upper = 0x80, 0xBF
        self.code_point = (self.code_point << 6) | (byte & 0x3F)
        self.seen += 1
        if self.seen != self.needed:
            return ""
        character = chr(self.code_point)
        self._forget()
        return character

    def _first(self, byte: int) -> str:
        if byte <= 0x7F:
            return chr(byte)
        if 0xC2 <= byte <= 0xDF:
            self.needed, self.code_point = 1, byte & 0x1F
        elif 0xE0 <= byte <= 0xEF:
            self.lower = 0xA0 if byte == 0xE0 else 0x80
            self.upper = 0x9F if byte == 0xED else 0xBF
            self.needed, self.code_point = 2, byte & 0xF
        elif 0xF0 <= byte <= 0xF4:
            self.lower = 0x90 if byte == 0xF0 else 0x80
            self.upper = 0x8F if byte == 0xF4 else 0xBF
            self.needed, self.code_point = 3, byte & 0x7
        else:
            return REPLACEMENT
        return ""


class Reference:
    """HTML Standard 9.2.5 and 9.2.6. `events` holds what was dispatched so far."""

    def __init__(self, last_event_id: str = "") -> None:
        self.events: list[Event] = []
        self.reconnection_time: int | None = None
        self.last_event_id = last_event_id
        self._utf8 = Utf8Decoder()
        self._nothing_read = True
        self._line = ""
        self._previous = ""
        self._data = ""
        self._event_type = ""
        self._id_buffer = last_event_id  # kept over reconnections: WPT format-field-id-2

    def feed(self, data: bytes) -> None:
        """Read some more bytes."""
        for byte in data:
            for character in self._utf8.byte(byte):
                if self._nothing_read and character == "\ufeff":
                    self._nothing_read = False
                    continue
                self._nothing_read = False
                self._character(character)

    def _character(self, character: str) -> None:
        after_cr, self._previous = self._previous == "\r", character
        if character == "\n" and after_cr:
            return  # the second half of a CRLF pair
        if character in ("\n", "\r"):
            line, self._line = self._line, ""
            self._process_line(line)
        else:
            self._line += character

    def _process_line(self, line: str) -> None:
        if line == "":
            self._dispatch()
        elif line[0] == ":":
            pass
        elif ":" in line:
            colon = line.index(":")
            field, value = line[:colon], line[colon + 1 :]
            self._process_field(field, value[1:] if value.startswith("\u0020") else value)
        else:
            self._process_field(line, "")

    def _process_field(self, field: str, value: str) -> None:
        if field == "event":
            self._event_type = value
        elif field == "data":
            self._data += value + "\n"
        elif field == "id":
            if "\0" not in value:
                self._id_buffer = value
        elif field == "retry" and value != "" and all(digit in "0123456789" for digit in value):
            self.reconnection_time = sum(
                int(digit) * 10**place for place, digit in enumerate(reversed(value))
            )

    def _dispatch(self) -> None:
        self.last_event_id = self._id_buffer
        if self._data == "":
            self._event_type = ""
            return
        if self._data.endswith("\n"):
            self._data = self._data[:-1]
        self.events.append(Event(self._event_type or "message", self._data, self.last_event_id))
        self._data = ""
        self._event_type = ""
