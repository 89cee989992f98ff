"""The errors of the history, and a log line for a database's own error.

A database's message may quote stored text, or a refused password. `safe_to_log` leaves that out.
Knows nothing of tables or threads.
"""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError, OperationalError

from websopy_sync.errors import WebsopyError

__all__ = [
    "ForeignDatabaseError",
    "HistoryError",
    "PromptsNotStoredError",
    "UnknownStreamError",
    "safe_to_log",
]

LONGEST = 200
"""Most characters of a database's message."""


class HistoryError(WebsopyError):
    """The history cannot be read: no server, no permission, or a file that is no database."""


class UnknownStreamError(HistoryError, LookupError):
    """No stream has this id, or several have ids that begin with it."""


class PromptsNotStoredError(HistoryError):
    """A conversation cannot be continued: its answers are stored, but not its prompts."""


class ForeignDatabaseError(HistoryError):
    """The database belongs to another program, or to a later version of this one."""


def safe_to_log(error: BaseException, *, secret: str | None = None) -> str:
    """A failure in one line for a log, without stored text.

    Of connection and disk errors it has the first line. Others ("bad value", "duplicate key") often
    quote the data, so of them it has only the class and the code.

    Args:
        error: The failure.
        secret: The database's password, which is hidden.
    """
    if isinstance(error, HistoryError | OSError):
        return _hidden(str(error), secret)
    original = error.orig if isinstance(error, DBAPIError) else None
    kind = type(original or error).__name__
    if isinstance(error, OperationalError) and original is not None:
        return _hidden(f"{kind}: {_first_line(original)}", secret)
    code = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    return f"{kind} ({code})" if code else kind


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _hidden(text: str, secret: str | None) -> str:
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text)
    return (text.replace(secret, "***") if secret else text)[:LONGEST]
