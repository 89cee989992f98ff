"""Logs when the database fails and when it works again, each once.

Used in the writer's thread, which logs nothing else. Knows neither queue nor tables.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .errors import safe_to_log

__all__ = ["Trouble", "log"]

log = logging.getLogger("websopy_persistence")

QUIET = 60.0
"""Seconds after a report in which the same problem is not reported again."""


class Trouble:
    """The current problem with the database, if any.

    Args:
        where: The database's address, without password.
        secret: The password, which is hidden in every report.
        clock: Monotonic seconds.
    """

    def __init__(
        self, where: str, *, secret: str | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._where = where
        self._secret = secret
        self._clock = clock
        self.problem = ""
        """The problem in one line; "" for none."""
        self.forget()

    def forget(self) -> None:
        """Start again, in a forked child, which has its own log and losses."""
        self.problem = ""
        self._reported = ("", float("-inf"))
        self._lost = (0, 0)
        self._lost_reported = self._overflow_reported = float("-inf")

    def began(self, error: BaseException) -> None:
        """Report a failure, unless it continues or was reported just now."""
        ongoing = bool(self.problem)
        self.problem = safe_to_log(error, secret=self._secret)
        before, when = self._reported
        if ongoing or (before == self.problem and self._clock() < when + QUIET):
            return
        self._reported = (self.problem, self._clock())
        log.warning(
            "the history at %s cannot be written, streams go on without it: %s",
            self._where,
            self.problem,
        )

    def ended(self) -> None:
        """Report that the database works again, if it had failed."""
        if self.problem:
            self.problem = ""
            log.info("the history at %s is written again", self._where)

    def overflowed(self) -> None:
        """Report that too much waits, unless the database has failed. Any thread may call it."""
        if not self.problem and self._clock() >= self._overflow_reported + QUIET:
            self._overflow_reported = self._clock()
            log.warning(
                "the history at %s takes too long: more waits for it than it may hold, and is lost",
                self._where,
            )

    def lost(self, *, chunks: int, streams: int) -> None:
        """Report the totals of what will never be stored, when they grew, at most once in QUIET."""
        if (chunks, streams) == self._lost or self._clock() < self._lost_reported + QUIET:
            return
        self._lost, self._lost_reported = (chunks, streams), self._clock()
        log.warning(
            "the history at %s lost %d chunks, and %d streams as a whole",
            self._where,
            chunks,
            streams,
        )
