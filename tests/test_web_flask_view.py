"""A stream as a Flask response."""

from __future__ import annotations

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
