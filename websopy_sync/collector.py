"""Which code runs in a thread: the program's, or a destructor that the garbage collector calls.

Python 3.11 collects garbage in the middle of any allocation, one in `ContextVar.set()` included. If
a destructor then sets a variable of the same context, it frees what the outer call still reads, and
Python crashes. Later versions collect between two instructions only. Knows nothing of streams.
"""

from __future__ import annotations

import gc
import sys
import threading

__all__ = ["program_thread"]

_collecting = 0  # the thread in which the collector runs, 0 for none


def program_thread() -> int:
    """The identifier of this thread, or 0 while the garbage collector runs in it."""
    thread = threading.get_ident()
    return 0 if thread == _collecting else thread


def _note(phase: str, info: dict[str, int]) -> None:
    global _collecting
    _collecting = threading.get_ident() if phase == "start" else 0


if sys.version_info < (3, 12):
    gc.callbacks.append(_note)
