"""Real proxies for the tests, as scripts of the fault server: SOCKS, CONNECT and plain HTTP.

Each relays to a server of the test, whatever name it is asked for, and writes down what it was
asked. A proxy that stalls, refuses or breaks off needs no code here: it is a script like others.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import struct
import threading

import attrs
from faults import Conn, Gone, Request, Script, parse_request

BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@attrs.define
class Asked:
    """What proxies were asked for: `"HOST:PORT"`, and who asked with which password."""

    targets: list[str] = attrs.Factory(list)
    users: list[tuple[str, str]] = attrs.Factory(list)


def read_exactly(conn: Conn, size: int) -> bytes:
    """So many bytes, and no more: what follows them is not the proxy's."""
    data = b""
    while len(data) < size:
        data += _received(conn.sock, size - len(data))
    return data


def read_until(conn: Conn, end: bytes) -> bytes:
    """The bytes before `end`, read one at a time."""
    data = b""
    while not data.endswith(end):
        data += _received(conn.sock, 1)
    return data.removesuffix(end)


def _received(sock: socket.socket, size: int) -> bytes:
    try:
        data = sock.recv(size)
    except OSError:
        data = b""
    if not data:
        raise Gone
    return data


def relay(
    conn: Conn,
    port: int,
    *,
    granted: bytes,
    refused: bytes,
    first: bytes = b"",
    trickling: threading.Event | None = None,
) -> None:
    """Pass bytes both ways between the client and a server until one of them ends.

    `granted` or `refused` tells the client whether the server was reached; `first` goes to it.
    Once `trickling` is set, what the server sends reaches the client one byte at a time.
    """
    try:
        upstream = socket.create_connection(("127.0.0.1", port))
    except OSError:
        conn.send(refused)
        return
    with upstream:
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upstream.settimeout(0)
        conn.send(granted)
        waiting: bytes | None = first  # for the server; None once it takes no more
        with contextlib.suppress(Gone):
            while not conn.server.over.is_set():
                sources = [upstream, *([] if waiting else [conn.sock])]
                readable, writable, _ = select.select(
                    sources, [upstream] if waiting else [], [], 0.05
                )
                if upstream in readable:
                    _pass_on(upstream, conn, trickling is not None and trickling.is_set())
                if conn.sock in readable:
                    read = _read_all(conn)
                    waiting = None if waiting is None else read
                if waiting and writable:
                    waiting = _pass_back(waiting, upstream)


def _pass_on(upstream: socket.socket, conn: Conn, trickles: bool) -> None:
    """What the server sends; its end and its reset go through to the client."""
    try:
        data = upstream.recv(65536)
    except ConnectionResetError:
        conn.reset()
        raise Gone from None
    if not data:
        raise Gone
    with contextlib.suppress(ValueError):  # wrapped, and closed by the client
        if trickles:
            conn.trickle(data)
        else:
            conn.send(data)


def _read_all(conn: Conn) -> bytes:
    data = _received(conn.sock, 65536)
    while isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending():
        data += _received(conn.sock, 65536)
    return data


def _pass_back(data: bytes, upstream: socket.socket) -> bytes | None:
    """What the server does not take yet, None when it takes no more; its answer may still come."""
    try:
        return data[upstream.send(data) :]
    except BlockingIOError:
        return data
    except OSError:
        return None


def socks5(
    port: int,
    asked: Asked,
    *,
    user: str = "",
    password: str = "",
    unreachable: Script | None = None,
) -> Script:
    """A SOCKS5 proxy (RFC 1928) to that port; with a user it insists on the password (RFC 1929).

    `unreachable` is what it does when it is asked for an IPv6 address.
    """

    def script(conn: Conn) -> None:
        version, count = read_exactly(conn, 2)
        methods = read_exactly(conn, count)
        assert version == 5
        method = 2 if user else 0
        if method not in methods:
            conn.send(b"\x05\xff")
            return
        conn.send(bytes([5, method]))
        if user and not _authenticated(conn, asked, user, password):
            return
        head = read_exactly(conn, 4)
        assert head[:3] == b"\x05\x01\x00", head
        asked.targets.append(_socks5_target(conn, head[3]))
        if unreachable and head[3] == 4:
            unreachable(conn)
            return
        rest = b"\0\1\x7f\0\0\1\0\0"
        relay(conn, port, granted=b"\5\0" + rest, refused=b"\5\5" + rest)

    return script


def _authenticated(conn: Conn, asked: Asked, user: str, password: str) -> bool:
    assert read_exactly(conn, 1) == b"\x01"
    given = [read_exactly(conn, read_exactly(conn, 1)[0]).decode() for _ in range(2)]
    asked.users.append((given[0], given[1]))
    good = given == [user, password]
    conn.send(b"\x01\x00" if good else b"\x01\x01")
    return good


def _socks5_target(conn: Conn, kind: int) -> str:
    if kind == 1:
        host = socket.inet_ntop(socket.AF_INET, read_exactly(conn, 4))
    elif kind == 4:
        host = f"[{socket.inet_ntop(socket.AF_INET6, read_exactly(conn, 16))}]"
    else:
        host = read_exactly(conn, read_exactly(conn, 1)[0]).decode()
    return f"{host}:{struct.unpack('>H', read_exactly(conn, 2))[0]}"


def socks4(port: int, asked: Asked, *, user: str = "") -> Script:
    """A SOCKS4 and SOCKS4a proxy to that port; with a user it rejects others."""

    def script(conn: Conn) -> None:
        version, command, target_port = struct.unpack(">BBH", read_exactly(conn, 4))
        assert (version, command) == (4, 1)
        address = read_exactly(conn, 4)
        given = read_until(conn, b"\0").decode()
        host = socket.inet_ntoa(address)
        if address[:3] == b"\0\0\0" and address[3]:
            host = read_until(conn, b"\0").decode()
        asked.targets.append(f"{host}:{target_port}")
        asked.users.append((given, ""))
        granted, refused = b"\0\x5a" + bytes(6), b"\0\x5b" + bytes(6)
        if given == user or not user:
            relay(conn, port, granted=granted, refused=refused)
        else:
            conn.send(refused)

    return script


def _note_request(head: bytes, asked: Asked) -> Request:
    request = parse_request(head, b"")
    asked.targets.append(request.target)
    given = request.header("proxy-authorization")
    if given is not None:
        user, _, password = base64.b64decode(given.removeprefix(b"Basic ")).decode().partition(":")
        asked.users.append((user, password))
    return request


def connect(port: int, asked: Asked, *, trickling: threading.Event | None = None) -> Script:
    """A proxy that opens a tunnel to that port; see `relay` for trickling."""

    def script(conn: Conn) -> None:
        assert _note_request(read_until(conn, b"\r\n\r\n"), asked).method == "CONNECT"
        granted = b"HTTP/1.1 200 Connection established\r\n\r\n"
        relay(conn, port, granted=granted, refused=BAD_GATEWAY, trickling=trickling)

    return script


def forward(port: int, asked: Asked) -> Script:
    """A proxy that passes plain HTTP on to that port, with the whole URL in the request line."""

    def script(conn: Conn) -> None:
        head = read_until(conn, b"\r\n\r\n")
        _note_request(head, asked)
        relay(conn, port, granted=b"", refused=BAD_GATEWAY, first=head + b"\r\n\r\n")

    return script
