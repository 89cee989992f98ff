"""The stack of a pool's idle connections, which no interrupt can leave locked, and their clock.

Knows nothing of connections. The stack replaces `queue.LifoQueue` in urllib3's pools.
"""

from __future__ import annotations

import queue
import time
from typing import Any

__all__ = ["IdleStack", "awake_or_asleep"]


def awake_or_asleep() -> float:
    """Seconds on a clock that runs on while the machine sleeps, as the server's does."""
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux, where monotonic() stops in sleep
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class IdleStack:
    """Last in, first out, for many threads, without a lock.

    `queue.LifoQueue` takes its lock in Python code. A signal handler that raises right there leaves
    it locked, and every later request of the same pool would wait for ever.

    Args:
        maxsize: How many items there is room for.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: list[Any] = []

    def put(self, item: Any, block: bool = False) -> None:
        """Put an item on top. It never blocks. Raises queue.Full when there is no room.

        Two threads at the same moment may put one item too many.
        """
        if len(self._items) >= self._maxsize:
            raise queue.Full
        self._items.append(item)

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """Take the item on top. It never blocks. Raises queue.Empty when there is none."""
        try:
            return self._items.pop()
        except IndexError:
            raise queue.Empty from None

    def qsize(self) -> int:
        """How many items there are."""
        return len(self._items)
