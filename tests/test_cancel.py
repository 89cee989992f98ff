"""The off-switch: from any thread, from a signal handler, before, during and after."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest

from websopy_sync.cancel import CancelToken


def elapsed(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def test_starts_open() -> None:
    """Off until somebody throws it."""
    token = CancelToken()
    assert token.cancelled is False
    assert repr(token) == "<CancelToken open>"


def test_stays_thrown() -> None:
    """It is thrown once; more calls change nothing."""
    token = CancelToken()
    token.cancel()
    token.cancel()
    assert token.cancelled is True
    assert repr(token) == "<CancelToken cancelled>"


def test_cannot_be_reset() -> None:
    """Nobody takes a cancel back."""
    token = CancelToken()
    with pytest.raises(AttributeError):
        token.cancelled = False  # type: ignore[misc]  # that is the test


def test_subscribers_are_called_in_order() -> None:
    """Every stream it was given to hears of it."""
    token, heard = CancelToken(), []
    for name in "abc":
        token.subscribe(lambda name=name: heard.append(name))  # type: ignore[misc]
    assert heard == []
    token.cancel()
    assert heard == ["a", "b", "c"]


def test_late_subscriber_is_called_at_once() -> None:
    """A stream that is given a thrown token ends at once."""
    token, heard = CancelToken(), []
    token.cancel()
    token.subscribe(lambda: heard.append(1))
    assert heard == [1]


def test_unsubscribed_is_left_alone() -> None:
    """A stream that has ended hears nothing more, and only that one."""
    token, heard = CancelToken(), []
    first = token.subscribe(lambda: heard.append("first"))
    token.subscribe(lambda: heard.append("second"))
    token.unsubscribe(first)
    token.unsubscribe(first)
    token.unsubscribe("no key of this token")
    token.cancel()
    assert heard == ["second"]


def test_the_same_callback_twice_is_two_subscriptions() -> None:
    """Each key stands for one of them."""
    token, heard = CancelToken(), []
    callback = lambda: heard.append(1)  # noqa: E731  # one object, twice
    key = token.subscribe(callback)
    token.subscribe(callback)
    token.unsubscribe(key)
    token.cancel()
    assert heard == [1]


def test_unsubscribing_while_being_told() -> None:
    """A callback may take itself or another off the list."""
    token, heard = CancelToken(), []
    keys: list[object] = []

    def leave() -> None:
        heard.append("leave")
        for key in keys:
            token.unsubscribe(key)

    keys.append(token.subscribe(leave))
    token.subscribe(lambda: heard.append("next"))
    token.cancel()
    assert heard == ["leave", "next"]


def test_subscribing_while_being_told() -> None:
    """A stream that starts while the token is thrown is told as well."""
    token, heard = CancelToken(), []
    token.subscribe(lambda: token.subscribe(lambda: heard.append("late")))
    token.cancel()
    assert "late" in heard


def test_forgets_who_left() -> None:
    """One token that serves ten thousand streams does not grow."""
    token, heard = CancelToken(), []
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        token.unsubscribe(token.subscribe(lambda: heard.append(1)))
    assert sys.getallocatedblocks() - before < 1000
    token.cancel()
    assert heard == []


# --- wait ----------------------------------------------------------------------------------------


def test_wait_lasts_as_long_as_it_is_told() -> None:
    """Without a cancel it is a sleep, and says so."""
    token = CancelToken()
    assert elapsed(lambda: token.wait(0.05)) >= 0.049
    assert token.wait(0.0) is False


@pytest.mark.parametrize("seconds", [0.0, -1.0, 30.0])
def test_wait_on_a_thrown_token_is_no_wait(seconds: float) -> None:
    """It was cancelled before: nothing to wait for."""
    token = CancelToken()
    token.cancel()
    assert elapsed(lambda: token.wait(seconds)) < 1.0
    assert token.wait(seconds) is True


def test_negative_wait_is_none() -> None:
    """What is past is not waited for."""
    assert elapsed(lambda: CancelToken().wait(-5.0)) < 1.0


def test_cancel_from_another_thread_ends_a_wait() -> None:
    """At once, not when the time is over."""
    token = CancelToken()
    thread = threading.Timer(0.05, token.cancel)
    thread.start()
    assert elapsed(lambda: token.wait(30.0)) < 5.0
    assert token.cancelled
    thread.join()


def test_cancel_ends_every_wait() -> None:
    """One token, many waiting threads."""
    token, results = CancelToken(), []
    threads = [threading.Thread(target=lambda: results.append(token.wait(30.0))) for _ in range(20)]
    for thread in threads:
        thread.start()
    token.cancel()
    for thread in threads:
        thread.join(5.0)
    assert results == [True] * 20


def test_waits_leave_nothing_behind() -> None:
    """A token that lives as long as the program does not grow with each wait."""
    token = CancelToken()
    token.wait(0.0)
    before = sys.getallocatedblocks()
    for _ in range(2000):
        token.wait(0.0)
    assert sys.getallocatedblocks() - before < 1000


def test_cancel_in_a_signal_handler_ends_the_wait_it_interrupts() -> None:
    """The handler runs in the very thread that waits: no lock may be in the way."""
    token = CancelToken()
    previous = signal.signal(signal.SIGALRM, lambda *_: token.cancel())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        assert elapsed(lambda: token.wait(30.0)) < 5.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert token.cancelled


def test_cancel_and_subscribe_race() -> None:
    """Whoever subscribes while another thread cancels is told, by one or the other."""
    for _ in range(200):
        token, told = CancelToken(), threading.Event()
        start = threading.Barrier(2)

        def throw(token: CancelToken = token, start: threading.Barrier = start) -> None:
            start.wait()
            token.cancel()

        thread = threading.Thread(target=throw)
        thread.start()
        start.wait()
        token.subscribe(told.set)
        thread.join()
        assert told.is_set()
