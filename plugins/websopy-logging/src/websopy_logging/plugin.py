"""The plugin: a line at the start of each question, at each retry, and exactly one at its end.

Where the lines go is the application's business, or `setup`'s. Prompts and answers are in none of
them unless asked for; header values never are.
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


@attrs.define
class _Progress:
    """How far one question has come; times are the clock's."""

    started: float
    model: str | None = None
    chunks: int = 0
    first: float | None = None
    last: float | None = None
    retries: int = 0

    def times(self, now: float) -> dict[str, Any]:
        """What the end line says of it; None where there is nothing to say."""
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
    """Logs every question of a client, through the logger `websopy_sync.chat`.

    The start and a good end are INFO; so are cancelled and closed answers. Retries and errors are
    WARNING. Each record carries its fields as a dict in `record.websopy`.

    capture_content: whether prompts and answers are logged too; None looks at the environment
    variable WEBSOPY_LOGGING_CONTENT.
    clock: seconds, monotonic.
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
        """The line at the start."""
        body = request.body or {}
        progress = _Progress(self._clock(), model=body.get("model"))
        self._open[stream] = progress
        fields: dict[str, Any] = {"question": request.idempotency_key, "model": progress.model}
        messages = body.get("messages")
        if isinstance(messages, list):
            fields["messages"] = messages if self._content else len(messages)
        self._log(logging.INFO, "start", fields)

    @hookimpl
    def on_chunk(self, stream: Any) -> None:
        """Count it; a chunk has no line of its own."""
        progress = self._open.get(stream)
        if progress is not None:
            progress.last = self._clock()
            progress.chunks += 1
            if progress.first is None:
                progress.first = progress.last

    @hookimpl
    def on_retry(self, error: Any, delay: float, stream: Any) -> None:
        """The line before each wait."""
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
        """The line at a good end."""
        self._end(stream, message, {"outcome": "done"})

    @hookimpl
    def on_error(self, error: BaseException, stream: Any) -> None:
        """The line at any other end."""
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
            "request_id": stream.request_id,
            **progress.times(self._clock()),
            "retries": progress.retries,
            **_usage_of(message),
        }
        if self._content:
            fields["content"] = message.content
        level = logging.WARNING if outcome["outcome"] == "error" else logging.INFO
        self._log(level, "end", fields)

    def _log(self, level: int, event: str, fields: dict[str, Any]) -> None:
        known = {"event": event} | {
            name: value for name, value in fields.items() if value is not None
        }
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", _Line(known), extra={FIELDS: known})


class _Line:
    """Fields as one line of text, put together only when somebody writes it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        event, *rest = self._fields.items()
        return " ".join([event[1], *(f"{name}={_shown(value)}" for name, value in rest)])


def _shown(value: object) -> str:
    """A value that stays one word: JSON for what has spaces, quotes or line ends in it."""
    if isinstance(value, str) and value.isprintable() and value and not set(value) & set(' "='):
        return value
    text = json.dumps(value, ensure_ascii=False, default=str)
    # JSON leaves some line ends as they are, U+2028 for one; its ASCII form leaves none.
    return text if text.isprintable() else json.dumps(value, default=str)


def _facts_of(error: BaseException) -> dict[str, Any]:
    """What an error says beside its text; its names are those of the error's own fields."""
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
    }
