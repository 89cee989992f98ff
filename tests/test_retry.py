"""Retryable failures, backoff, Retry-After, the retry budget and the policy: no waiting."""

from __future__ import annotations

import email.utils
import math
import os
import random
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    StreamInterruptedError,
    StreamProtocolError,
)
from websopy_sync.retry import (
    RETRYABLE_STATUSES,
    RetryBudget,
    RetryPolicy,
    backoff,
    is_retryable,
    parse_retry_after,
    reconnection_delay,
)

NOW = 1696004797.0
"""Fri, 29 Sep 2023 16:26:37 GMT, the moment that other clients' tables of Retry-After use."""


# --- back-off ------------------------------------------------------------------------------------


@each(("retry", "most"), [(0, 0.5), (1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (50, 8), (10**9, 8)])
def test_backoff_is_full_jitter(retry: int, most: float) -> None:
    """Anything between nothing and min(8, 0.5·2ⁿ), as the random number says."""
    assert backoff(retry, random=lambda: 0.0) == 0.0
    assert backoff(retry, random=lambda: 0.5) == most / 2
    assert backoff(retry, random=lambda: 1.0) == most


@given(st.integers(0, 10**12), st.randoms(use_true_random=False))
def test_backoff_stays_in_bounds(retry: int, source: random.Random) -> None:
    """For any retry, however late; no overflow."""
    assert 0.0 <= backoff(retry, random=source.random) <= min(8.0, 0.5 * 2.0 ** min(retry, 100))


def test_backoff_spreads_a_crowd() -> None:
    """A thousand clients that fail together do not come back together."""
    source = random.Random(7)
    waits = sorted(backoff(4, random=source.random) for _ in range(1000))
    assert len(set(waits)) == 1000
    assert waits[99] < 1.5 and waits[900] > 6.5


# --- Retry-After ---------------------------------------------------------------------------------


def _date(seconds: float) -> str:
    return email.utils.formatdate(NOW + seconds, usegmt=True)


@each(
    ("value", "seconds"),
    [
        ("20", 20.0),
        ("0", 0.0),
        ("60", 60.0),
        ("61", 61.0),
        ("120", 120.0),
        ("007", 7.0),
        (" 20 ", 20.0),
        ("\t20", 20.0),
        ("1.5", 1.5),
        ("0.25", 0.25),
        (_date(20), 20.0),
        (_date(0), 0.0),
        (_date(60), 60.0),
        (_date(3600), 3600.0),
        (_date(-10), 0.0),
        (_date(-(10**8)), 0.0),
        ("Fri, 29 Sep 2023 16:26:57 GMT", 20.0),
        ("Friday, 29-Sep-23 16:26:57 GMT", 20.0),
        ("Fri Sep 29 16:26:57 2023", 20.0),
        ("Fri, 29 Sep 2023 16:26:57 -0000", 20.0),
        ("Fri, 29 Sep 2023 18:26:57 +0200", 20.0),
        ("Fri, 29 Sep 2023 16:26:57", 20.0),
    ],
)
def test_good_retry_after(value: str, seconds: float) -> None:
    """Seconds or an HTTP date in any of RFC 9110's three forms; a date that has passed is 0."""
    assert parse_retry_after(value, now=NOW) == seconds


@each(
    "value",
    [
        None,
        "",
        " ",
        "-10",
        "-0",
        "+10",
        "1_0",
        "1e3",
        "0x10",
        "1.2.3",
        ".",
        "10s",
        "10 20",
        "10, 20",
        "inf",
        "-inf",
        "infinity",
        "nan",
        "soon",
        "٢٠",
        "²",
        "２０",
        "20\u00a0x",
        "9" * 400,
        "9" * 5000,
        "Fri, 29 Sep 100000 16:26:57 GMT",
        "Fri, 99 Sep 2023 16:26:57 GMT",
        "Fri, 29 Sep 2023 25:26:57 GMT",
        "Fri, 29 Foo 2023 16:26:57 GMT",
        "2023-09-29T16:26:57Z",
        "GMT",
        ",",
        "Fri, 29 Sep 2023 16:26:57 +9999999999",
        "\x00",
        "a" * 65536,
    ],
)
def test_bad_retry_after_is_none(value: str | None) -> None:
    """Garbage, NaN, negative: as if the header were not there, and never an error."""
    assert parse_retry_after(value, now=NOW) is None


@given(st.text() | st.text("0123456789.-+ :,GMTFriSep"))
def test_any_retry_after_is_a_wait_or_none(value: str) -> None:
    """A finite number of 0 or more, or None."""
    seconds = parse_retry_after(value, now=NOW)
    assert seconds is None or 0.0 <= seconds < math.inf


@given(st.integers(0, 10**6))
def test_seconds_and_date_agree(seconds: int) -> None:
    """The same wait in either form."""
    assert parse_retry_after(str(seconds), now=NOW) == seconds
    assert parse_retry_after(_date(seconds), now=NOW) == seconds


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/Los_Angeles"])
def test_dates_without_a_zone_are_gmt_everywhere(zone: str) -> None:
    """RFC 9110 5.6.7: the old asctime form has no zone and means GMT, wherever this runs."""
    program = (
        "from websopy_sync.retry import parse_retry_after as parse;"
        f"print(parse('Fri Sep 29 16:26:57 2023', now={NOW}))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout == "20.0\n"


# --- the budget ----------------------------------------------------------------------------------


def test_budget_is_spent_and_earned() -> None:
    """500 tokens; 14 a retry, 5 when throttled, 1 back for a whole answer."""
    budget = RetryBudget()
    assert budget.tokens == 500
    assert budget.take(throttled=False) and budget.tokens == 486
    assert budget.take(throttled=True) and budget.tokens == 481
    budget.refund()
    assert budget.tokens == 482


def test_budget_is_never_more_than_full() -> None:
    """A good day does not pay for a bad one without end."""
    budget = RetryBudget()
    for _ in range(1000):
        budget.refund()
    assert budget.tokens == 500


@pytest.mark.parametrize(("throttled", "times", "left"), [(False, 35, 10), (True, 100, 0)])
def test_budget_runs_out(throttled: bool, times: int, left: int) -> None:
    """An empty one refuses, and takes nothing then."""
    budget = RetryBudget()
    assert [budget.take(throttled=throttled) for _ in range(times + 3)] == [True] * times + [
        False
    ] * 3
    assert budget.tokens == left


def test_a_cheap_retry_may_still_go_where_an_expensive_one_may_not() -> None:
    """10 tokens are enough for two throttled retries and for no other."""
    budget = RetryBudget()
    while budget.take(throttled=False):
        pass
    assert budget.tokens == 10
    assert budget.take(throttled=True) and budget.take(throttled=True)
    assert not budget.take(throttled=True)


def test_budget_counts_right_over_many_threads() -> None:
    """No token is spent twice or lost when many threads take and give at a time."""
    budget = RetryBudget()
    taken: list[int] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        count = 0
        for _ in range(500):
            count += budget.take(throttled=True)
        taken.append(count)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sum(taken) == 100
    assert budget.tokens == 0


# --- what is retried -----------------------------------------------------------------------------


def test_statuses_that_may_pass() -> None:
    """These and no others."""
    assert sorted(RETRYABLE_STATUSES) == [408, 425, 429, 500, 502, 503, 504, 529]


@each(
    ("failure", "retried"),
    [
        (APIConnectionError("refused"), True),
        (APIConnectionError("lost", sent=True), True),
        (APIConnectionError("bad certificate", retryable=False), False),
        (APITimeoutError("slow", phase="connect"), True),
        (APITimeoutError("slow", phase="first_chunk"), False),
        (APITimeoutError("slow", phase="idle"), False),
        (APITimeoutError("slow", phase="total"), False),
        (APIStatusError("status", retryable=True), True),
        (APIStatusError("status", retryable=False), False),
        (StreamInterruptedError("cut"), False),
        (StreamProtocolError("no stream", retryable=True), False),
    ],
)
def test_which_failures_are_retried(failure: APIError, retried: bool) -> None:
    """What may pass, unless the server may be at work on it or a stream has begun."""
    assert is_retryable(failure) is retried


@each(
    ("retry_ms", "barren", "seconds"),
    [
        (0, 2, 0.0),
        (250, 2, 0.25),
        (30_000, 0, 30.0),
        (10**9, 0, 30.0),
        (None, 0, 0.5),
        (None, 2, 2),
    ],
)
def test_reconnection_delay(retry_ms: int | None, barren: int, seconds: float) -> None:
    """What the server's `retry:` says, at most 30 s; else a backoff."""
    assert reconnection_delay(retry_ms, barren=barren, random=lambda: 1.0) == seconds


# --- the policy ----------------------------------------------------------------------------------


@each(
    ("failure", "delay", "cost"),
    [
        (APIConnectionError("refused"), 3.0, 14),
        (APIStatusError("slow", status_code=500), 3.0, 14),
        (APIStatusError("slow", status_code=503), 3.0, 5),
        (APIStatusError("slow", status_code=429, retry_after=0.0), 0.0, 5),
        (APIStatusError("slow", status_code=429, retry_after=60.0), 60.0, 5),
        (APIStatusError("slow", status_code=429, retry_after=60.1), None, 0),
        (APIStatusError("slow", status_code=500, retry_after=99.0), None, 0),
    ],
)
def test_what_a_retry_is_granted(failure: APIError, delay: float | None, cost: int) -> None:
    """The server's wait before the backoff, unless that is above a minute; paid by the budget."""
    policy = RetryPolicy(2, RetryBudget())
    assert policy.grant(failure, 3.0, allows=lambda seconds: True) == delay
    assert policy.budget.tokens == 500 - cost


def test_no_retry_without_time_for_its_wait() -> None:
    """The wait that counts is the server's; nothing is paid."""
    policy = RetryPolicy(2, RetryBudget())
    asked = APIStatusError("slow", status_code=429, retry_after=5.0)
    for failure, seconds in ((asked, 5.0), (APIConnectionError("refused"), 3.0)):
        waits: list[float] = []
        allows = lambda wait, waits=waits: waits.append(wait)  # noqa: E731  # returns None: no
        assert policy.grant(failure, 3.0, allows=allows) is None
        assert waits == [seconds]
    assert policy.budget.tokens == 500


def test_no_retry_on_an_empty_budget() -> None:
    """10 tokens pay for no retry but a throttled one."""
    policy = RetryPolicy(2, RetryBudget())
    while policy.budget.take(throttled=False):
        pass
    assert policy.grant(APIConnectionError("refused"), 0.0, allows=lambda seconds: True) is None
