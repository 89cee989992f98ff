"""Installs a handler on the logger `websopy_sync`, for programs without their own.

Only on request, by `configure` or by the environment variable WEBSOPY_LOGGING, and never on the
root logger.
"""

from __future__ import annotations

import logging
import os
from typing import TextIO

from websopy_sync import ConfigError

from .formatters import JsonFormatter, RedactingFormatter

__all__ = ["asks_for_content", "configure", "configure_from_environment"]

LOGGER = "websopy_sync"


# The client logs the same moments with fewer facts; each end would have two lines.
REDUNDANT = ("websopy_sync.event_source", "websopy_sync.stream")


class _Handler(logging.StreamHandler[TextIO]):
    """A stream handler that `configure` installed."""


class _FileHandler(logging.FileHandler):
    """A file handler that `configure` installed."""


def configure(
    style: str = "text",
    *,
    level: str | int = "INFO",
    file: str | os.PathLike[str] | None = None,
    stream: TextIO | None = None,
) -> logging.Handler:
    """Write what `websopy_sync` logs to `file`, or to `stream`; stderr when neither is given.

    Replaces and closes the handler of an earlier call. The application's own handlers stay, and
    get the records too.

    Args:
        style: "text" or "json".
        level: The lowest level. At DEBUG all records of the client are written, above it only
            those that this plugin does not log itself.
        file: A path; the file is appended to.
        stream: An open text file.

    Returns:
        The new handler.

    Raises:
        ConfigError: The style or the level is unknown.
        OSError: The file cannot be opened.
    """
    formatter = _formatter(style)
    checked = _level(level)
    handler = _FileHandler(file, encoding="utf-8", delay=False) if file else _Handler(stream)
    handler.setFormatter(formatter)
    if checked > logging.DEBUG:
        handler.addFilter(_is_not_redundant)
    logger = logging.getLogger(LOGGER)
    for old in [one for one in logger.handlers if isinstance(one, _Handler | _FileHandler)]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(checked)
    return handler


def configure_from_environment() -> None:
    """Configure by WEBSOPY_LOGGING, WEBSOPY_LOGGING_LEVEL and WEBSOPY_LOGGING_FILE, once.

    Does nothing when WEBSOPY_LOGGING is unset or empty, or when a handler is installed already:
    each client makes a plugin, and they share the logger.
    """
    style = os.environ.get("WEBSOPY_LOGGING", "").strip()
    handlers = logging.getLogger(LOGGER).handlers
    if style and not any(isinstance(one, _Handler | _FileHandler) for one in handlers):
        configure(
            style,
            level=os.environ.get("WEBSOPY_LOGGING_LEVEL", "").strip() or "INFO",
            file=os.environ.get("WEBSOPY_LOGGING_FILE", "").strip() or None,
        )


def _is_not_redundant(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name not in REDUNDANT


def asks_for_content() -> bool:
    """Whether WEBSOPY_LOGGING_CONTENT asks for prompts and answers."""
    return os.environ.get("WEBSOPY_LOGGING_CONTENT", "").strip().lower() in ("1", "true", "yes")


def _formatter(style: str) -> logging.Formatter:
    if style not in ("text", "json"):
        raise ConfigError(f"logging style: expected text or json, got {style!r:.200}")
    return RedactingFormatter(JsonFormatter() if style == "json" else None)


def _level(level: str | int) -> int:
    if isinstance(level, int):
        return level
    found = logging.getLevelNamesMapping().get(level.upper())
    if found is None:
        raise ConfigError(f"logging level: expected a name such as INFO, got {level!r:.200}")
    return found
