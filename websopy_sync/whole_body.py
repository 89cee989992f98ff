"""A body that is read as a whole, decoded from the bytes of a response.

The third framing beside server-sent events (`sse`) and `ndjson`, with the same interface. Does no
I/O and takes bounded memory. Knows nothing of what the body says.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from .errors import StreamProtocolError
from .sse import Fields

__all__ = ["BodyDecoder"]


class BodyDecoder:
    """Decodes one body as UTF-8; each piece of its text is an event.

    The format has no ids, so a response cannot be resumed.

    Args:
        max_size: Bytes that the body may have.
    """

    last_event_id = ""
    retry_ms: int | None = None
    resumable = False

    def __init__(self, *, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")

    def take(self, data: bytes) -> Iterable[Fields]:
        """Decode the next bytes.

        Args:
            data: The bytes.

        Returns:
            Their text, as `sse.Decoder.take` gives events. Half a character waits for its rest.

        Raises:
            StreamProtocolError: The body is larger than max_size.
        """
        self._size += len(data)
        if self._size > self._max_size:
            raise StreamProtocolError(f"body too large: expected at most {self._max_size} bytes")
        return [("message", self._decoder.decode(data), "", False)]
