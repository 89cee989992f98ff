"""Every way a call can fail, as one tree of exceptions that carry data.

The lowest file of the package: it imports none of it, so that all others may import it. Knows
nothing of HTTP, SSE or hooks; the code that meets a failure fills in the fields. The classes for
each status are in `status_errors`, ToolError and MaxTurnsError in `tool_errors`::

    WebsopyError
    ├── ConfigError (ValueError)                  key, header, URL or option that cannot be sent
    │   └── FileError (OSError)                   a file that cannot be read or written (.errno)
    ├── APIError                                  .message .request_id .partial .retryable .attempts
    │   ├── APIConnectionError                    nothing usable came back (.sent)
    │   │   └── APITimeoutError (TimeoutError)    .phase: connect | first_chunk | idle | total
    │   ├── APIStatusError                        .status_code .body .headers .retry_after
    │   │   ├── BadRequestError 400  AuthenticationError 401  PermissionDeniedError 403
    │   │   ├── NotFoundError 404  ConflictError 409  UnprocessableEntityError 422
    │   │   └── RateLimitError 429  InternalServerError 500 and above
    │   └── StreamError
    │       ├── StreamInterruptedError            ended before done, and could not be resumed
    │       ├── StreamProtocolError               not SSE, bad JSON, wrong shape, too large
    │       │   ├── ResponseParseError (ValueError)   not of the type that was asked for (.text)
    │       │   └── ToolArgumentsError (ValueError)   a tool call's arguments are no JSON object
    │       ├── StreamServerError                 the service's error chunk (.code)
    │       └── StreamCancelledError              (.reason: cancelled | closed)
    ├── ToolError                                 a tool failed, and strict_tools was asked for
    ├── MaxTurnsError                             a run ends with tool calls (.messages .turns)
    └── PluginError                               a plugin failed, and strict_plugins was asked for
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, Self

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "ConfigError",
    "FileError",
    "PluginError",
    "ResponseParseError",
    "StreamCancelledError",
    "StreamError",
    "StreamInterruptedError",
    "StreamProtocolError",
    "StreamServerError",
    "ToolArgumentsError",
    "WebsopyError",
]

Phase = Literal["connect", "first_chunk", "idle", "total"]


class PartialAnswer(Protocol):
    """A `Message` as far as it had arrived, described by its attributes alone."""

    @property
    def content(self) -> str: ...
    @property
    def tool_calls(self) -> Sequence[Any]: ...
    @property
    def usage(self) -> Any: ...
    @property
    def reasoning(self) -> str: ...
    def to_dict(self) -> dict[str, Any]: ...


def described(error: BaseException) -> str:
    """The class and the text of any exception, for a message; some cannot say their text."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # raised by a plugin's own `__str__`
        return type(error).__name__


class WebsopyError(Exception):
    """Root of everything this package raises on purpose.

    Errors are equal when their class and all their fields are; they pickle with every field.

    Args:
        message: What happened, never with the key or the prompt.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.message))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.message, self.__dict__.copy())


def _restore(cls: type[WebsopyError], message: str, fields: dict[str, Any]) -> WebsopyError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(fields)
    return error


class ConfigError(WebsopyError, ValueError):
    """A key, header, URL, message or option that cannot be sent. Nothing was sent."""


class FileError(ConfigError, OSError):
    """A file of yours cannot be read or written. A file that was to be replaced is as it was.

    Args:
        message: What happened.
        errno: The system's number for it, such as `errno.ENOSPC`; None if it gave none.
    """

    errno: int | None = None  # OSError's own is not in `__dict__`, and would not be pickled

    def __new__(cls, message: str = "", *, errno: int | None = None) -> Self:
        """Make one. ValueError's comes first, and refuses to make an OSError."""
        return OSError.__new__(cls, message)

    def __init__(self, message: str = "", *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class APIError(WebsopyError):
    """A call that got no complete response.

    Args:
        message: What happened, never with the key or the prompt.
        request_id: The server's own id for the exchange (`X-Request-Id`), None if it gave none.
        partial: The `Message` as far as it had arrived; None when no chunk could have come.
        retryable: Whether the same call may work later.
        attempts: How often the request was sent or tried, 1 without a retry.
    """

    def __init__(
        self,
        message: str = "",
        *,
        request_id: str | None = None,
        partial: PartialAnswer | None = None,
        retryable: bool = False,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.partial = partial
        self.retryable = retryable
        self.attempts = attempts


class APIConnectionError(APIError):
    """No usable response came.

    Args:
        message: What happened.
        sent: True when the server may have seen the request, False when it cannot have.
        retryable: Whether the same call may work later.
        **fields: The other fields of `APIError`.
    """

    def __init__(
        self, message: str = "", *, sent: bool = False, retryable: bool = True, **fields: Any
    ) -> None:
        super().__init__(message, retryable=retryable, **fields)
        self.sent = sent


class APITimeoutError(APIConnectionError, TimeoutError):
    """A limit of `Timeouts` passed.

    Args:
        message: What happened.
        phase: The limit that passed: connect, first_chunk, idle or total.
        **fields: The other fields of `APIConnectionError`.
    """

    def __init__(self, message: str = "", *, phase: Phase = "total", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.phase: Phase = phase


class APIStatusError(APIError):
    """The status of the response is an error.

    Args:
        message: What happened.
        status_code: The HTTP status.
        body: The response's body as text, at most 64 KiB of what came within a second. It is
            redacted: `***` stands for the key, for pieces of it and for what was sent. JSON stays
            JSON.
        headers: The response's headers, names in lower case; redacted too, and at most 4 KiB of
            each.
        retry_after: Seconds to wait, from `Retry-After`, or from the body where Google says it;
            None if the server did not say.
        code: What the service calls the error, such as `context_length_exceeded`, from a body that
            is JSON; its number if it has no word for it, None without either.
        **fields: The other fields of `APIError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int = 0,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        code: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.status_code = status_code
        self.code = code
        self.body = body
        self.headers: dict[str, str] = dict(headers or {})
        self.retry_after = retry_after


class StreamError(APIError):
    """A stream that began and did not end well; `partial` holds what had come."""


class StreamInterruptedError(StreamError):
    """The stream ended before its done chunk, and could not be resumed.

    Args:
        message: What happened.
        last_event_id: The last event id that the server gave, "" if none.
        **fields: The other fields of `APIError`.
    """

    def __init__(self, message: str = "", *, last_event_id: str = "", **fields: Any) -> None:
        super().__init__(message, **{"retryable": True, **fields})
        self.last_event_id = last_event_id


class StreamProtocolError(StreamError):
    """The response is not what the service documents: not SSE, bad JSON, wrong shape, too large."""


class ResponseParseError(StreamProtocolError, ValueError):
    """The whole answer came, but it is not of the type that `response_type` asked for.

    Args:
        message: What is wrong with it, and whether the service cut the answer.
        text: The answer's text.
        **fields: The other fields of `APIError`. `partial` is the whole message.
    """

    def __init__(self, message: str = "", *, text: str = "", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.text = text


class ToolArgumentsError(StreamProtocolError, ValueError):
    """A tool call's arguments, which the model wrote, are not a JSON object."""


class StreamServerError(StreamError):
    """The service ended the stream with an error chunk.

    Args:
        message: The service's own text. If it repeats the key or the prompt, they are taken out.
        code: The service's code for it, or None.
        **fields: The other fields of `APIError`.
    """

    def __init__(self, message: str = "", *, code: str | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.code = code


class StreamCancelledError(StreamError):
    """The stream was ended on this side.

    Args:
        message: What happened.
        reason: "cancelled" after cancel(), "closed" after close() or when its loop was left.
        **fields: The other fields of `APIError`.
    """

    def __init__(
        self,
        message: str = "",
        *,
        reason: Literal["cancelled", "closed"] = "cancelled",
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.reason: Literal["cancelled", "closed"] = reason


class PluginError(WebsopyError):
    """A plugin failed.

    Args:
        message: What happened.
        plugin: The plugin's name.
        hook: The hook that it failed in, "" when it was loaded.
    """

    def __init__(self, message: str = "", *, plugin: str = "", hook: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin
        self.hook = hook
