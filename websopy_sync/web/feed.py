"""What a body reads from: an answer's events, wherever they come from.

Knows neither bodies nor answers.
"""

from __future__ import annotations

from typing import Protocol

JOIN_SECONDS = 1.0
"""Longest wait for a thread to end: 50 ms, unless a plugin or the function of a source is slow."""


class Feed(Protocol):
    """The bytes of one event stream, for one reader."""

    def take(self) -> bytes | None:
        """Wait for events.

        Returns:
            All events that wait, or a comment when none came for a while: a failed write is how
            most servers notice that the browser has left. None at the end.
        """
        ...

    def leave(self) -> None:
        """The reader has left: wake a `take()` that waits, and let go of the answer.

        Returns at once and never raises. Any thread or the garbage collector may call it, again
        too.
        """
        ...

    def join(self, seconds: float) -> None:
        """Wait until no thread works for this feed any more.

        Args:
            seconds: Wait no longer than this.
        """
        ...
