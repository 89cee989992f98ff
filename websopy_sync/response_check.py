"""Whether a response is an event stream; if not, the error that says what it is.

Looks at the status and the headers, and reads the body of an error. `retry` decides what follows
from the error; `event_source` reads the events of a good response.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from .cancel import CancelScope
from .errors import APIError, APIStatusError, StreamProtocolError
from .interrupts import is_interrupt
from .redaction import Redactor
from .retry import may_pass, parse_retry_after, parse_retry_headers
from .status_errors import status_error_class
from .transport import HTTPResponse
from .wires.lenient_json import parse
from .wires.pieces import error_chunk

__all__ = ["response_problem"]

ERROR_BODY_LIMIT = 65536
"""Bytes of an error body that are read."""

ERROR_BODY_SECONDS = 1.0
"""Seconds that reading an error body may take."""


def response_problem(
    response: HTTPResponse, *, scope: CancelScope, redact: Redactor, content_types: Sequence[str]
) -> APIError | None:
    """The error for a response that is no stream of events, None if it is one.

    A good response is ready to be read; any other has been read and closed.

    Args:
        response: Its status and headers are here, its body is not read yet.
        scope: Of the call; reading an error body obeys it.
        redact: Removes the key and the prompt from what the server sent back.
        content_types: Those of a stream of events; the first one is named in errors.

    Raises:
        StreamCancelledError: The call was cancelled while the error body was read.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code == 200 and kind in content_types:
        return _coding_problem(response)
    data = response.read_error_body(limit=ERROR_BODY_LIMIT, seconds=ERROR_BODY_SECONDS)
    response.release()
    body, headers = redact.response(data.decode("utf-8", "replace"), response.headers)
    scope.raise_aborted()
    snippet = " ".join(body[:200].split())
    shown = f": {snippet}" if snippet else ""
    if response.status_code >= 300:
        return _status_error(response, body, headers, shown)
    what = redact(kind or "no content type", name="content-type")
    return StreamProtocolError(
        f"expected status 200 with {content_types[0]}, got {response.status_code} with "
        f"{what[:100]}{shown}"
    )


def _coding_problem(response: HTTPResponse) -> StreamProtocolError | None:
    """The error for a Content-Encoding that is not known."""
    try:
        response.decode()
        return None
    except StreamProtocolError as error:
        response.close()
        # A new error, as the traceback of this one holds the libraries below.
        return StreamProtocolError(error.message)


def _status_error(
    response: HTTPResponse, body: str, headers: dict[str, str], shown: str
) -> APIStatusError:
    status = response.status_code
    what = "a redirect, which is not followed" if status < 400 else "an error"
    fields = _object_in(body)
    asked = parse_retry_headers(response.headers, now=time.time())
    return status_error_class(status)(
        f"the server answered {status}, {what}{shown}",
        status_code=status,
        body=body,
        headers=headers,
        retry_after=_delay_in(fields) if asked is None else asked,
        retryable=may_pass(status, response.headers),
        code=error_chunk(fields).code,
    )


def _object_in(body: str) -> dict[str, Any]:
    """The JSON object of a body; empty when there is none."""
    try:
        value = parse(body)
    except (ValueError, RecursionError) as error:
        if is_interrupt(error):
            raise
        return {}
    if isinstance(value, list) and value:  # Gemini's
        value = value[0]
    return value if isinstance(value, dict) else {}


def _delay_in(fields: dict[str, Any]) -> float | None:
    """Seconds that Google asks to wait, which it says in the body: google.rpc.RetryInfo, "34s"."""
    error = fields.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return parse_retry_after(delay[:-1], now=math.inf)
    return None
