"""A server that plays faults: raw sockets, one script a connection, all of it bounded in time.

Used only for what the sandbox cannot play: bytes at a given moment, broken framing, resets, TLS.
Knows nothing of the package under test, except in the last section: `client` and `ask` send one
request to the server and collect the outcome.

Its words differ from the sandbox's: `http_chunk` is HTTP's chunk (a chunk alone is a chunk of the
stream), and `stall`, `raw_answer` and `status_answer` are scripts.

A script is a function of a `Conn`. The first connection gets the first script, and so on; one
connection too many, a script never played and an error in a script fail the test at the end of
the `with play(...)`. A script that writes to a client that left simply ends.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import functools
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import trustme

import websopy_sync
from websopy_sync import Timeouts, WebsopyClient, WebsopyError

KEY = "sk-9f3b-not-for-any-log"
PROMPT = "prompt-77c1-not-for-any-log"
PATIENCE = 4.0
"""Seconds that a script waits for its client before it gives up and fails."""

IN_THREADS = os.environ.get("WEBSOPY_TESTS_READ_IN") == "threads"
"""Whether `listen` reads in a thread: receives wait in another way there (see `receiver`)."""

QUICK = Timeouts(connect=1.0, first_chunk=1.0, idle=1.0, total=1.8)
"""Short limits, so that no test hangs; no good answer comes near them."""


class Gone(Exception):
    """The client left while a script was busy with it."""


# ---------------------------------------------------------------------------------- the request


@attrs.frozen
class Request:
    """One request as it came: header names in lower case, values as bytes."""

    method: str
    target: str
    headers: list[tuple[str, bytes]]
    body: bytes
    raw: bytes = attrs.field(repr=False)

    def header(self, name: str) -> bytes | None:
        """The value of a header, None when it is missing; fails when it came twice."""
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


def parse_request(head: bytes, body: bytes) -> Request:
    """The request in these bytes, read strictly: an odd line is a fault of the client."""
    lines = head.split(b"\r\n")
    method, target, version = lines[0].decode("ascii").split(" ")
    assert version in ("HTTP/1.1", "HTTP/1.0"), version
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        assert colon and name and b"\n" not in line and b"\r" not in line, "bad header line"
        headers.append((name.decode("ascii").lower(), value.strip(b" \t")))
    return Request(method, target, headers, body, head + b"\r\n\r\n" + body)


# ---------------------------------------------------------------------------------- the framing


@attrs.define
class Framing:
    """How a body is laid into HTTP: what its head says, and what surrounds its bytes."""

    headers: dict[str, str]
    begin: bytes = b""
    wrap: Callable[[bytes], bytes] = lambda data: data
    finish: Callable[[], bytes] = lambda: b""


def http_chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def http_chunked() -> Framing:
    """Each piece becomes one HTTP chunk."""
    return Framing({"Transfer-Encoding": "chunked"}, wrap=http_chunk, finish=lambda: b"0\r\n\r\n")


def one_http_chunk(size: int) -> Framing:
    """A single HTTP chunk of `size` bytes, however many pieces it trickles in."""
    return Framing(
        {"Transfer-Encoding": "chunked"}, begin=b"%x\r\n" % size, finish=lambda: b"\r\n0\r\n\r\n"
    )


def length(size: int) -> Framing:
    """Content-Length."""
    return Framing({"Content-Length": str(size)})


def to_close() -> Framing:
    """The end of the connection is the end of the body."""
    return Framing({"Connection": "close"})


def encoded(framing: Framing, *, coding: str = "gzip") -> Framing:
    """The same with a content coding (gzip or deflate), each piece flushed as it is sent."""
    wbits = {"gzip": 31, "deflate": 15, "x-gzip": 31}[coding]
    packer = zlib.compressobj(wbits=wbits)

    def wrap(data: bytes) -> bytes:
        return framing.wrap(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))

    def finish() -> bytes:
        return framing.wrap(packer.flush()) + framing.finish()

    headers = {**framing.headers, "Content-Encoding": coding}
    return Framing(headers, framing.begin, wrap, finish)


# ------------------------------------------------------------------------------- the SSE and JSON


def event(
    data: object, *, id: str | None = None, name: str | None = None, retry: int | str | None = None
) -> bytes:
    """One event; `data` that is no str is written as JSON."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    lines = [f"retry: {retry}"] if retry is not None else []
    lines += [f"id: {id}"] if id is not None else []
    lines += [f"event: {name}"] if name is not None else []
    lines += [f"data: {line}" for line in text.split("\n")]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "surrogatepass")


def text(content: str, **fields: Any) -> bytes:
    """A content event."""
    return event({"type": "content", "content": content}, **fields)


def thought(content: str, **fields: Any) -> bytes:
    """A reasoning event."""
    return event({"type": "reasoning", "content": content}, **fields)


USAGE = {"promptTokens": 20, "completionTokens": 150}
DONE = event({"type": "done", "usage": USAGE})


# -------------------------------------------------------------------------------- the connection


class Conn:
    """One accepted connection, as its script sees it."""

    def __init__(self, sock: socket.socket, server: Server, number: int) -> None:
        self.sock = sock
        self.server = server
        self.number = number
        self.framing = http_chunked()
        self.sent = 0
        self.gone_at: float | None = None
        self._unread = b""
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # reading

    def receive(self) -> bytes:
        """The next bytes; raises Gone at the end of the connection."""
        try:
            data = self.sock.recv(65536)
        except TimeoutError:
            raise AssertionError("the client neither sent anything nor left") from None
        except OSError:
            data = b""
        if not data:
            self.gone_at = time.monotonic()
            raise Gone
        return data

    def read_head(self) -> bytes:
        """The bytes of one request head, without its empty line."""
        while b"\r\n\r\n" not in self._unread:
            self._unread += self.receive()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head

    def read_request(self) -> Request:
        """One whole request, which the server also keeps in `requests`."""
        head = self.read_head()
        size = int(parse_request(head, b"").header("content-length") or 0)
        while len(self._unread) < size:
            self._unread += self.receive()
        body, self._unread = self._unread[:size], self._unread[size:]
        request = parse_request(head, body)
        self.server.requests.append(request)
        self.server.asked.set()
        return request

    def wait_gone(self, seconds: float = PATIENCE) -> None:
        """Read and drop bytes until the client leaves; fails when it does not."""
        until = time.monotonic() + seconds
        while self.gone_at is None:
            self.sock.settimeout(max(until - time.monotonic(), 0.001))
            with contextlib.suppress(Gone):
                self.receive()

    # writing

    def send(self, *pieces: bytes) -> None:
        """These bytes, each piece in its own write; raises Gone when the client left."""
        for piece in pieces:
            try:
                self.sock.sendall(piece)
            except TimeoutError:
                raise AssertionError("the client stopped reading and did not leave") from None
            except OSError:
                self.gone_at = time.monotonic()
                raise Gone from None
            self.sent += len(piece)

    def head(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        framing: Framing | None = None,
        reason: str = "Reason",
    ) -> None:
        """A head, an event stream unless `headers` say otherwise, and the body's beginning."""
        self.framing = framing or http_chunked()
        fields = {"Content-Type": "text/event-stream", **self.framing.headers, **(headers or {})}
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + self.framing.begin)

    def body(self, *pieces: bytes) -> None:
        """Pieces of the body, framed as the head said."""
        self.send(*map(self.framing.wrap, pieces))

    def end(self, last: bytes = b"") -> None:
        """The orderly end of the body (for `to_close` the script's return is that).

        Together with its `last` piece in one write, so that on a busy machine, too, the end is
        there when the client, done with the answer, looks whether it may keep the connection.
        """
        wrapped = self.framing.wrap(last) if last else b""
        self.send(wrapped + self.framing.finish())

    def trickle(self, data: bytes, *, every: float = 0.02) -> None:
        """One byte at a time, until the client leaves."""
        for position in range(len(data)):
            self.send(data[position : position + 1])
            self.pause(every)

    def flood(self, piece: bytes, *, limit: int) -> None:
        """The same piece again and again until the client leaves or `limit` bytes are out.

        What this connection wrote is added up in `server.sent`.
        """
        with contextlib.suppress(Gone):
            while self.sent < limit:
                self.send(piece)

    # time and ends

    def pause(self, seconds: float) -> None:
        """Wait so long, less when the test is over."""
        self.server.over.wait(seconds)

    def keep_until_gone(self, piece: bytes, *, every: float = 0.02) -> None:
        """Send the same piece in a rhythm until the client leaves; fails when it does not."""
        until = time.monotonic() + PATIENCE
        with contextlib.suppress(Gone):
            while time.monotonic() < until:
                self.body(piece)
                self.pause(every)
            raise AssertionError("the client did not leave")

    def wait(self, word: threading.Event) -> None:
        """Wait until the test sets this event."""
        assert word.wait(PATIENCE), "the test never set the event"

    def half_close(self) -> None:
        """FIN, but go on reading."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS from here on; raises Gone when the client does not want to."""
        try:
            self.sock.getpeername()  # ssl itself would leak a socket that is gone already
            self.sock = context.wrap_socket(self.sock, server_side=True)
        except (OSError, ValueError) as error:
            self.server.refused.append(str(error))
            raise Gone from None

    def readable(self, seconds: float = 0.0) -> bool:
        """Whether bytes, or the end, have come."""
        return bool(self._unread) or bool(select.select([self.sock], [], [], seconds)[0])


Script = Callable[[Conn], None]


# ------------------------------------------------------------------------------------ the server


class Server:
    """Listens on loopback and plays its scripts; see `play`."""

    def __init__(
        self, scripts: tuple[Script, ...], always: Script | None, tls: ssl.SSLContext | None
    ) -> None:
        self.scripts = scripts
        self.always = always
        self.tls = tls
        self.requests: list[Request] = []
        self.conns: list[Conn] = []
        self.refused: list[str] = []
        self.asked = threading.Event()
        self.over = threading.Event()
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        # A small window: a client with a long request notices soon that nobody reads it.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.port = self._listener.getsockname()[1]
        self._loop = threading.Thread(target=self._accept, name="faults-accept", daemon=True)
        self._loop.start()

    @property
    def url(self) -> str:
        """The base_url for a client."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def sent(self) -> int:
        """How many bytes all scripts wrote."""
        return sum(conn.sent for conn in self.conns)

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self.over.is_set():
                sock.close()
                return
            number = len(self.conns)
            conn = Conn(sock, self, number)
            self.conns.append(conn)
            script = self.scripts[number] if number < len(self.scripts) else self.always
            run = functools.partial(self._run, conn, script or unexpected)
            thread = threading.Thread(target=run, name=f"faults-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, conn: Conn, script: Script) -> None:
        try:
            if self.tls:
                conn.start_tls(self.tls)
            script(conn)
        except Gone:
            pass
        except BaseException as error:  # noqa: BLE001  # told by check(), in the test's thread
            self.errors.append(error)
        finally:
            conn.sock.close()

    def close(self) -> None:
        """End every script and wait for its thread."""
        self.over.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._listener.close()
        for thread in [self._loop, *self._threads]:
            thread.join(PATIENCE + 1)
            assert not thread.is_alive(), f"{thread.name} hangs"

    def check(self) -> None:
        """Fail for an error in a script, and for a script that was never played."""
        for error in self.errors:
            raise error
        missing = len(self.scripts) - len(self.conns)
        assert missing <= 0, f"{missing} of {len(self.scripts)} scripts were never played"


def unexpected(conn: Conn) -> None:
    """The script of a connection for which the test named none."""
    raise AssertionError(f"connection {conn.number + 1} was not expected")


@contextlib.contextmanager
def play(
    *scripts: Script, always: Script | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """A server for these scripts. `always` is for the connections after them."""
    server = Server(scripts, always, tls)
    try:
        yield server
    except BaseException:
        with contextlib.suppress(AssertionError):
            server.close()
        raise
    server.close()
    server.check()


# --------------------------------------------------------------------------------------- scripts


LAST = {"Connection": "close"}
"""Sent by scripts that end the connection, so that no client sends its next request into it."""


def answer(
    *texts: str,
    framing: Framing | None = None,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Script:
    """A whole good answer, then the end of the connection."""

    def script(conn: Conn) -> None:
        conn.read_request()
        reply(conn, *texts, framing=framing, headers={**LAST, **(headers or {})}, **fields)

    return script


def reply(conn: Conn, *texts: str, framing: Framing | None = None, **fields: Any) -> None:
    """A whole good answer to a request that was read; the connection stays open."""
    conn.head(framing=framing, **fields)
    conn.body(*map(text, texts or ("Hello",)))
    conn.end(DONE)


def answers(*texts: str) -> Script:
    """Good answers to as many requests as come on the connection."""

    def script(conn: Conn) -> None:
        while True:
            conn.read_request()
            reply(conn, *texts)

    return script


def body(*pieces: bytes, framing: Framing | None = None, end: bool = True) -> Script:
    """A 200 event stream of these pieces; without `end` it is cut off after them."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers=LAST, framing=framing)
        conn.body(*pieces)
        if end:
            conn.end()

    return script


def raw_answer(*pieces: bytes) -> Script:
    """Exactly these bytes in response to a request, then FIN."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(*pieces)
        conn.half_close()
        conn.wait_gone()

    return script


def status_answer(
    code: int, headers: Mapping[str, str] | None = None, body: bytes = b"", **fields: Any
) -> Script:
    """An answer with a status and a small body, then the end of the connection."""

    def script(conn: Conn) -> None:
        conn.read_request()
        reply_status(conn, code, {**LAST, **(headers or {})}, body, **fields)

    return script


def reply_status(
    conn: Conn,
    code: int,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    **fields: Any,
) -> None:
    """A status with a small body; the connection stays open."""
    plain = {"Content-Type": "application/json", **(headers or {})}
    conn.head(code, plain, framing=length(len(body)), **fields)
    conn.send(body)


def stall(conn: Conn) -> None:
    """Read the request, then send nothing until the client leaves."""
    conn.read_request()
    conn.wait_gone()


def hang_up(conn: Conn) -> None:
    """Read the request, then close the connection."""
    conn.read_request()
    conn.half_close()


def reset(conn: Conn) -> None:
    """Read the request, then reset the connection."""
    conn.read_request()
    conn.reset()


def hang_up_early(conn: Conn) -> None:
    """Close the connection at the first bytes, a TLS handshake's or a request's."""
    conn.receive()
    conn.half_close()


def reset_early(conn: Conn) -> None:
    """Reset the connection at the first bytes."""
    conn.receive()
    conn.reset()


def plain_http_early(conn: Conn) -> None:
    """Respond to the first bytes in plain HTTP, as a server does that speaks no TLS."""
    conn.receive()
    conn.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    conn.half_close()
    conn.wait_gone()


def stall_after(*pieces: bytes, framing: Framing | None = None) -> Script:
    """Good events, then silence until the client leaves."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=framing)
        conn.body(*pieces)
        conn.wait_gone()

    return script


def in_step(framing: Framing, events: list[bytes], word: threading.Semaphore) -> Script:
    """Sends one event each time the test releases the semaphore."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.head(framing=framing)
        for event in events:
            conn.body(event)
            assert word.acquire(timeout=2), "the event was not handed over"
        conn.body(DONE)
        conn.end()

    return script


# ------------------------------------------------------------------------------------------- TLS


@functools.cache
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="faults-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Authority:
    """A certificate authority of the tests' own; `path` is what a client trusts."""

    def __init__(self, name: str) -> None:
        self.ca = trustme.CA(organization_name=name)
        self.path = os.path.join(_folder(), f"{name}.pem")
        self.ca.cert_pem.write_to_path(self.path)

    def server(self, *hosts: str, expired: bool = False, tls12: bool = False) -> ssl.SSLContext:
        """What a server needs to speak TLS for these hosts (loopback unless named)."""
        ended = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        options: dict[str, Any] = {"not_after": ended} if expired else {}
        if expired:
            options["not_before"] = ended - datetime.timedelta(days=10)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(hosts or ("127.0.0.1", "localhost")), **options).configure_cert(
            context
        )
        if tls12:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context


@functools.cache
def authority(name: str = "trusted") -> Authority:
    """The authority of that name, made once a run."""
    return Authority(name)


# ------------------------------------------------------------------------------------- processes


@contextlib.contextmanager
def child(code: str, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Child]:
    """A Python process with the package in reach that runs `code`; killed at the end, forks too.

    Its standard error goes where its output goes. It must not outlast `PATIENCE` by much.
    """
    around = {**os.environ, "PYTHONPATH": str(pathlib.Path(websopy_sync.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**around, **(env or {})},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


Child = subprocess.Popen[str]

FORKS_BESIDE_THREADS = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
"""The `env` of a child that forks while it has threads: Python 3.12 warns of that."""


def output(process: Child, *, seconds: float = 10.0) -> list[str]:
    """The lines that a child prints until it ends, which it must do well."""
    printed, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, printed
    return printed.splitlines()


# --------------------------------------------------------------------- one request, its outcome


@attrs.define
class Outcome:
    """How one request ended: the chunks, and the package's own error if it raised one."""

    chunks: list[Any] = attrs.Factory(list)
    error: Any = None
    seconds: float = 0.0
    stream: Any = None

    @property
    def text(self) -> str:
        """The text of all content chunks."""
        return "".join(chunk.content for chunk in self.chunks if chunk.type == "content")


def client(server: Server, **options: Any) -> WebsopyClient:
    """A client of that server with the tests' key, short limits and no plugins."""
    settings: dict[str, Any] = {"base_url": server.url, "timeout": QUICK, "plugins": []}
    if server.tls:
        settings["verify"] = authority().path
    return WebsopyClient(**{"api_key": KEY, **settings, **options})


def ask(server: Server, *, through: WebsopyClient | None = None, **call: Any) -> Outcome:
    """Send one request and read its stream to the end; only the package's errors are caught."""
    with contextlib.ExitStack() as stack:
        asker = through or stack.enter_context(client(server))
        return listen(lambda: asker.ai.chat_stream(call.pop("messages", PROMPT), **call))


def listen(start: Callable[[], Any]) -> Outcome:
    """Run what starts a stream, and the stream to its end; in a thread where that is asked for."""
    if not IN_THREADS:
        return listen_here(start)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(listen_here, start).result()


def listen_here(start: Callable[[], Any]) -> Outcome:
    """The same in this thread: for tests of what signals do to the main one."""
    outcome = Outcome()
    begun = time.monotonic()
    try:
        outcome.stream = start()
        for piece in outcome.stream:
            outcome.chunks.append(piece)
    except WebsopyError as error:
        outcome.error = error
    outcome.seconds = time.monotonic() - begun
    return outcome
