"""What the user holds: the chunks of a chat or native events, as they come.

EventSource → wire → plugins → the user's loop. How a stream begins and ends is in `lifecycle`.
Knows nothing of HTTP, and nothing of where events come from.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Self

from .cancel import CancelScope, CancelToken
from .chunks import ContentChunk, DoneChunk, ErrorChunk, StreamChunk, UnknownChunk
from .collector import program_thread
from .errors import APIError, StreamProtocolError, StreamServerError
from .event_source import EventSource
from .hooks import Listeners, Request
from .lifecycle import Item, Reading
from .message import MAX_ANSWER_SIZE, Message, MessageBuilder, size_of
from .redaction import Redactor
from .request_body import copied_body
from .response_stream import ResponseStream, lend
from .sse import ServerSentEvent
from .wires import FastReader
from .wires.base import GRACE, chunks_of

__all__ = ["ChatStream", "EventStream"]

_DATA = itemgetter(1)


class ChatStream(ResponseStream[StreamChunk]):
    """The chunks of one chat response, each as soon as it arrives. It can be read once.

    A loop ends after the done chunk. One thread at a time may read. cancel() and close() may be
    called from any thread and from a signal handler. Errors of reading have the message so far as
    `partial`; StreamError alone has none.

    Raises:
        StreamServerError: After an error chunk.
        StreamInterruptedError: The connection was lost, and the stream could not be resumed.
        APITimeoutError: A limit passed.
        StreamProtocolError: The server sent something that is no chunk, or too much.
        StreamCancelledError: cancel() or close() was called.
        StreamError: The stream was read before, or a second thread, a hook or a forked child
            tries to read it.
    """

    def __init__(
        self,
        scope: CancelScope,
        token: CancelToken | None,
        *,
        reader: FastReader,
        hooks: Listeners,
        redact: Redactor,
        keep_message: bool = True,
        max_answer_size: int = MAX_ANSWER_SIZE,
        idempotency_key: str = "",
        metadata: Mapping[str, Any] | None = None,
        on_end: Callable[[Message, bool], None] | None = None,
    ) -> None:
        self.idempotency_key = idempotency_key
        """Sent with the request and each repeat, so that the service answers only once."""
        self._metadata = MappingProxyType({}) if metadata is None else metadata
        self._reader = reader
        self._hooks = hooks
        self._builder = MessageBuilder(keep=keep_message)
        self._max_answer_size = max_answer_size
        self._on_end = on_end
        self._waits = False
        """Whether the response is complete, and waits for what may follow. Nothing prolongs that
        but chunks: a service may send events without end."""
        self._request_notified = False
        self._opener = program_thread()
        ends = hooks.notifier("on_done") or hooks.notifier("on_error")
        self._context = contextvars.copy_context() if ends is not None else None
        super().__init__(scope, token, redact=redact)

    def _send(self, request: Request, make_source: Callable[[Request], EventSource]) -> None:
        """Notify the plugins of a request, then send it as they have edited it."""

        def source() -> EventSource:
            notify = self._hooks.notifier("on_request")
            if notify is not None and request.body is not None:
                request.body = copied_body(request.body)  # a plugin must not edit the caller's
            self._request_notified = True
            if notify is not None:
                notify(request, self)
            self._hooks.wait_for_room(self._is_wanted)
            return make_source(request)

        self._open(source)

    def _items(self, reading: Reading[StreamChunk]) -> Generator[StreamChunk, None, None]:
        # The hot path, hence the locals and the depth. Measure before you touch it.
        scope, read, add_text = self._scope, self._reader.read, self._builder.add_text
        notify, room = self._hooks.notifier("on_chunk"), self._max_answer_size
        events = reading.source.events(reading.notify_retry)
        del self  # only `reading` may hold the stream: see there
        with reading, reading as step:  # twice: an interrupt may skip one of the exits
            scope.raise_aborted()
            for chunk in map(read, map(_DATA, events)):
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
                        reading.end_aborted()
                    yield chunk
                    step.busy = True
                    if scope.aborted:
                        scope.raise_aborted()
                elif chunk is not None:
                    taken = chunks_of(chunk)
                    room -= sum(map(size_of, taken))
                    yield from _take_and_lend(taken, reading, room)
                    del chunk, taken  # crash reporters show locals; these may echo the key
                    if _chat(reading)._finished():
                        return
            # The bytes have ended, and the reader says that the response is complete.
            yield from _take_and_lend(_chat(reading)._ending(), reading, room)

    def _ending(self) -> Sequence[StreamChunk]:
        """The chunk that ends the response when its bytes do not say so."""
        done = self._reader.done
        return () if done is None else (done,)

    def _too_large(self) -> StreamProtocolError:
        limit = self._max_answer_size
        return StreamProtocolError(
            f"answer too large: expected at most {limit} characters (max_answer_size)"
        )

    def _take(self, chunks: Sequence[StreamChunk], *, fits: bool) -> None:
        """Take the chunks of an event that is not plain text.

        The stream ends before its last chunk is handed over: a loop that is left at the done
        chunk has a complete message.

        fits: whether `max_answer_size` has room for them.
        """
        if not fits:
            raise self._too_large()
        notify = self._hooks.notifier("on_chunk")
        for chunk in chunks:
            self._builder.add(chunk)
            if notify is not None:
                notify(chunk, self)
        last = chunks[-1] if chunks else None
        if isinstance(last, DoneChunk):
            self._end(None)
        elif isinstance(last, ErrorChunk):
            error = StreamServerError(last.message, code=last.code)
            self._end_and_close(error)

    def _is_wanted(self) -> bool:
        """Whether to go on waiting: not aborted, and the total limit has not passed."""
        return not self._scope.aborted and self._scope.allows(0.0)

    def _finished(self) -> bool:
        """Whether the stream is done. Raises the error that it ended with."""
        if self._failure is not None:
            raise self._failure
        return self._state == "done"

    def _before_end(self, error: BaseException | None) -> None:
        if self._on_end is not None:
            self._on_end(self.current_message, error is None)

    def _notify_plugins(self) -> None:
        if not self._settled:
            return
        done = self._state == "done"
        notify = self._hooks.notifier("on_done" if done else "on_error")
        outcome = self.current_message if done and notify is not None else self._failure
        context, self._context = self._context, None  # free it: it may hold much
        self._notified = True
        if notify is None or not self._request_notified:
            return
        if self._step.busy or context is None or self._opener == program_thread():
            notify(outcome, self)
        else:  # another thread has other variables; for the collector see `collector`
            context.run(notify, outcome, self)

    def _notify_retry(self, error: APIError, delay: float) -> None:
        self._complete(error)
        notify = self._hooks.notifier("on_retry")
        if notify is not None:
            notify(error, delay, self)

    def _partial(self) -> Message:
        return self._builder.message

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the caller passed as `metadata=`, `{}` if nothing: a read-only copy, never sent."""
        return self._metadata

    @property
    def current_message(self) -> Message:
        """The message so far. It costs a copy of the text."""
        return self._builder.message

    @property
    def text_stream(self) -> Iterator[str]:
        """The text alone, piece by piece. It reads the stream, and raises the same errors."""
        return _texts(self)

    def until_done(self) -> Self:
        """Read the stream to its end, and return it.

        Raises:
            APIError: As reading the stream does.
        """
        if self._state == "open":
            for _ in self:
                pass
        if self._failure is not None:
            raise self._failure
        return self

    def get_final_message(self) -> Message:
        """The complete message. Reads and raises as until_done() does."""
        return self.until_done().current_message

    def get_final_text(self) -> str:
        """The text of the complete message. Reads and raises as until_done() does."""
        return self.get_final_message().content


class EventStream(ResponseStream[ServerSentEvent]):
    """The events of one native request. It can be read once, and ends where the bytes end.

    Reading raises what that of a `ChatStream` raises, but no StreamServerError. An event counts as
    a chunk for the limits.
    """

    def _items(self, reading: Reading[ServerSentEvent]) -> Generator[ServerSentEvent, None, None]:
        source, scope = reading.source, self._scope
        del self
        with reading, reading as step:  # twice: an interrupt may skip one of the exits
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
                    reading.end_aborted()
                yield event
                step.busy = True
                if scope.aborted:
                    scope.raise_aborted()
            reading.end_complete()


def _chat(reading: Reading[StreamChunk]) -> ChatStream:
    """What `self` was in `_items`, which must not hold it."""
    assert isinstance(reading.stream, ChatStream)
    return reading.stream


def _lend_ping(items: Sequence[Item], reading: Reading[Item]) -> Iterator[Item]:
    """The same for a ping: it starts no limit anew, but the consumer's time does not count."""
    with reading.scope.paused():
        yield from lend(items, reading)


def _take_and_lend(
    chunks: Sequence[StreamChunk], reading: Reading[StreamChunk], room: int
) -> Iterator[StreamChunk]:
    stream = _chat(reading)
    stream._take(chunks, fits=room >= stream._reader.held)
    complete = stream._reader.done is not None
    waits, stream._waits = complete and stream._waits and not chunks, complete
    del stream  # leaving the loop must free it
    if chunks and _is_ping(chunks[-1]):
        yield from _lend_ping(chunks, reading)
    elif not waits:
        reading.scope.progress = True
        yield from lend(chunks, reading)
        if _chat(reading)._reader.may_end(False):
            reading.scope.limit("idle", GRACE)
    if reading.scope.aborted and not _chat(reading)._settled:
        reading.scope.raise_aborted()


def _is_ping(chunk: StreamChunk) -> bool:
    return isinstance(chunk, UnknownChunk) and str(chunk.type) == "ping"


def _texts(stream: ChatStream) -> Iterator[str]:
    chunks = iter(stream)
    del stream  # leaving the loop must free it
    for chunk in chunks:
        if chunk.type == "content":
            yield chunk.content
