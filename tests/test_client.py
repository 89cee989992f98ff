"""The client: its life, what it shows, and native events."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import requests
from discretion import GUIDE_QUESTION, KEY, PROMPT, assert_discreet

from websopy_sync import (
    CancelToken,
    ConfigError,
    ServerSentEvent,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    WebsopyClient,
)
from websopy_sync.sandbox import (
    Sandbox,
    comment,
    cut,
    done,
    event,
    headers,
    no_ids,
    ping,
    raw,
    say,
    silence,
    status,
)


@pytest.fixture
def client(make: Callable[..., WebsopyClient]) -> WebsopyClient:
    return make(api_key=KEY)


def test_repr_shows_no_key(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Nor does that of anything reachable by a name."""
    assert repr(client) == f"<WebsopyClient {sandbox.url}>"
    assert KEY not in repr(vars(client)) and KEY not in repr(vars(client.ai))


def test_closing_the_client_closes_its_streams(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Whoever opens, closes: `with client:` leaves no connection."""
    sandbox.play([say("a"), silence()])
    sandbox.play([say("b"), silence()])
    with client:
        read = client.ai.chat_stream("x")
        assert next(read).type == "content"
        unread = client.ai.chat_stream("x")
    assert (read.state, unread.state) == ("closed", "closed")
    assert sandbox.wait_disconnect(2)
    assert sandbox.wait_closed()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.ai.chat_stream("x"),
        lambda client: client.ai.chat("x"),
        lambda client: client.events("GET", "/ai/chat"),
        lambda client: client.ai.conversation().send("x"),
    ],
    ids=["chat_stream", "chat", "events", "send"],
)
def test_a_closed_client_sends_nothing(
    client: WebsopyClient, sandbox: Sandbox, call: Callable[[WebsopyClient], object]
) -> None:
    """And says why; closing it again is fine."""
    client.close()
    client.close()
    with pytest.raises(ConfigError, match="closed"):
        call(client)
    assert not sandbox.requests


def test_a_session_stays_the_callers(make: Callable[..., WebsopyClient]) -> None:
    """Its headers and cookies are not ours to send, and it is not ours to close."""
    closed = []

    class Session(requests.Session):
        def close(self) -> None:
            closed.append(self)
            super().close()

    with Session() as session:
        session.headers["X-Session"] = "1"
        client = make(session=session)
        assert client.ai.chat(GUIDE_QUESTION).content
        client.close()
        assert not closed


def test_unverified_tls_warns() -> None:
    """Only an explicit argument turns the check off, and a warning names the line."""
    with pytest.warns(UserWarning, match="verify=False") as warned:
        WebsopyClient(KEY, base_url="https://127.0.0.1:9/v1", verify=False, plugins=[]).close()
    assert [warning.filename for warning in warned] == [__file__]


def test_log_holds_no_secret(
    client: WebsopyClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """PROMISE 21: at no level, in ours nor in a library's log."""
    with caplog.at_level(logging.DEBUG):
        sandbox.play(status(503, retry_after=0))
        client.ai.chat(PROMPT)
        list(client.events("GET", "/ai/chat", params={"message": PROMPT}))
    assert caplog.records
    for record in caplog.records:
        text = record.getMessage() + repr(record.args)
        assert KEY not in text
        assert PROMPT not in text and PROMPT.replace(" ", "+") not in text


def test_the_guides_native_form(client: WebsopyClient, sandbox: Sandbox) -> None:
    """GET /ai/chat?message=Hello, its events as they are."""
    stream = client.events("GET", "/ai/chat", params={"message": "Hello 世界"})
    events = list(stream)
    (request,) = sandbox.requests
    assert (request.method, request.path, request.query) == (
        "GET",
        "/v1/ai/chat",
        {"message": "Hello 世界"},
    )
    assert request.body == b"" and "content-type" not in request.headers
    assert request.headers["accept"] == "text/event-stream"
    assert json.loads(events[-1].data)["type"] == "done"
    assert stream.state == "done"
    assert stream.status_code == 200 and stream.request_id == "sandbox-1"


def test_native_events_are_not_read_as_chunks(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Pings, names, ids, data that is no JSON: all as it came; no event ends the stream."""
    sandbox.play(
        [ping(), comment("c"), event("no json", event="e", id="7"), say("x"), done(), say("after")]
    )
    events = list(client.events("GET", "/ai/chat?message=x"))
    assert events[0] == ServerSentEvent("ping", '{"type": "ping"}', "")
    assert events[1] == ServerSentEvent("e", "no json", "7")
    assert [json.loads(event_.data)["type"] for event_ in events[2:]] == [
        "content",
        "done",
        "content",
    ]


def test_native_post(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Any request of the service, with a JSON body."""
    asked = {"messages": [{"role": "user", "content": GUIDE_QUESTION}]}
    list(client.events("post", "/ai/chat", json=asked, extra_headers={"X-A": "1"}))
    (request,) = sandbox.requests
    assert (request.method, request.json, request.headers["x-a"]) == ("POST", asked, "1")
    assert request.headers["content-type"] == "application/json"


def test_native_cut_is_an_error(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 11: what ends too early does not look like an end."""
    sandbox.play([no_ids(), say("a"), cut()])
    stream = client.events("GET", "/ai/chat?message=x")
    assert json.loads(next(stream).data)["content"] == "a"
    with pytest.raises(StreamInterruptedError):
        next(stream)
    assert stream.state == "error"


def test_native_stream_is_read_once_and_left_at_once(
    client: WebsopyClient, sandbox: Sandbox
) -> None:
    """Break closes the connection though the stream is held."""
    sandbox.play([say("a"), silence()])
    stream = client.events("GET", "/ai/chat?message=x")
    for _ in stream:
        break
    assert stream.state == "closed"
    assert sandbox.wait_disconnect()
    with pytest.raises(StreamError, match="once"):
        iter(stream)


def test_native_cancel(client: WebsopyClient, sandbox: Sandbox) -> None:
    """By token, too."""
    sandbox.play([say("a"), silence()])
    token = CancelToken()
    stream = client.events("GET", "/ai/chat?message=x", cancel_token=token)
    next(stream)
    token.cancel()
    with pytest.raises(StreamCancelledError) as caught:
        next(stream)
    assert caught.value.reason == stream.state == "cancelled"


def test_native_empty_answer_is_an_end(client: WebsopyClient, sandbox: Sandbox) -> None:
    """No event is no error in a stream that has no end mark."""
    sandbox.play([raw(b"")])
    assert list(client.events("GET", "/ai/chat?message=x")) == []


def test_native_framing_of_the_end(client: WebsopyClient, sandbox: Sandbox) -> None:
    """However the end of the body is framed."""
    for framing in ("chunked", "content-length", "close", "gzip", "trickle"):
        sandbox.play([headers(framing=framing), say("a"), say("b")])
        assert len(list(client.events("GET", "/ai/chat?message=x"))) == 2


BAD_EVENTS: list[tuple[dict[str, Any], str]] = [
    ({"method": ""}, "method"),
    ({"method": 7}, "method"),
    ({"method": "GET /x"}, "method"),
    ({"method": "GET\r\n"}, "method"),
    ({"path": ""}, "path"),
    ({"path": "ai/chat"}, "path"),
    ({"path": f"http://elsewhere/{PROMPT}"}, "path"),
    ({"path": f"/{PROMPT}\r\nX: y"}, "path"),
    ({"path": 7}, "path"),
    ({"params": f"message={PROMPT}"}, "params"),
    ({"params": 7}, "params"),
    ({"json": PROMPT}, "body|json"),
    ({"json": {"x": object()}}, "x"),
    ({"json": {"x": math.nan}}, "x"),
    ({"timeout": -1}, "timeout"),
    ({"cancel_token": 7}, "cancel_token"),
    ({"extra_headers": {"X": KEY + "\n"}}, "X"),
    ({"extra_headers": {"Host": "x"}}, "(?i)host"),
]


@pytest.mark.parametrize(("options", "names"), BAD_EVENTS, ids=range(len(BAD_EVENTS)))
def test_bad_native_call(
    client: WebsopyClient, sandbox: Sandbox, options: dict[str, Any], names: str
) -> None:
    """The same rule: named, not quoted, nothing sent."""
    options = {"method": "GET", "path": "/ai/chat", **options}
    with pytest.raises((ConfigError, TypeError), match=names) as caught:
        client.events(**options)
    assert not sandbox.requests
    assert_discreet(caught.value)
