"""Looks up the addresses of a host name, within the limits of a call.

Knows nothing of connecting. `getaddrinfo()` takes no timeout and cannot be interrupted: with a dead
name server it blocks for half a minute. So a helper thread calls it, and the caller abandons that
thread when a limit passes or cancel() is called.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from typing import Any

from ..cancel import CancelScope, Wake
from ..interrupts import is_interrupt
from ..threads import start_thread

__all__ = ["Address", "NameLookup"]

Address = tuple[Any, Any, int, str, Any]
"""What getaddrinfo() returns: family, type, protocol, canonical name, address."""

MAX_THREADS = 16
"""Look-ups at a time in one process. With a dead name server at most this many threads are
abandoned; glibc gives up after 10 to 30 seconds, and then they end."""


class _Job:
    """One name to look up, and how to wake its caller."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.wake = Wake()
        self.finished = False
        self.found: list[Address] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            self.found = socket.getaddrinfo(self.host, self.port, 0, socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001  # raised in the caller's thread
            self.failure = error.with_traceback(None)
        finally:
            self.finished = True
            self.wake.set()


class NameLookup:
    """Looks names up in a bounded number of threads, which end when there is nothing to do.

    Any thread may use it, and so may a forked child.

    Args:
        max_threads: The most look-ups at a time.
    """

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        # Reentrant, because a signal handler may start a call while its thread is in here.
        self._lock = threading.RLock()
        self._queue: deque[_Job] = deque()
        self._threads: set[object] = set()  # a token for each; a thread discards its own

    def addresses(self, host: str, port: int, scope: CancelScope) -> list[Address]:
        """The addresses of a host, never empty. A numeric host needs no thread.

        Args:
            host: A name or an address.
            port: The port, which becomes part of each address.
            scope: The limits and the off-switch.

        Raises:
            OSError: The name has no address.
            UnicodeError: The name is not valid.
            TimeoutError: A limit passed.
            ConnectionAbortedError: The scope was aborted.
        """
        numeric = _numeric(host, port)
        if numeric is not None:
            return [numeric]
        if self._pid != os.getpid():  # in a forked child, which has none of the threads
            self._reset()
        job = _Job(host, port)
        try:
            self._start(job)
            while not job.finished:
                scope.check()
                scope.wait(scope.remaining(), job.wake)
        finally:
            self._withdraw(job)
        scope.check()
        if job.failure is not None:
            raise job.failure
        if not job.found:
            raise OSError("the host has no address")
        return job.found

    def _start(self, job: _Job) -> None:
        """Have a thread run the job: a new one, or when there are enough the next that is free."""
        with self._lock:
            self._queue.append(job)
            if len(self._threads) >= self._max_threads:
                return
            token = object()
            self._threads.add(token)
        thread = threading.Thread(
            target=self._work, args=(token,), name="websopy-lookup", daemon=True
        )
        alone = False
        try:
            start_thread(thread)
        finally:
            if thread.ident is None:  # it never ran, whatever was raised
                with self._lock:
                    self._threads.discard(token)
                    alone = not self._threads
        # Any other thread will find the job in the queue. Without one, run it here: a look-up that
        # obeys no limit is better than none.
        if alone and self._withdraw(job):
            job.run()

    def _withdraw(self, job: _Job) -> bool:
        """Take a job out of the queue; False when a thread has it."""
        with self._lock:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            return True

    def _work(self, token: object) -> None:
        """Run the jobs in the queue, until there are none."""
        while True:
            with self._lock:
                if not self._queue:
                    self._threads.discard(token)
                    return
                job = self._queue.popleft()
            job.run()


def _numeric(host: str, port: int) -> Address | None:
    """The address of a host that is one already, None for a name.

    Raises OSError for a scope (`fe80::1%eth0`) that is no interface here.
    """
    host, _, scope = host.partition("%")
    if _is_address(socket.AF_INET, host) and not scope:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)
    if not _is_address(socket.AF_INET6, host):
        return None
    scope_id = int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
    address = (host, port, 0, scope_id)
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address


def _is_address(family: int, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError) as error:
        if is_interrupt(error):
            raise
        return False
    return True
