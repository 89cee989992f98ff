"""Starting a thread on a system that may have none left.

Knows nothing of streams, only threads and interrupts.
"""

from __future__ import annotations

import threading

from .interrupts import find_interrupt

__all__ = ["start_thread"]


def start_thread(thread: threading.Thread) -> Exception | None:
    """Start a thread. Returns the error when the system allows no more threads.

    An interrupt that strikes meanwhile comes out as it is: where Python waits for the thread to
    begin, a RuntimeError of a lock may take its place. The thread may have begun all the same; it
    has an `ident` then.
    """
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        interrupt = find_interrupt(error)
        if interrupt is not None:
            raise interrupt from None
        return error
    return None
