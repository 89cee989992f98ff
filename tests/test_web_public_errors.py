"""The error texts that a visitor may read."""

from __future__ import annotations

import json
import pickle

import pytest
from tables import each
from web_bodies import KEY, QUESTION, asked, events_of, opener

from websopy_sync import errors, status_errors
from websopy_sync.chunks import ContentChunk, ErrorChunk
from websopy_sync.sandbox import Steps, cut, error, event, say, status
from websopy_sync.web import public_error, sse_body
from websopy_sync.wires.websopy import parse_chunk


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([say("a"), cut()], "interrupted"),
        (
            [say("a"), error(f"no capacity for {KEY} at http://10.0.0.7/", "overloaded")],
            "service_error",
        ),
        ([say("a"), event("no JSON: <b>")], "unreadable"),
    ],
    ids=["cut", "error chunk", "garbage"],
)
def test_a_late_failure_is_the_last_event(
    script: Steps, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After what had arrived; in a fixed text, with nothing of the service's own words."""
    with asked(script) as (stream, sandbox):
        data = b"".join(sse_body(stream))
        address = sandbox.url
    first, last = events_of([data])
    assert parse_chunk(first.data) == ContentChunk("a")
    assert (last.event, last.id) == ("error", "1")  # no id of its own: the last one stands
    told = parse_chunk(last.data)
    assert isinstance(told, ErrorChunk) and told.code == code
    for secret in (KEY, QUESTION, address, "10.0.0.7", "capacity", "Traceback", "<b>"):
        assert secret not in data.decode()
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.StreamCancelledError("x"), "cancelled"),
        (errors.APITimeoutError("x", phase="idle"), "timeout"),
        (errors.APIConnectionError("x"), "unreachable"),
        (status_errors.RateLimitError("x", status_code=429), "rate_limited"),
        (status_errors.InternalServerError("x", status_code=503), "service_error"),
        (status_errors.AuthenticationError("x", status_code=401), "refused"),
        (status_errors.BadRequestError("x", status_code=400), "refused"),
        (errors.StreamInterruptedError("x"), "interrupted"),
        (errors.StreamServerError("x", code="x"), "service_error"),
        (errors.StreamProtocolError("x"), "unreadable"),
        (errors.PluginError("x", plugin="x"), "internal"),
        (errors.ConfigError("x"), "internal"),
        (ZeroDivisionError("x"), "internal"),
        (KeyboardInterrupt("x"), "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_each_kind_of_failure_has_its_fixed_text(raised: BaseException, code: str) -> None:
    """It depends on the kind alone."""
    told = public_error(raised)
    assert told.code == code
    assert told.message.endswith(".") and "x" not in told.message.split()
    assert public_error(pickle.loads(pickle.dumps(raised))) == told


def test_a_late_refusal_says_when_to_retry() -> None:
    """The event has the seconds of Retry-After, as the status can have no header any more."""
    with opener(status(429, retry_after=90)) as (open_stream, _):
        (last,) = events_of([b"".join(sse_body(open_stream))])
    assert last.event == "error"
    told = json.loads(last.data)["error"]
    assert (told["code"], told["retryAfter"]) == ("rate_limited", 90)


@each(
    ("raised", "fields"),
    [
        (status_errors.RateLimitError("x", status_code=429, retry_after=1.5), {"retryAfter": 1.5}),
        (status_errors.InternalServerError("x", status_code=503, retry_after=0), {"retryAfter": 0}),
        (status_errors.RateLimitError("x", status_code=429), {}),
        (errors.APIConnectionError("x"), {}),
    ],
)
def test_only_what_the_service_said(raised: Exception, fields: dict[str, float]) -> None:
    """Nobody else knows when a retry is welcome."""
    told = public_error(raised).extra
    assert told.get("error", {}) == fields
