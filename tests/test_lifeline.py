"""Deadlines and the off-switch of one question."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from websopy_sync.lifeline import LATE, Lifeline


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
    lifeline = Lifeline(None, clock=clock)
    lifeline.limit("connect", None)
    clock.now += 1e9
    assert lifeline.remaining() == math.inf
    assert lifeline.timeout() is None
    assert lifeline.allows(1e12)


def test_remaining_is_the_nearest_limit(clock: Clock) -> None:
    """The phase's while it is nearer, the total's when that is."""
    lifeline = Lifeline(100, clock=clock)
    assert lifeline.remaining() == 100
    lifeline.limit("connect", 5)
    clock.now += 2
    assert lifeline.remaining() == 3
    lifeline.limit("idle", 200)
    assert lifeline.remaining() == 98
    assert lifeline.nearest == "total"


@pytest.mark.parametrize("phase", ["connect", "first_chunk", "idle"])
def test_a_phase_that_is_over_says_which(clock: Clock, phase: str) -> None:
    """TimeoutError, and `nearest` is the phase."""
    lifeline = Lifeline(100, clock=clock)
    lifeline.limit(phase, 5)  # type: ignore[arg-type]  # one of Phase
    clock.now += 5
    with pytest.raises(TimeoutError, match=phase):
        lifeline.remaining()
    assert lifeline.nearest == phase


def test_total_wins_over_a_phase_that_ends_later(clock: Clock) -> None:
    """The whole is over, whatever part it is in."""
    lifeline = Lifeline(10, clock=clock)
    lifeline.limit("idle", 60)
    clock.now += 10
    with pytest.raises(TimeoutError):
        lifeline.remaining()
    assert lifeline.nearest == "total"


def test_a_new_phase_begins_anew_but_the_total_goes_on(clock: Clock) -> None:
    """Each chunk moves idle; nothing moves total."""
    lifeline = Lifeline(10, clock=clock)
    for _ in range(3):
        lifeline.limit("idle", 4)
        clock.now += 3
    assert lifeline.remaining() == 1


def test_a_limit_that_somebody_else_had_is_the_phases() -> None:
    """Where nothing of ours was limited, it is not the total that has passed."""
    assert Lifeline(None).nearest == "connect"


def test_progress_begins_the_idle_phase_with_the_next_wait(clock: Clock) -> None:
    """Not when it is made: what the reader does meanwhile takes nothing from it."""
    lifeline = Lifeline(100, idle=4, clock=clock)
    lifeline.limit("first_chunk", 2)
    lifeline.progress = True
    clock.now += 50
    assert lifeline.remaining() == 4
    clock.now += 3
    assert lifeline.remaining() == 1
    clock.now += 1
    with pytest.raises(TimeoutError, match="idle"):
        lifeline.remaining()


def test_a_new_phase_forgets_progress_made_before_it(clock: Clock) -> None:
    """The 2 ms in which a kept connection is waited for are no idle phase."""
    lifeline = Lifeline(None, idle=4, clock=clock)
    lifeline.progress = True
    lifeline.limit("idle", 0.002)
    assert lifeline.remaining() == pytest.approx(0.002)


@pytest.mark.parametrize("phase", ["first_chunk", "idle"])
def test_what_is_here_already_may_be_late(clock: Clock, phase: str) -> None:
    """As much as can have waited in a socket's buffer."""
    lifeline = Lifeline(100, idle=4, clock=clock)
    lifeline.limit("first_chunk", 4, late=LATE if phase == "first_chunk" else 0)
    if phase == "idle":
        lifeline.progress = True
        lifeline.remaining()
    lifeline.allow_late(1 << 30)  # not late at all
    clock.now += 5
    for _ in range(8):
        lifeline.allow_late(LATE // 8)
    with pytest.raises(TimeoutError, match=phase):
        lifeline.allow_late(1)


def test_each_piece_that_is_late_counts(clock: Clock) -> None:
    """A trickle of single bytes does not last."""
    lifeline = Lifeline(100, clock=clock)
    lifeline.limit("first_chunk", 4, late=LATE)
    clock.now += 5
    with pytest.raises(TimeoutError):
        for _ in range(2000):
            lifeline.allow_late(1)


def test_a_strict_phase_and_the_total_limit_allow_nothing_late(clock: Clock) -> None:
    """The end of a connection that may be kept is not waited for longer than it says."""
    lifeline = Lifeline(100, clock=clock)
    lifeline.limit("idle", 4)
    clock.now += 5
    with pytest.raises(TimeoutError):
        lifeline.allow_late(1)
    lifeline.limit("idle", 4, late=LATE)
    clock.now += 100
    with pytest.raises(TimeoutError):
        lifeline.allow_late(1)


def test_paused_time_does_not_count(clock: Clock) -> None:
    """But for the total limit."""
    lifeline = Lifeline(100, clock=clock)
    lifeline.limit("idle", 4)
    clock.now += 1
    with lifeline.paused():
        clock.now += 50
    assert lifeline.remaining() == 3
    clock.now += 2
    with lifeline.paused():
        clock.now += 46.5
    assert lifeline.remaining() == 0.5


def test_a_wait_must_end_before_the_total(clock: Clock) -> None:
    """No use in waiting when there is no time left to ask."""
    lifeline = Lifeline(10, clock=clock)
    assert lifeline.allows(9.9)
    assert not lifeline.allows(10)
    clock.now += 5
    assert not lifeline.allows(5)


def test_wait_lasts() -> None:
    """It sleeps when nothing happens."""
    start = time.monotonic()
    Lifeline(None).wait(0.05)
    assert time.monotonic() - start >= 0.049


@pytest.mark.parametrize("reason", ["cancelled", "closed"])
def test_abort_ends_a_wait(reason: str) -> None:
    """At once, from another thread."""
    lifeline = Lifeline(None)
    thread = in_a_moment(lambda: lifeline.abort(reason))  # type: ignore[arg-type]
    start = time.monotonic()
    lifeline.wait(30)
    assert time.monotonic() - start < 5
    thread.join()
    assert lifeline.aborted == reason


@pytest.mark.parametrize("seconds", [0.0, -1.0, 30.0])
def test_aborted_lifeline_does_not_wait(seconds: float) -> None:
    """Not the first time, and not the second."""
    lifeline = Lifeline(None)
    lifeline.abort("cancelled")
    start = time.monotonic()
    for _ in range(3):
        lifeline.wait(seconds)
    assert time.monotonic() - start < 5


def test_first_reason_stays() -> None:
    """A close after a cancel does not rewrite history."""
    lifeline = Lifeline(None)
    lifeline.abort("cancelled")
    lifeline.abort("closed")
    assert lifeline.aborted == "cancelled"


def test_abort_wakes_a_blocked_receive(pair: tuple[socket.socket, socket.socket]) -> None:
    """The socket is shut down under the reader; its other end sees it gone."""
    here, there = pair
    lifeline = Lifeline(None)
    lifeline.hold(here)
    thread = in_a_moment(lambda: lifeline.abort("cancelled"))
    here.settimeout(5)
    assert here.recv(1) == b""
    there.settimeout(5)
    assert there.recv(1) == b""
    thread.join()


def test_abort_before_the_socket_is_there(pair: tuple[socket.socket, socket.socket]) -> None:
    """Who is aborted first gets its socket shut down as it takes it."""
    here, _ = pair
    lifeline = Lifeline(None)
    lifeline.abort("cancelled")
    lifeline.hold(here)
    here.settimeout(5)
    assert here.recv(1) == b""


def test_no_abort_reaches_a_socket_that_was_let_go(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """A connection that went back to the pool belongs to the next call."""
    here, there = pair
    lifeline = Lifeline(None)
    lifeline.hold(here)
    assert lifeline.let_go() is True
    lifeline.abort("closed")
    there.sendall(b"x")
    here.settimeout(5)
    assert here.recv(1) == b"x"


def test_letting_go_too_late_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    """The connection was shut down: it must not go back to the pool."""
    lifeline = Lifeline(None)
    lifeline.hold(pair[0])
    lifeline.abort("cancelled")
    assert lifeline.let_go() is False


def test_cut_ends_the_connection_only(pair: tuple[socket.socket, socket.socket]) -> None:
    """The question goes on over another one."""
    here, there = pair
    lifeline = Lifeline(None)
    lifeline.hold(here)
    lifeline.cut()
    there.settimeout(5)
    assert there.recv(1) == b""
    assert lifeline.aborted == ""
    lifeline.cut()


@pytest.mark.parametrize("state", ["new", "closed", "shut down"])
def test_abort_never_raises(state: str, pair: tuple[socket.socket, socket.socket]) -> None:
    """Whatever has become of the socket."""
    with socket.socket() as new:
        sock = {"new": new}.get(state, pair[0])
        if state == "closed":
            sock.close()
        elif state == "shut down":
            sock.shutdown(socket.SHUT_RDWR)
        lifeline = Lifeline(None)
        lifeline.hold(sock)
        lifeline.abort("cancelled")
        lifeline.hold(None)
        lifeline.abort("closed")


def test_a_socket_inside_another_object_is_found(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """TLS inside a TLS proxy: an object that holds the socket, not one that is it."""

    class Wrapper:
        def __init__(self, inner: object) -> None:
            self.socket = inner

    here, there = pair
    lifeline = Lifeline(None)
    lifeline.hold(Wrapper(Wrapper(here)))
    lifeline.abort("cancelled")
    there.settimeout(5)
    assert there.recv(1) == b""


def test_a_forked_child_leaves_the_parents_socket_alone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """PROMISE 27: shutdown works on the connection, which both processes share."""
    here, there = pair
    lifeline = Lifeline(None)
    lifeline.hold(here)
    child = os.fork()
    if child == 0:
        lifeline.abort("closed")
        os._exit(0)
    os.waitpid(child, 0)
    there.sendall(b"x")
    here.settimeout(5)
    assert here.recv(1) == b"x"


def test_abort_inside_its_own_lock(pair: tuple[socket.socket, socket.socket]) -> None:
    """A signal handler may abort the thread that is just letting go or taking hold."""
    lifeline = Lifeline(None)
    lifeline.hold(pair[0])
    with lifeline._lock:  # what an interrupted let_go() holds
        lifeline.abort("cancelled")
    assert lifeline.aborted == "cancelled"
