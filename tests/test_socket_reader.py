"""The receiver on real sockets: how long it waits, in which thread, and what it costs to ask."""

from __future__ import annotations

import io
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme

from websopy_sync.cancel import CancelScope
from websopy_sync.transport.socket_reader import SocketReader

Pair = tuple[Any, Any]


@pytest.fixture
def plain() -> Iterator[Pair]:
    """A connected pair: the receiver's end and the server's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def over_tls(plain: Pair) -> Iterator[Pair]:
    """The same under TLS."""
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    with ThreadPoolExecutor(1) as pool:
        wrapped = pool.submit(server.wrap_socket, plain[1], server_side=True)
        with client.wrap_socket(plain[0], server_hostname="localhost") as ours:
            with wrapped.result() as theirs:
                yield ours, theirs


def in_main_thread(work: Callable[[], Any]) -> Any:
    return work()


def in_a_thread(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


everywhere = pytest.mark.parametrize("run", [in_main_thread, in_a_thread])
every_kind = pytest.mark.parametrize("kind", ["plain", "over_tls"])


def seconds_until_over(receiver: SocketReader, scope: CancelScope, limit: float) -> float:
    """How long a receive waits under this limit until it passes."""
    began = time.monotonic()
    scope.limit("idle", limit)
    with pytest.raises(TimeoutError):
        receiver.receive(100)
    return time.monotonic() - began


@pytest.mark.timing
@everywhere
@every_kind
@pytest.mark.parametrize("limit", [0.001, 0.05, 0.3, 0.7])
def test_a_wait_ends_with_its_limit(
    run: Callable[..., Any], kind: str, limit: float, request: pytest.FixtureRequest
) -> None:
    """Never before it, and not long after it."""
    scope = CancelScope(None)
    receiver = SocketReader(request.getfixturevalue(kind)[0], scope)
    seconds = run(lambda: seconds_until_over(receiver, scope, limit))
    assert limit <= seconds < limit + 0.2
    assert scope.nearest == "idle"
    receiver.close()


@everywhere
@every_kind
def test_limits_that_change(
    run: Callable[..., Any], kind: str, request: pytest.FixtureRequest
) -> None:
    """From long to short, from none to one, from short to long: the next wait keeps to it."""
    ours, theirs = request.getfixturevalue(kind)
    scope = CancelScope(None)
    receiver = SocketReader(ours, scope)

    def with_limit(limit: float | None) -> bytes:
        scope.limit("idle", limit)
        theirs.sendall(b"x")
        return receiver.receive(100)

    def work() -> float:
        for limit in (None, 60, 0.1, 60, None):
            assert with_limit(limit) == b"x"
        return seconds_until_over(receiver, scope, 0.3)

    assert 0.3 <= run(work) < 0.5
    receiver.close()


@everywhere
@every_kind
def test_a_wait_without_limit(
    run: Callable[..., Any], kind: str, request: pytest.FixtureRequest
) -> None:
    """Also after one that had a limit, on the same connection."""
    ours, theirs = request.getfixturevalue(kind)
    scope = CancelScope(None)
    receiver = SocketReader(ours, scope)
    late = threading.Timer(0.4, theirs.sendall, [b"late"])

    def work() -> bytes:
        seconds_until_over(receiver, scope, 0.1)
        scope.limit("idle", None)
        late.start()
        return receiver.receive(100)

    assert run(work) == b"late"
    late.join()
    receiver.close()


@pytest.mark.timing
@everywhere
@every_kind
def test_the_total_limit_holds_through_a_trickle(
    run: Callable[..., Any], kind: str, request: pytest.FixtureRequest
) -> None:
    """However often bytes come, and whatever the other limit is."""
    ours, theirs = request.getfixturevalue(kind)
    scope = CancelScope(0.5)
    receiver = SocketReader(ours, scope)
    over = threading.Event()

    def trickle() -> None:
        while not over.wait(0.01):
            theirs.sendall(b"x")

    def read() -> None:
        while True:
            scope.limit("idle", 60)
            receiver.receive(100)

    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(trickle)
        with pytest.raises(TimeoutError):
            run(read)
        over.set()
    assert 0.5 <= time.monotonic() - began < 0.7
    assert scope.nearest == "total"
    receiver.close()


@pytest.mark.timing
@pytest.mark.parametrize("opened", [in_main_thread, in_a_thread])
def test_signals_do_not_stretch_a_wait(plain: Pair, opened: Callable[..., Any]) -> None:
    """A timer's signals reach the main thread many times within the limit; it passes all the same.

    The connection may have been used by another thread before.
    """
    ours, theirs = plain
    scope = CancelScope(None)
    receiver = SocketReader(ours, scope)
    theirs.sendall(b"x")
    scope.limit("idle", 60)
    assert opened(lambda: receiver.receive(100)) == b"x"
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        seconds = seconds_until_over(receiver, scope, 0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0.5 <= seconds < 0.7
    receiver.close()


class Counting:
    """A socket that counts how often its timeout was set, and how often it was read."""

    def __init__(self, sock: socket.socket) -> None:
        self.count = self.receives = 0
        self._socket = sock

    def settimeout(self, seconds: float | None) -> None:
        self.count += 1
        self._socket.settimeout(seconds)

    def recv(self, size: int) -> bytes:
        self.receives += 1
        return self._socket.recv(size)

    def makefile(self, *args: Any, **kwargs: Any) -> io.RawIOBase:
        return self._socket.makefile(*args, **kwargs)  # type: ignore[no-any-return]


def test_a_timeout_is_not_set_for_each_receive(plain: Pair) -> None:
    """A thousand receives under the same limit set it once, and the limit still holds."""
    ours, theirs = plain
    counting, scope = Counting(ours), CancelScope(None)
    receiver = SocketReader(counting, scope)
    for _ in range(1000):
        theirs.sendall(b"x")
        scope.limit("idle", 60)
        assert receiver.receive(1) == b"x"
    assert counting.count == 1
    assert 0.4 <= seconds_until_over(receiver, scope, 0.4) < 0.6
    receiver.close()


@pytest.mark.parametrize("limit", [None, 60])
def test_it_does_not_wake_more_often_than_it_must(plain: Pair, limit: float | None) -> None:
    """A wait that was bounded closely leaves nothing to the one that follows."""
    ours, theirs = plain
    counting, scope = Counting(ours), CancelScope(None)
    receiver = SocketReader(counting, scope)
    theirs.sendall(b"x")
    scope.limit("first_chunk", 0.01)
    assert receiver.receive(1) == b"x"
    scope.limit("idle", limit)
    late = threading.Timer(0.3, theirs.sendall, [b"late"])
    late.start()
    assert receiver.receive(100) == b"late"
    assert counting.receives <= 3
    late.join()
    receiver.close()


@pytest.mark.timing
@everywhere
@every_kind
def test_an_abort_wakes_it(
    run: Callable[..., Any], kind: str, request: pytest.FixtureRequest
) -> None:
    """At once, with or without a limit, and what follows is believed no more."""
    ours, _ = request.getfixturevalue(kind)
    scope = CancelScope(None)
    receiver = SocketReader(ours, scope)
    scope.hold(ours)
    aborted_at = []

    def abort() -> None:
        aborted_at.append(time.monotonic())
        scope.abort("cancelled")

    timer = threading.Timer(0.2, abort)
    timer.start()
    with pytest.raises((ConnectionAbortedError, OSError)):
        run(lambda: receiver.receive(100))
    assert time.monotonic() - aborted_at[0] < 0.05
    timer.join()
    receiver.close()


def test_as_a_file(plain: Pair) -> None:
    """Lines can be read through a buffer."""
    ours, theirs = plain
    receiver = SocketReader(ours, CancelScope(5))
    lines = io.BufferedReader(receiver, 100)
    theirs.sendall(b"one\ntwo\nrest")
    assert lines.readline() == b"one\n"
    assert lines.readline() == b"two\n"
    assert lines.read1(100) == b"rest"
    lines.close()
