"""What the sockets of the standard library, TLS, urllib3, gevent and eventlet have in common.

Knows nothing of limits or of HTTP.
"""

from __future__ import annotations

import _socket
import math
import select
import socket
import struct
import sys
import threading
from typing import Any

from .interrupts import ignoring

__all__ = ["abort", "keep_alive", "shut_down", "wait_for"]

LONGEST_POLL = 2**31 - 1
"""Milliseconds; poll() takes a C int."""


_KEEP_ALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
    (socket.IPPROTO_TCP, "TCP_KEEPALIVE", 30),  # what macOS calls it
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 6),
)
"""The kernel's probes: the first after 30 silent seconds, before a load balancer forgets the
connection (Azure's do after 4 minutes, those of AWS after 350 s). The connection is lost when six
more in 90 seconds get no reply. The server's kernel replies, however slow the server itself is.
TCP_USER_TIMEOUT would find a loss sooner, but also cuts a server that does not read for a while."""


def keep_alive(sock: Any) -> None:
    """Have the kernel keep a silent connection alive, and notice when it is not."""
    for level, name, value in _KEEP_ALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            with ignoring(OSError):  # a connection without it is better than none
                sock.setsockopt(level, option, value)


def shut_down(sock: Any, how: int = socket.SHUT_RDWR) -> None:
    """End a connection in both directions or in one, and wake the threads that wait for it.

    The plain socket below TLS is shut down. `SSLSocket.shutdown()` would drop the TLS layer first,
    and the reader would get ciphertext (seen in 4 runs of 4). close() would wait for the reader's
    lock.

    Args:
        sock: A socket, or any object that holds one.
        how: As `socket.shutdown()` takes it.
    """
    with ignoring(OSError):  # not connected yet, or gone already
        plain = _plain(sock)
        if plain is not None:
            _socket.socket.shutdown(plain, how)


_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""SO_LINGER: on, for 0 seconds."""


def abort(sock: Any) -> None:
    """Shut a connection down in both directions, and have its close() reset it.

    After a FIN alone, a peer that found the window full stays blocked in its send() for a minute:
    the kernel replies to its probes that there is still no room (Linux, `tcp_fin_timeout`).

    Args:
        sock: A socket, or any object that holds one.
    """
    with ignoring(OSError):  # gone already
        plain = _plain(sock)
        if plain is not None:
            _socket.socket.setsockopt(plain, socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    shut_down(sock)


def _plain(sock: Any) -> _socket.socket | None:
    """The socket of C code in any object that holds one.

    urllib3's TLS inside TLS has it in `socket`, gevent in `_sock`, eventlet in `fd`: their private
    attributes, because none has a public one. After monkey-patching `socket.socket` is theirs, so
    this looks for the class that C defines.
    """
    while not isinstance(sock, _socket.socket):
        inner = (getattr(sock, name, None) for name in ("socket", "_sock", "fd"))
        found = next((each for each in inner if each is not None and each is not sock), None)
        if found is None:
            return None
        sock = found
    return sock


def wait_for(sock: Any, seconds: float, *, also_readable: bool = False) -> None:
    """Wait until the socket can be written or has failed. It may return early: try, and wait again.

    Args:
        sock: The socket.
        seconds: The longest wait.
        also_readable: Return also when there is something to read.
    """
    if hasattr(select, "poll"):
        events = select.POLLOUT | (select.POLLIN if also_readable else 0)
        poll = select.poll()
        poll.register(sock.fileno(), events)
        poll.poll(min(math.ceil(min(seconds, threading.TIMEOUT_MAX) * 1000), LONGEST_POLL))
        return
    # Windows, and eventlet, whose select() wakes its caller twice if a socket is ready for both. So
    # wait for one only, and return often enough for the caller to read.
    seconds = min(seconds, 0.05 if also_readable else threading.TIMEOUT_MAX)
    select.select([], [sock], [sock], seconds)
