"""Fails a test that runs past its time limit, and only that test.

pytest-timeout knows the limits. Its own ways to end a test do not suit here: "thread" ends the
whole process, and "signal" takes SIGALRM, which tests of this project need for themselves.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_timeout

RING = signal.SIGUSR1

AGAIN = 5.0
"""Seconds from one ring to the next: a test's `except` or `finally` may hang as well."""

LAST_RESORT = 60.0
"""Seconds past the limit. C code that takes no signal hangs then: the process must end."""


class TimeLimit:
    """Interrupts the main thread when a test has run for `seconds`, and until it is over."""

    def __init__(self, seconds: float, stderr: int) -> None:
        self.seconds = seconds
        self.armed = False
        self._over = threading.Event()
        self._former = signal.signal(RING, self._fail)
        faulthandler.dump_traceback_later(seconds + LAST_RESORT, exit=True, file=stderr)
        self._thread = threading.Thread(target=self._ring, name="time limit", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ring no more."""
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        signal.signal(RING, self._former)

    def _ring(self) -> None:
        wait = self.seconds
        while not self._over.wait(wait):
            signal.pthread_kill(threading.main_thread().ident or 0, RING)
            wait = min(AGAIN, self.seconds)

    def _fail(self, *_: object) -> None:
        # Between setup, call and teardown pytest itself runs, and an exception would end it.
        if self.armed and not pytest_timeout.is_debugging():
            faulthandler.dump_traceback(2)  # captured, and shown with the failure
            pytest.fail(f"ran longer than {self.seconds:g} s")


LIMIT = pytest.StashKey[TimeLimit]()
STDERR = pytest.StashKey[int]()
STATUS = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr, which is captured while a test runs."""
    config.stash[STDERR] = os.dup(2)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the exit status."""
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Exit at once when a test left a thread for which Python would wait for ever."""
    hanging = [thread for thread in threading.enumerate() if not thread.daemon]
    hanging.remove(threading.main_thread())
    if hanging:
        os.write(config.stash[STDERR], f"threads that hang: {hanging}\n".encode())
        os._exit(config.stash[STATUS])
    os.close(config.stash[STDERR])


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Start a test's limit, as pytest-timeout asks for it."""
    item.stash[LIMIT] = TimeLimit(settings.timeout, item.config.stash[STDERR])
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer() -> bool:
    """Do nothing: pytest-timeout asks for it at each failure, but teardown may hang as well."""
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End a test's limit after its teardown."""
    try:
        return (yield)
    finally:
        if limit := item.stash.get(LIMIT, None):
            limit.cancel()


@contextmanager
def armed(item: pytest.Item) -> Generator[None]:
    """While this lasts, the limit may interrupt."""
    limit = item.stash.get(LIMIT, None)
    if limit is None:
        yield
        return
    limit.armed = True
    try:
        yield
    finally:
        limit.armed = False


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with armed(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with armed(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    with armed(item):
        return (yield)
