"""Retries: which failures are retried, how often, and after how long.

Pure: sends nothing, waits for nothing and reads no clock; the time and the random numbers are
passed in. `event_source` retries by these rules. All times are seconds, floats.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import attrs

from .errors import APIConnectionError, APIError, APIStatusError, APITimeoutError

__all__ = [
    "MAX_BARREN_RECONNECTIONS",
    "RETRYABLE_STATUSES",
    "RetryBudget",
    "RetryPolicy",
    "backoff",
    "is_retryable",
    "may_pass",
    "parse_retry_after",
    "parse_retry_headers",
    "reconnection_delay",
]

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Statuses that may pass: after one of these, the same request is sent again. 529 is Anthropic's
for "overloaded"."""

THROTTLING_STATUSES = frozenset({429, 503, 529})
"""Statuses by which a server asks for slower; a retry after one of them costs less budget."""

REFUSING_STATUSES = frozenset({408, 425}) | THROTTLING_STATUSES
"""Statuses that say that the server did not begin to work on the request."""

MAX_RETRY_AFTER = 60.0
"""Longest `Retry-After` that is waited for, in seconds; anthropic uses the same."""

MAX_RECONNECTION_DELAY = 30.0
"""Longest `retry:` of a server that is waited for, in seconds."""

MAX_BARREN_RECONNECTIONS = 3
"""Reconnections in a row without a new event, after which a stream counts as interrupted."""


def is_retryable(failure: APIError, *, idempotent: bool = True) -> bool:
    """Whether the same request may be sent again after this failure.

    Of the timeouts only that of connecting is: after it the server may be at work on the request.

    Args:
        failure: What went wrong.
        idempotent: Whether the server knows a request that comes twice. If not, a request that the
            server may have begun to answer is not sent again: it would answer, and charge, twice.
    """
    if isinstance(failure, APITimeoutError):
        return failure.phase == "connect"
    if isinstance(failure, APIStatusError):
        safe = idempotent or failure.status_code in REFUSING_STATUSES
    else:
        safe = isinstance(failure, APIConnectionError) and (idempotent or not failure.sent)
    return failure.retryable and safe


def parse_retry_headers(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds that a response asks to wait: `retry-after-ms`, else `Retry-After`; or None.

    Args:
        headers: Names in lower case. OpenAI and Azure send the first one.
        now: Unix time, to compare a date with.
    """
    milliseconds = parse_retry_after(headers.get("retry-after-ms"), now=math.inf)
    if milliseconds is not None:
        return milliseconds / 1000
    return parse_retry_after(headers.get("retry-after"), now=now)


def may_pass(status_code: int, headers: Mapping[str, str]) -> bool:
    """Whether an error status may pass; the server's own `x-should-retry` beats the status."""
    said = headers.get("x-should-retry", "").strip().lower()
    return said == "true" if said in ("true", "false") else status_code in RETRYABLE_STATUSES


def backoff(retry: int, *, random: Callable[[], float]) -> float:
    """Seconds to wait before a retry: full jitter, `uniform(0, min(8, 0.5·2ⁿ))`.

    Full jitter spreads a crowd of clients best:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        retry: Its number; the first is 0.
        random: Returns floats in [0, 1).
    """
    return random() * min(8.0, 0.5 * 2.0 ** min(retry, 10))


def reconnection_delay(retry_ms: int | None, *, barren: int, random: Callable[[], float]) -> float:
    """Seconds to wait before a reconnection: what the server asked for, else a backoff.

    Args:
        retry_ms: Milliseconds of the server's last `retry:`, None if it sent none.
        barren: Reconnections since the last new event.
        random: Returns floats in [0, 1).
    """
    if retry_ms is None:
        return backoff(barren, random=random)
    return min(retry_ms / 1000, MAX_RECONNECTION_DELAY)


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for, None when it says nothing usable.

    RFC 9110 10.2.3: whole seconds or an HTTP date. Fractions are read too, as several services
    send them. A date that has passed is 0.

    Args:
        value: The header, None if there is none.
        now: Unix time, to compare a date with.
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
    """How many retries one client still has, so that it does not make an outage worse.

    It starts full at 500 tokens. A retry costs 14, or 5 when the server asked for slower (429,
    503); a complete response gives 1 back. The AWS SDKs call the same idea a retry quota.

    Safe to use from many threads, from signal handlers and in forked children: it has no lock that
    they could find taken.
    """

    CAPACITY = 500
    COST = 14
    THROTTLED_COST = 5

    def __init__(self) -> None:
        # As many items as tokens. It drops what is above its length.
        self._tokens = deque([None] * self.CAPACITY, self.CAPACITY)

    @property
    def tokens(self) -> int:
        """Tokens left."""
        return len(self._tokens)

    def take(self, *, throttled: bool) -> bool:
        """Pay for one retry. Returns False, and takes nothing, when too little is left."""
        taken: list[None] = []
        try:
            for _ in range(self.THROTTLED_COST if throttled else self.COST):
                taken.append(self._tokens.pop())
        except IndexError:
            self._tokens.extend(taken)
            return False
        return True

    def refund(self) -> None:
        """Put back the token that a complete response earns."""
        self._tokens.append(None)


@attrs.frozen
class RetryPolicy:
    """How often one call is retried, and at whose expense.

    Args:
        max_retries: Retries before the headers of a good response are here.
        budget: Pays for each retry and reconnection; all calls of a client share one.
        resume: Whether a stream that was cut goes on over a new connection.
        idempotent: Whether the server knows a request that comes twice.
        random: Returns floats in [0, 1), for the jitter.
    """

    max_retries: int
    budget: RetryBudget
    resume: bool = True
    idempotent: bool = True
    random: Callable[[], float] = random.random

    def allows(self, failure: APIError) -> bool:
        """Whether the request may be sent again after this failure."""
        return is_retryable(failure, idempotent=self.idempotent)

    def grant(
        self, failure: APIError, delay: float, *, allows: Callable[[float], bool]
    ) -> float | None:
        """Pay for a retry. Returns the seconds to wait before it, or None to give up instead.

        Args:
            failure: What went wrong.
            delay: Seconds to wait unless the server's `Retry-After` asks for others.
            allows: Whether the call has time for a wait of so many seconds.
        """
        retry_after: float | None = getattr(failure, "retry_after", None)
        if retry_after is not None:
            delay = retry_after
        if (retry_after or 0) > MAX_RETRY_AFTER or not allows(delay):
            return None
        throttled = getattr(failure, "status_code", 0) in THROTTLING_STATUSES
        return delay if self.budget.take(throttled=throttled) else None
