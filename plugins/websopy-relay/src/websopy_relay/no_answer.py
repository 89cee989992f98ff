"""The body of a response that has a status and no events.

Knows no answers.
"""

from __future__ import annotations

from websopy_sync.web import SSE_HEADERS, EventStreamBody

RETRY_AFTER = {429: "5", 503: "1"}
"""Seconds after which a page may ask again, by the status that it got."""


def no_answer(status: int) -> EventStreamBody:
    """A body that only says why there are no events.

    Args:
        status: The HTTP status.
    """
    headers = {"Cache-Control": SSE_HEADERS["Cache-Control"]}
    if status in RETRY_AFTER:
        headers["Retry-After"] = RETRY_AFTER[status]
    return EventStreamBody(_NoEvents(), status=status, headers=headers)


class _NoEvents:
    """A feed without events."""

    def take(self) -> bytes | None:
        """See `Feed.take`."""
        return None

    def leave(self) -> None:
        """See `Feed.leave`."""

    def join(self, seconds: float) -> None:
        """See `Feed.join`."""
