"""The events that feed a stream: one request, its retries and its reconnections.

Knows nothing of chunks, nor whether a stream is complete: `stream`, above it, sees that.

- Until the headers of a good response are here, the request is retried after failures that may
  pass (`retry` says which). Each retry sends the same headers, the idempotency key included.
- A request that was refused for its API key is sent once more if there is another key by now.
- After that it is only resumed, and only when the last event ID names every event that was
  delivered. Otherwise text would come twice.
- Repeats on the new connection are dropped; `resume` says how they are recognized.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import attrs

from .api_key import KeyRing
from .cancel import CancelScope
from .errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    ConfigError,
    StreamInterruptedError,
    StreamProtocolError,
)
from .event_format import EventFormat
from .interrupts import is_interrupt
from .redaction import Redactor
from .response_check import response_problem
from .resume import ResumeGuard
from .retry import MAX_BARREN_RECONNECTIONS, RetryPolicy, backoff, reconnection_delay
from .secret import Secret
from .sse import Fields
from .status_errors import AuthenticationError
from .timeouts import Timeouts
from .transport import HTTPRequest, HTTPResponse, Limit, Transport

__all__ = ["EventSource"]

OnRetry = Callable[[APIError, float], None]
"""Called before each wait, with what went wrong and the seconds to wait."""

_log = logging.getLogger("websopy_sync.event_source")

Failure = TypeVar("Failure", bound=APIError)


class EventSource:
    """The events of one call, over all its connections.

    Args:
        transport: Sends the requests.
        http_request: The request; a retry sends it unchanged.
        scope: Ends the call early.
        timeouts: Limits of the phases; the total one is the scope's.
        retry: How often the request is retried, and whether a stream is resumed.
        format: How its events are read.
        keys: Gives the API key of each request.
        redact: Removes the key and the prompt from errors of the server.
    """

    def __init__(
        self,
        transport: Transport,
        http_request: HTTPRequest,
        scope: CancelScope,
        *,
        timeouts: Timeouts,
        retry: RetryPolicy,
        format: EventFormat,
        keys: KeyRing | None = None,
        redact: Redactor | None = None,
    ) -> None:
        self._transport = transport
        self._http_request = http_request
        self._scope = scope
        self._timeouts = timeouts
        self._retry = retry
        self._format = format
        self._keys = keys or KeyRing(Secret(""))
        self._redact = redact or Redactor(self._keys.keys)
        self._response: HTTPResponse | None = None
        self._decoder = format.decoder()
        self._guard = ResumeGuard(format.text_of)
        self._barren = 0  # reconnections since the last new event
        self.last_event_id: str = ""
        """The id of the last event that was delivered, "" if it had none."""
        self.status_code: int = 0
        self.headers: dict[str, str] = {}
        self.request_id: str | None = None
        """The server's own id for the request, None if it gave none."""
        self.attempts: int = 0
        """Requests sent so far."""

    def open(self, on_retry: OnRetry) -> None:
        """Send the request, with retries, until the headers of a good response are here.

        Raises:
            APIError: Of the last attempt.
            ConfigError: There is no key; nothing was sent.
        """
        problem = self._keys.renew(self._scope, sent=self.attempts > 0)
        if problem:
            raise ConfigError(problem)
        limit: Limit = ("first_chunk", self._timeouts.first_chunk)
        for retry in itertools.count():
            try:
                self._send(self._http_request, limit, on_retry)
                return
            except APIError as error:
                failure = _as_failure(error)
            if retry == self._retry.max_retries or not self._retry.allows(failure):
                break
            delay = backoff(retry, random=self._retry.random)
            if not self._wait_to_retry(failure, delay, on_retry):
                break
        if self.attempts > 1:
            failure.message += f" ({self.attempts} attempts)"
            failure.args = (failure.message,)
        raise failure

    def _send(self, http_request: HTTPRequest, limit: Limit, on_retry: OnRetry) -> None:
        """Send a request, and keep its response if that is an event stream.

        A request whose key was refused is sent once more if there is another key. That is no
        retry of `max_retries`, and costs no budget: the service did not take the request.
        """
        problem = self._exchange(http_request, limit)
        if isinstance(problem, AuthenticationError) and self._has_new_key(problem):
            _log.info("sending again with another key")
            problem.attempts = self.attempts
            on_retry(problem, 0.0)
            self._scope.raise_aborted()
            problem = self._exchange(http_request, limit)
        if problem is not None:
            raise problem

    def _has_new_key(self, refused: AuthenticationError) -> bool:
        """Ask for the key again, after a 401. Returns whether it is another one."""
        before = self._keys.current
        problem = self._keys.renew(self._scope, sent=self.attempts > 0)
        if problem:
            _add_to(refused, problem)
        return self._keys.current.value != before.value

    def _exchange(self, http_request: HTTPRequest, limit: Limit) -> APIError | None:
        """Send a request. Returns what is wrong with its response, None for an event stream."""
        self.attempts += 1
        response = self._transport.send(
            http_request,
            self._scope,
            key=self._keys.current,
            connect=self._timeouts.connect,
            limit=limit,
        )
        self.status_code, self.headers = response.status_code, response.headers
        _log.debug("attempt %d: status %d", self.attempts, response.status_code)
        self._response = response  # from here on close() closes it, whatever interrupts us
        problem = response_problem(
            response,
            scope=self._scope,
            redact=self._redact,
            content_types=self._format.content_types,
        )
        request_id = self._format.request_id(response.headers)
        if problem is None:
            self.request_id = request_id
        else:
            self._response = None
            problem.request_id = request_id
        return problem

    def _wait_to_retry(self, failure: APIError, delay: float, on_retry: OnRetry) -> bool:
        """Wait before a retry. Returns False when there must be none."""
        granted = self._retry.grant(failure, delay, allows=self._scope.allows)
        if granted is None:
            return False
        _log.info("retrying in %.3f s: %s", granted, type(failure).__name__)
        failure.attempts = self.attempts
        on_retry(failure, granted)
        self._scope.wait(granted)
        self._scope.raise_aborted()
        problem = self._keys.renew(self._scope, sent=self.attempts > 0)
        if problem:
            _add_to(failure, problem)
        return not problem

    def events(self, on_retry: OnRetry) -> Iterator[Fields]:
        """The events, each as soon as its bytes are here.

        Raises:
            StreamInterruptedError: The stream was cut, and could not be resumed.
            APITimeoutError: A limit passed.
            StreamProtocolError: The body cannot be decoded, or an event is too large.
            StreamCancelledError: The stream was cancelled.
        """
        # One generator with its names in locals: this loop is what an event costs.
        guard = self._guard
        remember, remember_without_id = guard.remember, guard.remember_without_id
        take, caught_up, remembers = self._decoder.take, False, self._retry.resume
        while True:
            response, failure = self._response, None
            try:
                data = response.receive() if response is not None else self._receive_none()
                if not data and not self._format.may_end(True):
                    raise StreamInterruptedError("the answer ended before its done chunk")
            except (StreamInterruptedError, APITimeoutError) as error:
                data, failure = b"", _as_failure(error)
            # Not in `except`, which would give later errors this one as their context.
            if failure is not None and not self._format.may_end(False):
                self._reconnect(failure, on_retry)
                take, caught_up = self._decoder.take, False
                continue
            if data:
                events = take(data) if caught_up else guard.new_events(take(data))
            else:
                events = guard.end()
            for event in events:
                _, text, self.last_event_id, has_id = event
                if remembers:  # hashing a long event costs as much as reading it
                    remember(text, self.last_event_id) if has_id else remember_without_id(text)
                yield event
            if not data:
                return
            caught_up = caught_up or guard.caught_up
            remembers = remembers and guard.remembers

    def _receive_none(self) -> bytes:
        """Stands in for `receive` once the connection was closed on this side."""
        self._scope.raise_aborted()
        raise StreamInterruptedError("the answer's connection was closed")

    def _reconnect(
        self, failure: StreamInterruptedError | APITimeoutError, on_retry: OnRetry
    ) -> None:
        """Get a response that goes on after the last event.

        Raises:
            StreamInterruptedError: There is none.
            APITimeoutError: The connection was not lost: a limit has passed.
        """
        if isinstance(failure, APITimeoutError):
            raise failure
        self.close()
        http_request = self._resuming_request(failure)
        error: APIError = failure
        while self._response is None:
            if self._barren == MAX_BARREN_RECONNECTIONS:
                why = f"{failure.message}; {self._barren} reconnections brought nothing"
                raise self._interrupted(why)
            delay = reconnection_delay(
                self._decoder.retry_ms, barren=self._barren, random=self._retry.random
            )
            self._barren += 1
            if not self._wait_to_retry(error, delay, on_retry):
                why = f"{failure.message}; " if error is not failure else ""
                raise self._interrupted(f"{why}{error.message}; not resumed")
            try:
                self._send(http_request, ("idle", self._timeouts.idle), on_retry)
            except (APIConnectionError, APIStatusError, StreamProtocolError) as problem:
                error = _as_failure(problem)
                if not self._retry.allows(error):
                    break
        if self._response is None:
            if isinstance(error, APITimeoutError):
                raise error
            raise self._interrupted(f"{failure.message}; not resumed: {error.message}")
        self._begin_resumed()

    def _resuming_request(self, failure: StreamInterruptedError) -> HTTPRequest:
        """The request for what comes after the last event.

        Raises:
            StreamInterruptedError: No event ID names that place, or resuming is off.
        """
        guard, decoder = self._guard, self._decoder
        if guard.progressed:
            self._barren = 0
        nameable = guard.end_connection(decoder.last_event_id, resumable=decoder.resumable)
        if not (self._retry.resume and nameable):
            raise self._interrupted(failure.message)
        # WHATWG 9.2.3: the id goes out as UTF-8.
        last_id = guard.last_id.encode("utf-8", "replace")
        return attrs.evolve(
            self._http_request, headers={**self._http_request.headers, "Last-Event-ID": last_id}
        )

    def _begin_resumed(self) -> None:
        """Expect repeats on the new connection, and keep the server's `retry:` of the old one."""
        self._guard.begin_connection()
        retry_ms = self._decoder.retry_ms
        self._decoder = self._format.decoder(self._guard.last_id)
        self._decoder.retry_ms = retry_ms

    def _interrupted(self, why: str) -> StreamInterruptedError:
        return StreamInterruptedError(why, last_event_id=self.last_event_id)

    def release(self) -> None:
        """The stream is complete: keep its connection for the next request if possible."""
        if self._response is not None:
            self._response.release()
            self._response = None  # after it, so that close() finds it after an interrupt
            self._retry.budget.refund()

    def close(self) -> None:
        """Close the connection, if one is open. May be called again."""
        response, self._response = self._response, None
        if response is not None:
            response.close()


def _add_to(failure: APIError, problem: str) -> None:
    """Say in a failure why the request was not sent again."""
    failure.message += f"; {problem}"
    failure.args = (failure.message,)


def _as_failure(error: Failure) -> Failure:
    """The error without its traceback, to act on. An interrupt is raised instead."""
    if is_interrupt(error):
        raise error
    return error.with_traceback(None)
