"""The body of a response in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine

import pytest
from web_bodies import KEY, QUESTION, asked, chunks_of, until

from websopy_sync.chunks import ContentChunk, DoneChunk
from websopy_sync.client import WebsopyClient
from websopy_sync.errors import StreamError
from websopy_sync.sandbox import Sandbox, done, say, silence, wait
from websopy_sync.web import EventStreamBody, sse_body


def test_async_iteration_gives_a_piece_while_the_next_is_held_back() -> None:
    """What an ASGI framework looks for is there: `__aiter__`, live, and at its end no thread."""
    more = threading.Event()

    async def consume(body: EventStreamBody) -> tuple[bytes, list[bytes]]:
        assert isinstance(body, AsyncIterable)  # Starlette takes it for one by this
        pieces = aiter(body)
        first = await anext(pieces)
        more.set()
        return first, [piece async for piece in pieces]

    with asked(say("AI"), wait(more), done()) as (stream, _):
        first, rest = asyncio.run(consume(sse_body(stream)))
    assert chunks_of([first]) == [ContentChunk("AI")]
    assert chunks_of(rest) == [DoneChunk()]


def test_async_signs_of_life_while_the_model_is_silent() -> None:
    """As many as without an event loop."""

    async def consume(body: EventStreamBody) -> list[bytes]:
        async with contextlib.aclosing(body):
            return [await anext(body) for _ in range(3)]

    with asked(silence()) as (stream, _):
        assert asyncio.run(consume(sse_body(stream, heartbeat=0.3))) == [b": keep-alive\n\n"] * 3


async def cancelled_in_a_step(body: EventStreamBody) -> None:
    task = asyncio.create_task(anext(body))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def closed_in_a_step(body: EventStreamBody) -> None:
    step = body.__anext__()
    step.send(None)
    step.close()  # GeneratorExit, as an event loop that ends does


async def timed_out(body: EventStreamBody) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(body), 0.01)


async def left_by_aclosing(body: EventStreamBody) -> None:
    async with contextlib.aclosing(body):
        pass


async def loop_ended_in_a_step(body: EventStreamBody) -> None:
    task = asyncio.create_task(anext(body))
    await asyncio.sleep(0.01)
    assert not task.done()  # asyncio.run cancels it


async def cancelled_while_it_writes(body: EventStreamBody) -> None:
    async def send_all() -> None:
        async for _ in body:
            writing.set()
            await asyncio.sleep(60)

    writing = asyncio.Event()
    task = asyncio.create_task(send_all())
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def left_in_a_generator(body: EventStreamBody) -> None:
    async def passed_on() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(body):
            async for piece in body:
                yield piece

    pieces = passed_on()
    await anext(pieces)
    await pieces.aclose()


@pytest.mark.parametrize("spoken", [True, False], ids=["after a piece", "before any"])
@pytest.mark.parametrize(
    "leave",
    [
        cancelled_in_a_step,
        closed_in_a_step,
        timed_out,
        left_by_aclosing,
        loop_ended_in_a_step,
        cancelled_while_it_writes,
        left_in_a_generator,
    ],
)
def test_leaving_async_iteration_ends_the_answer_at_the_service(
    leave: Callable[[EventStreamBody], Coroutine[None, None, None]], spoken: bool
) -> None:
    """However it is left, without waiting for a heartbeat or for garbage collection."""

    async def consume() -> None:
        needs_a_piece = leave in (cancelled_while_it_writes, left_in_a_generator)
        body = sse_body(stream, heartbeat=0.5 if needs_a_piece else 60)
        if spoken:
            await anext(body)
        await leave(body)
        kept.append(body)

    kept: list[EventStreamBody] = []
    with asked([say("AI")] if spoken else [], silence()) as (stream, sandbox):
        asyncio.run(consume())
        assert sandbox.wait_disconnect(timeout=1.0)
        assert kept  # not garbage


def test_a_body_that_is_dropped_in_a_loop_ends_the_answer() -> None:
    """A framework that is cancelled while it writes holds the body no longer, and that is all."""

    async def consume() -> None:
        async for _ in sse_body(stream):
            break

    gc.disable()
    try:
        with asked(say("AI"), silence()) as (stream, sandbox):
            asyncio.run(consume())
            assert sandbox.wait_disconnect(timeout=1.0)
    finally:
        gc.enable()


def test_a_second_async_iteration_goes_on_and_then_ends() -> None:
    """As a second `for` loop does."""

    async def consume(body: EventStreamBody) -> list[bytes]:
        async for piece in body:
            first = piece
            break
        more.set()
        assert chunks_of([first]) == [ContentChunk("AI")]
        rest = [piece async for piece in body]
        assert [piece async for piece in body] == []
        return rest

    more = threading.Event()
    with asked(say("AI"), wait(more), done()) as (stream, _):
        assert chunks_of(asyncio.run(consume(sse_body(stream)))) == [DoneChunk()]


def test_a_cancelled_task_leaves_nothing_that_another_one_reads_by_now() -> None:
    """Only the last task that read counts."""

    async def consume(body: EventStreamBody) -> list[bytes]:
        async def begin() -> None:
            pieces.append(await anext(body))
            await asyncio.sleep(60)

        pieces: list[bytes] = []
        beginner = asyncio.create_task(begin())
        while not pieces:
            await asyncio.sleep(0.001)
        rest = asyncio.create_task(anext(body))
        await asyncio.sleep(0.01)
        beginner.cancel()
        await asyncio.sleep(0.01)
        more.set()
        return [*pieces, await rest, *[piece async for piece in body]]

    more = threading.Event()
    with asked(say("AI"), wait(more), done()) as (stream, _):
        pieces = asyncio.run(consume(sse_body(stream)))
    assert chunks_of(pieces) == [ContentChunk("AI"), DoneChunk()]


def test_mixing_next_and_async_iteration_is_refused() -> None:
    """Whoever began reads on."""

    async def first_async(body: EventStreamBody) -> list[bytes]:
        first = await anext(body)
        with pytest.raises(StreamError, match=r"read with async for .* not? be with next\(\)|next"):
            next(body)
        more.set()
        return [first, *[piece async for piece in body]]

    async def first_sync(body: EventStreamBody) -> list[bytes]:
        first = next(body)
        with pytest.raises(StreamError, match="async for"):
            await anext(body)
        more.set()
        return [first, *body]

    for way in (first_async, first_sync):
        more = threading.Event()
        with asked(say("AI"), wait(more), done()) as (stream, _):
            pieces = asyncio.run(way(sse_body(stream)))
            assert chunks_of(pieces) == [ContentChunk("AI"), DoneChunk()]


def test_two_readers_of_a_body_at_once_are_refused() -> None:
    """The second one is; the first one misses nothing."""

    async def two_tasks(body: EventStreamBody) -> list[bytes]:
        first = asyncio.create_task(anext(body))
        await asyncio.sleep(0.01)
        with pytest.raises(StreamError, match="another thread or task"):
            await anext(body)
        more.set()
        return [await first, *[piece async for piece in body]]

    async def two_threads(body: EventStreamBody) -> list[bytes]:
        rest: list[bytes] = []
        first = threading.Thread(target=lambda: rest.extend(body))
        first.start()
        assert until(lambda: body._reading.locked())
        with pytest.raises(StreamError, match="another thread or task"):
            next(body)
        more.set()
        first.join()
        return rest

    for way in (two_tasks, two_threads):
        more = threading.Event()
        with asked(wait(more), say("AI"), done()) as (stream, _):
            pieces = asyncio.run(way(sse_body(stream)))
            assert chunks_of(pieces) == [ContentChunk("AI"), DoneChunk()]


def test_many_silent_bodies_leave_the_loops_own_threads_free() -> None:
    """asyncio.to_thread has six on two cores, and a view may need one."""

    async def consume(client: WebsopyClient) -> float:
        bodies = [sse_body(client.ai.chat_stream(QUESTION), heartbeat=60) for _ in range(40)]
        steps = [asyncio.create_task(anext(body)) for body in bodies]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await asyncio.to_thread(int)
        took = time.monotonic() - began
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
        return took

    with (
        Sandbox([silence()]) as sandbox,
        WebsopyClient(api_key=KEY, base_url=sandbox.url, plugins=[]) as client,
    ):
        assert asyncio.run(consume(client)) < 1.0
        assert sandbox.wait_disconnect(40)
