"""Connections: TCP, TLS and SOCKS, under the limits and the off-switch of the call they serve.

Knows nothing of pools, of retries or of what is sent. urllib3's own connections do the work; these
classes change four things:

- The cancel scope holds the socket from before its connect, so cancel and the limits hold while
  there is no response yet.
- Each wait takes only as long as the limits allow.
- The response is a `RawResponse`.
- The query never reaches urllib3's pools, because their DEBUG records quote the URL. The connection
  appends it when it writes the request line.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import ssl
import time
import traceback
import weakref
from collections.abc import Mapping
from typing import Any

import urllib3.connection
import urllib3.exceptions
from urllib3.util.ssltransport import SSLTransport
from urllib3.util.wait import wait_for_read

from ..cancel import CancelScope
from ..errors import APIConnectionError
from ..interrupts import ignoring, is_interrupt
from ..sockets import keep_alive, wait_for
from ..timeouts import LATE
from . import socks_handshake
from .certificates import context_that_trusts
from .failures import InterruptCarrier
from .idle_stack import awake_or_asleep
from .name_lookup import Address, NameLookup
from .proxies import Proxy
from .raw_response import RawResponse
from .request_context import RequestContext, current_request
from .response_head import is_early_refusal
from .socket_writer import SocketWriter
from .tls_in_tls import InnerTLS, OuterTLS

__all__ = [
    "MAX_IDLE",
    "Connection",
    "SOCKSConnection",
    "SOCKSTLSConnection",
    "TLSConnection",
]

_names = NameLookup()  # one for the process, so that its threads are bounded in number

MAX_IDLE = 50.0
"""Seconds after which an idle connection is not used again. Servers and load balancers close theirs
after a minute or so (AWS 60 s, nginx 75 s), and a request that crosses that end is lost. A NAT that
silently forgets a connection takes longer."""

SETTLED = 0.005
"""Seconds in which a server may close a connection that it promised to keep. Of 25 requests in a
row, llama.cpp lost 2 to 4 without a wait or with 1 ms, none with 3 or 5."""

_UNUSABLE = (None, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH)
"""Errors of an address that this host cannot use, or that took more than its share of the time:
the error of another address says more."""


class Connection(urllib3.connection.HTTPConnection):
    """A TCP connection; the scope of the current call holds its socket."""

    debuglevel = 0  # above that http.client prints whole requests, key included
    _handle: socket.socket | None = None  # see _connect_one
    _is_wrapped = False  # whether what follows the connect replaces the socket object
    _writer: SocketWriter | None = None
    sock: Any
    idle_since: float = math.inf
    """When the pool got it back, by `awake_or_asleep()`."""

    @property
    def is_stale(self) -> bool:
        """Whether it was idle for so long that it may be lost unnoticed."""
        return awake_or_asleep() - self.idle_since > MAX_IDLE

    @property
    def is_connected(self) -> bool:
        """Whether the pool may use it again."""
        if self.is_stale or not super().is_connected:
            return False
        request = current_request.get(None)
        return request is None or request.repeatable or not self._closes_now()

    def _closes_now(self) -> bool:
        """Whether the server closes right after its response, as llama.cpp does: wait for that."""
        seconds = SETTLED - (awake_or_asleep() - self.idle_since)
        return seconds > 0 and bool(wait_for_read(self.sock, timeout=seconds))

    def _peer(self) -> tuple[str, int]:
        """The host and port that the socket connects to."""
        # Not `host`: that lacks the dot at the end of a full name, which keeps the resolver from
        # trying its search domains.
        return self._dns_host, self.port

    def _look_up(self, host: str, port: int) -> list[Address]:
        """The addresses of a host, as getaddrinfo() gives them."""
        try:
            return _names.addresses(host, port, current_request.get().scope)
        except (TimeoutError, ConnectionAbortedError):
            raise
        except (OSError, UnicodeError) as error:
            raise urllib3.exceptions.NewConnectionError(self, "host name not found") from error

    def _reach(self, sock: socket.socket, address: Any, seconds: float) -> socket.socket:
        """Connect a socket to an address within so many seconds. Returns the socket to use."""
        until = time.monotonic() + seconds
        sock.settimeout(0)
        with ignoring(BlockingIOError):  # the kernel connects in the background
            sock.connect(address)
        _finish_connecting(sock, until, current_request.get().scope)
        return sock

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that can be reached, within the scope's limits."""
        scope = current_request.get().scope
        problem: OSError | None = None
        found = self._look_up(*self._peer())
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            try:
                with contextlib.ExitStack() as stack:
                    # A kernel without IPv6 refuses even the socket.
                    sock = socket.socket(family, kind, protocol)
                    stack.callback(sock.close)
                    connected = self._connect_one(sock, address, scope, len(found) - tried)
                    stack.pop_all()
                    return connected
            except OSError as error:
                if is_interrupt(error):
                    raise
                scope.check()
                scope.remaining()
                if problem is None or problem.errno in _UNUSABLE:
                    problem = error
        raise urllib3.exceptions.NewConnectionError(self, "no connection") from problem

    def _connect_one(
        self, sock: socket.socket, address: Any, scope: CancelScope, left: int
    ) -> socket.socket:
        for option in self.socket_options or ():
            with ignoring(OSError):  # a connection without it is better than none
                sock.setsockopt(*option)
        keep_alive(sock)
        if self._is_wrapped:
            # Wrapping detaches this object, so an abort could not shut it down during the
            # handshake. Keep a dup() until that is done.
            self._drop_handle()
            self._handle = sock.dup()
        scope.hold(self._handle or sock)
        # The last address gets all the time that is left, each one before it an equal share.
        connected = self._reach(sock, address, scope.remaining() / left)
        connected.settimeout(scope.timeout())
        return connected

    def _drop_handle(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def connect(self) -> None:
        """Connect, through a proxy's tunnel and TLS where there are any."""
        scope = current_request.get().scope
        self._read_responses_for(current_request.get())
        try:
            super().connect()
            if isinstance(self.sock, SSLTransport):
                self.sock = InnerTLS(self.sock)
            scope.hold(self.sock)
        except BaseException as error:
            scope.let_go()
            # urllib3 closes self.sock; a handshake that fails closes what it had wrapped.
            if is_interrupt(error):
                _close_handshake(error)
            raise
        finally:
            self._drop_handle()

    def _read_responses_for(self, context: RequestContext) -> None:
        """Have http.client read the responses from here on as `RawResponse`, for this request."""
        # Weak, so that a connection that nobody holds after an interrupt is closed at once, not
        # when the garbage collector runs.
        connection = weakref.proxy(self)

        def new_response(*args: Any, **kwargs: Any) -> RawResponse:
            writer = connection._writer_for(context)  # self's own method
            context.response = RawResponse(*args, scope=context.scope, writer=writer, **kwargs)
            return context.response

        self.response_class = new_response  # type: ignore[assignment]  # typed as a class

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send the request. urllib3 would read on after an interrupt that looks like a cut."""
        try:
            super().request(*args, **kwargs)
        except OSError as error:
            if is_interrupt(error):
                raise InterruptCarrier(error) from None
            raise

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Begin the request: from here on the server may have seen it."""
        context = current_request.get()
        if self.sock is None:
            self.connect()
        context.scope.limit(*context.limit, late=LATE)
        context.scope.hold(self.sock)
        if isinstance(self.sock, InnerTLS):
            self.sock.obey(context.scope)
        self._writer = None
        self._read_responses_for(context)
        context.sent = True
        query = f"?{context.query}" if context.query else ""
        super().putrequest(method, url + query, *args, **kwargs)

    def send(self, data: Any) -> None:
        """Send some of the request, within the limits; nothing more once the server refused it."""
        self._writer_for(current_request.get()).send(data)

    def _writer_for(self, context: RequestContext) -> SocketWriter:
        # The CONNECT of a tunnel is sent by a socket that TLS then replaces.
        if self._writer is None or self._writer.socket is not self.sock:
            self._writer = SocketWriter(self.sock, context.scope, is_early_refusal)
        return self._writer


def _close_handshake(interrupt: BaseException) -> None:
    """Close the socket of an interrupted handshake: ssl does so for OSError and ValueError only."""
    for frame, _ in traceback.walk_tb(interrupt.__traceback__):
        sock = frame.f_locals.get("self")
        if isinstance(sock, ssl.SSLSocket):
            sock.close()


def _finish_connecting(sock: socket.socket, until: float, scope: CancelScope) -> None:
    """Wait until a connect() in the background has succeeded. Raises OSError."""
    while True:
        # An abort before this line may have found a socket that was not connecting yet, where
        # shutdown() has no effect. From here on it wakes the wait.
        scope.check()
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        with ignoring(OSError):  # not connected yet
            sock.getpeername()
            return
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("connecting took too long")
        wait_for(sock, seconds)


class TLSConnection(Connection, urllib3.connection.HTTPSConnection):
    """A TLS connection."""

    _is_wrapped = True
    ssl_context: ssl.SSLContext | None
    ca_certs: str | None

    def connect(self) -> None:
        """Connect, with the SSL context that all connections with these authorities share.

        A client's certificate belongs to one client, and for an https proxy urllib3 loads the
        authorities itself: both get a context of urllib3's.
        """
        by_tls = self.proxy is not None and self.proxy.scheme == "https"
        if self.ca_certs and self.ssl_context is None and not (self.cert_file or by_tls):
            self.ssl_context, self.ca_certs = context_that_trusts(self.ca_certs), None
        super().connect()

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> Any:
        outer = super()._connect_tls_proxy(hostname, sock)
        return OuterTLS(outer, current_request.get().scope) if self.proxy_is_tunneling else outer

    def _tunnel(self) -> None:
        super()._tunnel()
        # The TLS handshake that follows gets the time that the tunnel left.
        self.sock.settimeout(current_request.get().scope.timeout())


class SOCKSConnection(Connection):
    """A connection through a SOCKS proxy."""

    _is_wrapped = True  # the SOCKS handshake detaches the socket object too

    def __init__(self, *args: Any, _socks_options: Mapping[str, Proxy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._proxy = _socks_options["proxy"]
        self._target = ""
        self._targets_left = 1

    def _peer(self) -> tuple[str, int]:
        return self._proxy.host, self._proxy.port

    def _targets(self) -> list[str]:
        """The host for the proxy to look up, or the addresses that this machine found."""
        if self._proxy.looks_names_up:
            return [self.host]
        found = self._look_up(self._dns_host, self.port)
        if self._proxy.scheme == "socks4":
            found = [entry for entry in found if entry[0] == socket.AF_INET]
        return [entry[4][0] for entry in found]

    def _new_conn(self) -> socket.socket:
        """Have the proxy try one address of the host after another."""
        scope = current_request.get().scope
        problem: Exception = APIConnectionError("SOCKS4 knows no IPv6", retryable=False)
        targets = self._targets()
        for left, target in zip(range(len(targets), 0, -1), targets, strict=True):
            self._target, self._targets_left = target, left
            try:
                return super()._new_conn()
            except (urllib3.exceptions.NewConnectionError, APIConnectionError) as error:
                if is_interrupt(error):
                    raise
                scope.remaining()
                problem = error
                if not getattr(error, "retryable", True):
                    break
        raise problem

    def _reach(self, sock: socket.socket, address: Any, seconds: float) -> socket.socket:
        seconds /= self._targets_left
        until = time.monotonic() + seconds
        connected = super()._reach(sock, address, seconds)
        return socks_handshake.shake_hands(
            connected,
            self._proxy,
            target=(self._target, self.port),
            scope=current_request.get().scope,
            until=until,
        )


class SOCKSTLSConnection(SOCKSConnection, TLSConnection):
    """A TLS connection through a SOCKS proxy."""
