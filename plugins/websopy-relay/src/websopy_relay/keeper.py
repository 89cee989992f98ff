"""The thread that gives signs of life, and ends the answers that have nobody left.

An answer ends without its producer when its lease runs out, and without its followers when the
grace is over.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time

from .answer import Answer
from .answer_table import AnswerTable
from .log import Beat, Log, Terms, Write
from .page_events import numbered
from .settings import Settings

logger: logging.Logger = logging.getLogger("websopy_relay")

LOST_AFTER = 4
"""Leases that a log may be down."""

RETRY = 0.25
"""Seconds from one try to the next while it is."""


class Keeper:
    """Keeps the leases of this process; `run` is its thread.

    Args:
        answers: What is kept.
        log: Where the signs of life go.
        terms: Those of this process.
        settings: How long an answer goes on that nobody follows.
    """

    def __init__(self, answers: AnswerTable, log: Log, terms: Terms, settings: Settings) -> None:
        self._answers = answers
        self._log = log
        self._terms = terms
        self._settings = settings
        self._is_closing = False
        self._next_beat = 0.0
        self._last_beat = time.monotonic()  # that the log took
        self._last_look = 0.0  # when the last beat began
        self._followed: frozenset[str] = frozenset()

    def run(self) -> None:
        """Keep until `finish()`."""
        self._last_beat = time.monotonic()
        while not self._is_closing and not self._answers.is_forgotten:
            self._count_those_who_left()
            if time.monotonic() >= self._next_beat:
                self._beat()
            with self._answers.lock:
                self._end_the_unfollowed()
                self._answers.remove_unused(self._settings.max_answers)

    def finish(self) -> None:
        """End soon."""
        self._is_closing = True
        self._answers.left.put(None)

    def beat_now(self) -> None:
        """Have other processes know at once what is followed here."""
        self._next_beat = 0.0
        self._answers.left.put(None)

    def _count_those_who_left(self) -> None:
        """Wait until a follower leaves or something is due."""
        left = self._answers.left
        with contextlib.suppress(queue.Empty):
            answer = left.get(timeout=self._wait())
            while True:
                self._count(answer)
                answer = left.get_nowait()

    def _count(self, answer: Answer | None) -> None:
        with self._answers.lock:
            if answer is not None:
                answer.followers -= 1
                answer.changed.notify_all()
                answer.alone_since = time.monotonic()
            if self._answers.is_draining:
                self._answers.wake_all()

    def _wait(self) -> float:
        now = time.monotonic()
        with self._answers.lock:
            due = [self._next_beat, *(self._grace_ends(a) for a in self._alone())]
        return max(0.0, min(due) - now)

    def _grace_ends(self, answer: Answer) -> float:
        if self._settings.on_disconnect == "finish" or answer.reason:
            return self._next_beat
        return answer.alone_since + self._settings.grace

    def _alone(self) -> list[Answer]:
        """The answers produced here that nobody follows anywhere."""
        produced = self._answers.produced()
        return [a for a in produced if not a.followers and a.key not in self._followed]

    def _end_the_unfollowed(self) -> None:
        alone, now = self._alone(), time.monotonic()
        if self._settings.on_disconnect == "finish":
            alone.sort(key=lambda answer: answer.alone_since)
            ended = alone[: max(0, len(alone) - self._settings.max_unfollowed)]
        else:
            due = [a for a in alone if now >= a.alone_since + self._settings.grace]
            # Its page may have reached another process, which only the log knows.
            ended = [a for a in due if self._last_look >= a.alone_since + self._settings.grace]
            if len(ended) < len(due):
                self._next_beat = 0.0
        for answer in ended:
            answer.cancel("cancelled")

    def _beat(self) -> None:
        """One sign of life, and what the log says to it."""
        self._last_look = time.monotonic()
        self._next_beat = self._last_look + self._terms.lease / 3
        with self._answers.lock:
            # One that has ended needs its lease until the log has the end. One that the log has
            # nothing of may still be refused by the service, and is no answer then.
            open_there = [a for a in self._answers.all() if a.is_produced or a.is_unlogged]
            produced = {answer.key: answer.logged for answer in open_there if answer.logged}
            followed = [answer.key for answer in self._answers.mirrored()]
        try:
            beat = self._log.beat(produced, followed, self._terms)
            self._take(beat)
        except Exception as error:  # noqa: BLE001  whatever a log raises, answers go on
            logger.debug("no sign of life in the log of answers: %s", error)
            self._answers.log_failed_at = time.monotonic()
            # Soon after the log is back, or followers elsewhere take this process for dead.
            self._next_beat = time.monotonic() + min(RETRY, self._terms.lease / 10)
            self._note_log(time.monotonic() > self._last_beat + LOST_AFTER * self._terms.lease)
        else:
            self._last_beat = time.monotonic()
            self._note_log(False)

    def _note_log(self, is_lost: bool) -> None:
        """A follower of another process's answer must not hold its thread for ever."""
        with self._answers.lock:
            self._answers.log_is_lost = is_lost
            if is_lost:
                self._answers.wake_all()

    def _take(self, beat: Beat) -> None:
        with self._answers.lock:
            self._note_followed(beat.followed)
            for key in beat.refused:
                answer = self._answers.get(key)
                if answer and (answer.is_produced or answer.is_unlogged):
                    self._answers.unlogged[key] = answer  # the writer finds out why
                    self._answers.to_log.notify()
            orphans = [a for a in self._answers.mirrored() if self._is_dead(a, beat)]
        for answer in orphans:
            self._interrupt(answer)

    def _is_dead(self, answer: Answer, beat: Beat) -> bool:
        """Whether its producer has had time for a sign of life, and gave none.

        The log may just be back: two looks in a row can be a moment apart.
        """
        if answer.key not in beat.orphans:
            answer.orphan_since = None
            return False
        now = time.monotonic()
        answer.orphan_since = now if answer.orphan_since is None else answer.orphan_since
        return now - answer.orphan_since >= self._terms.lease / 4

    def _note_followed(self, followed: frozenset[str]) -> None:
        now = time.monotonic()
        for key in self._followed - followed:
            if answer := self._answers.get(key):
                answer.alone_since = now
        self._followed = followed

    def _interrupt(self, answer: Answer) -> None:
        """End an answer whose producer is dead: in the log, once, and so for all followers."""
        with self._answers.lock:
            known = len(answer.events)
        before = self._log.read(answer.key, known)
        record = before
        if before is not None and not before.end:
            self._append_end(answer, known + len(before.events) + 1)
            record = self._log.read(answer.key, known)
        with self._answers.lock:
            if record is not None:
                answer.adopt(record, known)
            # The log takes no end although nobody writes: it has lost what came before, and the
            # producer is dead. If somebody has written, the producer lives.
            if record == before and not answer.end:
                answer.finish("interrupted")

    def _append_end(self, answer: Answer, seq: int) -> None:
        events = tuple(numbered(answer.page.ending("interrupted"), seq))
        write = Write(answer.key, answer.owner, seq, events, "interrupted")
        self._log.append([write], self._terms)  # refused if another follower was first
