"""A stream as a Starlette response."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from web_bodies import Said, asked, can_import, chunks_of, ends_when_dropped

from websopy_sync.chunks import ContentChunk, DoneChunk, Usage
from websopy_sync.sandbox import done, say, silence
from websopy_sync.web import SSE_HEADERS, EventStreamBody, starlette_response


async def read(response: object) -> list[bytes]:
    return [piece async for piece in response.body_iterator]  # type: ignore[attr-defined]  # a StreamingResponse has one


def test_starlette_response(needs: Callable[[object, str], None]) -> None:
    """Headers and body as sse_body and SSE_HEADERS have them, and nothing for GZipMiddleware."""
    needs(can_import("starlette"), "Starlette")
    with asked(say("AI"), done(1, 2)) as (stream, _):
        response = starlette_response(stream, heartbeat=5.0)
        assert {name: response.headers[name] for name in SSE_HEADERS} == dict(SSE_HEADERS)
        assert response.headers["Content-Encoding"] == "identity"
        assert chunks_of(asyncio.run(read(response))) == [
            ContentChunk("AI"),
            DoneChunk(Usage(1, 2)),
        ]


def test_a_body_that_was_made_before(needs: Callable[[object, str], None]) -> None:
    """It brings its status and headers; with another status than 200 nothing is read of it."""
    needs(can_import("starlette"), "Starlette")
    response = starlette_response(EventStreamBody(Said(b"a"), headers={"X-Mine": "1"}))
    assert (response.status_code, response.headers["X-Mine"]) == (200, "1")
    assert asyncio.run(read(response)) == [b"a"]
    feed = Said(b"a")
    gone = starlette_response(EventStreamBody(feed, status=404, headers={"X-Mine": "1"}))
    assert (gone.status_code, gone.headers["X-Mine"], gone.body) == (404, "1", b"")
    assert feed.left


def test_a_browser_that_has_gone_before_the_headers(needs: Callable[[object, str], None]) -> None:
    """The body was not begun then, and does not wait for the garbage collector."""
    needs(can_import("starlette"), "Starlette")

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        raise OSError("gone")

    with asked(say("AI"), silence()) as (stream, sandbox):
        response = starlette_response(stream)
        with contextlib.suppress(Exception):  # Starlette's own
            asyncio.run(response({"type": "http"}, receive, send))  # type: ignore[arg-type]
        assert sandbox.wait_disconnect(timeout=1.0)
        assert response


def test_a_response_that_is_dropped(needs: Callable[[object, str], None]) -> None:
    """A view that raises after it leaves no answer to the garbage collector."""
    needs(can_import("starlette"), "Starlette")
    assert ends_when_dropped(starlette_response)


def test_a_head_request(needs: Callable[[object, str], None]) -> None:
    """It gets the headers at once, and the answer ends at the service."""
    needs(can_import("starlette"), "Starlette")
    sent: list[Any] = []

    async def ask() -> None:
        async def send(message: object) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "HEAD"}
        call = starlette_response(stream)(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
        await asyncio.wait_for(call, 2.0)

    with asked(say("AI"), silence()) as (stream, sandbox):
        asyncio.run(ask())
        assert sandbox.wait_disconnect(timeout=1.0)
    assert (b"content-type", b"text/event-stream; charset=utf-8") in sent[0]["headers"]
    assert [message.get("body") for message in sent] == [None, b""]
