"""A stream as a Django response, under WSGI and ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from web_bodies import Said, asked, can_import, chunks_of, ends_when_dropped

from websopy_sync.chunks import ContentChunk, DoneChunk, Usage
from websopy_sync.sandbox import done, say, silence, wait
from websopy_sync.web import SSE_HEADERS, EventStreamBody, django_response


def test_django_response(needs: Callable[[object, str], None], django_set_up: None) -> None:
    """The same, and nothing for GZipMiddleware to do."""
    needs(can_import("django"), "Django")
    with asked(say("AI"), done(1, 2)) as (stream, _):
        response = django_response(stream, heartbeat=5.0)
        assert dict(response.items()) == {**SSE_HEADERS, "Content-Encoding": "identity"}
        assert not response.is_async
        with closing(response):
            assert chunks_of(response) == [ContentChunk("AI"), DoneChunk(Usage(1, 2))]


def test_a_django_response_that_is_closed_ends_the_answer(
    needs: Callable[[object, str], None], django_set_up: None
) -> None:
    needs(can_import("django"), "Django")
    with asked(say("AI"), silence()) as (stream, sandbox):
        django_response(stream).close()
        assert sandbox.wait_disconnect(timeout=1.0)


def test_a_response_that_is_dropped(
    needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """A view that raises after it leaves no answer to the garbage collector."""
    needs(can_import("django"), "Django")
    assert ends_when_dropped(django_response)


@pytest.mark.parametrize("in_loop", [False, True], ids=["sync view", "async view"])
def test_a_django_response_is_live_under_asgi(
    in_loop: bool, needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """A piece is there while the next is held back, whatever kind of view made the response."""
    needs(can_import("django"), "Django")
    more = threading.Event()

    async def consume(response: Any) -> tuple[bytes, list[bytes]]:
        response = response or django_response(stream)
        assert response.is_async == in_loop  # what a middleware goes by
        pieces = aiter(response)
        first = await anext(pieces)
        more.set()
        return first, [piece async for piece in pieces]

    with asked(say("AI"), wait(more), done()) as (stream, _):
        first, rest = asyncio.run(consume(None if in_loop else django_response(stream)))
    assert chunks_of([first]) == [ContentChunk("AI")]
    assert chunks_of(rest) == [DoneChunk()]


def test_an_async_view_is_live_under_wsgi(
    needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """Django itself would read an async body to its end there, and notice no browser that left."""
    needs(can_import("django"), "Django")

    async def view() -> Any:
        return django_response(stream)

    more = threading.Event()
    with asked(say("AI"), wait(more), silence()) as (stream, sandbox):
        response = asyncio.run(view())
        pieces = iter(response)
        assert chunks_of([next(pieces)]) == [ContentChunk("AI")]
        more.set()
        response.close()
        assert sandbox.wait_disconnect(timeout=1.0)
        assert list(pieces) == []


@pytest.mark.parametrize("in_loop", [False, True], ids=["sync view", "async view"])
def test_a_cancelled_task_ends_the_answer(
    in_loop: bool, needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """Django cancels the task of a browser that has gone; no heartbeat is waited for."""
    needs(can_import("django"), "Django")

    async def consume(response: Any) -> None:
        began = asyncio.Event()

        async def pass_on() -> None:
            async with contextlib.aclosing(aiter(response or django_response(stream))) as pieces:
                async for _ in pieces:
                    began.set()

        task = asyncio.create_task(pass_on())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with asked(say("AI"), silence()) as (stream, sandbox):
        asyncio.run(consume(None if in_loop else django_response(stream)))
        assert sandbox.wait_disconnect(timeout=1.0)


def test_a_middleware_may_wrap_a_django_response(
    needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """Most middlewares know sync bodies only; wrapped by one it is still live under ASGI."""
    needs(can_import("django"), "Django")
    more = threading.Event()

    async def consume(response: Any) -> list[bytes]:
        pieces = []
        async for piece in response:
            pieces.append(piece)
            more.set()
        return pieces

    with asked(say("AI"), wait(more), done()) as (stream, _):
        response = django_response(stream)
        response.streaming_content = (piece.upper() for piece in response.streaming_content)
        assert b'"CONTENT":"AI"' in asyncio.run(consume(response))[0]


def test_a_body_that_was_made_before(
    needs: Callable[[object, str], None], django_set_up: None
) -> None:
    """It brings its status and headers; with another status than 200 nothing is read of it."""
    needs(can_import("django"), "Django")
    response = django_response(EventStreamBody(Said(b"a"), headers={"X-Mine": "1"}))
    assert (response.status_code, response["X-Mine"]) == (200, "1")
    assert list(response) == [b"a"]
    feed = Said(b"a")
    gone = django_response(EventStreamBody(feed, status=404, headers={"X-Mine": "1"}))
    assert (gone.status_code, gone["X-Mine"], gone.content) == (404, "1", b"")
    assert feed.left


@pytest.fixture(scope="module")
def django_set_up() -> None:
    """Django with no more settings than its responses need."""
    try:
        from django.conf import settings  # noqa: PLC0415  Django may be missing
    except ImportError:
        return
    if not settings.configured:
        settings.configure()
