"""A blocking function as an async iterator: asyncio waits while a thread calls it.

Knows nothing of streams or events.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from ..errors import StreamError


def in_event_loop() -> bool:
    """Whether this code runs in an event loop, which must not be blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class AsyncSteps:
    """Awaits one call of `step` at a time, until `step` returns None.

    The iterator has its own thread. The event loop's threads are few (six on two cores), so that
    six silent models would use them up.

    Args:
        step: Blocks until the next piece is there; returns None at the end.
        leave: Makes a `step` that waits return. Called when nobody wants another piece.
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
        except BaseException:  # most often the task is cancelled because the browser has left
            self.close()
            raise
        if piece is None:
            self.close()
            raise StopAsyncIteration
        return piece

    def _watch(self, task: asyncio.Task[object] | None) -> None:
        """Leave when the reading task is cancelled between two steps, while it writes.

        Starlette then drops the body, but its middleware may keep the body in a reference cycle.
        The stream would go on until the garbage collector runs.
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
        """Start no further step, and end the one that waits."""
        self._over = True
        self._leave()
        if self._thread:
            self._thread.shutdown(wait=False)

    async def aclose(self) -> None:
        """Do what `close()` does, for `contextlib.aclosing`."""
        self.close()
