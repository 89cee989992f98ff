"""Keeps answers in a log that requests follow, so that a reload or a dead worker loses nothing.

From the ground up: log, identity, page_events, settings, no_answer, forks, redis_scripts |
memory_log, sqlite_file, redis_log, answer | sqlite_log, answer_table | follower, writer, watcher,
producer, keeper, lookup | engine | relay.
A file imports from lower floors only.

Where a line belongs:

- relay: what views and servers call; who may see what, and with which status.
- engine, and its threads: producer reads an answer from the service, writer writes to the log,
  watcher fetches what other processes wrote, keeper renews leases and ends what nobody needs.
- follower: one body's place in an answer. lookup: the answer that a request means.
- answer_table and answer: what this process has in memory, and the one lock.
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
