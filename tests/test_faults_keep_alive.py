"""Connections that are kept: alive while they are silent, and not used when they may be lost."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from faults import Conn, answer, answers, client, play, reply, stall_after, text
from test_ways import WAYS, Way, over, travel

every_way = over(WAYS)


@contextlib.contextmanager
def sockets_to(port: int) -> Iterator[list[socket.socket]]:
    """This process's connections to a port, by a second descriptor of each."""
    with contextlib.ExitStack() as stack:
        found = []
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if not os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                    continue
                sock = stack.enter_context(socket.socket(fileno=os.dup(int(number))))
                if sock.getpeername()[1] == port:
                    found.append(sock)
        yield found


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Any:
    """sleep(seconds): the machine sleeps so long, and its monotonic clock stands still."""
    asleep = 0.0
    clock_gettime = time.clock_gettime

    def later(clock: int) -> float:
        return clock_gettime(clock) + (asleep if clock == time.CLOCK_BOOTTIME else 0)

    def fall_asleep(seconds: float) -> None:
        nonlocal asleep
        asleep += seconds

    monkeypatch.setattr(time, "clock_gettime", later)
    return fall_asleep


def is_gone(conn: Conn) -> bool:
    """Whether the client leaves a connection whose script waits for its next question."""
    until = time.monotonic() + 2
    while conn.gone_at is None and time.monotonic() < until:
        time.sleep(0.01)
    return conn.gone_at is not None


@every_way
def test_tcp_keep_alive_is_on(way: Way) -> None:
    """The kernel probes a silent connection, so that no NAT forgets it, by every way."""
    with travel(way, stall_after(text("a"))) as journey:
        with journey.asker.ai.chat_stream("hi") as stream:
            assert next(stream).type == "content"
            with sockets_to((journey.proxy or journey.service).port) as found:
                options = [
                    (
                        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                    )
                    for sock in found
                ]
    assert options == [(1, 30, 15, 6, 0)]


@every_way
def test_connection_that_was_idle_for_long_is_not_used_again(way: Way, sleep: Any) -> None:
    """It is closed, and the question that would have found it lost goes out over a new one."""
    with travel(way, answers("hi"), answers("hi")) as journey:
        assert journey.ask().text == "hi"
        sleep(51)
        got = journey.ask()
        assert (got.text, got.error, got.stream.retries_taken) == ("hi", None, 0)
        assert is_gone(journey.service.conns[0])


def test_connection_that_was_idle_for_a_while_is_used_again(sleep: Any) -> None:
    """As long as everybody else keeps it."""
    with play(answers("hi")) as server, client(server) as asker:
        for _ in range(3):
            assert asker.ai.chat("hi").content == "hi"
            sleep(45)


@pytest.mark.timing
def test_forgotten_connection_costs_nothing(sleep: Any) -> None:
    """A NAT that has forgotten it swallows what is sent: the question does not go there."""

    def forgotten(conn: Conn) -> None:
        conn.read_request()
        reply(conn, "one")
        conn.pause(1.5)

    with play(forgotten, answer("two")) as server, client(server, max_retries=0) as asker:
        assert asker.ai.chat("hi").content == "one"
        sleep(300)
        began = time.monotonic()
        assert asker.ai.chat("hi").content == "two"
        assert time.monotonic() - began < 0.5


def test_connections_that_nobody_needs_any_more_are_closed(sleep: Any) -> None:
    """After a rush the youngest is used again and again; the others do not stay for ever."""
    with play(always=answers("hi")) as server, client(server) as asker:
        streams = [asker.ai.chat_stream("hi") for _ in range(5)]
        for stream in streams:
            assert stream.get_final_text() == "hi"
        for _ in range(2):
            sleep(30)
            assert asker.ai.chat("hi").content == "hi"
        assert all(map(is_gone, server.conns[:4]))
        assert server.conns[4].gone_at is None
        assert asker.ai.chat("hi").content == "hi"
        assert len(server.conns) == 5
