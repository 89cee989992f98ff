"""Deadlines and the off-switch of one question."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from websopy_sync.cancel import LATE, CancelScope


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def in_a_moment(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Timer(0.05, call)
    thread.start()
    return thread


def test_without_limits_there_is_no_end(clock: Clock) -> None:
    """None is no limit, of both kinds."""
    scope = CancelScope(None, clock=clock)
    scope.limit("connect", None)
    clock.now += 1e9
    assert scope.remaining() == math.inf
    assert scope.timeout() is None
    assert scope.allows(1e12)


def test_remaining_is_the_nearest_limit(clock: Clock) -> None:
    """The phase's while it is nearer, the total's when that is."""
    scope = CancelScope(100, clock=clock)
    assert scope.remaining() == 100
    scope.limit("connect", 5)
    clock.now += 2
    assert scope.remaining() == 3
    scope.limit("idle", 200)
    assert scope.remaining() == 98
    assert scope.nearest == "total"


@pytest.mark.parametrize("phase", ["connect", "first_chunk", "idle"])
def test_a_phase_that_is_over_says_which(clock: Clock, phase: str) -> None:
    """TimeoutError, and `nearest` is the phase."""
    scope = CancelScope(100, clock=clock)
    scope.limit(phase, 5)  # type: ignore[arg-type]  # one of Phase
    clock.now += 5
    with pytest.raises(TimeoutError, match=phase):
        scope.remaining()
    assert scope.nearest == phase


def test_total_wins_over_a_phase_that_ends_later(clock: Clock) -> None:
    """The whole is over, whatever part it is in."""
    scope = CancelScope(10, clock=clock)
    scope.limit("idle", 60)
    clock.now += 10
    with pytest.raises(TimeoutError):
        scope.remaining()
    assert scope.nearest == "total"


def test_a_new_phase_begins_anew_but_the_total_goes_on(clock: Clock) -> None:
    """Each chunk moves idle; nothing moves total."""
    scope = CancelScope(10, clock=clock)
    for _ in range(3):
        scope.limit("idle", 4)
        clock.now += 3
    assert scope.remaining() == 1


def test_a_limit_that_somebody_else_had_is_the_phases() -> None:
    """Where nothing of ours was limited, it is not the total that has passed."""
    assert CancelScope(None).nearest == "connect"


def test_progress_begins_the_idle_phase_with_the_next_wait(clock: Clock) -> None:
    """Not when it is made: what the reader does meanwhile takes nothing from it."""
    scope = CancelScope(100, idle=4, clock=clock)
    scope.limit("first_chunk", 2)
    scope.progress = True
    clock.now += 50
    assert scope.remaining() == 4
    clock.now += 3
    assert scope.remaining() == 1
    clock.now += 1
    with pytest.raises(TimeoutError, match="idle"):
        scope.remaining()


def test_a_new_phase_forgets_progress_made_before_it(clock: Clock) -> None:
    """The 2 ms in which a kept connection is waited for are no idle phase."""
    scope = CancelScope(None, idle=4, clock=clock)
    scope.progress = True
    scope.limit("idle", 0.002)
    assert scope.remaining() == pytest.approx(0.002)


@pytest.mark.parametrize("phase", ["first_chunk", "idle"])
def test_what_is_here_already_may_be_late(clock: Clock, phase: str) -> None:
    """As much as can have waited in a socket's buffer."""
    scope = CancelScope(100, idle=4, clock=clock)
    scope.limit("first_chunk", 4, late=LATE if phase == "first_chunk" else 0)
    if phase == "idle":
        scope.progress = True
        scope.remaining()
    scope.allow_late(1 << 30)  # not late at all
    clock.now += 5
    for _ in range(8):
        scope.allow_late(LATE // 8)
    with pytest.raises(TimeoutError, match=phase):
        scope.allow_late(1)


def test_each_piece_that_is_late_counts(clock: Clock) -> None:
    """A trickle of single bytes does not last."""
    scope = CancelScope(100, clock=clock)
    scope.limit("first_chunk", 4, late=LATE)
    clock.now += 5
    with pytest.raises(TimeoutError):
        for _ in range(2000):
            scope.allow_late(1)


def test_a_strict_phase_and_the_total_limit_allow_nothing_late(clock: Clock) -> None:
    """The end of a connection that may be kept is not waited for longer than it says."""
    scope = CancelScope(100, clock=clock)
    scope.limit("idle", 4)
    clock.now += 5
    with pytest.raises(TimeoutError):
        scope.allow_late(1)
    scope.limit("idle", 4, late=LATE)
    clock.now += 100
    with pytest.raises(TimeoutError):
        scope.allow_late(1)


def test_paused_time_does_not_count(clock: Clock) -> None:
    """But for the total limit."""
    scope = CancelScope(100, clock=clock)
    scope.limit("idle", 4)
    clock.now += 1
    with scope.paused():
        clock.now += 50
    assert scope.remaining() == 3
    clock.now += 2
    with scope.paused():
        clock.now += 46.5
    assert scope.remaining() == 0.5


def test_a_wait_must_end_before_the_total(clock: Clock) -> None:
    """No use in waiting when there is no time left to ask."""
    scope = CancelScope(10, clock=clock)
    assert scope.allows(9.9)
    assert not scope.allows(10)
    clock.now += 5
    assert not scope.allows(5)


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
