"""The error texts that a visitor of the page may read: a fixed one for each kind of failure.

Knows nothing of what the service or the error said. The log has that (buffer.py).
"""

from __future__ import annotations

from ..chunks import ErrorChunk
from ..errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
)
from ..status_errors import InternalServerError, RateLimitError

# The first match counts, so a subclass stands before its parent.
_TEXTS: tuple[tuple[type[Exception], str, str], ...] = (
    (StreamCancelledError, "cancelled", "The answer was stopped."),
    (APITimeoutError, "timeout", "The answer took too long."),
    (APIConnectionError, "unreachable", "The service could not be reached."),
    (RateLimitError, "rate_limited", "Too many questions at once. Please try again later."),
    (InternalServerError, "service_error", "The service could not answer."),
    (APIStatusError, "refused", "The service did not accept the question."),
    (StreamInterruptedError, "interrupted", "The answer broke off."),
    (StreamServerError, "service_error", "The service could not answer."),
    (StreamProtocolError, "unreadable", "The service's answer could not be read."),
)


def public_error(error: BaseException) -> ErrorChunk:
    """What a visitor may know of a failure: a fixed text and a code.

    The text depends on the class of the error alone. It has no key, no URL and no word of the
    service or of the error itself. Of the error's fields it tells only `retry_after`, in seconds:
    a page reads it as `error.retryAfter` of the chunk's JSON.

    Args:
        error: What was raised. Need not be a `WebsopyError`.

    Returns:
        A chunk whose `code` is one of cancelled, timeout, unreachable, rate_limited,
        service_error, refused, interrupted and unreadable. Any other failure, a bug for
        instance, has the code internal.
    """
    for kind, code, text in _TEXTS:
        if isinstance(error, kind):
            return ErrorChunk(text, code, extra=_retry_after(error))
    return ErrorChunk("Something went wrong.", "internal")


def _retry_after(error: BaseException) -> dict[str, dict[str, float]] | None:
    """The field for the chunk's `error` object, if the service sent `Retry-After`."""
    if not isinstance(error, APIStatusError) or error.retry_after is None:
        return None
    return {"error": {"retryAfter": error.retry_after}}
