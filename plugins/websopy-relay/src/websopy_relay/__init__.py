"""Keeps answers in a log that requests follow, so that a reload or a dead worker loses nothing.

From the ground up: log, identity, page_events, settings, no_answer, forks, redis_scripts |
memory_log, sqlite_file, redis_log, answer | sqlite_log, answers | follower, writer, watcher,
producer, keeper, owned_answers | engine | relay.
A file imports from lower floors only.
"""

from .log import DELETED, Beat, Log, LogError, News, Record, Refusal, Terms, Write
from .memory_log import MemoryLog
from .redis_log import RedisLog
from .relay import Relay
from .sqlite_log import SQLiteLog

__version__ = "0.1.0"

__all__ = [
    "DELETED",
    "Beat",
    "Log",
    "LogError",
    "MemoryLog",
    "News",
    "Record",
    "RedisLog",
    "Refusal",
    "Relay",
    "SQLiteLog",
    "Terms",
    "Write",
]
