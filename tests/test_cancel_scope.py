"""The off-switch of one call, which shuts its socket down."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from websopy_sync.cancel import CancelScope


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def in_a_moment(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Timer(0.05, call)
    thread.start()
    return thread


def test_wait_lasts() -> None:
    """It sleeps when nothing happens."""
    start = time.monotonic()
    CancelScope(None).wait(0.05)
    assert time.monotonic() - start >= 0.049


@pytest.mark.parametrize("reason", ["cancelled", "closed"])
def test_abort_ends_a_wait(reason: str) -> None:
    """At once, from another thread."""
    scope = CancelScope(None)
    thread = in_a_moment(lambda: scope.abort(reason))  # type: ignore[arg-type]
    start = time.monotonic()
    scope.wait(30)
    assert time.monotonic() - start < 5
    thread.join()
    assert scope.aborted == reason


@pytest.mark.parametrize("seconds", [0.0, -1.0, 30.0])
def test_aborted_scope_does_not_wait(seconds: float) -> None:
    """Not the first time, and not the second."""
    scope = CancelScope(None)
    scope.abort("cancelled")
    start = time.monotonic()
    for _ in range(3):
        scope.wait(seconds)
    assert time.monotonic() - start < 5


def test_first_reason_stays() -> None:
    """A close after a cancel does not rewrite history."""
    scope = CancelScope(None)
    scope.abort("cancelled")
    scope.abort("closed")
    assert scope.aborted == "cancelled"


def test_abort_wakes_a_blocked_receive(pair: tuple[socket.socket, socket.socket]) -> None:
    """The socket is shut down under the reader; its other end sees it gone."""
    here, there = pair
    scope = CancelScope(None)
    scope.hold(here)
    thread = in_a_moment(lambda: scope.abort("cancelled"))
    here.settimeout(5)
    assert here.recv(1) == b""
    there.settimeout(5)
    assert there.recv(1) == b""
    thread.join()


def test_abort_before_the_socket_is_there(pair: tuple[socket.socket, socket.socket]) -> None:
    """Who is aborted first gets its socket shut down as it takes it."""
    here, _ = pair
    scope = CancelScope(None)
    scope.abort("cancelled")
    scope.hold(here)
    here.settimeout(5)
    assert here.recv(1) == b""


def test_no_abort_reaches_a_socket_that_was_let_go(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A connection that went back to the pool belongs to the next call."""
    here, there = pair
    scope = CancelScope(None)
    scope.hold(here)
    assert scope.let_go() is True
    scope.abort("closed")
    there.sendall(b"x")
    here.settimeout(5)
    assert here.recv(1) == b"x"


def test_letting_go_too_late_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    """The connection was shut down: it must not go back to the pool."""
    scope = CancelScope(None)
    scope.hold(pair[0])
    scope.abort("cancelled")
    assert scope.let_go() is False


def test_cut_ends_the_connection_only(pair: tuple[socket.socket, socket.socket]) -> None:
    """The question goes on over another one."""
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
    """Whatever has become of the socket."""
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
    """TLS inside a TLS proxy: an object that holds the socket, not one that is it."""

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
    """PROMISE 27: shutdown works on the connection, which both processes share."""
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
    """A signal handler may abort the thread that is just letting go or taking hold."""
    scope = CancelScope(None)
    scope.hold(pair[0])
    with scope._lock:  # what an interrupted let_go() holds
        scope.abort("cancelled")
    assert scope.aborted == "cancelled"
