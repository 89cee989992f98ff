"""A stream, what there is to know of its HTTP response, and how its items are handed over.

Knows nothing of chunks and plugins: `stream` adds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .cancel import CancelScope, CancelToken
from .errors import APIError, StreamInterruptedError, StreamProtocolError, StreamServerError
from .lifecycle import Item, Reading, Stream
from .message import Message
from .redaction import Redactor

__all__ = ["ResponseStream", "lend"]


class ResponseStream(Stream[Item]):
    """A stream, and what there is to know of its HTTP response."""

    def __init__(self, scope: CancelScope, token: CancelToken | None, *, redact: Redactor) -> None:
        super().__init__(scope, token)
        self._redact = redact

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state}>"

    def _complete(self, error: APIError) -> None:
        """Give an error the ids and counts of this stream, and take secrets out of it."""
        if isinstance(error, StreamServerError):  # all its text is the service's
            error.message = self._redact(error.message)
            error.code = error.code and self._redact(error.code, name="code")
        elif self._begun and isinstance(error, StreamProtocolError):
            error.message = self._redact.data_message(error.message)
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

    def _partial(self) -> Message | None:
        return None

    @property
    def status_code(self) -> int:
        """The HTTP status of the last response, 0 before the first one."""
        return self._source.status_code if self._source else 0

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the last response, names in lower case."""
        return dict(self._source.headers) if self._source else {}

    @property
    def request_id(self) -> str | None:
        """The server's id of the request (`X-Request-Id`), None if it gave none."""
        request_id = self._source.request_id if self._source else None
        return request_id and self._redact(request_id, name="id")

    @property
    def last_event_id(self) -> str:
        """The id of the last event that you have read, "" if it had none."""
        return self._source.last_event_id if self._source else ""

    @property
    def retries_taken(self) -> int:
        """How often the request was repeated, resuming included."""
        return max(self._source.attempts - 1, 0) if self._source else 0


def lend(items: Sequence[Item], reading: Reading[Item]) -> Iterator[Item]:
    """Hand items to the consumer. Its time is outside of the step."""
    for item in items:
        reading.step.busy = False
        if reading.scope.aborted:
            reading.end_aborted()
        yield item
        reading.step.busy = True
