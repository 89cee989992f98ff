"""CancelToken and CancelScope: from any thread, from a signal handler, at any time."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from websopy_sync.cancel import CancelScope, CancelToken
from websopy_sync.errors import StreamCancelledError, StreamError


def elapsed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.monotonic()
    call()
    return time.monotonic() - start


def test_starts_open() -> None:
    """A token is open until cancel() is called."""
    token = CancelToken()
    assert token.cancelled is False
    assert repr(token) == "<CancelToken open>"


def test_stays_cancelled() -> None:
    """A second call changes nothing."""
    token = CancelToken()
    token.cancel()
    token.cancel()
    assert token.cancelled is True
    assert repr(token) == "<CancelToken cancelled>"


def test_cannot_be_reset() -> None:
    """A cancel cannot be taken back."""
    token = CancelToken()
    with pytest.raises(AttributeError):
        token.cancelled = False  # type: ignore[misc]  # that is the test


def test_subscribers_are_called_in_order() -> None:
    """Every stream that has the token is notified."""
    token, heard = CancelToken(), []
    for name in "abc":
        token.subscribe(lambda name=name: heard.append(name))  # type: ignore[misc]
    assert heard == []
    token.cancel()
    assert heard == ["a", "b", "c"]


def test_late_subscriber_is_called_at_once() -> None:
    """A stream that gets a cancelled token ends at once."""
    token, heard = CancelToken(), []
    token.cancel()
    token.subscribe(lambda: heard.append(1))
    assert heard == [1]


def test_unsubscribed_is_left_alone() -> None:
    """A stream that has ended is not notified; the others are."""
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


def test_unsubscribing_in_a_callback() -> None:
    """A callback may unsubscribe itself and others."""
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


def test_subscribing_in_a_callback() -> None:
    """A stream that starts during cancel() is notified as well."""
    token, heard = CancelToken(), []
    token.subscribe(lambda: token.subscribe(lambda: heard.append("late")))
    token.cancel()
    assert "late" in heard


def test_unsubscribed_callbacks_are_forgotten() -> None:
    """One token that serves ten thousand streams does not grow."""
    token, heard = CancelToken(), []
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        token.unsubscribe(token.subscribe(lambda: heard.append(1)))
    assert sys.getallocatedblocks() - before < 1000
    token.cancel()
    assert heard == []


# --- CancelToken.wait -----------------------------------------------------------------------------


def test_wait_lasts_for_its_seconds() -> None:
    """Without a cancel it sleeps, and returns False."""
    token = CancelToken()
    assert elapsed(lambda: token.wait(0.05)) >= 0.049
    assert token.wait(0.0) is False


@pytest.mark.timing
@pytest.mark.parametrize("seconds", [0.0, -1.0, 30.0])
def test_wait_on_a_cancelled_token_returns_at_once(seconds: float) -> None:
    """It returns True, whatever the seconds."""
    token = CancelToken()
    token.cancel()
    assert elapsed(lambda: token.wait(seconds)) < 1.0
    assert token.wait(seconds) is True


@pytest.mark.timing
def test_negative_wait_returns_at_once() -> None:
    """Less than 0 seconds is none."""
    assert elapsed(lambda: CancelToken().wait(-5.0)) < 1.0


def test_cancel_from_another_thread_ends_a_wait() -> None:
    """It returns at once, not after its seconds."""
    token = CancelToken()
    thread = threading.Timer(0.05, token.cancel)
    thread.start()
    assert elapsed(lambda: token.wait(30.0)) < 5.0
    assert token.cancelled
    thread.join()


def test_cancel_ends_every_wait() -> None:
    """One token wakes many threads."""
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
    """The handler runs in the thread that waits, so cancel() must need no lock of it."""
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
    """A callback that is subscribed during cancel() is called, by either thread."""
    for _ in range(200):
        token, notified = CancelToken(), threading.Event()
        start = threading.Barrier(2)

        def throw(token: CancelToken = token, start: threading.Barrier = start) -> None:
            start.wait()
            token.cancel()

        thread = threading.Thread(target=throw)
        thread.start()
        start.wait()
        token.subscribe(notified.set)
        thread.join()
        assert notified.is_set()


# --- CancelScope ----------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def in_a_moment(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Timer(0.05, call)
    thread.start()
    return thread


def test_scope_wait_lasts() -> None:
    """It sleeps if nothing happens."""
    start = time.monotonic()
    CancelScope(None).wait(0.05)
    assert time.monotonic() - start >= 0.049


@pytest.mark.parametrize("reason", ["cancelled", "closed"])
def test_abort_ends_a_wait(reason: str) -> None:
    """It returns at once when another thread aborts."""
    scope = CancelScope(None)
    thread = in_a_moment(lambda: scope.abort(reason))  # type: ignore[arg-type]
    start = time.monotonic()
    scope.wait(30)
    assert time.monotonic() - start < 5
    thread.join()
    assert scope.aborted == reason


@pytest.mark.parametrize("seconds", [0.0, -1.0, 30.0])
def test_aborted_scope_does_not_wait(seconds: float) -> None:
    """No later wait sleeps either."""
    scope = CancelScope(None)
    scope.abort("cancelled")
    start = time.monotonic()
    for _ in range(3):
        scope.wait(seconds)
    assert time.monotonic() - start < 5


def test_first_reason_stays() -> None:
    """A close after a cancel leaves the reason cancelled."""
    scope = CancelScope(None)
    scope.abort("cancelled")
    scope.abort("closed")
    assert scope.aborted == "cancelled"


@pytest.mark.parametrize("reason", ["cancelled", "closed"])
def test_the_reason_is_in_the_errors(reason: str) -> None:
    """Nothing is raised before the abort."""
    scope = CancelScope(None)
    scope.check()
    scope.raise_aborted()
    scope.abort(reason)  # type: ignore[arg-type]
    with pytest.raises(ConnectionAbortedError, match=reason):
        scope.check()
    with pytest.raises(StreamCancelledError, match=reason) as caught:
        scope.raise_aborted()
    assert caught.value.reason == reason


def test_a_disowned_scope_lets_its_socket_be(pair: tuple[socket.socket, socket.socket]) -> None:
    """As in a forked child: reading on is an error, and the parent's connection stays."""
    here, there = pair
    scope = CancelScope(None)
    scope.hold(here)
    scope._lock.acquire()  # as a thread that the child does not have
    scope.disown()
    in_a_moment(lambda: scope.abort("closed")).join()
    with pytest.raises(StreamError, match="process that opened it"):
        scope.raise_aborted()
    there.sendall(b"x")
    here.settimeout(5)
    assert here.recv(1) == b"x"


def test_abort_wakes_a_blocked_receive(pair: tuple[socket.socket, socket.socket]) -> None:
    """The socket is shut down, so that the reader and the server both see its end."""
    here, there = pair
    scope = CancelScope(None)
    scope.hold(here)
    thread = in_a_moment(lambda: scope.abort("cancelled"))
    here.settimeout(5)
    assert here.recv(1) == b""
    there.settimeout(5)
    assert there.recv(1) == b""
    thread.join()


def test_the_close_of_an_aborted_connection_resets_it() -> None:
    """After a FIN alone, a service that found the window full was seen to hang for a minute."""
    scope = CancelScope(None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        service, _ = listener.accept()
        with service:
            scope.hold(client)
            scope.abort("cancelled")
            client.close()
            assert service.recv(1) == b""
            with pytest.raises(OSError):  # noqa: PT011  Linux and macOS differ
                service.send(b"x")  # after a FIN it would go out


def test_abort_before_the_socket_is_there(pair: tuple[socket.socket, socket.socket]) -> None:
    """A scope that was aborted before shuts its socket down in hold()."""
    here, _ = pair
    scope = CancelScope(None)
    scope.abort("cancelled")
    scope.hold(here)
    here.settimeout(5)
    assert here.recv(1) == b""


def test_no_abort_reaches_a_socket_that_was_let_go(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A connection in the pool belongs to the next call."""
    here, there = pair
    scope = CancelScope(None)
    scope.hold(here)
    assert scope.let_go() is True
    scope.abort("closed")
    there.sendall(b"x")
    here.settimeout(5)
    assert here.recv(1) == b"x"


def test_let_go_after_an_abort_returns_false(pair: tuple[socket.socket, socket.socket]) -> None:
    """The connection was shut down: it must not go back to the pool."""
    scope = CancelScope(None)
    scope.hold(pair[0])
    scope.abort("cancelled")
    assert scope.let_go() is False


def test_cut_ends_the_connection_only(pair: tuple[socket.socket, socket.socket]) -> None:
    """The call goes on, over another connection."""
    here, there = pair
    scope = CancelScope(None)
    scope.hold(here)
    scope.cut()
    there.settimeout(5)
    assert there.recv(1) == b""
    assert scope.aborted == ""
    scope.cut()


@pytest.mark.parametrize("state", ["new", "closed", "shut down"])
def test_abort_never_raises(state: str, pair: tuple[socket.socket, socket.socket]) -> None:
    """In any state of the socket."""
    with socket.socket() as new:
        sock = {"new": new}.get(state, pair[0])
        if state == "closed":
            sock.close()
        elif state == "shut down":
            sock.shutdown(socket.SHUT_RDWR)
        scope = CancelScope(None)
        scope.hold(sock)
        scope.abort("cancelled")
        scope.hold(None)
        scope.abort("closed")


def test_a_socket_inside_another_object_is_found(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """TLS through an https proxy is an object around the socket."""

    class Wrapper:
        def __init__(self, inner: object) -> None:
            self.socket = inner

    here, there = pair
    scope = CancelScope(None)
    scope.hold(Wrapper(Wrapper(here)))
    scope.abort("cancelled")
    there.settimeout(5)
    assert there.recv(1) == b""


def test_a_forked_child_leaves_the_parents_socket_alone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """PROMISE 27: shutdown() would end the connection for both processes."""
    here, there = pair
    scope = CancelScope(None)
    scope.hold(here)
    child = os.fork()
    if child == 0:
        scope.abort("closed")
        os._exit(0)
    os.waitpid(child, 0)
    there.sendall(b"x")
    here.settimeout(5)
    assert here.recv(1) == b"x"


def test_abort_inside_its_own_lock(pair: tuple[socket.socket, socket.socket]) -> None:
    """A signal handler may abort in a thread that is inside hold() or let_go()."""
    scope = CancelScope(None)
    scope.hold(pair[0])
    with scope._lock:  # what an interrupted let_go() holds
        scope.abort("cancelled")
    assert scope.aborted == "cancelled"
