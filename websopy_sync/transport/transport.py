"""One HTTP exchange: a request goes out, an answer's head and then its bytes come in.

The only file that imports requests and urllib3, and none of their exceptions leaves it. Knows
nothing of SSE, of chunks, or of asking twice: it is given one request and a scope.

requests and urllib3 do what they do well: URLs, proxies, TLS, pools. Four things they leave open
are closed here, by their own extension points (an HTTPAdapter whose pools use a ConnectionCls
with a response_class of ours):

- the socket is in the scope's hands from before its connect, so cancel and deadlines hold
  while there is no response yet;
- each receive waits only as long as the deadlines allow, whatever trickles;
- the head is read strictly: interim answers are skipped and counted, an end inside it is a cut;
- the body is read by `http1` straight from the socket's buffer, in every framing at once.

A query never reaches urllib3's pools, because their DEBUG records quote the URL: the connection
puts it behind the path when it writes the request line.
"""

from __future__ import annotations

import contextlib
import contextvars
import email.parser
import errno
import functools
import http.client
import io
import math
import os
import queue
import re
import socket
import ssl
import sys
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
import requests
import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.connectionpool
import urllib3.exceptions
from urllib3.util.ssltransport import SSLTransport

from ..cancel import CancelScope
from ..errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ConfigError,
    Phase,
    StreamInterruptedError,
    StreamProtocolError,
    WebsopyError,
)
from ..interrupts import find_interrupt, ignoring, is_interrupt
from ..redaction import Secret
from ..sockets import keep_alive, wait_for
from ..timeouts import LATE
from . import socks_handshake
from .certificates import client_certificate, context_that_trusts, trust_of
from .dependencies import dependency_problem
from .http1 import (
    Body,
    ChunkedReader,
    Inflater,
    UntilCloseReader,
    body_of,
    inflater_of,
    is_final_answer,
)
from .idle_stack import IdleStack
from .name_lookup import Address, NameLookup
from .proxies import Proxy, host_and_port, parse_proxy, proxy_for
from .socket_reader import SocketReader
from .socket_writer import SocketWriter
from .tls_in_tls import InnerTLS, OuterTLS

__all__ = ["HTTPRequest", "HTTPResponse", "Limit", "Session", "Transport"]

_names = NameLookup()  # one for the process, so that its threads are bounded in number

Session = requests.Session
"""The session a user may bring; named here for those who may not import requests."""

_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")

MAX_IDLE = 50.0
"""Seconds after which a kept connection is not used again. Servers and load balancers close theirs
after a minute or so (AWS 60 s, nginx 75 s), and a question that crosses that end is lost. A NAT
that forgets a connection without a word takes longer."""

Limit = tuple[Phase, float | None]
"""A phase and how many seconds it may take."""

READ_SIZE = 65536
MAX_INTERIM = 16
MAX_HEADERS = 100
MAX_LINE = 65536
IDLE_CONNECTIONS = 256
"""Connections a pool keeps for the next call; more may be open at a time."""


class _InterruptedError(Exception):
    """Carries an interrupt past urllib3, as its argument."""


_TRANSLATED = (
    _InterruptedError,
    OSError,  # requests' errors are
    http.client.HTTPException,
    urllib3.exceptions.HTTPError,
    urllib3.exceptions.ProxySchemeUnsupported,  # TLS in TLS, and pyOpenSSL in the place of ssl
    UnicodeError,
    WebsopyError,
)
"""What becomes an error of ours, unless it is an interrupt. Anything else is not of the connection,
and comes out as it is."""

_UNUSABLE = (None, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH)
"""Errors of an address that this host cannot use, or that took more than its share of the time:
the error of another address says more."""

DRAIN_SECONDS = 0.002
"""How long an answer that is done is given to end properly, so that its connection can be kept.

What is left is usually the last, empty HTTP chunk, which is there already or a packet away.
"""


@attrs.frozen(repr=False)
class HTTPRequest:
    """A request as it goes on the wire. It holds a prompt, so its repr shows nothing of it."""

    method: str
    url: str
    headers: Mapping[str, str | bytes]
    body: bytes | None = None
    query: str = ""

    def __repr__(self) -> str:
        return f"<HTTPRequest {self.method}>"

    @classmethod
    def query_of(cls, params: Mapping[str, str]) -> str:
        """The query string for some parameters."""
        return urlencode(params)


class _Headers(dict[str, Any]):
    """Headers that hold the key, and so show nothing."""

    def __repr__(self) -> str:
        return "<headers>"


@attrs.define(repr=False)
class _Call:
    """What the connection of a call must know, and no argument of requests carries to it."""

    scope: CancelScope
    limit: Limit
    url: str
    query: str
    proxy: Proxy | None = None
    sent: bool = False
    reply: _Reply | None = None

    @property
    def place(self) -> str:
        """Where the request goes, as errors name it."""
        place = host_and_port(self.url)
        return f"{place} through the proxy {host_and_port(self.proxy.url)}" if self.proxy else place

    @property
    def speaks_tls(self) -> bool:
        """Whether there is TLS on the way."""
        by_proxy = self.proxy is not None and self.proxy.scheme == "https"
        return by_proxy or urlsplit(self.url).scheme == "https"


_call: contextvars.ContextVar[_Call] = contextvars.ContextVar("websopy_sync.call")


class _Reply(http.client.HTTPResponse):
    """An answer as http.client's own, but its head read strictly and its body by `http1`."""

    version: int
    code: int
    status: int
    reason: str
    headers: http.client.HTTPMessage
    msg: http.client.HTTPMessage
    chunked: bool
    length: int | None
    will_close: bool

    def __init__(
        self, sock: Any, *args: Any, scope: CancelScope, writer: SocketWriter, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self._scope = scope
        self._socket = sock
        self._socket_reader = SocketReader(sock, scope, received=writer.received)
        self._request_is_whole = not writer.stopped
        self.fp: Any = io.BufferedReader(self._socket_reader, READ_SIZE)
        self.trailing_data: bool = False
        """Whether bytes came behind the answer that belong to none."""
        self._body: Body = UntilCloseReader()
        self._drained = False

    def begin(self) -> None:
        """Read the head, and the heads of up to 16 interim answers before it."""
        for _ in range(MAX_INTERIM + 1):
            version, status, reason = self._status_line()
            lines = list(self._header_lines())
            if not 100 <= status < 200:
                break
            if status == 101:
                raise StreamProtocolError("HTTP status 101: no other protocol was asked for")
        else:
            raise StreamProtocolError(f"expected at most {MAX_INTERIM} interim HTTP answers")
        self.version, self.code, self.status, self.reason = version, status, status, reason
        # Not http.client.parse_headers: it counts the empty line among its hundred.
        parser = email.parser.Parser(http.client.HTTPMessage)
        head = b"".join(lines).decode("latin-1")
        self.headers = self.msg = parser.parsestr(head, headersonly=True)
        named = _plain_headers(self.headers)
        try:
            self._body = body_of(status, named)
        except StreamProtocolError:
            if status < 300:
                raise
            # The status of a refusal is what matters. urllib3 would stumble over two lengths.
            del self.msg["content-length"]
        self.chunked, self.length = isinstance(self._body, ChunkedReader), None
        connection = {token.strip() for token in named.get("connection", "").lower().split(",")}
        self.will_close = (
            not self._request_is_whole  # what is sent next would be taken for the rest of it
            or "close" in connection
            or (version == 10 and "keep-alive" not in connection)
            or isinstance(self._body, UntilCloseReader)
            or ("transfer-encoding" in named and "content-length" in named)
        )

    def _line(self) -> bytes:
        line: bytes = self.fp.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise StreamProtocolError(f"HTTP head: expected lines of at most {MAX_LINE} bytes")
        if not line.endswith(b"\n"):
            raise http.client.RemoteDisconnected("the connection ended inside the answer's head")
        return line

    def _status_line(self) -> tuple[int, int, str]:
        line = self._line().rstrip(b"\r\n")
        version, code, reason = (*line.split(None, 2), b"", b"", b"")[:3]
        known = {b"HTTP/1.0": 10, b"HTTP/1.1": 11}.get(version)
        if known is None or len(code) != 3 or not code.isdigit() or code < b"100":
            raise StreamProtocolError(f"expected an HTTP/1 status line, got {_shown(line)}")
        return known, int(code), reason.strip().decode("latin-1")

    def _header_lines(self) -> Iterator[bytes]:
        for count in range(MAX_HEADERS + 1):
            line = self._line()
            if line in (b"\r\n", b"\n"):
                return
            # The parser behind this takes any other line for the end of the head.
            if not (_HEADER.match(line) or (count and line[:1] in b" \t")):
                raise StreamProtocolError("HTTP head: expected lines of 'name: value'")
            yield line
        raise StreamProtocolError(f"HTTP head: expected at most {MAX_HEADERS} headers")

    def decoded(self) -> _Reply | _InflatedReply:
        """The same with its Content-Encoding undone. Raises StreamProtocolError."""
        inflater = inflater_of(_plain_headers(self.headers))
        return self if inflater is None else _InflatedReply(self, inflater, self._scope)

    def receive(self) -> bytes:
        """The next bytes of the body, as soon as there are any; b"" once it is complete."""
        body = self._body
        while not (body.complete or body.failure):
            received = self._socket_reader.receive(READ_SIZE) if self._drained else self._drain()
            if not received and not body.end():
                raise http.client.IncompleteRead(b"")
            data = body.feed(received)
            if data:
                return data
        _raise_for(body.failure)
        self._complete()
        return b""

    def _drain(self) -> bytes:
        """What came with the head, else what comes next: the buffer is of use to the head alone."""
        self._drained = True
        received: bytes = self.fp.read1(READ_SIZE)
        return received

    def _complete(self) -> None:
        fp, self.fp = self.fp, None
        if fp is not None:
            self._socket_reader.ended = True
            unread = isinstance(self._socket, InnerTLS) and self._socket.has_unread
            self.trailing_data = self._body.trailing_data or fp.peek(1) != b"" or unread
            fp.close()  # no fp: what http.client takes for "read to its end"


class _InflatedReply:
    """The body of a `_Reply` with its coding undone."""

    def __init__(self, reply: _Reply, inflater: Inflater, scope: CancelScope) -> None:
        self._reply = reply
        self._inflater = inflater
        self._scope = scope

    def decoded(self) -> _InflatedReply:
        """Itself."""
        return self

    @property
    def trailing_data(self) -> bool:
        """Whether bytes came behind the answer that belong to none."""
        return self._reply.trailing_data

    def receive(self) -> bytes:
        """The next decoded bytes, as soon as there are any; b"" once the body is complete."""
        while True:
            data = self._inflater.take()
            if data:  # maybe the thousandth piece of one receive: look at the clock
                self._scope.check()
                self._scope.allow_late(len(data))
                return data
            _raise_for(self._inflater.failure)
            coded = self._reply.receive()
            if not coded:
                if not self._inflater.complete:
                    raise http.client.IncompleteRead(b"")
                return b""
            self._inflater.feed(coded)


class _Connection(urllib3.connection.HTTPConnection):
    """A connection whose socket is in the hands of the call's scope."""

    debuglevel = 0  # above that http.client prints whole requests, key included
    _handle: socket.socket | None = None
    _wraps = False
    _writer: SocketWriter | None = None
    idle_since = math.inf
    """When the pool got it back, by `_awake_or_asleep`."""

    @property
    def is_stale(self) -> bool:
        """Whether it was idle for so long that it may be lost without anybody knowing."""
        return _awake_or_asleep() - self.idle_since > MAX_IDLE

    @property
    def is_connected(self) -> bool:
        """Whether the pool may use it again."""
        return not self.is_stale and super().is_connected

    def _peer(self) -> tuple[str, int]:
        """The host and port that the socket connects to."""
        # `host` is without the dot that ends a full name, and that keeps the resolver from trying
        # its search domains.
        return self._dns_host, self.port

    def _look_up(self, host: str, port: int) -> list[Address]:
        """The addresses of a host, as getaddrinfo() gives them."""
        try:
            return _names.addresses(host, port, _call.get().scope)
        except (TimeoutError, ConnectionAbortedError):
            raise
        except (OSError, UnicodeError) as error:
            raise urllib3.exceptions.NewConnectionError(self, "host name not found") from error

    def _reach(self, sock: socket.socket, address: Any, seconds: float) -> socket.socket:
        """Connect a socket to an address within so many seconds; which socket to go on with."""
        until = time.monotonic() + seconds
        sock.settimeout(0)
        with ignoring(BlockingIOError):  # it goes on by itself
            sock.connect(address)
        _finish_connecting(sock, until, _call.get().scope)
        return sock

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that can be reached, within the scope's limits."""
        scope = _call.get().scope
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
        if self._wraps:
            # Wrapping in TLS empties this object. A second one for the same socket does not mind,
            # and serves an abort until the handshake is over.
            self._drop_handle()
            self._handle = sock.dup()
        scope.hold(self._handle or sock)
        # The last address has all the time there is; each before it, its share.
        connected = self._reach(sock, address, scope.remaining() / left)
        connected.settimeout(scope.timeout())
        return connected

    def _drop_handle(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def connect(self) -> None:
        """Connect, through a proxy's tunnel and TLS where there are any."""
        scope = _call.get().scope
        self._serve(_call.get())
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

    def _serve(self, call: _Call) -> None:
        """Have the answers that come from here on read by `_Reply`, for this call."""
        # Weak, so that a connection that an interrupt has cut out of all hands is closed at once,
        # not when the garbage collector runs.
        connection = weakref.proxy(self)

        def reply(*args: Any, **kwargs: Any) -> _Reply:
            writer = connection._writer_of(call)
            call.reply = _Reply(*args, scope=call.scope, writer=writer, **kwargs)
            return call.reply

        self.response_class = reply  # type: ignore[assignment]  # typed as a class

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send the request. urllib3 would read on after an interrupt that looks like a cut."""
        try:
            super().request(*args, **kwargs)
        except OSError as error:
            if is_interrupt(error):
                raise _InterruptedError(error) from None
            raise

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Begin the request: from here on the server may have seen it."""
        call = _call.get()
        if self.sock is None:
            self.connect()
        call.scope.limit(*call.limit, late=LATE)
        call.scope.hold(self.sock)
        if isinstance(self.sock, InnerTLS):
            self.sock.socket.scope = call.scope
        self._writer = None
        self._serve(call)
        call.sent = True
        query = f"?{call.query}" if call.query else ""
        super().putrequest(method, url + query, *args, **kwargs)

    def send(self, data: Any) -> None:
        """Send some of the request, within the limits; nothing more once the server refused it."""
        self._writer_of(_call.get()).send(data)

    def _writer_of(self, call: _Call) -> SocketWriter:
        # A tunnel's request goes out over a socket that TLS replaces then.
        if self._writer is None or self._writer.socket is not self.sock:
            self._writer = SocketWriter(self.sock, call.scope, is_final_answer)
        return self._writer


def _awake_or_asleep() -> float:
    """Seconds on a clock that goes on while the machine sleeps, as the other end's does."""
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux, where monotonic() stands still meanwhile
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _close_handshake(interrupt: BaseException) -> None:
    """Close the socket of an interrupted handshake, as ssl does for OSError and ValueError only."""
    for frame, _ in traceback.walk_tb(interrupt.__traceback__):
        sock = frame.f_locals.get("self")
        if isinstance(sock, ssl.SSLSocket):
            sock.close()


def _finish_connecting(sock: socket.socket, until: float, scope: CancelScope) -> None:
    """Wait until a connect() that was begun has succeeded. Raises OSError."""
    while True:
        # An abort before this line found a socket that was not connecting yet, which shutdown()
        # leaves as it is; from here on it wakes the wait.
        scope.check()
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        with ignoring(OSError):  # it raises this while still connecting
            sock.getpeername()
            return
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("connecting took too long")
        wait_for(sock, seconds)


class _TLSConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    _wraps = True

    def connect(self) -> None:
        """Connect, with the one context that all connections with these authorities share.

        Not with a client's certificate, which belongs to one client; not by an https proxy, for
        which urllib3 loads the authorities from the file.
        """
        by_tls = self.proxy is not None and self.proxy.scheme == "https"
        if self.ca_certs and self.ssl_context is None and not (self.cert_file or by_tls):
            self.ssl_context, self.ca_certs = context_that_trusts(self.ca_certs), None
        super().connect()

    def _connect_tls_proxy(self, hostname: str, sock: socket.socket) -> Any:
        outer = super()._connect_tls_proxy(hostname, sock)
        return OuterTLS(outer, _call.get().scope) if self.proxy_is_tunneling else outer

    def _tunnel(self) -> None:
        super()._tunnel()
        # The handshake that follows has what the tunnel left of the time.
        self.sock.settimeout(_call.get().scope.timeout())


class _SOCKSConnection(_Connection):
    """The same by way of a SOCKS proxy."""

    _wraps = True  # the handshake empties the socket object too

    def __init__(self, *args: Any, _socks_options: Mapping[str, Proxy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._proxy = _socks_options["proxy"]
        self._target = ""
        self._targets_left = 1

    def _peer(self) -> tuple[str, int]:
        return self._proxy.host, self._proxy.port

    def _targets(self) -> list[str]:
        """What to name to the proxy: the host, or its addresses where this machine looks it up."""
        if self._proxy.looks_names_up:
            return [self.host]
        found = self._look_up(self._dns_host, self.port)
        if self._proxy.scheme == "socks4":
            found = [entry for entry in found if entry[0] == socket.AF_INET]
        return [entry[4][0] for entry in found]

    def _new_conn(self) -> socket.socket:
        """Have the proxy try one address of the host after another."""
        scope = _call.get().scope
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
            scope=_call.get().scope,
            until=until,
        )


class _SOCKSTLSConnection(_SOCKSConnection, _TLSConnection):
    """The same over TLS by way of a SOCKS proxy."""


class _IdleConnections:
    """A pool that closes what it has no room for, without urllib3's warning, and what is stale."""

    QueueCls: Any = IdleStack
    pool: Any  # an IdleStack, None when closed
    _swept = -math.inf

    def _put_conn(self, conn: Any) -> None:
        now = _awake_or_asleep()
        if now - self._swept > MAX_IDLE:
            self._swept = now
            self._sweep()
        if conn:
            conn.idle_since = now
        self._keep(conn)

    def _keep(self, conn: Any) -> None:
        pool, unwanted = self.pool, [conn]
        if pool is not None:
            with contextlib.suppress(queue.Full):
                pool.put(conn, block=False)
                # Another thread may have closed the pool meanwhile, and emptied it before.
                unwanted = [] if self.pool is not None else list(_all_of(pool))
        for each in unwanted:
            if each:
                each.close()

    def _sweep(self) -> None:
        """Close the stale ones: the pool hands out the youngest first and never comes to them."""
        for conn in reversed(list(_all_of(self.pool))):
            if conn and conn.is_stale:
                conn.close()
            self._keep(conn)


def _all_of(pool: IdleStack | None) -> Iterator[Any]:
    """Take every connection out of a pool."""
    with contextlib.suppress(queue.Empty):
        while pool is not None:
            yield pool.get(block=False)


class _Pool(_IdleConnections, urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls: type[_Connection] = _Connection


class _TLSPool(_IdleConnections, urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls: type[_TLSConnection] = _TLSConnection

    def _validate_conn(self, conn: Any) -> None:
        """Connect; without urllib3's warning at each request, as Transport has warned once."""
        if conn.is_closed:
            conn.connect()


class _SOCKSPool(_Pool):
    ConnectionCls = _SOCKSConnection


class _SOCKSTLSPool(_TLSPool):
    ConnectionCls = _SOCKSTLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}
_SOCKS_POOLS = {"http": _SOCKSPool, "https": _SOCKSTLSPool}


class _Adapter(requests.adapters.HTTPAdapter):
    """requests' own adapter over our pools. It never repeats anything."""

    def __init__(self) -> None:
        super().__init__(pool_maxsize=IDLE_CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # requests goes by the service's URL, and so would not verify the https proxy of an http
        # service.
        super().cert_verify(conn, f"{conn.scheme}://", verify, cert)  # type: ignore[no-untyped-call]  # has no types

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The pools behind a proxy; they are kept."""
        parsed = parse_proxy(proxy)
        if not parsed.is_socks:
            # urllib3 leaves TCP_NODELAY off for proxies. A question is sent in two pieces, and the
            # second would wait 40 ms for the acknowledgement of the first.
            options = _Connection.default_socket_options
            manager = super().proxy_manager_for(proxy, socket_options=options, **kwargs)
            manager.pool_classes_by_scheme = _POOLS
        elif proxy in self.proxy_manager:
            manager = self.proxy_manager[proxy]
        else:
            if not socks_handshake.AVAILABLE:
                raise ConfigError("proxy: SOCKS needs a package: pip install PySocks")
            # urllib3's SOCKSProxyManager would do, but leaves an IPv6 address in its brackets.
            options = {"proxy": parsed}
            manager = urllib3.PoolManager(maxsize=IDLE_CONNECTIONS, _socks_options=options)
            manager.pool_classes_by_scheme = _SOCKS_POOLS
            self.proxy_manager[proxy] = manager
        return manager


class _ForeignReply:
    """The body of an answer that came over an adapter of the user's own.

    Its socket, where there is one, has each receive bounded by the limits; what urllib3 does with
    several of them before it gives something is its own affair.
    """

    trailing_data = False

    def __init__(self, raw: Any, scope: CancelScope) -> None:
        self._raw = raw
        self._scope = scope
        # Not the connection's: http.client takes it from there if the body ends with it.
        file = getattr(getattr(raw, "_fp", None), "fp", None)
        self._socket = getattr(getattr(file, "raw", None), "_sock", None)
        scope.hold(self._socket)

    def decoded(self) -> _ForeignReply:
        """The same: urllib3 decodes while reading."""
        return self

    def receive(self) -> bytes:
        """The next bytes of the body; b"" at its end."""
        try:
            self._wait_at_most(self._scope.timeout())
        except TimeoutError as passed:
            if is_interrupt(passed):
                raise
            return self._receive_late(passed)
        data: bytes = self._raw.read1(READ_SIZE, decode_content=True)
        self._scope.check()
        if not data:  # urllib3 has put the connection back for the next call
            self._socket = None
            self._scope.hold(None)
        return data

    def _wait_at_most(self, seconds: float | None) -> None:
        if self._socket is not None:
            self._socket.settimeout(seconds)

    def _receive_late(self, passed: TimeoutError) -> bytes:
        """What is here without waiting; whatever is wrong with it, a limit has passed."""
        self._wait_at_most(0)
        try:
            data: bytes = self._raw.read1(READ_SIZE, decode_content=True) if self._socket else b""
            self._scope.allow_late(len(data))
        except (*_TRANSLATED, ValueError, TypeError) as error:
            if find_interrupt(error):
                raise
            data = b""
        self._scope.check()
        if not data:
            raise passed
        return data


def _send_within(call: _Call, send: Callable[..., requests.Response]) -> requests.Response:
    """Send over an adapter of the user's own, which is told the limits in requests' way."""
    connect = call.scope.timeout()
    call.scope.limit(*call.limit, late=LATE)
    try:
        return send(timeout=(connect, call.scope.timeout()))
    except requests.Timeout as error:
        call.sent = not isinstance(error, requests.ConnectTimeout)
        if not call.sent:
            call.scope.limit("connect", 0)
        raise


class HTTPResponse:
    """One answer: its status and headers, and its body as it comes.

    headers: names in lower case; a header that came twice is joined by ", ".
    """

    def __init__(
        self, response: requests.Response, reply: _Reply | _ForeignReply, call: _Call
    ) -> None:
        self.status_code: int = response.status_code
        self.headers: dict[str, str] = _plain_headers(response.raw.headers)
        self._response = response
        self._reply: _Reply | _InflatedReply | _ForeignReply = reply
        self._call = call
        self._scope = call.scope

    def decode(self) -> None:
        """Undo the body's Content-Encoding. Raises StreamProtocolError for an unknown one."""
        self._reply = self._reply.decoded()

    def receive(self) -> bytes:
        """The next bytes of the body, as soon as there are any; b"" once it is complete.

        Raises StreamInterruptedError when the body was cut, APITimeoutError when a limit of the
        scope passed, StreamCancelledError when it was aborted, StreamProtocolError when the
        framing or the coding is broken.
        """
        try:
            return self._reply.receive()
        except Exception as error:
            if not isinstance(error, _TRANSLATED) and not self._scope.aborted:
                raise
            lost = error
        failure = find_interrupt(lost) or _body_failure(lost, self._call)
        del lost  # its traceback holds what the libraries below hold
        raise failure

    def read_error_body(self, *, limit: int, seconds: float) -> bytes:
        """What comes of the body within these bounds, in bytes and seconds; never a failure."""
        body = b""
        interrupt = None
        self._scope.limit("idle", seconds)
        try:
            self.decode()
            while len(body) < limit:
                data = self._reply.receive()
                if not data:
                    break
                body += data
        except _TRANSLATED as error:  # the status is what matters, and it is known
            interrupt = find_interrupt(error)
        if interrupt is not None:
            raise interrupt
        return body[:limit]

    def release(self) -> None:
        """The answer is done: keep its connection if it ends properly within 2 ms, else close."""
        try:
            self._scope.limit("idle", DRAIN_SECONDS)
            ended = self._drain()
            if self._scope.let_go() and ended:
                self._response.raw.release_conn()
                return
        except BaseException:  # an interrupt
            self.close()
            raise
        self._response.close()

    def _drain(self) -> bool:
        """Read the rest of the body; whether it ends properly, and nothing comes after it."""
        try:
            while self._reply.receive():
                pass
        except _TRANSLATED as error:
            interrupt = find_interrupt(error)
        else:
            return not self._reply.trailing_data  # the next answer must not be mistaken
        if interrupt is not None:
            raise interrupt
        return False

    def close(self) -> None:
        """Close the connection now; the server sees it gone at once."""
        self._scope.cut()
        self._response.close()


class Transport:
    """Sends requests: the key, the pool, TLS, proxies and the environment's say in them.

    key: the API key, added to each request as `Authorization: Bearer`.
    verify: True, False, or the path of a CA bundle (file or directory).
    session: whose proxies, certificates and own adapters to use; it stays the caller's.
    """

    def __init__(
        self,
        key: Secret[str],
        *,
        verify: bool | str = True,
        session: requests.Session | None = None,
    ) -> None:
        problem = dependency_problem()
        if problem:
            raise ConfigError(problem)
        self._key = key
        self._session = session
        self._trust_env = session is None or session.trust_env
        self._trust = trust_of(
            verify,
            session_verify=session.verify if session else True,
            environment=os.environ if self._trust_env else {},
        )
        if self._trust.source in ("verify", "session.verify") and self._trust.missing:
            raise ConfigError(self._trust.missing)
        self._certificate: tuple[Any, Any] = None, None  # the session's, and as requests takes it
        if verify is False:
            warnings.warn(
                "verify=False: the server's certificate is not checked, and anyone on the way "
                "can read the key",
                UserWarning,
                stacklevel=4,  # the line that makes the client, above `discreet`
            )
        self._adapter = _Adapter()
        self._pid = os.getpid()

    def close(self) -> None:
        """Close the idle connections. The session that was passed in stays open."""
        managers = (self._adapter.poolmanager, *self._adapter.proxy_manager.values())
        for manager in managers:
            # PoolManager.clear() leaves the connections to whoever still refers to their pool.
            for key in manager.pools.keys():  # noqa: SIM118  # it is no mapping to iterate
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
        self._adapter.close()

    def send(
        self, http_request: HTTPRequest, scope: CancelScope, *, connect: float | None, limit: Limit
    ) -> HTTPResponse:
        """Send one request and wait for the head of its answer.

        connect: seconds until the connection must stand. limit: the phase and its seconds that
        begin when the request is sent.

        Raises APIConnectionError, APITimeoutError, StreamProtocolError, StreamCancelledError or
        ConfigError, without a cause and without a trace of the libraries below.
        """
        call = _Call(scope, limit, http_request.url, http_request.query)
        scope.limit("connect", connect)
        token = _call.set(call)
        try:
            # An abort so far had no socket to shut down.
            if scope.aborted:
                raise ConnectionAbortedError
            return self._exchange(http_request, call)
        except _TRANSLATED as error:
            lost = error
        except BaseException:  # an interrupt
            scope.cut()
            raise
        finally:
            _call.reset(token)
        scope.cut()
        failure = find_interrupt(lost) or _head_failure(lost, call)
        del lost  # it holds the request
        if call.speaks_tls and not call.sent and type(failure) is APIConnectionError:
            problem = self._file_problem()
            failure = ConfigError(problem) if problem else failure
        raise failure

    def _exchange(self, http_request: HTTPRequest, call: _Call) -> HTTPResponse:
        call.proxy = self._proxy_for(http_request.url)
        if call.speaks_tls and self._trust.missing:
            raise ConfigError(self._trust.missing)
        adapter = self._adapter_for(http_request.url)
        ours = isinstance(adapter, _Adapter)
        query = f"?{http_request.query}" if http_request.query and not ours else ""
        prepared = requests.PreparedRequest()
        prepared.prepare_method(http_request.method)
        prepared.prepare_url(http_request.url + query, None)
        prepared.headers = self._headers(http_request)  # type: ignore[assignment]  # its repr shows none
        prepared.body = http_request.body
        send = functools.partial(
            adapter.send,
            prepared,
            stream=True,
            verify=self._trust.verify,
            cert=self._client_certificate() if call.speaks_tls else None,
            proxies={urlsplit(call.url).scheme: call.proxy.url} if call.proxy else {},
        )
        response = send(timeout=None) if ours else _send_within(call, send)
        reply = call.reply or _ForeignReply(response.raw, call.scope)
        return HTTPResponse(response, reply, call)

    def _adapter_for(self, url: str) -> Any:
        """The user's own adapter if one is mounted for this URL, else ours.

        A forked child must not share a connection with its parent: it gets a pool of its own,
        and leaves its copy of the old one untouched, as its locks may have been held at the fork.
        """
        if self._session is not None:
            mounted = self._session.get_adapter(url)
            if type(mounted) is not requests.adapters.HTTPAdapter:
                return mounted
        if self._pid != os.getpid():
            self._adapter, self._pid = _Adapter(), os.getpid()
        return self._adapter

    def _headers(self, http_request: HTTPRequest) -> _Headers:
        headers = _Headers(http_request.headers)
        if http_request.body is not None:
            headers["Content-Length"] = str(len(http_request.body))
        if not any(name.lower() == "authorization" for name in headers):
            headers["Authorization"] = f"Bearer {self._key.value}"
        return headers

    def _proxy_for(self, url: str) -> Proxy | None:
        session_proxies = self._session.proxies if self._session else None
        return proxy_for(url, session_proxies=session_proxies, trust_env=self._trust_env)

    def _client_certificate(self) -> Any:
        """The session's, as requests takes it. Its files are loaded once, to find what is wrong."""
        cert = self._session.cert if self._session else None
        if cert != self._certificate[0]:
            self._certificate = cert, client_certificate(cert)
        return self._certificate[1]

    def _file_problem(self) -> str:
        """What is wrong with the files that TLS needs, after a connection has failed."""
        self._certificate = None, None
        try:
            self._client_certificate()
        except ConfigError as error:
            return error.message
        return self._trust.missing or self._trust.broken


def _raise_for(failure: str) -> None:
    if failure:
        raise StreamProtocolError(failure)


def _plain_headers(headers: Any) -> dict[str, str]:
    plain: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        plain[name] = f"{plain[name]}, {value}" if name in plain else value
    return plain


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("latin-1"))


def _given_up(call: _Call, chain: list[BaseException], *, sent: bool) -> APIError | None:
    """The error when it is this side that has ended the exchange, whatever the symptom was."""
    scope = call.scope
    if scope.aborted:
        return scope.abort_error()
    if _timed_out(chain):
        phase = scope.nearest
        what = {
            "connect": f"no connection to {call.place} within the connect limit",
            "first_chunk": f"no chunk from {call.place} within the first_chunk limit",
            "idle": f"no further chunk from {call.place} within the idle limit",
            "total": f"no whole answer from {call.place} within the total limit",
        }[phase]
        return APITimeoutError(what, phase=phase, sent=sent)
    return None


def _timed_out(chain: list[BaseException]) -> bool:
    """Whether a limit of ours passed. With an errno it is TCP that gave the connection up."""
    numbers = [link.errno for link in chain if isinstance(link, TimeoutError)]
    if numbers:
        return None in numbers
    foreign = (requests.Timeout, urllib3.exceptions.ReadTimeoutError)
    return any(isinstance(link, foreign) for link in chain)


def _body_failure(error: Exception, call: _Call) -> APIError:
    chain = _chain(error)
    ended = _given_up(call, chain, sent=True)
    if ended is not None:
        return ended
    if isinstance(error, StreamProtocolError):
        return StreamProtocolError(error.message)
    if isinstance(error, urllib3.exceptions.DecodeError):
        return StreamProtocolError("the body's Content-Encoding is broken")
    return StreamInterruptedError(f"the connection to {call.place} was lost: {_reason(chain)[0]}")


def _head_failure(error: Exception, call: _Call) -> WebsopyError:
    """What to raise for a failure before the answer's head was there."""
    chain = _chain(error)
    ended = _given_up(call, chain, sent=call.sent)
    if ended is not None:
        return ended
    what = "the connection to {} was lost" if call.sent else "no connection to {}"
    what = what.format(call.place)
    if isinstance(error, APIConnectionError):
        return APIConnectionError(f"{what}: {error.message}", retryable=error.retryable)
    if isinstance(error, WebsopyError):
        return type(error)(error.message)
    refusal = _config_error(chain)
    if refusal is not None:
        return refusal
    reason, may_pass = _reason(chain)
    return APIConnectionError(f"{what}: {reason}", sent=call.sent, retryable=may_pass)


def _config_error(chain: list[BaseException]) -> ConfigError | None:
    for link in chain:
        if isinstance(link, urllib3.exceptions.LocationValueError | requests.URLRequired):
            return ConfigError("base_url or proxy: expected a URL with a host")
        if isinstance(link, requests.exceptions.InvalidURL | requests.exceptions.InvalidProxyURL):
            return ConfigError("base_url or proxy: not a URL")
        if isinstance(link, urllib3.exceptions.ProxySchemeUnsupported):
            return ConfigError("proxy: no TLS inside https:// with pyOpenSSL in the place of ssl")
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """An error and all it was made from: urllib3 and requests pack them as arguments or causes.

    To be called when no `except` block is active any more. What the caller of this package is
    handling just then, a time-out perhaps, is the last context of every error and no part of it.
    """
    outer, found = sys.exception(), [error]
    for link in found:
        inner = (*link.args, getattr(link, "reason", None), link.__cause__, link.__context__)
        for each in inner:
            known = each is outer or any(each is other for other in found)
            if isinstance(each, BaseException) and not known:
                found.append(each)
    return found


def _reason(chain: list[BaseException]) -> tuple[str, bool]:
    """Why it failed, and whether that may pass.

    The words are the operating system's, OpenSSL's or our own: never a URL or a header.
    """
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            why = link.verify_message or "it cannot be verified"
            return f"TLS certificate refused: {why}", False
        tunnel = re.match(r"Tunnel connection failed: (\d{3})", str(link))
        if tunnel:
            status = tunnel[1]
            return f"the proxy refused the tunnel with status {status}", status >= "500"
    for link in chain:
        ended = isinstance(link, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        if isinstance(link, ssl.SSLError) and not ended:
            return f"TLS: {link.reason or 'no agreement'}", False
    words = [link.strerror for link in chain if isinstance(link, OSError) and link.strerror]
    if words:
        return str(words[-1]).lower(), True
    early = http.client.RemoteDisconnected | http.client.IncompleteRead
    if any(isinstance(link, early) for link in chain):
        return "the server ended it early", True
    if any(isinstance(link, http.client.HTTPException) for link in chain):
        return "what came is not HTTP", True
    return type(chain[0]).__name__, True
