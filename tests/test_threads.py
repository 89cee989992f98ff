"""`start_thread`: it lets interrupts out, and returns the error of a system without threads."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from websopy_sync.threads import start_thread


class Struck(Exception):
    """What a signal handler raises."""


def strike(signum: int, frame: Any) -> None:
    raise Struck


class StrikeAt:
    """Lets a signal in where Python waits for a thread to begin, at the point of this number.

    Not in Thread.start() itself and not as a lock is taken: CPython leaves a thread that never
    begins there.
    """

    def __init__(self, point: int) -> None:
        self.left = point

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if (
            event in ("call", "c_return")
            and frame.f_code.co_filename == threading.__file__
            and frame.f_code.co_name not in ("start", "__enter__")
        ):
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGUSR1)


def test_an_interrupt_at_every_point() -> None:
    """It comes out as it is, also where a lock's RuntimeError has taken its place."""
    old = signal.signal(signal.SIGUSR1, strike)
    point, struck = 0, True
    try:
        while struck:
            point += 1
            at = StrikeAt(point)
            sys.setprofile(at)
            try:
                assert start_thread(threading.Thread()) is None
            except Struck:
                pass
            else:
                struck = at.left <= 0
                assert not struck, f"the interrupt at point {point} was lost"
            finally:
                sys.setprofile(None)
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert point > 3


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
def test_no_thread_to_be_had(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is returned, not raised."""

    def refuse(thread: threading.Thread) -> None:
        raise error

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert start_thread(threading.Thread()) is error
