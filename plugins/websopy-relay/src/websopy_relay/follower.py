"""One reader of an answer: what a body takes its events from.

Knows nothing of the log: it waits until the answer shows more.
"""

from __future__ import annotations

from .answer import Answer
from .answer_table import AnswerTable
from .page_events import KEEP_ALIVE

MOST = 64 * 1024
"""Bytes after which one `take()` returns: a server may hold what it gets in memory."""


class Follower:
    """A `websopy_sync.web.Feed` of the events of an answer after a number.

    It is made with the lock held.

    Args:
        answers: The table with its lock.
        answer: Whose events.
        cursor: The number of the last event that the browser has.
        interval: Seconds without an event after which `take()` returns a comment.
    """

    def __init__(
        self, answers: AnswerTable, answer: Answer, *, cursor: int, interval: float
    ) -> None:
        self._answers = answers
        self._answer = answer
        self._cursor = cursor
        self._interval = interval
        self._wait = 0.0
        self._is_over = False
        self._has_left = False
        answer.followers += 1

    def take(self) -> bytes | None:
        """See `Feed.take`."""
        if self._is_over or self._answers.is_forgotten:
            return None
        with self._answers.lock:
            # Most servers send the headers with the first piece, so a comment goes out at once.
            wait, self._wait = self._wait, self._interval
            self._answer.changed.wait_for(self._can_go_on, wait)
            if self._has_left:
                return None
            is_first = wait == 0.0  # which has events, so that a page that comes back gets further
            if not is_first and self._is_restarting() and self._is_far_behind():
                return self._restart()
            return self._next_events() or self._ending()

    def _can_go_on(self) -> bool:
        answer = self._answer
        has_more = answer.visible > self._cursor or answer.is_over
        return self._has_left or has_more or self._is_restarting()

    def _is_restarting(self) -> bool:
        """Whether the body has to end. Not before the page has the id, without which it is lost."""
        if self._answer.is_ours:
            return self._answers.is_draining and self._answer.visible > 0
        return self._answers.is_draining or self._answers.log_is_lost

    def _is_far_behind(self) -> bool:
        """Whether a slow browser would not have the rest before the server ends the process."""
        waiting = self._answer.events[self._cursor : self._answer.visible]
        return self._cursor > 0 and sum(map(len, waiting)) > MOST

    def _restart(self) -> bytes | None:
        self._is_over = True
        return self._answer.page.restarting() or None

    def _next_events(self) -> bytes:
        taken, size = [], 0
        while self._cursor < self._answer.visible and size < MOST:
            event = self._answer.events[self._cursor]
            taken.append(event)
            size += len(event)
            self._cursor += 1
        return b"".join(taken)

    def _ending(self) -> bytes | None:
        if self._answer.is_over:
            return None
        return self._restart() if self._is_restarting() else KEEP_ALIVE

    def leave(self) -> None:
        """See `Feed.leave`."""
        if self._has_left or self._answers.is_forgotten:
            return
        self._has_left = True
        # Never wait for the lock: the garbage collector may call this in a thread that has another
        # one, of the logging module for instance, for which the holder of ours waits.
        if self._answers.lock.acquire(blocking=False):
            self._answer.changed.notify_all()
            self._answers.lock.release()
        self._answers.left.put(self._answer)  # the keeper counts, and notifies too

    def join(self, seconds: float) -> None:
        """See `Feed.join`. No thread works for one follower alone."""
