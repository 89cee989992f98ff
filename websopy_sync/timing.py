"""Limits and waits as arithmetic: how long is too long, how long until the next try.

Does not wait and reads no clock: what varies (now, random numbers) is passed in. All times are
seconds, floats, on the monotonic clock, except where an HTTP date makes that impossible.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

from .errors import ConfigError

__all__ = ["RetryBudget", "Timeouts", "backoff", "parse_retry_after"]

MAX_RETRY_AFTER = 60.0
"""Longest `Retry-After` that is waited for, in seconds; anthropic uses the same."""

MAX_RECONNECTION_DELAY = 30.0
"""Longest `retry:` of a server that is waited for, in seconds."""


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


@attrs.frozen
class Timeouts:
    """How long each part of a call may take, in seconds; None is no limit.

    connect: until the connection stands, look-up of the name, TLS and proxy included.
    first_chunk: from the question's sending to its first chunk. A chunk that came in time is
    handed over, however late it is read.
    idle: between two chunks. Comments and pings are not chunks, and time that the consumer
    spends with a chunk does not count.
    total: the whole call, from the first byte sent to the last chunk, repeats and waits included.

    Raises ConfigError for what is no positive number.
    """

    connect: float | None = attrs.field(default=5.0, validator=_limit)
    first_chunk: float | None = attrs.field(default=120.0, validator=_limit)
    idle: float | None = attrs.field(default=60.0, validator=_limit)
    total: float | None = attrs.field(default=600.0, validator=_limit)

    @classmethod
    def of(cls, timeout: Timeouts | float | None) -> Timeouts:
        """What a `timeout=` argument means: None the defaults, a number the total."""
        if isinstance(timeout, Timeouts):
            return timeout
        return cls() if timeout is None else cls(total=timeout)


def backoff(retry: int, *, random: Callable[[], float]) -> float:
    """Seconds to wait before a retry (0 is the first): full jitter, `uniform(0, min(8, 0.5·2ⁿ))`.

    `random` gives floats in [0, 1). Full jitter spreads a crowd of clients best:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return random() * min(8.0, 0.5 * 2.0 ** min(retry, 10))


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for, None when it says nothing usable.

    RFC 9110 10.2.3: whole seconds or an HTTP date; `now` is the Unix time to hold a date
    against. Fractions are taken too, as several services send them. A date that has passed is 0.
    """
    text = (value or "").strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        date = parsedate_to_datetime(text)
        # RFC 9110 5.6.7: all HTTP dates are in GMT, also the form that names no zone.
        moment = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return max(moment - now, 0.0)


class RetryBudget:
    """How much repeating one client may still do, so that an outage is not made worse.

    It starts full at 500 tokens; a retry takes 14, or 5 when the server asked for slower
    (429, 503); a whole answer gives 1 back. The AWS SDKs call the same idea a retry quota. May be
    used from many threads.
    """

    CAPACITY = 500
    COST = 14
    THROTTLED_COST = 5
    REFUND = 1

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = self.CAPACITY

    @property
    def tokens(self) -> int:
        """What is left."""
        return self._tokens

    def take(self, *, throttled: bool) -> bool:
        """Pay for one retry; False when there is not enough left, and nothing was taken."""
        cost = self.THROTTLED_COST if throttled else self.COST
        with self._lock:
            if self._tokens < cost:
                return False
            self._tokens -= cost
        return True

    def refund(self) -> None:
        """Put back what a whole answer earns."""
        with self._lock:
            self._tokens = min(self._tokens + self.REFUND, self.CAPACITY)
