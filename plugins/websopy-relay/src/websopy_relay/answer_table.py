"""The answers that this process produces or follows, and the one lock that guards them.

One lock, so that a fork can take it. It is never held while the log is called or a stream is read.
Knows no threads.
"""

from __future__ import annotations

import queue
import threading
import time

from .answer import Answer
from .log import Record

SETTLING = 2.0
"""Seconds that a log may lack answers after it was down: the producers write them anew."""


class AnswerTable:
    """A table of answers, by key.

    Attributes:
        lock: Guards the table and all that is in it. The garbage collector may run a destructor
            in a thread that holds it, so it is an RLock.
        is_draining: Bodies end, and no answer begins.
        is_forgotten: This is the copy in a forked child: nothing moves any more.
        unlogged: Those of which the log lacks something, in the order in which they came.
        log_is_down: The log does not answer: followers here see events that it does not have yet.
        log_is_lost: It has been down so long that followers of other processes' answers are sent
            away.
        log_failed_at: When a call of the log failed last, by `time.monotonic()`.
        left: AnswerTable that a follower has left. Its `put` is safe in destructors and handlers.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_draining = False
        self.is_forgotten = False
        self.log_is_down = False
        self.log_is_lost = False
        self.log_failed_at = float("-inf")
        self.to_log = threading.Condition(self.lock)
        self.to_watch = threading.Condition(self.lock)
        self.unlogged: dict[str, Answer] = {}
        self.left: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._table: dict[str, Answer] = {}

    def get(self, key: str) -> Answer | None:
        """The answer with this key."""
        return self._table.get(key)

    def keep(self, answer: Answer) -> Answer:
        """Put an answer into the table; the one that is there, if there is one."""
        kept = self._table.setdefault(answer.key, answer)
        if kept.is_mirror:
            kept.adopt(Record(kept.owner, tuple(answer.events), answer.end), 0)
        self.to_watch.notify_all()
        return kept

    def remove(self, answer: Answer) -> None:
        """Forget an answer."""
        self._table.pop(answer.key, None)
        self.unlogged.pop(answer.key, None)

    def all(self) -> list[Answer]:
        """All of them."""
        return list(self._table.values())

    def produced(self) -> list[Answer]:
        """Those that this process produces and that go on."""
        return [answer for answer in self._table.values() if answer.is_produced]

    def mirrored(self) -> list[Answer]:
        """Those of other processes that go on."""
        return [answer for answer in self._table.values() if answer.is_mirror]

    def log_soon(self, answer: Answer) -> None:
        """Have the writer write what the log lacks; without a log, show it now."""
        if answer.is_unlogged:
            self.unlogged[answer.key] = answer
            self.to_log.notify()
        if self.log_is_down:
            answer.show(len(answer.events))

    @property
    def log_settles(self) -> bool:
        """Whether the log may not have all answers again."""
        return time.monotonic() < self.log_failed_at + SETTLING

    def log_went_down(self) -> None:
        """Show what the log does not have: an answer must not wait for it."""
        self.log_is_down = True
        self.log_failed_at = time.monotonic()
        for answer in self.all():
            if answer.is_ours:
                answer.show(len(answer.events))

    def remove_unused(self, most: int) -> None:
        """Forget the answers that are over and that nobody follows.

        Args:
            most: So many of those that the log lacks are kept for it, the latest ones.
        """
        unused = [a for a in self.all() if not a.followers and not a.is_produced]
        unlogged = [answer for answer in unused if answer.is_unlogged]
        for answer in unused:
            if not answer.is_unlogged or answer in unlogged[:-most]:
                self.remove(answer)

    def wake_all(self) -> None:
        """Have every thread that waits look again."""
        self.to_log.notify_all()
        self.to_watch.notify_all()
        for answer in self.all():
            answer.changed.notify_all()
