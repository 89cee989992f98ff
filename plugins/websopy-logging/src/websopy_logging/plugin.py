"""The plugin: logs one line at the start of each request, at each retry and at the end.

Where the lines go is up to the application, or to setup.py. They have prompts and answers only on
request, and never the value of a header.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import attrs

from websopy_sync import Message, StreamCancelledError, StreamLocal, hookimpl

from .formatters import FIELDS
from .setup import asks_for_content, configure_from_environment

__all__ = ["LoggingPlugin"]

LONGEST_WORD = 200
"""Most characters of a finish reason, a model or an id that the service sent.

Also of a field in a part of a turn, but for its text: a longer one is the data of an image or file.
"""


@attrs.define
class _Progress:
    """The state of one request; times are the clock's."""

    started: float
    model: str | None = None
    chunks: int = 0
    first: float | None = None
    last: float | None = None
    retries: int = 0

    def times(self, now: float) -> dict[str, Any]:
        """The fields of the last line; None for an unknown one."""
        first, last, rate = self.first, self.last, None
        if first is not None and last is not None and last > first:
            rate = round((self.chunks - 1) / (last - first), 2)
        return {
            "chunks": self.chunks,
            "seconds": round(now - self.started, 3),
            "seconds_to_first_chunk": None if first is None else round(first - self.started, 3),
            "chunks_per_second": rate,
        }


class LoggingPlugin:
    """Logs every request of a client to the logger `websopy_sync.chat`.

    The start is INFO, and so is the end of a complete, cancelled or closed stream. Retries, errors
    and answers that the service cut are WARNING. Each record has its fields as a dict in
    `record.websopy`.

    Args:
        capture_content: Whether to log prompts and answers too. None: as the environment variable
            WEBSOPY_LOGGING_CONTENT says.
        logger: Another logger.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        capture_content: bool | None = None,
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        configure_from_environment()
        self._content = asks_for_content() if capture_content is None else capture_content
        self._logger = logger or logging.getLogger("websopy_sync.chat")
        self._clock = clock
        self._open: StreamLocal[_Progress] = StreamLocal()

    @hookimpl
    def on_request(self, request: Any, stream: Any) -> None:
        """Log the start."""
        body = request.body or {}
        progress = _Progress(self._clock(), model=request.model)
        self._open[stream] = progress
        fields: dict[str, Any] = {"question": request.idempotency_key, "model": progress.model}
        messages = body.get("messages")
        if isinstance(messages, list):
            fields["messages"] = _without_data(messages) if self._content else len(messages)
        self._log(logging.INFO, "start", fields)

    @hookimpl
    def on_chunk(self, stream: Any) -> None:
        """Count a chunk; it is not logged."""
        progress = self._open.get(stream)
        if progress is not None:
            progress.last = self._clock()
            progress.chunks += 1
            if progress.first is None:
                progress.first = progress.last

    @hookimpl
    def on_retry(self, error: Any, delay: float, stream: Any) -> None:
        """Log a retry, before the wait."""
        progress = self._progress(stream)
        progress.retries += 1
        fields = {
            "question": stream.idempotency_key,
            "retry": progress.retries,
            "delay": round(delay, 3),
            **_facts_of(error),
        }
        self._log(logging.WARNING, "retry", fields)

    @hookimpl
    def on_done(self, message: Message, stream: Any) -> None:
        """Log the end of a complete answer."""
        self._end(stream, message, {"outcome": "done", "truncated": message.truncated})

    @hookimpl
    def on_error(self, error: BaseException, stream: Any) -> None:
        """Log any other end."""
        outcome: dict[str, Any]
        if isinstance(error, StreamCancelledError):
            outcome = {"outcome": error.reason}
        else:
            outcome = {"outcome": "error", **_facts_of(error)}
        self._end(stream, stream.current_message, outcome)

    def _progress(self, stream: Any) -> _Progress:
        return self._open.get(stream) or _Progress(self._clock())

    def _end(self, stream: Any, message: Message, outcome: dict[str, Any]) -> None:
        progress = self._progress(stream)
        self._open.pop(stream, None)
        fields = {
            "question": stream.idempotency_key,
            "model": progress.model,
            **outcome,
            "finish_reason": _clipped(message.finish_reason),
            "answer_model": _clipped(message.model),
            "answer_id": _clipped(message.id),
            "request_id": stream.request_id,
            **progress.times(self._clock()),
            "retries": progress.retries,
            **_usage_of(message),
        }
        if self._content:
            fields |= {"content": message.content, "reasoning": message.reasoning or None}
        # A cut answer is a success for the transport and half an answer for its reader.
        failed = outcome["outcome"] == "error" or message.truncated
        self._log(logging.WARNING if failed else logging.INFO, "end", fields)

    def _log(self, level: int, event: str, fields: dict[str, Any]) -> None:
        known = {"event": event} | {
            name: value for name, value in fields.items() if value is not None
        }
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", _Line(known), extra={FIELDS: known})


class _Line:
    """Fields as one line of text, formatted only when a handler writes it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        event, *rest = self._fields.items()
        return " ".join([event[1], *(f"{name}={_shown(value)}" for name, value in rest)])


def _shown(value: object) -> str:
    """A value as one word: JSON if it has spaces, quotes or line ends."""
    if isinstance(value, str) and value.isprintable() and value and not set(value) & set(' "='):
        return value
    text = json.dumps(value, ensure_ascii=False, default=str)
    # JSON does not escape some line ends, such as U+2028; its ASCII form escapes all.
    return text if text.isprintable() else json.dumps(value, default=str)


def _facts_of(error: BaseException) -> dict[str, Any]:
    """The fields of an error, under the names that the error has for them."""
    facts: dict[str, Any] = {"error": type(error).__name__, "problem": str(error)}
    for name in ("status_code", "phase", "code", "attempts"):
        facts[name] = getattr(error, name, None)
    return facts


def _usage_of(message: Message) -> dict[str, Any]:
    if message.usage is None:
        return {}
    usage = message.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        # 0 when the service did not say
        "cached_tokens": usage.cached_tokens or None,
        "reasoning_tokens": usage.reasoning_tokens or None,
    }


def _without_data(messages: list[Any]) -> list[Any]:
    """Messages with the length of each image and file in the place of its data."""
    return [
        {**turn, "content": [_named(part) for part in turn["content"]]}
        if isinstance(turn, dict) and isinstance(turn.get("content"), list)
        else turn
        for turn in messages
    ]


def _named(part: Any) -> Any:
    """A part of a turn with the length of its data, which is deeper in some services' form."""
    if not isinstance(part, dict):
        return part
    return {name: value if name == "text" else _without_long(value) for name, value in part.items()}


def _without_long(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cut(inner) for name, inner in value.items()}
    return _cut(value)


def _cut(value: Any) -> Any:
    is_data = isinstance(value, str) and len(value) > LONGEST_WORD
    return f"{len(value)} characters" if is_data else value


def _clipped(text: str | None) -> str | None:
    """The service's own word, which may be of any length."""
    return text and text[:LONGEST_WORD]
