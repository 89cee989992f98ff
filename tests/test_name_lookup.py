"""Looking a host name up: in time, off when cancelled, in few threads, and never twice."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from websopy_sync.cancel import CancelScope
from websopy_sync.transport.name_lookup import NameLookup


class Resolver:
    """Stands in for the system's resolver, which answers when it is told to."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked: list[str] = []
        self.threads: set[str] = set()

    def __call__(self, host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        self.asked.append(host)
        self.threads.add(threading.current_thread().name)
        assert self.answers.wait(5)
        if host == "unknown":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    stand_in = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", stand_in)
    yield stand_in
    stand_in.answers.set()
    until = time.monotonic() + 5
    while any(thread.name == "websopy-lookup" for thread in threading.enumerate()):
        assert time.monotonic() < until, "a look-up's thread does not end"
        time.sleep(0.01)


def within(seconds: float | None) -> CancelScope:
    """A scope whose connect limit is that."""
    scope = CancelScope(None)
    scope.limit("connect", seconds)
    return scope


def lookup_threads() -> int:
    return sum(thread.name == "websopy-lookup" for thread in threading.enumerate())


def test_a_name_is_looked_up_in_a_helper_thread(resolver: Resolver) -> None:
    """One that the interpreter does not wait for at its end."""
    resolver.answers.set()
    ((*_, address),) = NameLookup().addresses("service", 80, within(5))
    assert address == ("127.0.0.1", 80)
    assert resolver.threads == {"websopy-lookup"}


def test_the_thread_is_a_daemon(resolver: Resolver) -> None:
    """A program can end while a name server is silent."""
    with pytest.raises(TimeoutError):
        NameLookup().addresses("service", 80, within(0.05))
    threads = [each for each in threading.enumerate() if each.name == "websopy-lookup"]
    assert [thread.daemon for thread in threads] == [True]


@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 80)),
        ("::1", socket.AF_INET6, ("::1", 80, 0, 0)),
        ("fe80::1%7", socket.AF_INET6, ("fe80::1", 80, 0, 7)),
        ("::ffff:127.0.0.1", socket.AF_INET6, ("::ffff:127.0.0.1", 80, 0, 0)),
    ],
)
def test_a_numeric_host_is_not_looked_up(
    host: str, family: int, address: tuple[Any, ...], resolver: Resolver
) -> None:
    """Nor does it need a thread."""
    found = NameLookup().addresses(host, 80, within(5))
    assert found == [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]
    assert resolver.asked == []


def test_a_scope_that_is_no_interface(resolver: Resolver) -> None:
    """It is no address here."""
    with pytest.raises(OSError, match="interface"):
        NameLookup().addresses("fe80::1%nowhere", 80, within(5))


@pytest.mark.timing
@pytest.mark.parametrize("phase", ["connect", "total"])
def test_a_limit_ends_it(phase: str, resolver: Resolver) -> None:
    """Whichever is nearer."""
    scope = CancelScope(0.1 if phase == "total" else 5)
    scope.limit("connect", 0.1 if phase == "connect" else 5)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        NameLookup().addresses("service", 80, scope)
    assert 0.1 <= time.monotonic() - began < 0.5
    assert scope.nearest == phase


@pytest.mark.timing
def test_an_abort_ends_it(resolver: Resolver) -> None:
    """At once, without any limit."""
    scope = within(None)
    aborted_at: list[float] = []

    def abort() -> None:
        aborted_at.append(time.monotonic())
        scope.abort("cancelled")

    timer = threading.Timer(0.1, abort)
    timer.start()
    with pytest.raises(ConnectionAbortedError):
        NameLookup().addresses("service", 80, scope)
    assert time.monotonic() - aborted_at[0] < 0.05
    timer.join()


def test_an_abort_before_it(resolver: Resolver) -> None:
    """Nothing is waited for then."""
    scope = within(None)
    scope.abort("cancelled")
    with pytest.raises(ConnectionAbortedError):
        NameLookup().addresses("service", 80, scope)


def test_a_look_up_left_behind_wakes_nobody(resolver: Resolver) -> None:
    """Its answer is dropped: the pause before the next try lasts as long as it should."""
    scope = within(0.05)
    with pytest.raises(TimeoutError):
        NameLookup().addresses("service", 80, scope)
    threading.Timer(0.05, resolver.answers.set).start()
    began = time.monotonic()
    scope.wait(0.2)
    assert time.monotonic() - began >= 0.199


@pytest.mark.timing
def test_threads_are_bounded(resolver: Resolver) -> None:
    """However many callers there are; those without a place wait within their own limits."""
    lookup = NameLookup(max_threads=3)

    def one(_: int) -> str:
        try:
            lookup.addresses("service", 80, within(0.2))
        except TimeoutError:
            return "too late"
        return "found"

    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        outcomes = [*pool.map(one, range(20))]
        assert lookup_threads() == 3
    assert outcomes == ["too late"] * 20
    assert time.monotonic() - began < 1
    assert len(resolver.asked) == 3


def test_a_caller_that_waits_for_a_place_gets_it(resolver: Resolver) -> None:
    """When a thread is free again; a caller that gave up is not looked up for."""
    lookup = NameLookup(max_threads=1)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(lookup.addresses, "first", 80, within(5))
        while not resolver.asked:
            time.sleep(0.005)
        with pytest.raises(TimeoutError):
            lookup.addresses("given up", 80, within(0.05))
        others = [pool.submit(lookup.addresses, "other", 80, within(5)) for _ in range(2)]
        time.sleep(0.05)
        resolver.answers.set()
        for each in (first, *others):
            assert each.result(5)
    assert resolver.asked == ["first", "other", "other"]


def test_an_unknown_name(resolver: Resolver) -> None:
    """The resolver's own error comes out."""
    resolver.answers.set()
    with pytest.raises(socket.gaierror):
        NameLookup().addresses("unknown", 80, within(5))


def test_no_thread_to_be_had(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the caller's own thread looks it up: without limits is better than not at all."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver.answers.set()
    lookup = NameLookup()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert lookup.addresses("service", 80, within(5))
    assert resolver.threads == {threading.current_thread().name}
    assert lookup.addresses("service", 80, within(5)), "it has not lost its places"


def test_no_thread_to_be_had_while_another_looks_up(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is left to the thread that there is."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lookup = NameLookup()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lookup.addresses, "first", 80, within(5))
        while not resolver.asked:
            time.sleep(0.005)
        pool.submit(time.sleep, 0).result()  # has the second of the pool's threads started
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(TimeoutError):
                lookup.addresses("second", 80, within(0.1))
        resolver.answers.set()
        assert first.result(5)
    assert resolver.asked == ["first"]


def test_a_forked_child_looks_names_up(resolver: Resolver) -> None:
    """The threads of its parent, and the names they have at hand, are not its own."""
    lookup = NameLookup(max_threads=1)
    with pytest.raises(TimeoutError):
        lookup.addresses("service", 80, within(0.05))
    child = os.fork()
    if child == 0:
        resolver.answers = threading.Event()
        resolver.answers.set()
        try:
            os._exit(0 if lookup.addresses("service", 80, within(3)) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_thread_that_does_not_start_is_not_counted(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Else every later look-up would wait for a thread that never was."""

    def start(thread: threading.Thread) -> None:
        raise error

    resolver.answers.set()
    names = NameLookup(max_threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        if error is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                names.addresses("service", 80, within(1))
        else:
            assert names.addresses("service", 80, within(1))
    assert names.addresses("service", 80, within(1))
