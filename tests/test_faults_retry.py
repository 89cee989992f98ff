"""Promises 2, 3, 4: asking again, how often, how soon, and what it may cost."""

from __future__ import annotations

import ast
import email.utils
import json
import pathlib
import threading
import time
import uuid
from typing import Any

import faults
import pytest
from faults import (
    QUICK,
    Conn,
    answer,
    ask,
    client,
    listen,
    play,
    reply,
    reply_status,
    stall,
    status_answer,
    text,
)

import websopy_sync
from websopy_sync import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    CancelToken,
    InternalServerError,
    RateLimitError,
    StreamCancelledError,
    StreamInterruptedError,
    Timeouts,
    hookimpl,
)

AT_ONCE = {"Retry-After": "0"}


def again(code: int = 503) -> faults.Script:
    """A refusal that asks to come back at once."""
    return status_answer(code, AT_ONCE)


def refusing(code: int, headers: dict[str, str]) -> faults.Script:
    """A connection on which every question is refused."""

    def script(conn: Conn) -> None:
        while True:
            conn.read_request()
            reply_status(conn, code, headers)

    return script


# -------------------------------------------------------------------------------- the same question


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_same_key_and_same_body(code: int) -> None:
    """Each repetition of a question carries the same key, a uuid4, and the same body."""
    with play(again(code), again(code), again(code), answer("at last")) as server:
        got = ask(server, temperature=0.5)
        first, *others = server.requests
        assert all(request.body == first.body for request in others)
        key = first.header("idempotency-key")
        assert {request.header("idempotency-key") for request in others} == {key}
    assert (got.text, got.stream.retries_taken) == ("at last", 3)
    assert key is not None and got.stream.idempotency_key == key.decode()
    assert uuid.UUID(key.decode()).version == 4


def test_each_question_has_its_own_key() -> None:
    """Two questions are two keys, though they read alike."""
    with play(faults.answers()) as server, client(server) as asker:
        for _ in range(2):
            ask(server, through=asker)
        one, two = (request.header("idempotency-key") for request in server.requests)
    assert one != two


def test_key_of_the_caller() -> None:
    """A key that the caller gives is the one that is sent."""
    with play(again(), answer()) as server:
        got = ask(server, idempotency_key="order-66")
        assert {request.header("idempotency-key") for request in server.requests} == {b"order-66"}
    assert got.stream.idempotency_key == "order-66"


def test_headers_and_parameters_are_repeated() -> None:
    """Nothing of a question is lost on the way to its second try."""
    with play(again(), answer()) as server:
        ask(server, extra_headers={"X-Mine": "1"}, extra_body={"seed": 4}, temperature=0.5)
        for request in server.requests:
            assert request.header("x-mine") == b"1"
            sent = json.loads(request.body)
            assert (sent["seed"], sent["temperature"]) == (4, 0.5)


# -------------------------------------------------------------------------------------- how often


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_no_more_than_allowed(allowed: int) -> None:
    """max_retries=n is n+1 requests, and the error tells their number."""
    with play(*[again()] * (allowed + 1)) as server:
        got = ask(server, max_retries=allowed)
    assert (type(got.error), got.error.attempts) == (InternalServerError, allowed + 1)
    assert got.error.retryable is True


def test_three_unless_told_otherwise() -> None:
    """The default is three repetitions."""
    with play(*[again()] * 4) as server:
        assert ask(server).error.attempts == 4


def test_call_beats_client() -> None:
    """What the call says counts more than what the client was made with."""
    with play(*[again()] * 2) as server, client(server, max_retries=3) as asker:
        assert ask(server, through=asker, max_retries=1).error.attempts == 2


def test_last_error_is_raised() -> None:
    """When all is in vain the last refusal comes out."""
    with play(again(503), again(500), status_answer(429, AT_ONCE, b"slow")) as server:
        got = ask(server, max_retries=2)
    assert (type(got.error), got.error.body) == (RateLimitError, "slow")


def test_refusal_that_mends_nothing_stops_it() -> None:
    """503, then 400: the 400 is raised."""
    with play(again(503), status_answer(400)) as server:
        assert (ask(server).error.status_code, len(server.requests)) == (400, 2)


@pytest.mark.parametrize("limit", ["first_chunk", "total"])
def test_time_out_after_sending_is_not_repeated(limit: str) -> None:
    """A question that a silent server has is not sent again."""
    limits = Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, limit: 0.15})
    with play(stall) as server:
        got = ask(server, timeout=limits)
    assert (type(got.error), got.error.sent, got.error.attempts) == (APITimeoutError, True, 1)


@pytest.mark.parametrize("pieces", [[], [text("some")], [b": comment\n\n"]])
def test_not_after_the_head(pieces: list[bytes]) -> None:
    """Once the head of an answer came, the question is not sent again, even without a chunk."""
    with play(faults.body(*pieces, end=False)) as server:
        got = ask(server)
    assert type(got.error) is StreamInterruptedError


def test_hooks_see_each_wait() -> None:
    """on_request comes once a question; on_retry before each wait, with its error and delay."""
    seen: list[Any] = []

    class Watcher:
        @hookimpl
        def on_request(self, request: Any) -> None:
            seen.append(("request", request.idempotency_key))

        @hookimpl
        def on_retry(self, error: Exception, delay: float) -> None:
            seen.append((type(error), delay))

    with play(status_answer(500), again(429), answer()) as server:
        with client(server, plugins=[Watcher()]) as asker:
            got = ask(server, through=asker)
    assert seen[0] == ("request", got.stream.idempotency_key)
    assert [kind for kind, _ in seen[1:]] == [InternalServerError, RateLimitError]
    assert 0 <= seen[1][1] <= 0.5 and seen[2][1] == 0


def test_delays_are_jittered_and_grow() -> None:
    """Without word from the server: uniform(0, min(8, 0.5·2ⁿ)), different each time."""
    delays: list[float] = []

    class Watcher:
        @hookimpl
        def on_retry(self, delay: float, stream: Any) -> None:
            delays.append(delay)
            token.cancel()

    with play(always=refusing(500, {})) as server, client(server, plugins=[Watcher()]) as asker:
        for _ in range(12):
            token = CancelToken()
            ask(server, through=asker, cancel_token=token)
    assert len(set(delays)) == 12
    assert all(0 <= delay <= 0.5 for delay in delays)


def test_events_are_asked_again_too() -> None:
    """The native layer repeats under the same rules."""
    with play(again(), answer("hi")) as server, client(server) as asker:
        for event in asker.events("GET", "/ai/chat", params={"message": "hi"}):
            assert "hi" in event.data
            break


def test_native_question_with_a_body() -> None:
    """A native POST is repeated under one key too."""
    with play(faults.hang_up, answer("hi")) as server, client(server) as asker:
        for event in asker.events("POST", "/ai/chat", json={"message": "hi"}):
            assert "hi" in event.data
            break
        keys = {request.header("idempotency-key") for request in server.requests}
        bodies = {request.body for request in server.requests}
    assert len(keys) == len(bodies) == 1 and None not in keys


# ---------------------------------------------------------------------------------- Retry-After


def date_in(seconds: float) -> str:
    """An HTTP date so far from now."""
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("1", 1), ("20", 20), ("60", 60), ("61", 61), ("120", 120), ("007", 7),
        (" 5 ", 5), ("999999", 999999), ("", None), ("-10", None), ("nan", None), ("NaN", None),
        ("inf", None), ("Infinity", None), ("-inf", None), ("abc", None), ("1e3", None),
        ("5s", None), ("0x10", None), ("1_0", None), ("+5", None), ("1,5", None), ("５", None),
        ("Zun, 29 Sep 2023 16:26:57 GMT", "any"), ("Fri, 29 Sep 100000 16:26:57 GMT", None),
        ("Fri, 99 Sep 2023 16:26:57 GMT", None), (",", None), ("; ,", None), ("2147483648", 2**31),
    ],
)  # fmt: skip
def test_what_the_error_says(value: str, seconds: Any) -> None:
    """.retry_after is what the header asks for, or None for what is no time."""
    with play(status_answer(429, {"Retry-After": value.encode().decode("latin-1")})) as server:
        got = ask(server, max_retries=0)
    assert type(got.error) is RateLimitError
    if seconds != "any":
        assert got.error.retry_after == seconds


def test_absurd_number() -> None:
    """A number beyond all floats neither waits nor breaks."""
    with play(status_answer(429, {"Retry-After": "9" * 400})) as server:
        got = ask(server, max_retries=0)
    assert type(got.error) is RateLimitError


@pytest.mark.parametrize(("ahead", "least", "most"), [(30, 27, 31), (600, 597, 601), (-30, 0, 0)])
def test_date(ahead: float, least: float, most: float) -> None:
    """A date counts from now; one that has passed is now."""
    with play(status_answer(503, {"Retry-After": date_in(ahead)})) as server:
        got = ask(server, max_retries=0)
    assert least <= got.error.retry_after <= most


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize("code", [429, 503, 500])
def test_obeyed(code: int) -> None:
    """The next try comes no sooner than asked for."""
    with play(status_answer(code, {"Retry-After": "1"}), answer("later")) as server:
        got = ask(server)
    assert got.text == "later"
    assert 0.95 < got.seconds < 1.7


@pytest.mark.timing
@pytest.mark.slow
def test_date_obeyed() -> None:
    """A date is obeyed too."""
    with play(status_answer(429, {"Retry-After": date_in(2)}), answer("later")) as server:
        got = ask(server, timeout=Timeouts(total=4))
    assert got.text == "later"
    assert 0.8 < got.seconds < 2.6


@pytest.mark.timing
@pytest.mark.parametrize(
    "value", ["61", "120", "86400", "9" * 30, pytest.param(date_in(3600), id="date")]
)
def test_too_long(value: str) -> None:
    """More than a minute is not waited: the error comes at once and says how long."""
    with play(status_answer(429, {"Retry-After": value})) as server:
        got = ask(server, timeout=Timeouts(total=1000))
    assert (type(got.error), got.error.attempts) == (RateLimitError, 1)
    assert got.error.retry_after > 60
    assert got.seconds < 0.5


@pytest.mark.timing
def test_beyond_the_deadline() -> None:
    """A wait that the total limit does not allow is not begun."""
    with play(status_answer(429, {"Retry-After": "5"})) as server:
        got = ask(server, timeout=Timeouts(total=1))
    assert (type(got.error), got.error.retry_after) == (RateLimitError, 5)
    assert got.seconds < 0.5


@pytest.mark.timing
@pytest.mark.parametrize(
    "value", ["abc", "-10", "nan", "inf", "", "Fri, 29 Sep 100000 16:26:57 GMT"]
)
def test_garbage_is_no_reason_to_stop(value: str) -> None:
    """What is no time is as if it were not there: back-off, and again."""
    with play(status_answer(429, {"Retry-After": value}), answer("again")) as server:
        got = ask(server)
    assert got.text == "again"
    assert got.seconds < 1.0


def test_garbage_does_not_hide_the_status() -> None:
    """A bad date on a 400 leaves the 400."""
    with play(status_answer(400, {"Retry-After": "Fri, 29 Sep 100000 16:26:57 GMT"})) as server:
        assert ask(server).error.status_code == 400


def test_twice() -> None:
    """Two such headers break nothing."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(
            b"HTTP/1.1 429 No\r\nRetry-After: 1\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
        )

    with play(script) as server:
        assert type(ask(server, max_retries=0).error) is RateLimitError


# ------------------------------------------------------------------------- inside the deadline


@pytest.mark.timing
def test_total_limit_over_all_tries() -> None:
    """However often it may be repeated, the total limit ends it."""
    with play(always=refusing(500, {})) as server:
        limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.6)
        got = ask(server, max_retries=50, timeout=limits)
        assert len(server.requests) < 20
    assert isinstance(got.error, InternalServerError | APITimeoutError)
    assert got.seconds < 1.0


@pytest.mark.timing
def test_limit_is_not_new_with_each_try() -> None:
    """A try begun late has what is left of the total, not all of it."""

    def slow_refusal(conn: Conn) -> None:
        while True:  # a connection that was closed between two tries would be another failure
            conn.read_request()
            conn.pause(0.25)
            reply_status(conn, 503, AT_ONCE)

    with play(always=slow_refusal) as server:
        limits = Timeouts(connect=5, first_chunk=5, idle=5, total=0.6)
        got = ask(server, max_retries=50, timeout=limits)
    assert isinstance(got.error, APIStatusError | APITimeoutError)
    assert got.seconds < 1.0


@pytest.mark.timing
@pytest.mark.parametrize("seconds", [0, 0.05])
def test_cancel_in_the_wait(seconds: float) -> None:
    """cancel() ends a wait at once, and nothing is sent after it."""
    token = CancelToken()

    class Thrower:
        @hookimpl
        def on_retry(self) -> None:
            threading.Timer(seconds, token.cancel).start() if seconds else token.cancel()

    with play(status_answer(503, {"Retry-After": "30"})) as server:
        with client(server, plugins=[Thrower()], timeout=Timeouts(total=100)) as asker:
            got = ask(server, through=asker, cancel_token=token)
    assert (type(got.error), got.error.reason) == (StreamCancelledError, "cancelled")
    assert got.seconds < 0.7


@pytest.mark.timing
def test_client_closed_in_the_wait() -> None:
    """Closing the client ends a wait as well."""
    waiting = threading.Event()

    class Teller:
        @hookimpl
        def on_retry(self) -> None:
            waiting.set()

    with play(status_answer(503, {"Retry-After": "30"})) as server:
        asker = client(server, plugins=[Teller()], timeout=Timeouts(total=100))
        closer = threading.Thread(target=lambda: (waiting.wait(2), time.sleep(0.05), asker.close()))
        closer.start()
        got = ask(server, through=asker)
        closer.join()
    assert type(got.error) is StreamCancelledError
    assert (got.error.reason, got.seconds < 1.0) == ("closed", True)


# ---------------------------------------------------------------------------------- the budget


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.parametrize(("code", "retries"), [(500, 500 // 14), (503, 500 // 5), (429, 500 // 5)])
def test_outage_of_a_thousand_calls(code: int, retries: int) -> None:
    """In an outage a client soon stops repeating: a thousand calls, a handful of repetitions."""
    with play(always=refusing(code, AT_ONCE)) as server, client(server) as asker:
        for _ in range(1000):
            with pytest.raises(APIStatusError):
                asker.ai.chat_stream("hi")
        assert 1000 + retries - 3 <= len(server.requests) <= 1000 + retries


def test_outage_of_connections() -> None:
    """Lost connections are paid for from the same budget."""

    with play(always=refusing(500, {**AT_ONCE, "Connection": "close"})) as server:
        with client(server) as asker:
            for _ in range(40):
                ask(server, through=asker)
            server.always = faults.hang_up
            got = ask(server, through=asker)
    assert (type(got.error), got.error.attempts) == (APIConnectionError, 1)


def test_budget_comes_back_with_success() -> None:
    """Each whole answer earns a little of it back: after thirty, two repetitions of 14 tokens."""
    well = threading.Event()

    def script(conn: Conn) -> None:
        while True:
            conn.read_request()
            if well.is_set():
                reply(conn, "well")
            else:
                reply_status(conn, 500, AT_ONCE)

    with play(always=script) as server, client(server) as asker:
        for _ in range(40):
            ask(server, through=asker)
        assert ask(server, through=asker).error.attempts == 1
        well.set()
        for _ in range(30):
            assert ask(server, through=asker).text == "well"
        well.clear()
        assert ask(server, through=asker).error.attempts == 3


def test_budgets_of_two_clients() -> None:
    """One client's outage is not another's."""
    with play(always=refusing(500, AT_ONCE)) as server:
        with client(server) as poor, client(server) as rich:
            for _ in range(40):
                ask(server, through=poor)
            assert ask(server, through=poor).error.attempts == 1
            assert ask(server, through=rich).error.attempts == 4


def test_budget_over_threads() -> None:
    """Eight threads in the same outage take no more from it than one."""
    with play(always=refusing(500, AT_ONCE)) as server, client(server) as asker:

        def ask_often() -> None:
            for _ in range(20):
                listen(lambda: asker.ai.chat_stream("hi"))

        threads = [threading.Thread(target=ask_often) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 160 + 35 - 3 <= len(server.requests) <= 160 + 35


# ----------------------------------------------------------------------------------- the clock


@pytest.mark.slow
def test_no_clock_but_the_monotonic_one() -> None:
    """A wall clock that jumps moves no limit: time.time() is read for Retry-After dates alone."""
    package = pathlib.Path(websopy_sync.__file__).parent
    readers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "time.time", "time.sleep", "time.time_ns", "datetime.now", "datetime.datetime.now",
            ):  # fmt: skip
                readers.add((path.relative_to(package).parts[0], ast.unparse(node)))
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                names = {alias.name for alias in node.names}
                assert not names & {"time", "sleep", "time_ns"}, path
    own = {reader for reader in readers if reader[0] not in ("sandbox", "cli")}
    assert {name for _, name in own} <= {"time.time"}
    assert len(own) <= 1


def test_quick_limits_leave_room() -> None:
    """The tests' own limits allow three tries of a question."""
    assert QUICK.total is not None and QUICK.total > 0.5 + 1.0
    with play(lambda conn: (conn.read_request(), reply(conn, "hi"))) as server:
        assert ask(server).text == "hi"
