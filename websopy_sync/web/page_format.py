"""How an answer is written for a page: what a format offers, and the headers that all of them send.

Knows no format, and nothing of how bytes get to a browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from ..chunks import StreamChunk

SSE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store, no-transform",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
    }
)
"""The headers of a response to a browser.

No cache stores it, no proxy compresses it (which would delay it), nginx does not buffer it, and no
browser takes it for another type.
"""


class PageFormat(Protocol):
    """Writes chunks as the bytes of server-sent events. One object serves any number of answers."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response."""
        ...

    def events(self, chunks: Iterable[StreamChunk]) -> Iterator[bytes]:
        """The events of one answer, each as soon as its chunk is there.

        Args:
            chunks: The answer, or a `ToolRun`. What reading it raises is raised here.
        """
        ...

    def failure(self, error: BaseException) -> bytes:
        """The last event of an answer that failed, in place of those that `events` still had.

        It has a fixed text for each kind of failure, and nothing of the error itself.

        Args:
            error: What `events` raised.
        """
        ...
