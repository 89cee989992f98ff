"""Timeouts, and the deadlines of one call: limits as arithmetic.

Pure: waits for nothing and reads no clock of its own. All times are seconds, floats, on the clock
that is passed in. `retry` says how long to wait before a retry; `cancel` ends a call early.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from .errors import ConfigError, Phase

__all__ = ["LATE", "Deadlines", "Timeouts"]

LATE = 512 * 1024
"""Bytes that are still taken after a limit has passed: about what a full socket buffer holds.

A size and not a time, as a busy machine may take long to read them. Parsing so many takes less
than a tenth of a second."""

_LEAST_LATE = 512
"""Bytes that a late receive counts at least, so that a trickle of single bytes soon ends."""


def _limit(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(
            f"timeout {attribute.name}: expected seconds or None, got {type(value).__name__}"
        )
    # NaN is not above 0; and a lock or a socket can't wait longer than TIMEOUT_MAX.
    if not (0 < value <= threading.TIMEOUT_MAX or value == math.inf):
        shown = value if isinstance(value, float) or abs(value) < 10**9 else "too many"
        raise ConfigError(
            f"timeout {attribute.name}: expected more than 0 seconds, or None, got {shown}"
        )


def _check_argument(timeout: object) -> None:
    if not isinstance(timeout, int | float | None):  # a pair, as requests takes it, or a dict
        got = type(timeout).__name__
        raise ConfigError(f"timeout: expected seconds, Timeouts(…) or None, got {got}")


@attrs.frozen
class Timeouts:
    """How long each part of a call may take, in seconds; None is no limit.

    Args:
        connect: Until the connection stands, with name lookup, proxy and TLS handshake.
        first_chunk: From sending the request to its first chunk. A chunk that arrived in time is
            delivered, even if the caller reads it late.
        idle: Between two chunks. Comments and pings are no chunks. The time that the caller
            spends on a chunk does not count.
        total: The whole call, from its start to the last chunk, with all retries and waits.

    Raises:
        ConfigError: A value is neither None nor a positive number.
    """

    connect: float | None = attrs.field(default=5.0, validator=_limit)
    first_chunk: float | None = attrs.field(default=120.0, validator=_limit)
    idle: float | None = attrs.field(default=60.0, validator=_limit)
    total: float | None = attrs.field(default=600.0, validator=_limit)

    @classmethod
    def of(cls, timeout: Timeouts | float | None) -> Timeouts:
        """The limits that a `timeout=` argument stands for.

        Args:
            timeout: Limits as they are, a number for `total` alone, or None for the defaults.

        Raises:
            ConfigError: It is none of these, or no positive number.
        """
        if isinstance(timeout, Timeouts):
            return timeout
        _check_argument(timeout)
        return cls() if timeout is None else cls(total=timeout)


class Deadlines:
    """The clock of one call: the deadline of its present phase, and that of the whole.

    Args:
        total: Seconds from now until the whole call must be over, None for no limit.
        idle: Seconds that each idle phase may take, None for no limit.
        clock: Returns the time; it must never go backwards.
    """

    def __init__(
        self, total: float | None, *, idle: float | None = None, clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._idle = math.inf if idle is None else idle
        self._total = math.inf if total is None else clock() + total
        self._phase: Phase = "connect"
        self._deadline = math.inf
        self._late = 0
        self.progress: bool = False
        """Set by the stream at each chunk: the next wait starts a new idle phase."""

    def limit(self, phase: Phase, seconds: float | None, *, late: int = 0) -> None:
        """Start a phase.

        Args:
            phase: Its name, for `nearest`.
            seconds: How long it may take from now, None for no limit.
            late: Bytes that `allow_late` accepts after that.
        """
        self.progress = False
        self._phase = phase
        self._deadline = math.inf if seconds is None else self._clock() + seconds
        self._late = late

    def remaining(self) -> float:
        """Seconds that a wait may take, infinity for no limit.

        Raises:
            TimeoutError: A limit has passed; `nearest` says which.
        """
        now = self._clock()
        if self.progress:  # limit("idle", ...) without the call, as this runs at each receive
            self.progress = False
            self._phase = "idle"
            self._deadline = now + self._idle
            self._late = LATE
        seconds = min(self._deadline, self._total) - now
        if seconds <= 0:
            raise self._passed()
        return seconds

    def timeout(self) -> float | None:
        """The same for `settimeout()`, where None is no limit."""
        seconds = self.remaining()
        return None if seconds == math.inf else seconds

    @property
    def nearest(self) -> Phase:
        """The limit that passes first; after a timeout, the one that has passed."""
        return "total" if self._total < self._deadline else self._phase

    def allow_late(self, size: int) -> None:
        """Accept bytes that had arrived before a limit passed, while the caller was busy.

        Args:
            size: How many bytes.

        Raises:
            TimeoutError: They are more than can have waited, or the total limit has passed.
        """
        if self.progress:
            self.limit("idle", self._idle, late=LATE)
        now = self._clock()
        if now < min(self._deadline, self._total):
            return
        self._late -= max(size, _LEAST_LATE)
        if self._late < 0 or now >= self._total:
            raise self._passed()

    def _passed(self) -> TimeoutError:
        return TimeoutError(f"{self.nearest} limit passed")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count this time for the phase: the caller handles a ping, which is no chunk."""
        began = self._clock()
        try:
            yield
        finally:
            self._deadline += self._clock() - began

    def allows(self, seconds: float) -> bool:
        """Whether a wait of so many seconds ends before the total limit."""
        return self._clock() + seconds < self._total
