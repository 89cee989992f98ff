"""The life of a stream: opened once, read once, ended once.

Knows nothing of HTTP, chunks and plugins: `stream` adds what an item is and what an end means.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Generic, Literal, Self, TypeVar

from .cancel import CancelScope, CancelToken
from .errors import APIError, StreamCancelledError, StreamError
from .event_source import EventSource
from .interrupts import clear_frames, is_interrupt, run_all

__all__ = ["TRANSITIONS", "Reading", "State", "Step", "Stream"]

# What each event makes of a stream: tests/test_lifecycle.py makes all of them happen.
# - opening, shown as "open": a thread sends the request and waits for the response's head
# - open: no thread waits; the stream is not read yet, or its reader works on the last item
# - reading, shown as "open": a thread waits for the next item, or plugins get it
# A failure is raised by the call that it ends. After cancel() plugins are notified in the reader's
# next step or by close(), which leaving a `with` block calls. A fork changes only the child's copy,
# where reading is REFUSED.
REFUSED = "StreamError"  # raised; nothing changes
ENDED = "StopIteration after done, else the stream's error"  # raised; nothing changes
SAME = "nothing changes"
NEVER = "cannot happen"
# fmt: off
TRANSITIONS: Mapping[str, tuple[str, str, str, str]] = {
    #              opening      open         reading      the four ends
    "head":        ("open",      NEVER,       NEVER,       NEVER),
    "next":        (REFUSED,     "reading",   REFUSED,     ENDED),
    "second loop": (REFUSED,     REFUSED,     REFUSED,     REFUSED),
    "item":        (NEVER,       NEVER,       "open",      NEVER),
    "done chunk":  (NEVER,       NEVER,       "done",      NEVER),
    "error chunk": (NEVER,       NEVER,       "error",     NEVER),
    "failure":     ("error",     NEVER,       "error",     NEVER),
    "cancel":      ("cancelled", "cancelled", "cancelled", SAME),
    "close":       ("closed",    "closed",    "closed",    SAME),
    "break":       (NEVER,       "closed",    NEVER,       SAME),
    "garbage":     (NEVER,       "closed",    NEVER,       SAME),
    "interrupt":   ("closed",    "closed",    "closed",    SAME),
    "fork":        ("closed",    "closed",    "closed",    SAME),
}
# fmt: on

State = Literal["open", "done", "error", "cancelled", "closed"]
Item = TypeVar("Item")

_log = logging.getLogger("websopy_sync.stream")


class Step:
    """Whether a thread is inside a step: it opens the stream, or reads up to the next item."""

    busy = False


class Reading(Generic[Item]):
    """The reader's half of a stream: what the generator in a `for` loop holds.

    The generator holds the stream only through this, and the stream never holds the generator of a
    loop. So leaving the loop frees the generator, which closes the connection at once.
    """

    # It calls private methods of the stream, its other half: users should not see them there.

    def __init__(self, stream: Stream[Item], source: EventSource) -> None:
        # None between two calls of next(): the stream holds the reading then, and a reference
        # back would be a cycle.
        self.stream: Stream[Item] | None = stream
        self.source = source
        self.step: Step = stream._step
        self.scope: CancelScope = stream._scope

    def __enter__(self) -> Step:
        self.step.busy = True
        return self.step

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if self.stream is not None:
                self.stream._reader_left(error)
            else:
                self.source.close()
            self.stream = None
        finally:
            self.step.busy = False

    def end_aborted(self) -> None:
        """End the stream that was aborted while its reader was in a step."""
        if self.stream is not None:
            self.stream._end_aborted()

    def end_complete(self) -> None:
        """End the stream well: its last item was read."""
        if self.stream is not None:
            self.stream._end(None)

    def notify_retry(self, error: APIError, delay: float) -> None:
        """Tell the stream that its request is about to be repeated."""
        if self.stream is not None:
            self.stream._notify_retry(error, delay)


_Begun = tuple[Reading[Item], Generator[Item, None, None]]


class Stream(Generic[Item]):
    """A response as it comes. Subclasses say what its items are, and what an end means."""

    def __init__(self, scope: CancelScope, token: CancelToken | None) -> None:
        self._state: State = "open"
        self._pid = os.getpid()
        self._scope = scope
        self._token = token
        self._token_key = token and token.subscribe(lambda: scope.abort("cancelled"))
        self._step = Step()
        # The right to open or to read: whoever pops the only item has it, and puts it back. The
        # item is what next() has begun to read. A lock would make a second reader wait.
        self._turn: list[_Begun[Item] | None] = [None]
        self._begun = False
        self._source: EventSource | None = None
        self._failure: BaseException | None = None
        # The right to end the stream, likewise; put back if an interrupt cut the end short. Taken
        # with `del`, not pop(): a signal may come when a call returns, before the next line.
        self._end_right = [True]
        # How far the end has come. The second call of _end() goes on from there.
        self._settled = self._notified = False
        # The right to close the source: whoever deletes the only item has it.
        self._unclosed: list[EventSource] = []

    def _items(self, reading: Reading[Item]) -> Generator[Item, None, None]:
        """The generator that a subclass reads with; it overrides the next four methods as well."""
        raise NotImplementedError

    def _complete(self, error: APIError) -> None:
        """Give an error what only the stream knows."""

    def _before_end(self, error: BaseException | None) -> None:
        """The stream is about to end with this error, None for a complete response."""

    def _notify_plugins(self) -> None:
        """The stream has just ended."""
        self._notified = self._settled

    def _notify_retry(self, error: APIError, delay: float) -> None:
        """The request is about to be repeated."""

    def _open(self, make_source: Callable[[], EventSource]) -> None:
        """Open the stream. `calls` calls it; it is private so that users do not see it."""
        self._take_turn()
        try:
            self._step.busy = True
            self._scope.raise_aborted()  # before on_request: no plugin hears of this stream then
            self._source = source = make_source()
            self._unclosed.append(source)
            source.open(self._notify_retry)
            self._step.busy = False
            self._scope.raise_aborted()  # by a thread that found the step busy
        except BaseException as error:
            self._reader_left(error)
            raise
        finally:
            self._step.busy = False
            self._turn.append(None)

    def _take_turn(self) -> _Begun[Item] | None:
        """Take the right to open or read, or raise StreamError if another thread has it."""
        try:
            return self._turn.pop()
        except IndexError:
            raise self._not_your_turn() from None

    def _not_your_turn(self) -> StreamError:
        if self._source is None:
            return self._refusal("the stream cannot be read yet: its request has not been sent")
        return self._refusal("the stream is being opened or read, in another thread or a hook")

    def _refusal(self, why: str) -> StreamError:
        """The error for a reader that must not read here or, in a forked child, at all."""
        forked = self._scope.aborted == "forked"
        return self._scope.abort_error() if forked else StreamError(why)

    def _begin(self) -> _Begun[Item]:
        if self._begun:
            raise self._refusal(f"a stream can be read once, and this one was ({self.state})")
        assert self._source is not None  # _open() keeps the turn until there is one
        self._begun = True
        reading = Reading(self, self._source)
        return reading, self._items(reading)

    def __iter__(self) -> Iterator[Item]:
        begun = self._take_turn()
        try:
            if begun is None or getgeneratorstate(begun[1]) == GEN_CLOSED:
                return self._begin()[1]
            (reading, iterator), begun = begun, None  # the loop goes on after next()
            reading.stream = self
            return iterator
        finally:
            self._turn.append(begun)

    def __next__(self) -> Item:
        try:
            begun = self._turn.pop()  # fast path of _take_turn()
        except IndexError:
            raise self._not_your_turn() from None
        try:
            if begun is None:
                begun = self._begin()
            reading, iterator = begun
            reading.stream = self
            return next(iterator)
        except StopIteration:
            if self._failure is None:
                raise
        except BaseException as error:
            if self._end_right and is_interrupt(error):
                self._reader_left(error)  # it came before the generator was in its step
            raise
        finally:
            if begun is not None:
                begun[0].stream = None
            self._turn.append(begun)
        raise self._failure  # a failed response must not look complete to a reader who goes on

    def _reader_left(self, error: BaseException | None) -> None:
        """The reader is through, with or without an error: end the stream, close the source."""
        interrupt = is_interrupt(error)
        if error is not None:
            # Crash reporters show locals: here the headers with the key, and the last event.
            clear_frames(error)
        self._end_and_close(error, interrupt=interrupt)
        if isinstance(error, APIError) and not interrupt and error is not self._failure:
            self._complete(error)  # another one has ended the stream, now or before

    def _end_and_close(self, error: BaseException | None, *, interrupt: bool = False) -> None:
        """End the stream, if there is an error to end with, and close the source.

        interrupt: the error is an interrupt, which the caller is about to raise.
        """
        ends = [] if error is None else [functools.partial(self._end, error)]
        calls = [*ends, functools.partial(self._close_source, keep=not interrupt)]
        # Twice: the second round does what an interrupt has cut short in the first.
        run_all(*calls, *calls, error=error if interrupt else None)

    def _close_source(self, *, keep: bool) -> None:
        """Close the source, unless that was done. Keep the connection of a complete response."""
        try:
            source = self._unclosed[0]
            del self._unclosed[0]
        except IndexError:
            return
        try:
            if keep and self._state == "done" and os.getpid() == self._pid:
                source.release()
        finally:
            source.close()

    def _end(self, error: BaseException | None) -> None:
        """Come to the one end, None for a complete response; a second call does nothing."""
        if os.getpid() != self._pid:  # a forked child has a copy; the end is the parent's
            return
        if self._end_right and (isinstance(error, GeneratorExit) or is_interrupt(error)):
            error = self._scope.abort_error()  # "cancelled" stays, if cancel() came first
        try:
            del self._end_right[0]
        except IndexError:
            return
        try:
            run_all(functools.partial(self._settle, error), self._notify_plugins)
        finally:
            if not self._notified:
                self._end_right.append(True)

    def _settle(self, error: BaseException | None) -> None:
        if self._settled:
            return
        try:
            if isinstance(error, APIError):
                self._complete(error)
            if self._token is not None:
                self._token.unsubscribe(self._token_key)
            self._before_end(error)
        finally:
            self._failure = error
            self._state = _state_of(error)
            self._settled = True
        _log.info("ended: %s", self._state)

    def cancel(self) -> None:
        """End the stream, from any thread, at any moment.

        Returns at once. The reader gets StreamCancelledError. After the end it does nothing.
        """
        if self._state == "open":
            self._scope.abort("cancelled")

    def close(self) -> None:
        """Close the connection and notify the plugins. May be called again.

        A reader that waits in another thread gets StreamCancelledError, reason "closed".
        """
        # No lock: the reader sets `busy` and then looks at the scope; close() aborts the scope and
        # then looks at `busy`. So one of them sees the other, and ends the stream. Only the reader
        # touches the source while it is in a step.
        if self._state == "open":
            self._scope.abort("closed")
        if not self._step.busy:
            self._end_aborted()

    def _end_aborted(self) -> None:
        """End the stream with the scope's reason, if it has not ended."""
        self._end_and_close(self._scope.abort_error())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        run_all(self.close, error=error if is_interrupt(error) else None)  # it must not be hidden

    def __del__(self) -> None:
        if not getattr(self, "_end_right", None):
            return
        try:
            self._scope.abort("closed")
            self._end_aborted()  # no look at `busy`: a thread in a step would hold the stream
        except Exception as error:
            if is_interrupt(error):
                raise  # Python cannot let it out of here, but shows it

    @property
    def state(self) -> State:
        """At first "open"; at the end, for good, "done", "error", "cancelled" or "closed"."""
        if self._state == "open" and self._scope.aborted:
            # Its reader has yet to end it; a forked child has no reader.
            return "closed" if self._scope.aborted == "forked" else self._scope.aborted
        return self._state


def _state_of(error: BaseException | None) -> State:
    if error is None:
        return "done"
    return error.reason if isinstance(error, StreamCancelledError) else "error"
