"""The thread that fetches what other processes write: events to follow, answers to stop.

It sleeps while there is nothing to watch for.
"""

from __future__ import annotations

import logging
import time

from .answer_table import AnswerTable
from .log import Log, News, Terms

LOOK = 0.05
"""Seconds that one look at the log waits for news. A new follower joins the next look."""

PAUSE = 0.5
"""Seconds from one look to the next while the log is down."""

logger: logging.Logger = logging.getLogger("websopy_relay")


class Watcher:
    """Watches the log for this process; `run` is its thread.

    Args:
        answers: Whom to tell.
        log: What is watched.
        terms: Those of this process.
    """

    def __init__(self, answers: AnswerTable, log: Log, terms: Terms) -> None:
        self._answers = answers
        self._log = log
        self._terms = terms
        self._is_closing = False

    def run(self) -> None:
        """Watch until `finish()`."""
        while (cursors := self._cursors()) is not None:
            try:
                news = self._log.watch(cursors, self._terms.worker, LOOK)
            except Exception as error:  # noqa: BLE001  whatever a log raises, answers go on
                logger.debug("cannot watch the log of answers: %s", error)
                self._answers.log_failed_at = time.monotonic()
                time.sleep(PAUSE)
            else:
                self._tell(news, cursors)

    def finish(self) -> None:
        """End after the look that runs."""
        with self._answers.lock:
            self._is_closing = True
            self._answers.to_watch.notify_all()

    def _cursors(self) -> dict[str, int] | None:
        """Wait for something to watch: the followed answers; None at the end."""
        answers = self._answers
        with answers.lock:
            while not (self._is_closing or answers.is_forgotten):
                mirrored = answers.mirrored()
                if mirrored or answers.produced():
                    return {answer.key: len(answer.events) for answer in mirrored}
                answers.to_watch.wait()
            return None

    def _tell(self, news: News, cursors: dict[str, int]) -> None:
        with self._answers.lock:
            for key, record in news.answers.items():
                answer = self._answers.get(key)
                if answer is not None and not answer.end:
                    answer.adopt(record, cursors[key])
            for key in news.stops:
                if answer := self._answers.get(key):
                    answer.cancel("cancelled")
