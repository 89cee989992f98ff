"""NDJSON: one JSON value a line, decoded from the bytes of a response.

The other framing beside server-sent events (`sse`), with the same interface. Does no I/O, takes
linear time and bounded memory. Knows nothing of what the lines say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .errors import StreamProtocolError
from .sse import MAX_EVENT_SIZE, Fields

__all__ = ["LineDecoder"]

_BOM = b"\xef\xbb\xbf"


class LineDecoder:
    """Decodes the lines of one connection; each that is not blank is an event.

    The format has no ids, so a response cannot be resumed. A last line without its end is dropped:
    it may be cut.

    Args:
        max_event_size: Bytes that one line may have.
    """

    last_event_id = ""
    retry_ms: int | None = None
    resumable = False

    def __init__(self, *, max_event_size: int = MAX_EVENT_SIZE) -> None:
        self._max_event_size = max_event_size
        self._waiting = bytearray()  # an incomplete line
        self._at_start = True
        self._failed = False

    def take(self, data: bytes) -> Iterable[Fields]:
        """Decode the next bytes.

        Args:
            data: The bytes.

        Returns:
            The lines that they complete, as `sse.Decoder.take` gives events.

        Raises:
            StreamProtocolError: A line is larger than max_event_size. The iteration raises it after
                the lines before. The decoder cannot be used any more.
        """
        end = data.rfind(b"\n") + 1
        self._waiting += data[:end] if end else data
        if not end:
            return self._events([])
        lines = bytes(self._waiting)[:-1].split(b"\n")
        self._waiting = bytearray(data[end:])
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> Iterator[Fields]:
        for line in lines:
            if self._failed or len(line) > self._max_event_size:
                self._fail()
            line = line.strip(b" \t\r")
            if line:
                yield "message", line.decode("utf-8", "replace"), "", False
        if self._failed or len(self._waiting) > self._max_event_size:
            self._fail()

    def _fail(self) -> None:
        self._failed = True
        self._waiting.clear()
        raise StreamProtocolError(f"event too large: expected at most {self._max_event_size} bytes")
