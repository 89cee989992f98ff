"""Stores every answer that websopy_sync streams in a database, crash-safe, and reads it back.

From the ground up: text, errors, identity, records, neutral, bodies | database, schema, rows |
store, ledger | trouble, writer | history | plot, command | plugin. A file imports from lower
floors only.
"""

from .errors import (
    ForeignDatabaseError,
    HistoryError,
    PromptsNotStoredError,
    UnknownStreamError,
)
from .history import History, StoredStream
from .plugin import PersistencePlugin
from .writer import Limits

__version__ = "0.1.0"

__all__ = [
    "ForeignDatabaseError",
    "History",
    "HistoryError",
    "Limits",
    "PersistencePlugin",
    "PromptsNotStoredError",
    "StoredStream",
    "UnknownStreamError",
]
