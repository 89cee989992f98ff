"""What can go wrong with the history, as exceptions, and how a database's own error is told.

Knows nothing of tables or threads. What a database says may quote what was to be stored, or the
password it was refused: `tell` passes on only what is safe to log.
"""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError, OperationalError

from websopy_sync.errors import WebsopyError

__all__ = ["ForeignDatabaseError", "HistoryError", "UnknownStreamError", "tell"]

LONGEST = 200
"""Characters of a database's own message that are passed on."""


class HistoryError(WebsopyError):
    """The history could not be read: no server, no right, a file that is no database."""


class UnknownStreamError(HistoryError, LookupError):
    """No stream, or more than one, has the id that was asked for."""


class ForeignDatabaseError(HistoryError):
    """The database belongs to another program, or to a later version of this one."""


def tell(error: BaseException, *, secret: str | None = None) -> str:
    """One line on a failure: fit for a log, without stored text and without `secret`.

    Only connection and disk errors are quoted, by their first line. The others ("bad value",
    "duplicate key") like to quote the very data, so of them only the kind and code are told.
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
