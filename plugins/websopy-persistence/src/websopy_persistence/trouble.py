"""The database is in trouble, and is again well: each said once, through logging.

Knows neither queue nor tables. For the writer's thread, where nothing else is said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .errors import tell

__all__ = ["Trouble", "log"]

log = logging.getLogger("websopy_persistence")

QUIET = 60.0
"""Seconds after a report in which the same trouble, come back, is not reported anew."""


class Trouble:
    """Whether the database is in trouble, and since which failure.

    where: the database's address as it may be shown. secret: what must not be shown.
    """

    def __init__(
        self, where: str, *, secret: str | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._where = where
        self._secret = secret
        self._clock = clock
        self.problem = ""
        """What is wrong now, in one line; "" when nothing is."""
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child does: it has a log, and losses, of its own."""
        self.problem = ""
        self._reported = ("", float("-inf"))
        self._lost = (0, 0)
        self._lost_reported = self._overflow_reported = float("-inf")

    def began(self, error: BaseException) -> None:
        """Report, unless it goes on or has just been reported."""
        ongoing = bool(self.problem)
        self.problem = tell(error, secret=self._secret)
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
        """Report that the trouble is over, if there was one."""
        if self.problem:
            self.problem = ""
            log.info("the history at %s is written again", self._where)

    def overflowed(self) -> None:
        """Report that too much waits, unless it is known why. From any thread."""
        if not self.problem and self._clock() >= self._overflow_reported + QUIET:
            self._overflow_reported = self._clock()
            log.warning(
                "the history at %s takes too long: more waits for it than it may hold, and is lost",
                self._where,
            )

    def lost(self, *, chunks: int, streams: int) -> None:
        """Report what will never be stored, in totals: once in a while, if they grew."""
        if (chunks, streams) == self._lost or self._clock() < self._lost_reported + QUIET:
            return
        self._lost, self._lost_reported = (chunks, streams), self._clock()
        log.warning(
            "the history at %s lost %d chunks, and %d streams as a whole",
            self._where,
            chunks,
            streams,
        )
