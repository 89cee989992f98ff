"""A stream as a Flask response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing

import pytest
from web_bodies import Said, asked, can_import, chunks_of

from websopy_sync.chunks import ContentChunk, DoneChunk, Usage
from websopy_sync.errors import ConfigError
from websopy_sync.sandbox import done, say, silence
from websopy_sync.web import SSE_HEADERS, EventStreamBody, flask_response


def test_flask_response(needs: Callable[[object, str], None]) -> None:
    """Headers and body as sse_body and SSE_HEADERS have them; options pass through."""
    needs(can_import("flask"), "Flask")
    with asked(say("AI"), done(1, 2)) as (stream, _):
        response = flask_response(stream, heartbeat=5.0)
        assert {name: response.headers[name] for name in SSE_HEADERS} == dict(SSE_HEADERS)
        assert "Content-Length" not in response.headers
        with closing(response):
            assert chunks_of(response.iter_encoded()) == [
                ContentChunk("AI"),
                DoneChunk(Usage(1, 2)),
            ]


def test_a_flask_response_that_is_closed_ends_the_answer(
    needs: Callable[[object, str], None],
) -> None:
    """As a server does when the browser has gone, or when it only asked for the head."""
    needs(can_import("flask"), "Flask")
    with asked(say("AI"), silence()) as (stream, sandbox):
        flask_response(stream).close()
        assert sandbox.wait_disconnect(timeout=1.0)


def test_a_body_that_was_made_before(needs: Callable[[object, str], None]) -> None:
    """It brings its status and headers; with another status than 200 nothing is read of it."""
    needs(can_import("flask"), "Flask")
    response = flask_response(EventStreamBody(Said(b"a"), headers={"X-Mine": "1"}))
    assert (response.status_code, response.headers["X-Mine"]) == (200, "1")
    assert list(response.iter_encoded()) == [b"a"]
    feed = Said(b"a")
    gone = flask_response(EventStreamBody(feed, status=404, headers={"X-Mine": "1"}))
    assert (gone.status_code, gone.headers["X-Mine"], gone.data) == (404, "1", b"")
    assert feed.left


def test_a_body_takes_no_options(needs: Callable[[object, str], None]) -> None:
    """They are those of the body's maker."""
    needs(can_import("flask"), "Flask")
    with pytest.raises(ConfigError, match="no options beside a body, got heartbeat"):
        flask_response(EventStreamBody(Said()), heartbeat=5.0)


def test_an_adapter_to_asgi_is_warned_of(needs: Callable[[object, str], None]) -> None:
    """None of them notices a browser that has left: docs/how-to/views.md says so."""
    needs(can_import("flask") and can_import("asgiref"), "Flask and asgiref")
    from asgiref.sync import ThreadSensitiveContext  # noqa: PLC0415  it may be missing
    from asgiref.wsgi import WsgiToAsgi  # noqa: PLC0415
    from flask import Flask  # noqa: PLC0415

    app = Flask("chat")
    app.add_url_rule("/", "chat", lambda: flask_response(EventStreamBody(Said(b"a"))))
    sent: list[dict[str, object]] = []
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def serve() -> None:
        async with ThreadSensitiveContext():  # it ends its thread
            await WsgiToAsgi(app)({**scope, "http_version": "1.1"}, receive, send)

    with pytest.warns(RuntimeWarning, match=r"asgiref\.wsgi never .* with a WSGI server") as told:
        asyncio.run(serve())
    assert told[0].filename == __file__
    assert [message.get("body") for message in sent] == [None, b"a", None]


def test_a_wsgi_server_is_not_warned_of(needs: Callable[[object, str], None]) -> None:
    """Warnings are errors here."""
    needs(can_import("flask"), "Flask")
    from flask import Flask  # noqa: PLC0415  it may be missing

    app = Flask("chat")
    app.add_url_rule("/", "chat", lambda: flask_response(EventStreamBody(Said(b"a"))))
    assert app.test_client().get("/").data == b"a"
