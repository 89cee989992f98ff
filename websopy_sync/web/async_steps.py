"""A blocking step as an async iterator, in its own thread."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from ..errors import StreamError


class AsyncSteps:
    """A blocking step as an async iterator: each is waited for in the iterator's own thread.

    Not the loop's threads: those are few (six on two cores), and as many silent models would have
    them all.
    """

    def __init__(self, step: Callable[[], bytes | None], leave: Callable[[], None]) -> None:
        self._step = step
        self._leave = leave
        self._over = False
        self._thread: ThreadPoolExecutor | None = None
        self._reader: weakref.ref[asyncio.Task[object]] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self._watch(asyncio.current_task())
        try:
            piece = None if self._over else await self._begin_step()
        except BaseException:  # cancelled, most often, as the browser has gone
            self.close()
            raise
        if piece is None:
            self.close()
            raise StopAsyncIteration
        return piece

    def _watch(self, task: asyncio.Task[object] | None) -> None:
        """Leave when the task that reads is cancelled between two steps, while it writes.

        Starlette then drops the body, but a middleware of its own may keep it in a reference
        cycle, and the answer would go on until the garbage collector runs.
        """
        if task is not None and (self._reader is None or self._reader() is not task):
            self._reader = weakref.ref(task)
            task.add_done_callback(self._reader_done)

    def _reader_done(self, task: asyncio.Task[object]) -> None:
        if task.cancelled() and self._reader is not None and self._reader() is task:
            self.close()

    def _begin_step(self) -> asyncio.Future[bytes | None]:
        self._thread = self._thread or ThreadPoolExecutor(1, "websopy-sse-step")
        try:
            return asyncio.get_running_loop().run_in_executor(self._thread, self._step)
        except RuntimeError as error:
            raise StreamError(f"cannot wait in a thread: {error}") from None

    def close(self) -> None:
        """Take no step any more, and wake the one that may still wait."""
        self._over = True
        self._leave()
        if self._thread:
            self._thread.shutdown(wait=False)

    async def aclose(self) -> None:
        """close(), for `contextlib.aclosing`."""
        self.close()
