"""Answers in a log, for whoever measures what a restart does to them. Set `KEEPS` to have them."""

from __future__ import annotations

import functools
import os
import signal

from websopy_relay import MemoryLog, Relay

from web_apps.asking import HEARTBEAT, opener
from websopy_sync.web import EventStreamBody


@functools.cache
def _relay() -> Relay:
    return Relay(MemoryLog(), heartbeat=HEARTBEAT)


def keep(query: str) -> EventStreamBody:
    """The answer to this question, as a relay passes it on."""
    return _relay().start(opener(query), owner="the visitor")


def drain_at_the_end() -> None:
    """Call this in the main thread, once the server has its signal handlers."""
    if "KEEPS" in os.environ:
        _relay().drain_at(signal.SIGTERM)
