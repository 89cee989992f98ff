"""What the user holds: one answer while it comes, and exactly one end of it.

Source → wire → plugins → the user's loop. Knows nothing of HTTP and of how events are got.

Who may do what, and when:

- One thread reads. While it is inside a step (`busy`), an end that another thread wants is only
  noted in the lifeline, and the reader comes to it. Between steps nobody reads, and close() does
  all the work itself. The reader sets `busy` before it looks at the lifeline, and close() aborts
  the lifeline before it looks at `busy`: so one of the two sees the other.
- The generator that a `for` loop holds keeps the stream alive, never the other way round: leaving
  the loop frees the generator, and that closes the connection at once, even when the stream is
  still in a variable. next(stream) keeps a generator too, but lends itself to it only for a step.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from .cancel import CancelToken
from .chunks import ContentChunk, DoneChunk, ErrorChunk, Message, StreamChunk, UnknownChunk
from .errors import (
    APIError,
    StreamCancelledError,
    StreamError,
    StreamServerError,
)
from .hooks import Listeners
from .lifeline import Lifeline
from .message import MessageBuilder
from .source import Source
from .sse import ServerSentEvent
from .wire import ChunkReader, Request, copied_body

__all__ = ["ChatStream", "EventStream"]

State = Literal["open", "done", "error", "cancelled", "closed"]
Item = TypeVar("Item")

_DATA = itemgetter(1)

_log = logging.getLogger("websopy_sync.stream")


class _Step:
    """Whether the reader is inside a step."""

    busy = False


class _Reading(Generic[Item]):
    """The reader's side of a stream, as the context in which its generator runs."""

    def __init__(self, stream: _Stream[Item], source: Source) -> None:
        self.stream: _Stream[Item] | None = stream  # None while nobody but the stream holds this
        self.source = source
        self.step = stream._step

    def __enter__(self) -> _Step:
        self.step.busy = True
        return self.step

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stream, self.stream = self.stream, None
        try:
            if stream is not None:
                stream._left(error)
            else:
                self.source.close()
        finally:
            self.step.busy = False


class _Stream(Generic[Item]):
    """The life of one answer: opened, read once, ended exactly once."""

    def __init__(self, lifeline: Lifeline, token: CancelToken | None) -> None:
        self._state: State = "open"
        self._pid = os.getpid()
        self._lifeline = lifeline
        self._token = token
        self._token_key = token and token.subscribe(lambda: lifeline.abort("cancelled"))
        self._step = _Step()
        self._begun = False
        self._source: Source | None = None
        self._reading: _Reading[Item] | None = None
        self._iterator: Iterator[Item] | None = None
        self._failure: BaseException | None = None
        self._end_rights = [True]  # whoever pops it is the one who ends the stream

    # What a subclass adds: its generator, and what an end means to it.

    def _items(self, reading: _Reading[Item]) -> Iterator[Item]:
        raise NotImplementedError

    def _tell_end(self) -> None:
        """The stream has just ended."""

    def _partial(self) -> Message | None:
        return None

    def _redact(self, text: str) -> str:
        return text

    def _tell_retry(self, error: APIError, delay: float) -> None:
        """The question is about to be asked again."""

    # Opening.

    def _open(self, make_source: Callable[[], Source]) -> None:
        try:
            self._source = make_source()
            self._source.open(self._tell_retry)
        except BaseException as error:
            self._left(error)
            raise

    # Reading.

    def __iter__(self) -> Iterator[Item]:
        if self._iterator is not None:  # begun by next(): the loop goes on with it
            iterator, self._iterator = self._iterator, None
            assert self._reading is not None
            self._reading.stream = self
            self._reading = None
            return iterator
        return self._items(self._begin())

    def _begin(self) -> _Reading[Item]:
        if self._begun:
            raise StreamError(f"a stream can be read once, and this one was ({self.state})")
        if self._source is None:
            raise StreamError("the stream cannot be read yet: its question has not been sent")
        self._begun = True
        return _Reading(self, self._source)

    def __next__(self) -> Item:
        if self._step.busy and self._source is not None:
            raise StreamError("the stream is being read already, in another thread or a hook")
        if self._iterator is None:
            self._reading = self._begin()
            self._iterator = self._items(self._reading)
        assert self._reading is not None
        self._reading.stream = self
        try:
            return next(self._iterator)
        finally:
            self._reading.stream = None

    # Ending.

    def _left(self, error: BaseException | None) -> None:
        """The reader is through, well or not: end the stream, and let the connection go."""
        if isinstance(error, APIError | KeyboardInterrupt):
            # What the frames below held, the request's headers and the last event among it, must
            # not be found by whoever shows a traceback with its locals.
            traceback.clear_frames(error.__traceback__)
        if isinstance(error, APIError) and not self._end_rights:
            self._complete(error)  # somebody reads on behind the end
        try:
            if error is not None:
                self._end(_state_of(error), error)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._source is not None:
            if self._state == "done":
                self._source.release()
            else:
                self._source.close()

    def _end(self, state: State, error: BaseException | None) -> None:
        """Come to the one end; a second call does nothing."""
        if os.getpid() != self._pid:  # a forked child holds a copy, and tells nobody
            return
        try:
            self._end_rights.pop()
        except IndexError:
            return
        if isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit):
            error = StreamCancelledError("the answer was left", reason="closed")
        if isinstance(error, APIError):
            self._complete(error)
        self._state, self._failure = state, error
        if self._token is not None:
            self._token.unsubscribe(self._token_key)
        _log.info("ended: %s", state)
        self._tell_end()

    def _complete(self, error: APIError) -> None:
        """Give an error what only the stream knows."""
        error.message = self._redact(error.message)
        error.args = (error.message,)
        if isinstance(error, StreamServerError):
            error.code = error.code and self._redact(error.code)
        error.partial = self._partial()
        if self._source is not None:
            request_id = error.request_id or self._source.request_id
            error.request_id = request_id and self._redact(request_id)
            error.attempts = max(self._source.attempts, 1)

    def cancel(self) -> None:
        """End the answer, from any thread, at any moment; the reader gets StreamCancelledError.

        Returns at once. Once the stream has ended it does nothing.
        """
        if self._state == "open":
            self._lifeline.abort("cancelled")

    def close(self) -> None:
        """Leave the answer: the connection is closed, plugins are told. May be called again.

        A reader that is waiting in another thread gets StreamCancelledError, reason "closed".
        """
        if self._state == "open":
            self._lifeline.abort("closed")
        if not self._step.busy:
            reason = self._lifeline.aborted or "closed"
            error = StreamCancelledError(f"the answer was {reason}", reason=reason)
            self._end(_state_of(error), error)
            self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_end_rights", None):
            with contextlib.suppress(Exception):
                self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state}>"

    # What there is to know of the exchange.

    @property
    def state(self) -> State:
        """How it stands: "open", then for good "done", "error", "cancelled" or "closed"."""
        if self._state == "open" and self._lifeline.aborted:
            return self._lifeline.aborted  # the reader has yet to come to it
        return self._state

    @property
    def status_code(self) -> int:
        """The HTTP status of the last answer, 0 before there was one."""
        return self._source.status_code if self._source else 0

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the last answer, names in lower case."""
        return dict(self._source.headers) if self._source else {}

    @property
    def request_id(self) -> str | None:
        """The server's own id for the exchange (`X-Request-Id`), None if it gave none."""
        return self._source.request_id if self._source else None

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was handed over, "" if none."""
        return self._source.last_event_id if self._source else ""

    @property
    def retries_taken(self) -> int:
        """How often the question was sent or tried again, resuming included."""
        return max(self._source.attempts - 1, 0) if self._source else 0


class ChatStream(_Stream[StreamChunk]):
    """The chunks of one answer, to be read once.

    Iterating gives each chunk as soon as it is here and ends after the done chunk. It raises
    StreamServerError behind an error chunk, StreamInterruptedError when the answer was cut and
    could not be resumed, APITimeoutError when a limit passed, StreamProtocolError for what is no
    chunk and StreamCancelledError after cancel() or close(). Each carries what had come
    (`partial`).

    idempotency_key: what the question was sent under, on every try.
    """

    def __init__(
        self,
        lifeline: Lifeline,
        token: CancelToken | None,
        *,
        hooks: Listeners,
        redact: Callable[[str], str],
        keep_message: bool = True,
        idempotency_key: str = "",
        on_end: Callable[[ChatStream], None] | None = None,
    ) -> None:
        self.idempotency_key = idempotency_key
        self._hooks = hooks
        self._redactor = redact
        self._builder = MessageBuilder(keep=keep_message)
        self._on_end = on_end
        self._request_told = False
        self._asker = threading.get_ident()
        ends = hooks.teller("on_done") or hooks.teller("on_error")
        self._context = contextvars.copy_context() if ends is not None else None
        super().__init__(lifeline, token)

    def _ask(self, request: Request, make_source: Callable[[Request], Source]) -> None:
        """Tell of the question, and send it as the plugins have left it."""

        def source() -> Source:
            self._request_told = True
            tell = self._hooks.teller("on_request")
            self._step.busy = True  # a plugin that closes the stream ends it after the others
            try:
                if tell is not None:
                    if request.body is not None:  # an edit never changes the caller's objects
                        request.body = copied_body(request.body)
                    tell(request, self)
                self._hooks.wait_for_room(self._is_wanted)
            finally:
                self._step.busy = False
            return make_source(request)

        self._open(source)

    def _items(self, reading: _Reading[StreamChunk]) -> Iterator[StreamChunk]:
        # Everything a chunk needs is a local here: this loop is what an answer costs.
        source, lifeline = reading.source, self._lifeline
        reader, add_text = ChunkReader(self._redactor), self._builder.add_text
        tell = self._hooks.teller("on_chunk")
        events = source.events(self._retry_teller(reading))
        del self  # `reading` holds the stream, but only while it should
        with reading as step:
            for chunk in map(reader.read, map(_DATA, events)):
                if lifeline.aborted:
                    raise _aborted(lifeline)
                if type(chunk) is ContentChunk:
                    lifeline.progress = True
                    add_text(chunk.content)
                    if tell is not None:
                        tell(chunk, reading.stream)
                    step.busy = False
                    yield chunk
                    step.busy = True
                elif chunk is not None:
                    taken = _chat(reading)._take(chunk, reader.flush())
                    if _is_ping(chunk):
                        yield from _lend_ping(taken, step, lifeline)
                    else:
                        lifeline.progress = True
                        yield from _lend(taken, step)
                    del chunk  # what a traceback shows may not be an echo of the key
                    if _chat(reading)._finished():
                        return

    def _retry_teller(self, reading: _Reading[StreamChunk]) -> Callable[[APIError, float], None]:
        def tell(error: APIError, delay: float) -> None:
            if reading.stream is not None:
                reading.stream._tell_retry(error, delay)

        return tell

    def _take(self, chunk: StreamChunk, flushed: ContentChunk | None) -> list[StreamChunk]:
        """Take a chunk that is no text; the chunks to hand over for it, in order.

        What the end is, is settled before the last chunk is handed over: a loop that is left at
        the done chunk has a whole answer.
        """
        tell = self._hooks.teller("on_chunk")
        taken = [chunk] if flushed is None else [flushed, chunk]
        for each in taken:
            self._builder.add(each)
            if tell is not None:
                tell(each, self)
        if isinstance(chunk, DoneChunk):
            self._end("done", None)
        elif isinstance(chunk, ErrorChunk):
            self._end("error", StreamServerError(chunk.message, code=chunk.code))
            self._let_go()
        return taken

    def _is_wanted(self) -> bool:
        """Whether there is a reason to wait: it is not left, and the total limit has not passed."""
        return not self._lifeline.aborted and self._lifeline.allows(0.0)

    def _finished(self) -> bool:
        """Whether the answer is complete. Raises what it ended with if it ended otherwise."""
        if self._failure is not None:
            raise self._failure
        return self._state == "done"

    def _tell_end(self) -> None:
        try:
            if self._on_end is not None:
                self._on_end(self)
        finally:
            self._tell_plugins()

    def _tell_plugins(self) -> None:
        if not self._request_told:
            return
        done = self._state == "done"
        tell = self._hooks.teller("on_done" if done else "on_error")
        context, self._context = self._context, None  # it may hold much: an app's whole request
        if tell is None:
            return
        outcome = self.current_message if done else self._failure
        if self._step.busy or context is None or self._asker == threading.get_ident():
            tell(outcome, self)
        else:  # closed by another thread, whose context variables are not the caller's
            context.run(tell, outcome, self)

    def _tell_retry(self, error: APIError, delay: float) -> None:
        self._complete(error)
        tell = self._hooks.teller("on_retry")
        if tell is not None:
            tell(error, delay, self)

    def _partial(self) -> Message:
        return self._builder.message

    def _redact(self, text: str) -> str:
        return self._redactor(text)

    @property
    def current_message(self) -> Message:
        """The message as far as it has come. It costs a copy of the text so far."""
        return self._builder.message

    @property
    def text_stream(self) -> Iterator[str]:
        """The text alone, piece by piece; it reads the stream, and raises as iterating does."""
        return _texts(self)

    def until_done(self) -> Self:
        """Read the answer to its end, and give the stream back. Raises as iterating does."""
        if self._state == "open":
            for _ in self:
                pass
        if self._failure is not None:
            raise self._failure
        return self

    def get_final_message(self) -> Message:
        """The whole answer; what is not here yet is read. Raises as iterating does."""
        return self.until_done().current_message

    def get_final_text(self) -> str:
        """The text of the whole answer. Raises as iterating does."""
        return self.get_final_message().content


class EventStream(_Stream[ServerSentEvent]):
    """The events of one native request, to be read once; it ends where the bytes end.

    Iterating raises StreamInterruptedError when the bytes were cut and could not be resumed,
    APITimeoutError (where an event counts as a chunk), StreamProtocolError and
    StreamCancelledError.
    """

    def __init__(
        self, lifeline: Lifeline, token: CancelToken | None, *, redact: Callable[[str], str]
    ) -> None:
        self._redactor = redact
        super().__init__(lifeline, token)

    def _redact(self, text: str) -> str:
        return self._redactor(text)

    def _items(self, reading: _Reading[ServerSentEvent]) -> Iterator[ServerSentEvent]:
        source, lifeline = reading.source, self._lifeline
        del self
        with reading as step:
            events = source.events(lambda error, delay: None)
            for event in (ServerSentEvent(kind, data, id_) for kind, data, id_, _ in events):
                if lifeline.aborted:
                    raise _aborted(lifeline)
                if event.event == "ping":
                    yield from _lend_ping([event], step, lifeline)
                    continue
                lifeline.progress = True
                step.busy = False
                yield event
                step.busy = True
            if reading.stream is not None:
                reading.stream._end("done", None)


def _chat(reading: _Reading[StreamChunk]) -> ChatStream:
    """The stream that is being read. Not kept in the generator: see the file's head."""
    assert isinstance(reading.stream, ChatStream)
    return reading.stream


def _lend(items: list[Item], step: _Step) -> Iterator[Item]:
    for item in items:
        step.busy = False
        yield item
        step.busy = True


def _lend_ping(items: list[Item], step: _Step, lifeline: Lifeline) -> Iterator[Item]:
    """A ping begins no limit anew, but the time that the consumer spends with it is its own."""
    with lifeline.paused():
        yield from _lend(items, step)


def _is_ping(chunk: StreamChunk) -> bool:
    return isinstance(chunk, UnknownChunk) and str(chunk.type) == "ping"


def _texts(stream: ChatStream) -> Iterator[str]:
    chunks = iter(stream)
    del stream  # leaving the loop is to free it
    for chunk in chunks:
        if chunk.type == "content":
            yield chunk.content


def _aborted(lifeline: Lifeline) -> StreamCancelledError:
    reason = lifeline.aborted or "cancelled"
    return StreamCancelledError(f"the answer was {reason}", reason=reason)


def _state_of(error: BaseException) -> State:
    if isinstance(error, StreamCancelledError):
        return error.reason
    if isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit):
        return "closed"
    return "error"
