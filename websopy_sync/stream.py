"""What the user holds: one answer while it comes, and exactly one end of it.

EventSource → wire → plugins → the user's loop. Knows nothing of HTTP and of how events are got.

Who may do what, and when:

- One thread at a time opens or reads. next() and iter() take the turn, without waiting for it,
  and raise StreamError when another thread, or a hook, has it.
- While a thread is inside a step (`busy`: opening, or reading up to the next chunk), it alone
  touches the source. close() then only notes the end in the scope, and the thread comes to it
  before it leaves the step. Between steps close() does all the work itself.
- The reader sets `busy` before it looks at the scope, and looks before it touches the source;
  close() aborts the scope before it looks at `busy`. So one of the two sees the other, without
  a lock: this loop is what an answer costs.
- Ending and closing the source each belong to whoever deletes a list's only item first. What an
  interrupt cuts short in the middle of an end is done before it comes out.
- The generator that a `for` loop holds keeps the stream alive, never the other way round: leaving
  the loop frees the generator, and that closes the connection at once, even when the stream is
  still in a variable. next(stream) keeps a generator too, but lends itself to it only for a step.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from inspect import GEN_CLOSED, getgeneratorstate
from operator import itemgetter
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from .cancel import CancelScope, CancelToken
from .chunks import ContentChunk, DoneChunk, ErrorChunk, Message, StreamChunk, UnknownChunk
from .errors import (
    APIError,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
)
from .event_source import EventSource
from .hooks import Listeners
from .interrupts import clear_frames, is_interrupt, run_all
from .message import MAX_ANSWER_SIZE, MessageBuilder, size_of
from .redaction import Redactor
from .sse import ServerSentEvent
from .wires.websopy import ChunkReader, Request, copied_body

__all__ = ["ChatStream", "EventStream"]

State = Literal["open", "done", "error", "cancelled", "closed"]
Item = TypeVar("Item")

_DATA = itemgetter(1)

_log = logging.getLogger("websopy_sync.stream")


class _Step:
    """Whether a thread is inside a step."""

    busy = False


class _End:
    """How far the end of a stream has got. Interrupts may cut it short, and it goes on later."""

    settled = False
    notified = False


class _Reading(Generic[Item]):
    """The reader's side of a stream, as the context in which its generator runs.

    The generator enters it twice, so that an interrupt on the way into one exit leaves the other.
    """

    def __init__(self, stream: _Stream[Item], source: EventSource) -> None:
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
        try:
            if self.stream is not None:
                self.stream._left(error)
            else:
                self.source.close()
            self.stream = None
        finally:
            self.step.busy = False


_Begun = tuple[_Reading[Item], Generator[Item, None, None]]


class _Stream(Generic[Item]):
    """The life of one answer: opened, read once, ended exactly once."""

    def __init__(self, scope: CancelScope, token: CancelToken | None, redact: Redactor) -> None:
        self._state: State = "open"
        self._redact = redact
        self._pid = os.getpid()
        self._scope = scope
        self._token = token
        self._token_key = token and token.subscribe(lambda: scope.abort("cancelled"))
        self._step = _Step()
        # Whoever pops the only item may open or read: what next() has begun, else None.
        self._turn: list[_Begun[Item] | None] = [None]
        self._begun = False
        self._source: EventSource | None = None
        self._failure: BaseException | None = None
        # Whoever deletes the only item ends the stream, and puts it back if an interrupt came in
        # between. (`del` is no call, so no signal gets in before the next line; after pop() one
        # does.)
        self._end_rights = [True]
        self._ending = _End()
        self._to_close: list[
            EventSource
        ] = []  # whoever deletes the only item is the one who closes it

    # What a subclass adds: its generator, and what an end means to it.

    def _items(self, reading: _Reading[Item]) -> Generator[Item, None, None]:
        raise NotImplementedError

    def _before_end(self, error: BaseException | None) -> None:
        """The stream is about to end with this error, None for a whole answer."""

    def _notify_plugins(self) -> None:
        """The stream has just ended."""
        self._ending.notified = self._ending.settled

    def _partial(self) -> Message | None:
        return None

    def _notify_retry(self, error: APIError, delay: float) -> None:
        """The question is about to be asked again."""

    # Opening.

    def _open(self, make_source: Callable[[], EventSource]) -> None:
        self._take_turn()
        try:
            self._step.busy = True
            self._scope.raise_aborted()  # the plugins are told of no end that came before
            self._source = source = make_source()
            self._to_close.append(source)
            source.open(self._notify_retry)
            self._step.busy = False
            self._scope.raise_aborted()  # by a thread that found the step busy
        except BaseException as error:
            self._left(error)
            raise
        finally:
            self._step.busy = False
            self._turn.append(None)

    # Reading.

    def _take_turn(self) -> _Begun[Item] | None:
        """The reading that next() has begun, if it has. Whoever takes it puts it back."""
        try:
            return self._turn.pop()
        except IndexError:
            raise self._not_your_turn() from None

    def _not_your_turn(self) -> StreamError:
        if self._source is None:
            return self._refusal("the stream cannot be read yet: its question has not been sent")
        return self._refusal("the stream is being opened or read, in another thread or a hook")

    def _refusal(self, why: str) -> StreamError:
        """The error for who must not read, here or, if this is a forked child, anywhere."""
        forked = self._scope.aborted == "forked"
        return self._scope.abort_error() if forked else StreamError(why)

    def _begin(self) -> _Begun[Item]:
        if self._begun:
            raise self._refusal(f"a stream can be read once, and this one was ({self.state})")
        assert self._source is not None  # who opens has the turn
        self._begun = True
        reading = _Reading(self, self._source)
        return reading, self._items(reading)

    def __iter__(self) -> Iterator[Item]:
        begun = self._take_turn()
        try:
            if begun is None or getgeneratorstate(begun[1]) == GEN_CLOSED:
                return self._begin()[1]
            (reading, iterator), begun = begun, None  # the loop goes on with it
            reading.stream = self
            return iterator
        finally:
            self._turn.append(begun)

    def __next__(self) -> Item:
        try:
            begun = self._turn.pop()
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
            if self._end_rights and is_interrupt(error):
                self._left(error)  # it came before the reader was in its step
            raise
        finally:
            if begun is not None:
                begun[0].stream = None
            self._turn.append(begun)
        raise self._failure  # to read on after a failure must not look like a whole answer

    # Ending.

    def _left(self, error: BaseException | None) -> None:
        """The reader is through, well or not: end the stream, and let the connection go."""
        interrupt = is_interrupt(error)
        if error is not None:
            # What the frames below held, the request's headers and the last event among it, must
            # not be found by whoever shows a traceback with its locals.
            clear_frames(error)
        if isinstance(error, APIError) and not interrupt and not self._end_rights:
            self._complete(error)  # somebody reads on after the end
        self._finish(error, keep=not interrupt, raising=error if interrupt else None)

    def _finish(
        self,
        error: BaseException | None,
        *,
        keep: bool = True,
        raising: BaseException | None = None,
    ) -> None:
        """End the stream, if there is an error to end with, and let the source go.

        raising: what the caller is about to raise by itself.
        """
        ends = [] if error is None else [functools.partial(self._end, error)]
        calls = [*ends, functools.partial(self._let_go, keep=keep)]
        run_all(*calls, *calls, error=raising)  # once more for what an interrupt has cut short

    def _let_go(self, *, keep: bool = True) -> None:
        """Close the source, unless that was done. After a whole answer keep its connection."""
        try:
            source = self._to_close[0]
            del self._to_close[0]
        except IndexError:
            return
        try:
            if keep and self._state == "done" and os.getpid() == self._pid:
                source.release()
        finally:
            source.close()

    def _end(self, error: BaseException | None) -> None:
        """Come to the one end, None for a whole answer; a second call does nothing."""
        if os.getpid() != self._pid:  # a forked child holds a copy, and tells nobody
            return
        if self._end_rights and (isinstance(error, GeneratorExit) or is_interrupt(error)):
            error = StreamCancelledError("the answer was left", reason="closed")
        try:
            del self._end_rights[0]
        except IndexError:
            return
        try:
            run_all(functools.partial(self._settle, error), self._notify_plugins)
        finally:
            if not self._ending.notified:
                self._end_rights.append(True)

    def _settle(self, error: BaseException | None) -> None:
        if self._ending.settled:
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
            self._ending.settled = True
        _log.info("ended: %s", self._state)

    def _complete(self, error: APIError) -> None:
        """Give an error what only the stream knows."""
        if isinstance(error, StreamServerError):  # its texts are all the service's
            error.message = self._redact(error.message)
            error.code = error.code and self._redact(error.code, name="code")
        else:
            error.message = self._redact.message(error.message)
        error.args = (error.message,)
        if isinstance(error, StreamInterruptedError):
            error.last_event_id = self._redact(error.last_event_id, name="id")
        error.partial = self._partial()
        if self._source is not None:
            request_id = error.request_id or self._source.request_id
            error.request_id = request_id and self._redact(request_id, name="id")
            error.attempts = max(self._source.attempts, 1)

    def cancel(self) -> None:
        """End the answer, from any thread, at any moment; the reader gets StreamCancelledError.

        Returns at once. Once the stream has ended it does nothing.
        """
        if self._state == "open":
            self._scope.abort("cancelled")

    def close(self) -> None:
        """Leave the answer: the connection is closed, plugins are told. May be called again.

        A reader that is waiting in another thread gets StreamCancelledError, reason "closed".
        """
        if self._state == "open":
            self._scope.abort("closed")
        if not self._step.busy:
            self._come_to_it()

    def _come_to_it(self) -> None:
        """End the stream as the scope was told to, if it has not ended."""
        self._finish(self._scope.abort_error())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run_all(self.close, error=error if is_interrupt(error) else None)

    def __del__(self) -> None:
        if not getattr(self, "_end_rights", None):
            return
        try:
            self._scope.abort("closed")
            self._come_to_it()  # a stream that nobody holds is in nobody's step
        except Exception as error:
            if is_interrupt(error):
                raise  # Python cannot let it out of here, but shows it

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state}>"

    # What there is to know of the exchange.

    @property
    def state(self) -> State:
        """How it stands: "open", then for good "done", "error", "cancelled" or "closed"."""
        if self._state == "open" and self._scope.aborted:
            # The reader has yet to come to it; in a forked child there is none.
            return "closed" if self._scope.aborted == "forked" else self._scope.aborted
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
        request_id = self._source.request_id if self._source else None
        return request_id and self._redact(request_id, name="id")

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

    One thread at a time reads it; another one, a hook or a forked child that tries gets
    StreamError. cancel() and close() may be called by any thread, and by a signal handler.

    idempotency_key: what the question was sent under, on every try.
    """

    def __init__(
        self,
        scope: CancelScope,
        token: CancelToken | None,
        *,
        hooks: Listeners,
        redact: Redactor,
        keep_message: bool = True,
        max_answer_size: int = MAX_ANSWER_SIZE,
        idempotency_key: str = "",
        on_end: Callable[[Message | None], None] | None = None,
    ) -> None:
        self.idempotency_key = idempotency_key
        self._hooks = hooks
        self._builder = MessageBuilder(keep=keep_message)
        self._max_answer_size = max_answer_size
        self._on_end = on_end
        self._request_notified = False
        self._asker = threading.get_ident()
        ends = hooks.notifier("on_done") or hooks.notifier("on_error")
        self._context = contextvars.copy_context() if ends is not None else None
        super().__init__(scope, token, redact)

    def _ask(self, request: Request, make_source: Callable[[Request], EventSource]) -> None:
        """Tell of the question, and send it as the plugins have left it."""

        def source() -> EventSource:
            notify = self._hooks.notifier("on_request")
            if notify is not None and request.body is not None:
                request.body = copied_body(request.body)  # an edit is not to change the caller's
            self._request_notified = True
            if notify is not None:
                notify(request, self)
            self._hooks.wait_for_room(self._is_wanted)
            return make_source(request)

        self._open(source)

    def _items(self, reading: _Reading[StreamChunk]) -> Generator[StreamChunk, None, None]:
        # Everything a chunk needs is a local here: this loop is what an answer costs.
        source, scope = reading.source, self._scope
        reader, add_text = ChunkReader(self._redact), self._builder.add_text
        notify, room = self._hooks.notifier("on_chunk"), self._max_answer_size
        events = source.events(self._retry_notifier(reading))
        del self  # `reading` holds the stream, but only while it should
        with reading, reading as step:
            scope.raise_aborted()
            for chunk in map(reader.read, map(_DATA, events)):
                if type(chunk) is ContentChunk:
                    scope.progress = True
                    room -= len(chunk.content)
                    if room < 0:
                        raise _chat(reading)._too_large()
                    add_text(chunk.content)
                    if notify is not None:
                        notify(chunk, reading.stream)
                    step.busy = False
                    if scope.aborted:
                        _chat(reading)._come_to_it()
                    yield chunk
                    step.busy = True
                    if scope.aborted:
                        scope.raise_aborted()
                elif chunk is not None:
                    taken = _joined(reader.flush(), chunk)
                    room -= sum(map(size_of, taken))
                    yield from _take_and_lend(taken, reading, fits=room >= 0)
                    del chunk, taken  # what a traceback shows may not be an echo of the key
                    if _chat(reading)._finished():
                        return

    def _retry_notifier(self, reading: _Reading[StreamChunk]) -> Callable[[APIError, float], None]:
        def notify(error: APIError, delay: float) -> None:
            if reading.stream is not None:
                reading.stream._notify_retry(error, delay)

        return notify

    def _too_large(self) -> StreamProtocolError:
        limit = self._max_answer_size
        return StreamProtocolError(
            f"answer too large: expected at most {limit} characters (max_answer_size)"
        )

    def _take(self, chunks: list[StreamChunk], *, fits: bool) -> None:
        """Take a chunk that is no text, after what was held back until it came, if that fits.

        What the end is, is settled before the last chunk is handed over: a loop that is left at
        the done chunk has a whole answer.
        """
        if not fits:
            raise self._too_large()
        notify = self._hooks.notifier("on_chunk")
        for chunk in chunks:
            self._builder.add(chunk)
            if notify is not None:
                notify(chunk, self)
        if isinstance(chunk, DoneChunk):
            self._end(None)
        elif isinstance(chunk, ErrorChunk):
            error = StreamServerError(chunk.message, code=chunk.code)
            self._finish(error)

    def _is_wanted(self) -> bool:
        """Whether there is a reason to wait: it is not left, and the total limit has not passed."""
        return not self._scope.aborted and self._scope.allows(0.0)

    def _finished(self) -> bool:
        """Whether the answer is complete. Raises what it ended with if it ended otherwise."""
        if self._failure is not None:
            raise self._failure
        return self._state == "done"

    def _before_end(self, error: BaseException | None) -> None:
        if self._on_end is not None:
            self._on_end(None if error is not None else self.current_message)

    def _notify_plugins(self) -> None:
        if not self._ending.settled:
            return
        done = self._state == "done"
        notify = self._hooks.notifier("on_done" if done else "on_error")
        outcome = self.current_message if done and notify is not None else self._failure
        context, self._context = self._context, None  # it may hold much: an app's whole request
        self._ending.notified = True
        if notify is None or not self._request_notified:
            return
        if self._step.busy or context is None or self._asker == threading.get_ident():
            notify(outcome, self)
        else:  # closed by another thread, whose context variables are not the caller's
            context.run(notify, outcome, self)

    def _notify_retry(self, error: APIError, delay: float) -> None:
        self._complete(error)
        notify = self._hooks.notifier("on_retry")
        if notify is not None:
            notify(error, delay, self)

    def _partial(self) -> Message:
        return self._builder.message

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

    def __init__(self, scope: CancelScope, token: CancelToken | None, *, redact: Redactor) -> None:
        super().__init__(scope, token, redact)

    def _items(self, reading: _Reading[ServerSentEvent]) -> Generator[ServerSentEvent, None, None]:
        source, scope = reading.source, self._scope
        del self
        with reading, reading as step:
            scope.raise_aborted()
            events = source.events(lambda error, delay: None)
            for event in (ServerSentEvent(kind, data, id_) for kind, data, id_, _ in events):
                if event.event == "ping":
                    yield from _lend_ping([event], reading)
                    scope.raise_aborted()
                    continue
                scope.progress = True
                step.busy = False
                if scope.aborted:
                    _held(reading)._come_to_it()
                yield event
                step.busy = True
                if scope.aborted:
                    scope.raise_aborted()
            _held(reading)._end(None)


def _held(reading: _Reading[Item]) -> _Stream[Item]:
    """The stream that is being read. Not kept in the generator: see the file's head."""
    assert reading.stream is not None
    return reading.stream


def _chat(reading: _Reading[StreamChunk]) -> ChatStream:
    stream = _held(reading)
    assert isinstance(stream, ChatStream)
    return stream


def _lend(items: list[Item], reading: _Reading[Item]) -> Iterator[Item]:
    for item in items:
        reading.step.busy = False
        if _held(reading)._scope.aborted:
            _held(reading)._come_to_it()
        yield item
        reading.step.busy = True


def _lend_ping(items: list[Item], reading: _Reading[Item]) -> Iterator[Item]:
    """A ping begins no limit anew, but the time that the consumer spends with it is its own."""
    with _held(reading)._scope.paused():
        yield from _lend(items, reading)


def _take_and_lend(
    chunks: list[StreamChunk], reading: _Reading[StreamChunk], *, fits: bool
) -> Iterator[StreamChunk]:
    _chat(reading)._take(chunks, fits=fits)
    if _is_ping(chunks[-1]):
        yield from _lend_ping(chunks, reading)
    else:
        _held(reading)._scope.progress = True
        yield from _lend(chunks, reading)


def _joined(flushed: ContentChunk | None, chunk: StreamChunk) -> list[StreamChunk]:
    return [chunk] if flushed is None else [flushed, chunk]


def _is_ping(chunk: StreamChunk) -> bool:
    return isinstance(chunk, UnknownChunk) and str(chunk.type) == "ping"


def _texts(stream: ChatStream) -> Iterator[str]:
    chunks = iter(stream)
    del stream  # leaving the loop is to free it
    for chunk in chunks:
        if chunk.type == "content":
            yield chunk.content


def _state_of(error: BaseException | None) -> State:
    if error is None:
        return "done"
    return error.reason if isinstance(error, StreamCancelledError) else "error"
