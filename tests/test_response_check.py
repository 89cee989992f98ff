"""Which responses are event streams, and which errors stand for the others."""

from __future__ import annotations

import json

import pytest
from tables import each

from websopy_sync.cancel import CancelScope
from websopy_sync.errors import APIError, APIStatusError, StreamCancelledError, StreamProtocolError
from websopy_sync.redaction import Redactor
from websopy_sync.response_check import ERROR_BODY_LIMIT, ERROR_BODY_SECONDS, response_problem
from websopy_sync.retry import RETRYABLE_STATUSES
from websopy_sync.secret import Secret

KEY = "ws-secret-key-1234567890"


class Response:
    """A response that notes what becomes of it."""

    def __init__(self, status: int, body: bytes = b"", *, coding: str = "", **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = body
        self.coding = coding
        self.done: list[str] = []

    def decode(self) -> None:
        self.done.append("decoded")
        if self.coding:
            raise StreamProtocolError(self.coding)

    def read_error_body(self, *, limit: int, seconds: float) -> bytes:
        assert (limit, seconds) == (ERROR_BODY_LIMIT, ERROR_BODY_SECONDS)
        return self.body

    def release(self) -> None:
        self.done.append("released")

    def close(self) -> None:
        self.done.append("closed")


def problem_of(response: Response, scope: CancelScope | None = None) -> APIError | None:
    """What is wrong with it."""
    return response_problem(
        response,  # type: ignore[arg-type]  # it is played
        scope=scope or CancelScope(None),
        redact=Redactor([Secret(KEY)]),
        content_types=("text/event-stream",),
    )


@pytest.mark.parametrize(
    "kind",
    [
        "text/event-stream",
        "text/event-stream; charset=utf-8",
        "Text/Event-Stream",
        " text/event-stream ;x",
    ],
)
def test_an_event_stream_is_good(kind: str) -> None:
    """It is left open, ready to be read."""
    response = Response(200, content_type=kind)
    assert problem_of(response) is None
    assert response.done == ["decoded"]


def test_an_unknown_coding_is_closed() -> None:
    """The error holds nothing of the libraries below."""
    response = Response(200, coding="bad coding", content_type="text/event-stream")
    problem = problem_of(response)
    assert isinstance(problem, StreamProtocolError) and problem.message == "bad coding"
    assert problem.__context__ is None and problem.__traceback__ is None
    assert response.done == ["decoded", "closed"]


@pytest.mark.parametrize(
    ("status", "kind", "got"),
    [
        (200, "text/html", "got 200 with text/html: <p> no </p>"),
        (200, "", "got 200 with no content type: <p> no </p>"),
        (200, "text/event-stream-x", "got 200 with text/event-stream-x: "),
        (204, "text/event-stream", "got 204 with text/event-stream: "),
        (299, "application/json", "got 299 with application/json: "),
    ],
)
def test_any_other_success_says_what_came(status: int, kind: str, got: str) -> None:
    """Its type, and the beginning of its body in one line."""
    response = Response(status, b"<p>\n  no\n</p>", content_type=kind)
    problem = problem_of(response)
    assert isinstance(problem, StreamProtocolError) and got in problem.message
    assert not problem.retryable
    assert response.done == ["released"]


def test_long_texts_are_cut() -> None:
    """At 200 characters of the body, at 100 of the content type."""
    problem = problem_of(Response(200, b"x" * 300, content_type="y" * 300))
    assert problem is not None
    assert problem.message.endswith(f"got 200 with {'y' * 100}: {'x' * 200}")


@each("status", [300, 301, 399, 400, 401, 404, 418, 429, 499, 500, 503, 529, 599])
def test_an_error_status_is_data(status: int) -> None:
    """Status, body, headers and Retry-After; whether it may pass is as `retry` says."""
    response = Response(status, b'{"x": 1}', retry_after="7", content_type="text/event-stream")
    problem = problem_of(response)
    assert isinstance(problem, APIStatusError)
    assert (problem.status_code, problem.body, problem.retry_after) == (status, '{"x": 1}', 7.0)
    assert problem.headers["retry-after"] == "7"
    assert problem.retryable is (status in RETRYABLE_STATUSES)
    assert ("redirect" in problem.message) is (status < 400)
    assert response.done == ["released"]


def test_secrets_are_taken_out_of_all_of_it() -> None:
    """Of body, headers, content type and message."""
    for status in (200, 401):
        response = Response(status, f"bad {KEY}".encode(), content_type=KEY, x_echo=KEY)
        problem = problem_of(response)
        assert problem is not None
        assert KEY not in f"{problem} {vars(problem)}"


def test_a_cancel_while_the_body_is_read_is_a_cancel() -> None:
    """Not the status that was on its way."""
    scope = CancelScope(None)
    scope.abort("cancelled")
    with pytest.raises(StreamCancelledError):
        problem_of(Response(500), scope)


@each(
    ("body", "code"),
    [
        (b'{"error":{"message":"m","type":"invalid_request_error","code":"too_long"}}', "too_long"),
        (b'{"error":{"message":"m","type":"server_error","code":null}}', "server_error"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', "overloaded_error"),
        (b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]', "RESOURCE_EXHAUSTED"),
        (b'{"error":{"code":429}}', "429"),
        (b'{"error":"model not found"}', None),
        (b'{"error":{"code":"' + KEY.encode() + b'"}}', "***"),
        (b"[]", None),
        (b'"code"', None),
        (b"<html>", None),
        (b"", None),
        (b"[" * 50_000, None),
        (b'{"code":NaN}', None),
        (b'{"code":"\xff\\ud83d"}', "\ufffd\ufffd"),
    ],
)
def test_what_the_service_calls_an_error(body: bytes, code: str | None) -> None:
    """Programs tell errors of one status apart by it."""
    problem = problem_of(Response(400, body))
    assert isinstance(problem, APIStatusError) and problem.code == code


@each(
    ("headers", "details", "seconds"),
    [
        ({}, [{"@type": "x"}, {"retryDelay": "34.5s"}], 34.5),
        ({"retry_after": "2"}, [{"retryDelay": "34s"}], 2.0),
        ({}, [{"retryDelay": "34"}, {"retryDelay": 34}, 7], None),
        ({}, [{"retryDelay": "soon, in s"}], None),
        ({}, {"retryDelay": "34s"}, None),
    ],
)
def test_how_long_google_asks_to_wait(
    headers: dict[str, str], details: object, seconds: float | None
) -> None:
    """PROMISE 4: it says so in the body, also in one that is a list."""
    fields = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}
    for body in (fields, [fields]):
        problem = problem_of(Response(429, json.dumps(body).encode(), **headers))
        assert isinstance(problem, APIStatusError)
        assert (problem.retry_after, problem.code) == (seconds, "RESOURCE_EXHAUSTED")
