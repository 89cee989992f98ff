"""Sending on real sockets: all of it, in time, and no more than the server wants."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trustme

from websopy_sync.cancel import CancelScope
from websopy_sync.transport.socket_writer import SocketWriter

LONG = bytes(range(256)) * 20_000
"""More than the buffers between two sockets hold."""

Pair = tuple[Any, Any]


@pytest.fixture(params=["plain", "TLS", "TLS 1.2"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A connected pair: the writer's end and the server's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if request.param == "plain":
            yield ours, theirs
            return
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client = ssl.create_default_context()
        authority.issue_cert("localhost").configure_cert(server)
        authority.configure_trust(client)
        if request.param == "TLS 1.2":
            server.maximum_version = ssl.TLSVersion.TLSv1_2
        with ThreadPoolExecutor(1) as pool:
            wrapped = pool.submit(server.wrap_socket, theirs, server_side=True)
            with client.wrap_socket(ours, server_hostname="localhost") as ours_over_tls:
                with wrapped.result() as theirs_over_tls:
                    yield ours_over_tls, theirs_over_tls


def never(received: bytes) -> bool:
    return False


def read_all(sock: Any, size: int, pause: float = 0.0) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(65536)
        time.sleep(pause)
    return data


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 1_000_003, len(LONG)])
@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_all_of_it_arrives(size: int, pause: float, pair: Pair) -> None:
    """However slowly it is read."""
    ours, theirs = pair
    writer = SocketWriter(ours, CancelScope(20), never)
    with ThreadPoolExecutor(1) as pool:
        arrived = pool.submit(read_all, theirs, size, pause)
        writer.send(LONG[:size])
        assert arrived.result() == LONG[:size]
    assert not writer.stopped


def test_several_pieces_arrive_in_order(pair: Pair) -> None:
    """A head and a body are sent one after the other."""
    ours, theirs = pair
    writer = SocketWriter(ours, CancelScope(20), never)
    with ThreadPoolExecutor(1) as pool:
        arrived = pool.submit(read_all, theirs, len(LONG) + 8)
        writer.send(b"head")
        writer.send(LONG)
        writer.send(b"tail")
        assert arrived.result() == b"head" + LONG + b"tail"


@pytest.mark.timing
def test_a_limit_passes_while_the_peer_does_not_read(pair: Pair) -> None:
    """The sending is part of what a limit is on."""
    scope = CancelScope(None)
    scope.limit("first_chunk", 0.2)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        SocketWriter(pair[0], scope, never).send(LONG)
    assert 0.2 <= time.monotonic() - began < 0.6


@pytest.mark.timing
def test_a_limit_passes_while_it_is_read_in_drops(pair: Pair) -> None:
    """That some of it goes out begins nothing anew."""
    ours, theirs = pair
    scope = CancelScope(0.3)
    over = threading.Event()

    def sip() -> None:
        while not over.wait(0.01):
            theirs.recv(1000)

    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(sip)
        with pytest.raises(TimeoutError):
            SocketWriter(ours, scope, never).send(LONG * 4)
        over.set()
        theirs.settimeout(1)
    assert 0.3 <= time.monotonic() - began < 0.8


@pytest.mark.timing
def test_an_abort_ends_it(pair: Pair) -> None:
    """At once, without any limit."""
    ours, _ = pair
    scope = CancelScope(None)
    scope.hold(ours)
    aborted_at: list[float] = []

    def abort() -> None:
        aborted_at.append(time.monotonic())
        scope.abort("cancelled")

    timer = threading.Timer(0.1, abort)
    timer.start()
    with pytest.raises(ConnectionAbortedError):
        SocketWriter(ours, scope, never).send(LONG)
    assert time.monotonic() - aborted_at[0] < 0.1
    timer.join()


def test_it_stops_at_a_refusal(pair: Pair) -> None:
    """Nothing of the rest is sent then, nor of what else the caller has."""
    ours, theirs = pair
    writer = SocketWriter(ours, CancelScope(5), lambda received: received.endswith(b"no."))
    timer = threading.Timer(0.1, theirs.sendall, [b"We say no."])
    timer.start()
    writer.send(LONG)
    assert (writer.stopped, writer.received) == (True, b"We say no.")
    writer.send(LONG)
    timer.join()


def test_it_goes_on_after_a_response_that_is_no_refusal(pair: Pair) -> None:
    """What came meanwhile is kept for the reader."""
    ours, theirs = pair
    writer = SocketWriter(ours, CancelScope(20), never)

    def read() -> bytes:
        time.sleep(0.1)
        theirs.sendall(b"go on")
        return read_all(theirs, len(LONG))

    with ThreadPoolExecutor(1) as pool:
        arrived = pool.submit(read)
        writer.send(LONG)
        assert arrived.result() == LONG
    assert (writer.stopped, writer.received) == (False, b"go on")


def test_it_receives_a_bounded_part_of_a_response(pair: Pair) -> None:
    """The rest stays in the socket."""
    ours, theirs = pair
    writer = SocketWriter(ours, CancelScope(20), never)

    def talk_and_read() -> bytes:
        theirs.sendall(b"x" * 100_000)
        return read_all(theirs, len(LONG))

    with ThreadPoolExecutor(1) as pool:
        arrived = pool.submit(talk_and_read)
        writer.send(LONG)
        assert arrived.result() == LONG
    assert len(writer.received) <= 65536


@pytest.mark.parametrize("how", ["closes", "half-closes"])
def test_it_stops_when_the_server_ends_it(how: str, pair: Pair) -> None:
    """The reader then finds out whether there is a response."""
    ours, theirs = pair
    writer = SocketWriter(ours, CancelScope(5), never)

    def end() -> None:
        if how == "closes":
            theirs.close()
        else:
            socket.socket.shutdown(theirs, socket.SHUT_WR)

    timer = threading.Timer(0.1, end)
    timer.start()
    writer.send(LONG)
    assert writer.stopped
    timer.join()
