"""Many prompts at once, each request in its own thread, and the results as they arrive.

Knows nothing of how a prompt is sent: it is given a function that returns the answer.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any

from .cancel import CancelToken, Wake
from .errors import APIConnectionError, StreamCancelledError, StreamError, WebsopyError
from .interrupts import ignoring, is_interrupt, run_all
from .message import Message
from .secret import Secret
from .threads import start_thread
from .turns import Messages

__all__ = ["Result", "Send", "fan_out", "fan_out_problem"]

Result = tuple[int, Message | WebsopyError]
"""The index of a prompt, and its answer or what went wrong."""

Send = Callable[[Messages, CancelToken], Message]
"""Sends one prompt, and returns its whole answer. The token cancels it."""

JOIN_SECONDS = 5.0
"""Longest wait for requests that were cancelled. They end at once, unless a hook of a plugin or the
function of `api_key` is at work in one; its thread is then left to end by itself."""


def fan_out_problem(prompts: object, workers: object) -> str:
    """Why these arguments of `fan_out` cannot be used; "" if they can."""
    if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Iterable):
        return f"prompts: expected a list or an iterator, got {type(prompts).__name__}"
    if isinstance(workers, int) and not isinstance(workers, bool):
        return "" if workers >= 1 else f"workers: expected an int of 1 or more, got {workers}"
    return f"workers: expected an int of 1 or more, got {type(workers).__name__}"


def fan_out(
    send: Send, prompts: Iterator[Messages], *, workers: int, token: CancelToken | None
) -> Generator[Result, None, None]:
    """Send prompts, and yield each result as it arrives.

    Prompts are pulled in the caller's thread, and never while a result is ready. Leaving the
    generator cancels what runs, but not the caller's token.

    Args:
        send: Called in a thread for each prompt.
        prompts: What its `next()` raises comes out, and ends the rest.
        workers: How many prompts may be pulled and not yielded yet.
        token: Cancels all, also the prompts that are not pulled yet.
    """
    own = CancelToken()
    requests = _Requests(send, own)
    key = token and token.subscribe(own.cancel)
    more = True
    try:
        while more or requests.count:
            if more and requests.count < workers and not requests.arrived:
                more = requests.send_next(prompts)
            else:
                yield requests.take()
    finally:
        # Twice: the second round does what an interrupt has cut short in the first.
        run_all(requests.close, requests.close)
        if token is not None:
            token.unsubscribe(key)


_END: Any = object()


class _Requests:
    """The requests of one map: those that run, and those whose results have arrived."""

    # No `__dict__`: crash reporters show one, and the results may echo a prompt.
    __slots__ = ("_next", "_pid", "_send", "_threads", "_token", "_wake", "arrived", "count")

    def __init__(self, send: Send, token: CancelToken) -> None:
        self._send = send
        self._token = token
        self._pid = os.getpid()
        self._threads: dict[int, threading.Thread] = {}
        self._wake = Wake()  # of the thread that waits in take()
        self._next = 0
        self.count = 0
        """Prompts that were pulled, and whose results were not taken yet."""
        self.arrived: deque[tuple[int, Message | BaseException]] = deque()

    def send_next(self, prompts: Iterator[Messages]) -> bool:
        """Pull a prompt, and send it in its own thread. Returns False when there is none."""
        self._check_process()
        prompt = Secret(next(prompts, _END))
        if prompt.value is _END:
            return False
        index, self._next = self._next, self._next + 1
        self.count += 1
        if self._token.cancelled:
            self._arrive(index, StreamCancelledError("the prompt was cancelled"))
        else:
            self._start(index, prompt)
        return True

    def _start(self, index: int, prompt: Secret[Messages]) -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._work, index, prompt), name="websopy-map", daemon=True
        )
        self._threads[index] = thread
        if start_thread(thread) is not None:
            del self._threads[index]
            self._arrive(index, APIConnectionError("no thread for the request could be started"))

    def _work(self, index: int, prompt: Secret[Messages]) -> None:
        try:
            result: Message | BaseException = self._send(prompt.value, self._token)
        except BaseException as error:  # noqa: BLE001  # raised in the caller's thread, or yielded
            result = error
        self._arrive(index, result)

    def _arrive(self, index: int, result: Message | BaseException) -> None:
        self.arrived.append((index, result))
        self._wake.set()

    def take(self) -> Result:
        """The next result, once it is here."""
        while not self.arrived:
            self._check_process()
            self._wake = wake = Wake()
            if not self.arrived:  # _arrive() first appends, and then sets the wake that it finds
                wake.wait(60.0)
        index, result = self.arrived.popleft()
        self.count -= 1
        thread = self._threads.pop(index, None)
        if thread is not None:
            thread.join()
        if isinstance(result, BaseException):
            if is_interrupt(result) or not isinstance(result, WebsopyError):
                raise result
            result = result.with_traceback(None)  # it would keep the frames of the thread
        return index, result

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise StreamError("the results belong to the process that began the map, not its fork")

    def close(self) -> None:
        """Cancel what runs, and wait for its threads to end. May be called again."""
        self._token.cancel()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._threads.values():
            # It may never have started, and be the one in which the collector closes all this.
            with ignoring(RuntimeError):
                thread.join(max(deadline - time.monotonic(), 0.0))
        self._threads.clear()
