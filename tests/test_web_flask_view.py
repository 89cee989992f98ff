"""A stream as a Flask response."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from web_bodies import asked, can_import, chunks_of

from websopy_sync.chunks import ContentChunk, DoneChunk, Usage
from websopy_sync.sandbox import done, say, silence
from websopy_sync.web import SSE_HEADERS, flask_response


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
