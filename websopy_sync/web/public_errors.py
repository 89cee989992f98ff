"""What a visitor may know of a failure: a fixed text and a code for each kind."""

from __future__ import annotations

from ..chunks import ErrorChunk
from ..errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InternalServerError,
    RateLimitError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
    StreamServerError,
)

_FAILURES: tuple[tuple[type[Exception], str, str], ...] = (
    # Subclasses before their parents.
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
    """What a visitor may know of a failure: a fixed text and a code for each kind.

    No key, no URL, no word of the service and nothing of the error itself. The codes: cancelled,
    timeout, unreachable, rate_limited, service_error, refused, interrupted, unreadable, and
    internal for what is no failure of the answer.
    """
    for kind, code, text in _FAILURES:
        if isinstance(error, kind):
            return ErrorChunk(text, code)
    return ErrorChunk("Something went wrong.", "internal")
