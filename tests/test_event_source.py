"""One line of events over retries and reconnections, with a transport that is played."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from websopy_sync.cancel import CancelScope
from websopy_sync.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
)
from websopy_sync.event_format import EventFormat
from websopy_sync.event_source import EventSource
from websopy_sync.resume import MAX_WITHOUT_IDS
from websopy_sync.retry import RetryBudget, RetryPolicy
from websopy_sync.secret import Secret
from websopy_sync.status_errors import AuthenticationError, RateLimitError
from websopy_sync.timeouts import Timeouts
from websopy_sync.transport import HTTPRequest

CUT = StreamInterruptedError("cut")
REFUSED = APIConnectionError("refused")
REQUEST = HTTPRequest("POST", "http://x", {"Idempotency-Key": "k"}, b"{}")


class Response:
    """A response whose body is the given pieces, ended by an error or by nothing."""

    def __init__(self, *pieces: bytes | Exception, status: int = 200, **headers: str) -> None:
        self.status_code = status
        self.headers = {"content-type": "text/event-stream"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        self.pieces = list(pieces)
        self.ended: list[str] = []

    def receive(self) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def read_error_body(self, **_: float) -> bytes:
        return self.receive()

    def decode(self) -> None:
        """Nothing is encoded."""

    def release(self) -> None:
        self.ended.append("released")

    def close(self) -> None:
        self.ended.append("closed")


class Transport:
    """Gives the responses in turn, and keeps the requests."""

    def __init__(self, *responses: Response | Exception) -> None:
        self.responses = list(responses)
        self.requests: list[HTTPRequest] = []
        self.limits: list[tuple[str, float | None]] = []

    def send(
        self,
        http_request: HTTPRequest,
        scope: CancelScope,
        *,
        key: Secret[str],
        connect: float,
        limit: Any,
    ) -> Response:
        self.requests.append(http_request)
        self.limits.append(limit)
        response = self.responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response


def source_of(
    *responses: Response | Exception,
    resume: bool = True,
    scope: CancelScope | None = None,
    budget: RetryBudget | None = None,
    **format: Any,
) -> tuple[EventSource, Transport]:
    """A source that reads these responses, and never waits for long."""
    transport = Transport(*responses)
    policy = RetryPolicy(2, budget or RetryBudget(), resume=resume, random=lambda: 0.0)
    source = EventSource(
        transport,  # type: ignore[arg-type]  # it is played
        REQUEST,
        scope or CancelScope(None),
        timeouts=Timeouts(first_chunk=11, idle=22),
        retry=policy,
        format=EventFormat(request_id_headers=("x-other", "x-request-id"), **format),
    )
    return source, transport


def ignore(error: APIError, delay: float) -> None:
    """Nobody listens to retries."""


def read(source: EventSource, on_retry: Callable[[APIError, float], None] = ignore) -> list[str]:
    """The data of all events of a source, until they end."""
    source.open(on_retry)
    return [data for _, data, *_ in source.events(on_retry)]


# --- open ----------------------------------------------------------------------------------------


def test_retries_send_the_same_request() -> None:
    """Until a good response is here; its headers, status and request id are kept."""
    good = Response(x_request_id="r1")
    source, transport = source_of(REFUSED, Response(status=503), good)
    assert (source.attempts, source.status_code, source.headers) == (0, 0, {})
    source.open(ignore)
    assert transport.requests == [REQUEST] * 3
    assert transport.limits == [("first_chunk", 11)] * 3
    assert (source.attempts, source.status_code, source.request_id) == (3, 200, "r1")
    assert source.headers == good.headers


def test_the_last_failure_is_raised() -> None:
    """With the number of attempts in its text, and nothing as its context."""
    last = Response(b"slow", status=429, x_request_id="r2")
    source, _ = source_of(Response(status=500), REFUSED, last)
    with pytest.raises(RateLimitError) as caught:
        source.open(ignore)
    assert str(caught.value) == "the server answered 429, an error: slow (3 attempts)"
    assert caught.value.args == (str(caught.value),)
    assert caught.value.request_id == "r2"
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (Response(status=401), AuthenticationError),
        (Response(content_type="text/html"), StreamProtocolError),
        (APITimeoutError("late", phase="first_chunk", sent=True), APITimeoutError),
        (APITimeoutError("late", phase="total"), APITimeoutError),
        (StreamCancelledError("cancelled"), StreamCancelledError),
    ],
)
def test_what_will_not_pass_is_not_retried(
    response: Response | Exception, error: type[APIError]
) -> None:
    """It is raised as it is."""
    source, transport = source_of(response)
    with pytest.raises(error) as caught:
        source.open(ignore)
    assert len(transport.requests) == 1
    assert "attempts" not in str(caught.value)


def test_two_attempts_are_said() -> None:
    """As soon as there was a retry."""
    source, _ = source_of(REFUSED, Response(status=401))
    with pytest.raises(AuthenticationError, match=r"\(2 attempts\)"):
        source.open(ignore)


def test_attempts_and_retries_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With WEBSOPY_LOG=debug; the failure by its class alone, as its text may hold anything."""
    source, _ = source_of(REFUSED, Response())
    with caplog.at_level("DEBUG", "websopy_sync.event_source"):
        source.open(ignore)
    assert caplog.messages == [
        "retrying in 0.000 s: APIConnectionError",
        "attempt 2: status 200",
    ]


def test_on_retry_is_called_before_each_wait() -> None:
    """With the failure, the attempts so far and the delay."""
    start = time.monotonic()
    heard = []
    source, _ = source_of(REFUSED, Response(status=503, retry_after="0.05"), Response())
    source.open(lambda error, delay: heard.append((type(error).__name__, error.attempts, delay)))
    assert heard == [("APIConnectionError", 1, 0.0), ("InternalServerError", 2, 0.05)]
    assert time.monotonic() - start >= 0.049


def test_an_abort_in_on_retry_sends_nothing_more() -> None:
    """The wait ends at once."""
    scope = CancelScope(None)
    source, transport = source_of(REFUSED, Response(), scope=scope)
    with pytest.raises(StreamCancelledError):
        source.open(lambda error, delay: scope.abort("cancelled"))
    assert len(transport.requests) == 1


def test_an_empty_budget_allows_no_retry() -> None:
    """The client has spent it on an outage."""
    budget = RetryBudget()
    while budget.take(throttled=True):
        pass
    source, transport = source_of(REFUSED, Response(), budget=budget)
    with pytest.raises(APIConnectionError):
        source.open(ignore)
    assert len(transport.requests) == 1


# --- events --------------------------------------------------------------------------------------


def test_events_of_one_connection() -> None:
    """However its bytes are cut; `last_event_id` follows."""
    source, _ = source_of(Response(b"id: 1\nda", b"ta: a\n\ndata: b\n\n"), may_end=bool)
    assert read(source) == ["a", "b"]
    assert source.last_event_id == "1"


def test_the_end_of_the_bytes_is_no_good_end_of_a_chat() -> None:
    """A chat ends with its done chunk, whose reader asks for no more."""
    source, _ = source_of(Response(b"data: a\n\n"))
    with pytest.raises(StreamInterruptedError, match="before its done chunk") as caught:
        read(source)
    assert caught.value.last_event_id == ""
    assert caught.value.__context__ is None


def test_goes_on_after_the_last_id() -> None:
    """Over two more connections; the id goes out as UTF-8, and repeats are dropped."""
    source, transport = source_of(
        Response("retry: 0\nid: ü\ndata: a\n\n".encode(), CUT),
        Response("id: ü\ndata: a\n\nid: 2\ndata: b\n\n".encode(), CUT),
        Response(b"id: 3\ndata: c\n\n"),
        may_end=bool,
    )
    delays: list[float] = []
    assert read(source, lambda error, delay: delays.append(delay)) == ["a", "b", "c"]
    assert delays == [0.0, 0.0]
    sent = [request.headers.get("Last-Event-ID") for request in transport.requests]
    assert sent == [None, "ü".encode(), b"2"]
    assert {request.headers["Idempotency-Key"] for request in transport.requests} == {"k"}
    assert transport.limits[1:] == [("idle", 22)] * 2


def test_the_servers_delay_outlives_the_connection() -> None:
    """`retry:` of the first connection holds for all later reconnections."""
    source, _ = source_of(
        Response(b"retry: 20\nid: 1\ndata: a\n\n", CUT),
        Response(b"id: 2\ndata: b\n\n", CUT),
        Response(),
        may_end=bool,
    )
    delays: list[float] = []
    read(source, lambda error, delay: delays.append(delay))
    assert delays == [0.02, 0.02]


def test_half_an_event_does_not_leak_into_the_next_connection() -> None:
    """The standard drops it with its connection."""
    source, _ = source_of(
        Response(b"retry: 0\nid: 1\ndata: a\n\nid: 9\ndata: ha", CUT),
        Response(b"id: 2\ndata: b\n\n"),
        may_end=bool,
    )
    assert read(source) == ["a", "b"]
    assert source.last_event_id == "2"


def test_a_failed_reconnection_is_retried() -> None:
    """For what may pass, as a request is."""
    source, transport = source_of(
        Response(b"retry: 0\nid: 1\ndata: a\n\n", CUT),
        REFUSED,
        Response(status=502),
        Response(b"id: 2\ndata: b\n\n"),
        may_end=bool,
    )
    assert read(source) == ["a", "b"]
    assert len(transport.requests) == 4


def test_repeats_without_ids_are_dropped() -> None:
    """They were delivered before an event with an id, which comes again too."""
    old = b"retry: 0\n\ndata: x\n\nid: 1\ndata: a\n\n"
    new = b"id: 2\ndata: b\n\n"
    source, _ = source_of(Response(old, CUT), Response(old + new), may_end=bool)
    assert read(source) == ["x", "a", "b"]


def test_a_restart_is_no_resumed_stream() -> None:
    """The server ignored the id: what it sends is not delivered again."""
    source, _ = source_of(
        Response(b"retry: 0\nid: 1\ndata: a\n\n", CUT), Response(b"id: 7\ndata: a\n\n")
    )
    with pytest.raises(StreamInterruptedError, match="does not go on") as caught:
        read(source)
    assert caught.value.last_event_id == "1"


def test_held_events_are_delivered_at_a_good_end() -> None:
    """They might have been repeats; with no more to come they are new."""
    source, _ = source_of(
        Response(b"retry: 0\nid: 1\ndata: a\n\ndata: x\n\nid: 2\ndata: b\n\n", CUT),
        Response(b"data: x\n\n"),
        may_end=bool,
    )
    assert read(source) == ["a", "x", "b", "x"]


def test_three_barren_reconnections_before_the_first_event() -> None:
    """An id that came without an event can be resumed after."""
    source, transport = source_of(
        Response(b"retry: 0\nid: 1\n\n", CUT), *[Response(CUT) for _ in range(3)]
    )
    with pytest.raises(StreamInterruptedError, match="3 reconnections brought nothing"):
        read(source)
    assert len(transport.requests) == 4


def test_many_events_without_ids() -> None:
    """All are delivered, after resuming has stopped to remember them too."""
    count = MAX_WITHOUT_IDS + 5
    source, transport = source_of(Response(*[b"data: x\n\n"] * count, CUT))
    source.open(ignore)
    events = source.events(ignore)
    assert [data for _, data, *_ in itertools.islice(events, count)] == ["x"] * count
    with pytest.raises(StreamInterruptedError):
        next(events)
    assert len(transport.requests) == 1


def test_progress_makes_reconnections_count_anew() -> None:
    """Three in a row that bring nothing are the end, not three in all."""
    first = Response(b"retry: 0\nid: 0\ndata: 0\n\n", CUT)
    more = [Response(f"id: {n}\ndata: {n}\n\n".encode(), CUT) for n in range(1, 6)]
    source, transport = source_of(first, *more, Response(CUT), Response(CUT), Response(CUT))
    source.open(ignore)
    got = []
    with pytest.raises(StreamInterruptedError, match="3 reconnections brought nothing") as caught:
        got += [data for _, data, *_ in source.events(ignore) if data not in got]
    assert len(transport.requests) == 9
    assert caught.value.last_event_id == "5"


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (Response(status=204), "cut; not resumed: expected status 200"),
        (Response(status=401), "cut; not resumed: the server answered 401"),
    ],
)
def test_a_response_that_ends_the_reconnecting(response: Response, why: str) -> None:
    """204 stops it for good (WHATWG 9.2.3), and so does an error that will not pass."""
    source, transport = source_of(Response(b"retry: 0\nid: 1\ndata: a\n\n", CUT), response)
    with pytest.raises(StreamInterruptedError, match=why) as caught:
        read(source)
    assert len(transport.requests) == 2
    assert caught.value.last_event_id == "1"
    assert caught.value.__context__ is None


def test_a_timeout_while_reconnecting_stays_one() -> None:
    """The reader learns which limit has passed."""
    late = APITimeoutError("late", phase="idle")
    source, _ = source_of(Response(b"retry: 0\nid: 1\ndata: a\n\n", CUT), late)
    with pytest.raises(APITimeoutError) as caught:
        read(source)
    assert caught.value is late


@pytest.mark.parametrize(
    ("body", "resume"), [(b"id: 1\ndata: a\n\n", False), (b"data: a\n\n", True), (b"", True)]
)
def test_what_cannot_be_resumed(body: bytes, resume: bool) -> None:
    """Resuming is off, or no id names the place."""
    source, transport = source_of(Response(body or CUT, CUT), resume=resume)
    with pytest.raises(StreamInterruptedError, match=r"^cut$"):
        read(source)
    assert len(transport.requests) == 1


def test_no_time_for_a_reconnection() -> None:
    """A wait that would pass the total limit is not begun."""
    scope = CancelScope(5)
    source, transport = source_of(
        Response(b"retry: 9000\nid: 1\ndata: a\n\n", CUT), Response(), scope=scope
    )
    with pytest.raises(StreamInterruptedError, match="not resumed"):
        read(source)
    assert len(transport.requests) == 1


# --- the connection ------------------------------------------------------------------------------


def test_the_lost_connection_is_closed_before_the_next() -> None:
    """And the one that is being read by close()."""
    lost = Response(b"retry: 0\nid: 1\ndata: a\n\n", CUT)
    good = Response(b"id: 2\ndata: b\n\n")
    source, _ = source_of(lost, good)
    source.open(ignore)
    events = source.events(ignore)
    assert [next(events)[1], next(events)[1]] == ["a", "b"]
    assert (lost.ended, good.ended) == (["closed"], [])
    source.close()
    source.close()
    assert good.ended == ["closed"]


def test_release_keeps_the_connection_and_earns_budget() -> None:
    """Once, however often it is called."""
    budget, response = RetryBudget(), Response()
    assert budget.take(throttled=True)
    source, _ = source_of(response, budget=budget)
    source.open(ignore)
    for _ in range(2):
        source.release()
    source.close()
    assert (response.ended, budget.tokens) == (["released"], 496)


@pytest.mark.parametrize("aborted", [True, False])
def test_reading_on_after_close(aborted: bool) -> None:
    """The abort's error; without one, that the connection is closed."""
    scope = CancelScope(None)
    source, _ = source_of(Response(b"data: a\n\n"), scope=scope)
    source.open(ignore)
    events = source.events(ignore)
    next(events)
    source.close()
    if aborted:
        scope.abort("closed")
    error = StreamCancelledError if aborted else StreamInterruptedError
    with pytest.raises(error, match="closed"):
        next(events)


def test_pings_are_left_out_when_ignored() -> None:
    """They move no id and do not stand in the way of resuming."""
    source, _ = source_of(
        Response(b"retry: 0\nid: 1\ndata: a\n\nevent: ping\ndata: {}\n\n", CUT),
        Response(b"id: 2\ndata: b\n\n"),
        ignore="ping",
        may_end=bool,
    )
    assert read(source) == ["a", "b"]
