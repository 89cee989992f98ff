"""An answer in memory: its events, how many of them followers may see, and its end.

Every method is called with the lock held. Knows neither threads nor the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .log import DELETED, Record, Write
from .page_events import PageEvents, numbered


class Answer:
    """One answer that this process produces or follows.

    Args:
        key: Names it in the log.
        owner: The digest of its owner.
        page: Writes the relay's own events of it.
        lock: Guards this object.
        abort: Cancels its stream, and returns at once. None for an answer of another process.
    """

    def __init__(
        self,
        key: str,
        owner: str,
        page: PageEvents,
        lock: threading.RLock,
        abort: Callable[[], None] | None = None,
    ) -> None:
        self.key = key
        self.owner = owner
        self.page = page
        self._abort = abort
        self.changed = threading.Condition(lock)
        self.events: list[bytes] = []
        self.size = 0  # bytes
        self.logged = 0  # events that the log has
        self.visible = 0  # events that followers may see
        self.end = ""
        self.end_logged = False
        self.followers = 0
        self.alone_since = time.monotonic()
        self.orphan_since: float | None = None  # by the beats so far
        self.reason = ""  # why the relay cancels the stream

    @property
    def is_ours(self) -> bool:
        """Whether this process produces it, or did."""
        return self._abort is not None

    @property
    def is_produced(self) -> bool:
        """Whether this process produces it, and it goes on."""
        return self.is_ours and not self.end

    @property
    def is_mirror(self) -> bool:
        """Whether another process produces it, and it goes on."""
        return not self.is_ours and not self.end

    @property
    def is_over(self) -> bool:
        """Whether no event follows those that may be seen."""
        return bool(self.end) and self.visible == len(self.events)

    @property
    def is_unlogged(self) -> bool:
        """Whether the log lacks something of it."""
        behind = self.logged < len(self.events) or (bool(self.end) and not self.end_logged)
        return self.is_ours and behind

    def add(self, events: bytes, end: str = "") -> None:
        """Add events under the next numbers, unless the answer has ended."""
        if not self.end:
            self.events += numbered(events, len(self.events) + 1)
            self.size += len(events)
            self.end = end

    def finish(self, code: str) -> None:
        """End the answer with an event of the relay, which is seen at once."""
        self.add(self.page.ending(code), end=code)
        self.show(len(self.events))

    def show(self, count: int) -> None:
        """Let followers see this many events."""
        self.visible = max(self.visible, count)
        self.changed.notify_all()

    def write(self, most: int) -> Write:
        """What the log lacks, at most this many events of it."""
        events = tuple(self.events[self.logged : self.logged + most])
        is_last = self.logged + len(events) == len(self.events)
        return Write(self.key, self.owner, self.logged + 1, events, self.end if is_last else "")

    def wrote(self, write: Write) -> None:
        """Note what the log has now, and show it."""
        self.logged = write.seq + len(write.events) - 1
        self.end_logged = bool(write.end)
        self.show(self.logged)

    def compare(self, record: Record) -> bool:
        """Whether the log has a beginning of this answer and no end: then go on after it."""
        if record.end or list(record.events) != self.events[: len(record.events)]:
            return False
        self.logged = len(record.events)
        return True

    def adopt(self, record: Record, after: int) -> None:
        """Take events and end from the log, which were written by another process.

        Args:
            record: What the log has after `after`.
            after: Events up to this number were known. What has come since is skipped.
        """
        if record.end == DELETED:
            self.finish("cancelled")
            return
        self.events += record.events[len(self.events) - after :]
        self.end = self.end or record.end
        self.show(len(self.events))

    def give_up(self, record: Record | None) -> None:
        """Stop writing an answer that another process has ended or deleted in the log.

        Followers go on with what the log has, unless they have seen more than that: the log was
        down meanwhile.

        Args:
            record: All that the log has; None if it was deleted.
        """
        if not self.is_over:
            del self.events[self.visible :]
            self.end = ""
            if record is not None and len(record.events) > self.visible:
                self.adopt(record, 0)
            if not self.end:
                self.finish("interrupted" if record else "cancelled")
        self.logged, self.end_logged = len(self.events), True

    def cancel(self, reason: str) -> None:
        """Cancel the stream; its producer then ends the answer with this code."""
        if self._abort is not None and not self.end:
            self.reason = self.reason or reason
            self._abort()
