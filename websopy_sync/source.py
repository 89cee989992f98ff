"""One unbroken line of events, over repeats and reconnections.

Asks the question until an answer's head is there, hands out the answer's events, and, when the
connection is lost, asks the server to go on behind the last event ID. Knows nothing of chunks:
whether an answer is complete is for the reader to see.

The rules, and why:

- Before the head of a 200, a question is repeated for what may pass: no connection, a lost one,
  and the statuses below. Each repeat carries the same headers, the idempotency key among them.
- Behind it the question is only ever resumed, and only when every event handed out can be named
  to the server: the last of them brought a new id. Else text would come twice.
- A resumed answer may begin again from the start, or with events already handed out. Those are
  dropped while they are the same, id and data; one that has a known id and other data is another
  answer, and the line ends.
"""

from __future__ import annotations

import logging
import random
import time
from array import array
from collections.abc import Callable, Iterator

import attrs

from .errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
    status_error_class,
)
from .lifeline import Lifeline
from .sse import Decoder, Fields
from .timing import (
    MAX_RECONNECTION_DELAY,
    MAX_RETRY_AFTER,
    RetryBudget,
    Timeouts,
    backoff,
    parse_retry_after,
)
from .transport import Exchange, Limit, Outgoing, Transport

__all__ = ["Policy", "Source"]

OnRetry = Callable[[APIError, float], None]

_log = logging.getLogger("websopy_sync.source")

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
BARREN_RECONNECTIONS = 3
REQUEST_ID = "x-request-id"
ERROR_BODY_LIMIT = 65536
ERROR_BODY_SECONDS = 1.0


@attrs.frozen
class Policy:
    """How far a source goes for an answer.

    ends_at_eof: the end of the bytes is a good end. So it is for native events, which have no
    end mark; a chat has its done chunk.
    ignore: a type of events that are not handed out, such as pings.
    random: floats in [0, 1), for the jitter of waits.
    """

    timeouts: Timeouts
    budget: RetryBudget
    max_retries: int
    max_event_size: int
    resume: bool = True
    ends_at_eof: bool = False
    ignore: str | None = None
    random: Callable[[], float] = random.random


class Source:
    """The events of one question.

    redact(text) takes the key and the prompt out of what a server sent back. `OnRetry` functions
    are called with the error and the delay before each wait.
    """

    def __init__(
        self,
        transport: Transport,
        outgoing: Outgoing,
        policy: Policy,
        lifeline: Lifeline,
        *,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._transport = transport
        self._outgoing = outgoing
        self._policy = policy
        self._lifeline = lifeline
        self._redact = redact
        self._decoder = self._new_decoder("")
        self.last_event_id = ""
        """The id of the last event that was handed out, "" if it had none."""
        self._exchange: Exchange | None = None
        # What was handed out, by id and by data, as hashes: 16 bytes an event that has an id.
        self._ids = array("q")
        self._datas = array("q")
        self._handed_out: dict[int, set[int]] = {}  # the same by id, made when it is needed
        self._barren = 0  # reconnections since the last new event
        self.status_code = 0
        self.headers: dict[str, str] = {}
        self.request_id: str | None = None
        """The server's own id for the answer."""
        self.attempts = 0

    def open(self, on_retry: OnRetry) -> None:
        """Ask, and ask again as the policy allows, until the head of a good answer is there.

        Raises the APIError of the last try.
        """
        limit: Limit = ("first_chunk", self._policy.timeouts.first_chunk)
        for retry in range(self._policy.max_retries + 1):
            try:
                self._ask(self._outgoing, limit)
                return
            except APIError as error:
                failure = error.with_traceback(None)
            if not self._repeatable(failure) or retry == self._policy.max_retries:
                break
            delay = backoff(retry, random=self._policy.random)
            if not self._pause(failure, delay, on_retry):
                break
        if self.attempts > 1:
            failure.message += f" ({self.attempts} attempts)"
            failure.args = (failure.message,)
        raise failure

    def _ask(self, outgoing: Outgoing, limit: Limit) -> None:
        self.attempts += 1
        exchange = self._transport.send(
            outgoing,
            self._lifeline,
            connect=self._policy.timeouts.connect,
            limit=limit,
        )
        self.status_code, self.headers = exchange.status_code, exchange.headers
        _log.debug("attempt %d: status %d", self.attempts, exchange.status_code)
        problem = self._problem_of(exchange)
        if problem is None:
            self._exchange = exchange
            self.request_id = exchange.headers.get(REQUEST_ID)
            return
        problem.request_id = exchange.headers.get(REQUEST_ID)
        raise problem

    def _problem_of(self, exchange: Exchange) -> APIError | None:
        """What is wrong with an answer by its head; its body has been read and closed then."""
        kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
        if exchange.status_code == 200 and kind == "text/event-stream":
            try:
                exchange.decode()
                return None
            except StreamProtocolError as error:
                exchange.close()
                return StreamProtocolError(error.message)
        body = self._error_body(exchange)
        snippet = " ".join(body[:200].split())
        shown = f": {snippet}" if snippet else ""
        if exchange.status_code >= 300:
            return self._status_error(exchange, body, shown)
        what = kind or "no content type"
        return StreamProtocolError(
            f"expected status 200 with text/event-stream, got {exchange.status_code} with "
            f"{self._redact(what)[:100]}{shown}"
        )

    def _error_body(self, exchange: Exchange) -> str:
        data = exchange.read_error_body(limit=ERROR_BODY_LIMIT, seconds=ERROR_BODY_SECONDS)
        exchange.release()
        self._check_aborted()
        return self._redact(data.decode("utf-8", "replace"))

    def _status_error(self, exchange: Exchange, body: str, shown: str) -> APIStatusError:
        status = exchange.status_code
        what = "a redirect, which is not followed" if status < 400 else "an error"
        headers = {name: self._redact(value) for name, value in exchange.headers.items()}
        return status_error_class(status)(
            f"the server answered {status}, {what}{shown}",
            status_code=status,
            body=body,
            headers=headers,
            retry_after=parse_retry_after(exchange.headers.get("retry-after"), now=time.time()),
            retryable=status in RETRYABLE_STATUSES,
        )

    def _repeatable(self, failure: APIError) -> bool:
        if isinstance(failure, APITimeoutError):
            return failure.phase == "connect"
        return failure.retryable and isinstance(failure, APIConnectionError | APIStatusError)

    def _pause(self, failure: APIError, delay: float, on_retry: OnRetry) -> bool:
        """Wait before asking again; False when that must not be."""
        asked = getattr(failure, "retry_after", None)
        if asked is not None:
            delay = asked
        if (asked or 0) > MAX_RETRY_AFTER or not self._lifeline.allows(delay):
            return False
        throttled = getattr(failure, "status_code", 0) in (429, 503)
        if not self._policy.budget.take(throttled=throttled):
            return False
        _log.info("asking again in %.3f s: %s", delay, type(failure).__name__)
        failure.attempts = self.attempts
        on_retry(failure, delay)
        self._lifeline.wait(delay)
        self._check_aborted()
        return True

    def _check_aborted(self) -> None:
        reason = self._lifeline.aborted
        if reason:
            raise StreamCancelledError(f"the answer was {reason}", reason=reason)

    def events(self, on_retry: OnRetry) -> Iterator[Fields]:
        """The events, each as soon as its bytes are here, until the bytes end.

        Raises StreamInterruptedError when the answer was cut and could not be resumed,
        APITimeoutError, StreamProtocolError, StreamCancelledError.
        """
        catching_up = False
        while True:
            try:
                data = self._receive()
            except StreamInterruptedError as error:
                failure = error.with_traceback(None)
            else:
                if not data:
                    return
                for event in self._decoder.take(data):
                    _, text, id_ = event
                    if id_:
                        if catching_up and self._was_handed_out(text, id_):
                            continue
                        self._ids.append(hash(id_))
                        self._datas.append(hash(text))
                        self._barren = 0
                        if catching_up:
                            catching_up = False
                            self._handed_out.clear()
                    self.last_event_id = id_
                    yield event
                continue
            self._reconnect(failure, on_retry)
            catching_up = True

    def _receive(self) -> bytes:
        """The next bytes; b"" at an end that is a good one."""
        if self._exchange is None:
            self._check_aborted()
            raise StreamInterruptedError("the answer's connection was closed")
        data = self._exchange.receive()
        if not data and not self._policy.ends_at_eof:
            raise StreamInterruptedError("the answer ended before its done chunk")
        return data

    def _was_handed_out(self, data: str, id_: str) -> bool:
        """Whether a resumed answer repeats this event.

        Raises StreamInterruptedError when it has a known id and other data: an answer that goes
        on without ids looks like that too, as its events inherit the last one.
        """
        known = self._handed_out.get(hash(id_))
        if known is not None and hash(data) not in known:
            raise self._interrupted("the resumed answer does not go on where the lost one ended")
        return known is not None

    def _interrupted(self, why: str) -> StreamInterruptedError:
        return StreamInterruptedError(why, last_event_id=self.last_event_id)

    def _reconnect(self, failure: StreamInterruptedError, on_retry: OnRetry) -> None:
        """Get an answer that goes on behind the last event ID.

        Raises StreamInterruptedError when that cannot be had.
        """
        decoder = self._decoder
        self.close()
        if not (self._policy.resume and self._nameable()):
            raise self._interrupted(failure.message)
        # WHATWG 9.2.3: the id goes out as UTF-8.
        last_id = decoder.last_event_id.encode("utf-8", "replace")
        headers = {**self._outgoing.headers, "Last-Event-ID": last_id}
        outgoing = attrs.evolve(self._outgoing, headers=headers)
        error: APIError = failure
        while self._exchange is None:
            if self._barren == BARREN_RECONNECTIONS:
                why = f"{failure.message}; {BARREN_RECONNECTIONS} reconnections brought nothing"
                raise self._interrupted(why)
            delay = self._reconnection_delay()
            self._barren += 1
            if not self._pause(error, delay, on_retry):
                raise self._interrupted(f"{failure.message}; {error.message}; not resumed")
            try:
                self._ask(outgoing, ("idle", self._policy.timeouts.idle))
            except (APIConnectionError, APIStatusError, StreamProtocolError) as problem:
                error = problem.with_traceback(None)
                if not self._repeatable(error):
                    break
        if self._exchange is None:
            if isinstance(error, APITimeoutError):
                raise error
            raise self._interrupted(f"{failure.message}; not resumed: {error.message}")
        self._begin_catching_up(decoder)

    def _begin_catching_up(self, former: Decoder) -> None:
        self._handed_out.clear()
        for id_, data in zip(self._ids, self._datas, strict=True):
            self._handed_out.setdefault(id_, set()).add(data)
        self._decoder = self._new_decoder(former.last_event_id)
        self._decoder.retry_ms = former.retry_ms

    def _nameable(self) -> bool:
        """Whether the last event ID names all that was handed out, and nothing else."""
        last_id = self._decoder.last_event_id
        return last_id != "" and self._decoder.resumable and self._ids.count(hash(last_id)) <= 1

    def _new_decoder(self, last_event_id: str) -> Decoder:
        policy = self._policy
        return Decoder(last_event_id, max_event_size=policy.max_event_size, ignore=policy.ignore)

    def _reconnection_delay(self) -> float:
        """Seconds before the next reconnection: the server's `retry:`, else a back-off."""
        retry_ms = self._decoder.retry_ms
        if retry_ms is None:
            return backoff(self._barren, random=self._policy.random)
        return min(retry_ms / 1000, MAX_RECONNECTION_DELAY)

    def release(self) -> None:
        """The answer is complete: keep its connection if that can be."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.release()
            self._policy.budget.refund()

    def close(self) -> None:
        """Close the connection, if one is open. May be called again."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()
