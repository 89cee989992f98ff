"""One unbroken line of events, over repeats and reconnections.

Asks the question until an answer's head is there, hands out the answer's events, and, when the
connection is lost, asks the server to go on behind the last event ID. Knows nothing of chunks:
whether an answer is complete is for the reader to see.

The rules, and why:

- Before the head of a 200, a question is repeated for what may pass: no connection, a lost one,
  and the statuses below. Each repeat carries the same headers, the idempotency key among them.
- Behind it the question is only ever resumed, and only when every event handed out can be named
  to the server: the last of them brought a new id. Else text would come twice.
- What a resumed answer repeats is dropped; how that is known is in `resume`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import attrs

from .cancel import CancelScope
from .errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    StreamInterruptedError,
    StreamProtocolError,
    status_error_class,
)
from .interrupts import is_interrupt
from .redaction import Redactor, Secret
from .resume import AnswerIn, ResumeGuard, event_alone
from .sse import Decoder, Fields
from .timing import (
    MAX_RECONNECTION_DELAY,
    MAX_RETRY_AFTER,
    RetryBudget,
    Timeouts,
    backoff,
    parse_retry_after,
)
from .transport import HTTPRequest, HTTPResponse, Limit, Transport

__all__ = ["EventSource", "RetryPolicy"]

OnRetry = Callable[[APIError, float], None]

_log = logging.getLogger("websopy_sync.event_source")

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
BARREN_RECONNECTIONS = 3
REQUEST_ID = "x-request-id"
ERROR_BODY_LIMIT = 65536
ERROR_BODY_SECONDS = 1.0


Failure = TypeVar("Failure", bound=APIError)


def _dealt_with(failure: Failure) -> Failure:
    """A failure to go on from, without its traceback. An interrupt is none, and is raised."""
    if is_interrupt(failure):
        raise failure
    return failure.with_traceback(None)


@attrs.frozen
class RetryPolicy:
    """How far a source goes for an answer.

    ends_at_eof: the end of the bytes is a good end. So it is for native events, which have no
    end mark; a chat has its done chunk.
    ignore: a type of events that are not handed out, such as pings.
    answer_in: what an event's data adds to the answer, as text; see `resume.ResumeGuard`.
    random: floats in [0, 1), for the jitter of waits.
    """

    timeouts: Timeouts
    budget: RetryBudget
    max_retries: int
    max_event_size: int
    resume: bool = True
    ends_at_eof: bool = False
    ignore: str | None = None
    answer_in: AnswerIn = event_alone
    random: Callable[[], float] = random.random


class EventSource:
    """The events of one question.

    `redact` takes the key and the prompt out of what a server sent back. `OnRetry` functions
    are called with the error and the delay before each wait.
    """

    def __init__(
        self,
        transport: Transport,
        http_request: HTTPRequest,
        policy: RetryPolicy,
        scope: CancelScope,
        *,
        redact: Redactor | None = None,
    ) -> None:
        self._transport = transport
        self._http_request = http_request
        self._policy = policy
        self._scope = scope
        self._redact = redact or Redactor(Secret(""))
        self._decoder = self._new_decoder("")
        self.last_event_id: str = ""
        """The id of the last event that was handed out, "" if it had none."""
        self._response: HTTPResponse | None = None
        self._guard = ResumeGuard(policy.answer_in)
        self._barren = 0  # reconnections since the last new event
        self.status_code: int = 0
        self.headers: dict[str, str] = {}
        self.request_id: str | None = None
        """The server's own id for the answer."""
        self.attempts: int = 0

    def open(self, on_retry: OnRetry) -> None:
        """Ask, and ask again as the policy allows, until the head of a good answer is there.

        Raises the APIError of the last try.
        """
        limit: Limit = ("first_chunk", self._policy.timeouts.first_chunk)
        for retry in range(self._policy.max_retries + 1):
            try:
                self._ask(self._http_request, limit)
                return
            except APIError as error:
                failure = _dealt_with(error)
            if not self._repeatable(failure) or retry == self._policy.max_retries:
                break
            delay = backoff(retry, random=self._policy.random)
            if not self._pause(failure, delay, on_retry):
                break
        if self.attempts > 1:
            failure.message += f" ({self.attempts} attempts)"
            failure.args = (failure.message,)
        raise failure

    def _ask(self, http_request: HTTPRequest, limit: Limit) -> None:
        self.attempts += 1
        response = self._transport.send(
            http_request,
            self._scope,
            connect=self._policy.timeouts.connect,
            limit=limit,
        )
        self.status_code, self.headers = response.status_code, response.headers
        _log.debug("attempt %d: status %d", self.attempts, response.status_code)
        self._response = response  # close() finds it, whatever interrupts what follows
        problem = self._problem_of(response)
        if problem is None:
            self.request_id = response.headers.get(REQUEST_ID)
            return
        self._response = None
        problem.request_id = response.headers.get(REQUEST_ID)
        raise problem

    def _problem_of(self, response: HTTPResponse) -> APIError | None:
        """What is wrong with an answer by its head; its body has been read and closed then."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code == 200 and kind == "text/event-stream":
            try:
                response.decode()
                return None
            except StreamProtocolError as error:
                response.close()
                return StreamProtocolError(error.message)
        body, headers = self._error_texts(response)
        snippet = " ".join(body[:200].split())
        shown = f": {snippet}" if snippet else ""
        if response.status_code >= 300:
            return self._status_error(response, body, headers, shown)
        what = kind or "no content type"
        return StreamProtocolError(
            f"expected status 200 with text/event-stream, got {response.status_code} with "
            f"{self._redact(what, name='content-type')[:100]}{shown}"
        )

    def _error_texts(self, response: HTTPResponse) -> tuple[str, dict[str, str]]:
        """The body and the headers of a response that is no answer, without secrets."""
        data = response.read_error_body(limit=ERROR_BODY_LIMIT, seconds=ERROR_BODY_SECONDS)
        response.release()
        texts = self._redact.response(data.decode("utf-8", "replace"), response.headers)
        self._scope.raise_aborted()
        return texts

    def _status_error(
        self, response: HTTPResponse, body: str, headers: dict[str, str], shown: str
    ) -> APIStatusError:
        status = response.status_code
        what = "a redirect, which is not followed" if status < 400 else "an error"
        return status_error_class(status)(
            f"the server answered {status}, {what}{shown}",
            status_code=status,
            body=body,
            headers=headers,
            retry_after=parse_retry_after(response.headers.get("retry-after"), now=time.time()),
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
        if (asked or 0) > MAX_RETRY_AFTER or not self._scope.allows(delay):
            return False
        throttled = getattr(failure, "status_code", 0) in (429, 503)
        if not self._policy.budget.take(throttled=throttled):
            return False
        _log.info("asking again in %.3f s: %s", delay, type(failure).__name__)
        failure.attempts = self.attempts
        on_retry(failure, delay)
        self._scope.wait(delay)
        self._scope.raise_aborted()
        return True

    def events(self, on_retry: OnRetry) -> Iterator[Fields]:
        """The events, each as soon as its bytes are here, until the bytes end.

        Raises StreamInterruptedError when the answer was cut and could not be resumed,
        APITimeoutError, StreamProtocolError, StreamCancelledError.
        """
        guard = self._guard
        note, note_unnamed, noting = guard.note, guard.note_unnamed, True
        take, settled = self._decoder.take, False  # locals: this loop is what an event costs
        while True:
            response = self._response
            try:
                data = response.receive() if response is not None else self._nothing()
                if not data and not self._policy.ends_at_eof:
                    raise StreamInterruptedError("the answer ended before its done chunk")
            except StreamInterruptedError as error:
                failure = _dealt_with(error)
            else:
                events = take(data) if data else guard.end()
                if data and not settled:
                    events = guard.sift(events)
                for event in events:
                    _, text, self.last_event_id, named = event
                    if named:
                        note(text, self.last_event_id)
                    elif noting:
                        note_unnamed(text)
                    yield event
                if not data:
                    return
                settled = settled or guard.settled
                noting = noting and guard.noting
                continue
            self._reconnect(failure, on_retry)
            take, settled = self._decoder.take, False

    def _nothing(self) -> bytes:
        """What a connection gives that was closed on this side."""
        self._scope.raise_aborted()
        raise StreamInterruptedError("the answer's connection was closed")

    def _interrupted(self, why: str) -> StreamInterruptedError:
        return StreamInterruptedError(why, last_event_id=self.last_event_id)

    def _resuming(self, failure: StreamInterruptedError) -> HTTPRequest:
        """The request that asks to go on. Raises StreamInterruptedError when none can."""
        guard, decoder = self._guard, self._decoder
        if guard.progressed:
            self._barren = 0
        nameable = guard.cut(decoder.last_event_id, resumable=decoder.resumable)
        if not (self._policy.resume and nameable):
            raise self._interrupted(failure.message)
        # WHATWG 9.2.3: the id goes out as UTF-8.
        last_id = guard.last_id.encode("utf-8", "replace")
        return attrs.evolve(
            self._http_request, headers={**self._http_request.headers, "Last-Event-ID": last_id}
        )

    def _reconnect(self, failure: StreamInterruptedError, on_retry: OnRetry) -> None:
        """Get an answer that goes on behind the last event ID.

        Raises StreamInterruptedError when that cannot be had.
        """
        self.close()
        http_request = self._resuming(failure)
        error: APIError = failure
        while self._response is None:
            if self._barren == BARREN_RECONNECTIONS:
                why = f"{failure.message}; {BARREN_RECONNECTIONS} reconnections brought nothing"
                raise self._interrupted(why)
            delay = self._reconnection_delay()
            self._barren += 1
            if not self._pause(error, delay, on_retry):
                raise self._interrupted(f"{failure.message}; {error.message}; not resumed")
            try:
                self._ask(http_request, ("idle", self._policy.timeouts.idle))
            except (APIConnectionError, APIStatusError, StreamProtocolError) as problem:
                error = _dealt_with(problem)
                if not self._repeatable(error):
                    break
        if self._response is None:
            if isinstance(error, APITimeoutError):
                raise error
            raise self._interrupted(f"{failure.message}; not resumed: {error.message}")
        self._guard.resume()
        retry_ms = self._decoder.retry_ms
        self._decoder = self._new_decoder(self._guard.last_id)
        self._decoder.retry_ms = retry_ms

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
        if self._response is not None:
            self._response.release()
            self._response = None  # not before: an interrupt on the way leaves it to close()
            self._policy.budget.refund()

    def close(self) -> None:
        """Close the connection, if one is open. May be called again."""
        response, self._response = self._response, None
        if response is not None:
            response.close()
