"""Clients that break off, dawdle or send nonsense, or too many of them: the sandbox goes on."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trustme

from websopy_sync.sandbox import Sandbox, done, raw, say, silence
from websopy_sync.sandbox.dispatcher import REMEMBERED_BYTES, Memory

SOON = 0.3
"""Seconds of the sandboxes' time limits here."""

MIB = 1024 * 1024
HEAD = b"POST /v1/ai/chat HTTP/1.1\r\nAuthorization: Bearer x\r\n"
QUESTION = b'{"messages": [{"role": "user", "content": "Hi"}]}'
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(QUESTION) + QUESTION


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(params=["plain", "TLS"])
def hasty(request: pytest.FixtureRequest, tls: ssl.SSLContext) -> Iterator[Sandbox]:
    """A sandbox that waits for nobody long."""
    context = tls if request.param == "TLS" else None
    with Sandbox(pause=0, ssl_context=context, read_timeout=SOON, write_timeout=SOON) as sandbox:
        yield sandbox


def tcp(sandbox: Sandbox) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sandbox.port), timeout=5)


def dial(sandbox: Sandbox) -> socket.socket:
    """A connection, after its TLS handshake if there is one."""
    if not sandbox.url.startswith("https"):
        return tcp(sandbox)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return trusting.wrap_socket(tcp(sandbox))


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def everything(client: socket.socket) -> bytes:
    """What comes until the end, a reset included."""
    data = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := client.recv(65536):
            data += piece
    return data


def is_well(sandbox: Sandbox) -> bool:
    """Whether it answers a question, as it did before."""
    with dial(sandbox) as client:
        client.sendall(WHOLE.replace(b"Bearer x", b"Bearer x\r\nConnection: close"))
        return b'{"type":"done"' in everything(client)


def threads() -> int:
    return sum(thread.name == "websopy-sandbox" for thread in threading.enumerate())


def until(condition: Callable[[], bool], *, seconds: float = 5.0) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


# --- the TLS handshake ---------------------------------------------------------------------------

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""How a client's first TLS record begins."""


# wrap_socket() of CPython 3.11.7 leaves a socket unclosed when the reset comes while it runs.
unclosed_by_ssl = pytest.mark.filterwarnings(
    "ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.timing
@unclosed_by_ssl
@pytest.mark.parametrize("sent", [b"", HELLO, HELLO + b"\0" * 505, b"\x15\x03\x01\0\x02\x02\x28"])
def test_reset_in_the_tls_handshake(tls: ssl.SSLContext, sent: bytes) -> None:
    """Wherever in it: the sandbox is still there for the next client."""
    with Sandbox(pause=0, ssl_context=tls) as sandbox:
        for _ in range(50):
            client = tcp(sandbox)
            client.sendall(sent)
            reset(client)
        assert is_well(sandbox)


@unclosed_by_ssl
def test_reset_before_the_connection_is_accepted(tls: ssl.SSLContext) -> None:
    """The sandbox finds a connection in its queue that is no more."""
    with Sandbox(pause=0, ssl_context=tls) as sandbox:
        clients = [tcp(sandbox) for _ in range(200)]
        for client in clients:
            reset(client)
        assert is_well(sandbox)


def test_plain_http_to_a_tls_sandbox(tls: ssl.SSLContext) -> None:
    """It is sent away at once."""
    with Sandbox(pause=0, ssl_context=tls) as sandbox:
        with tcp(sandbox) as client:
            client.sendall(WHOLE)
            everything(client)
        assert is_well(sandbox)


@pytest.mark.timing
def test_tls_to_a_plain_sandbox(authority: trustme.CA) -> None:
    """At once too: the client says what is wrong, instead of waiting for a handshake."""
    with Sandbox(pause=0) as sandbox:
        began = time.monotonic()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ssl.create_default_context().wrap_socket(tcp(sandbox), server_hostname="localhost")
        assert time.monotonic() - began < 2.0
        assert is_well(sandbox)


# --- clients that dawdle -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("half", [b"", b"P", HEAD, WHOLE[:-1], WHOLE + HEAD], ids=str)
def test_half_requests_do_not_hold_threads(hasty: Sandbox, half: bytes) -> None:
    """200 of them: their threads end, and one that had begun to ask hears why (408)."""
    count = 30 if hasty.url.startswith("https") else 200
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(dial(hasty))
            client.sendall(half)
        assert is_well(hasty)
        assert until(lambda: threads() == 1)
        answer = everything(client)
    assert (b"408 Request Timeout" in answer) == bool(half)
    assert (b"200 OK" in answer) == half.startswith(WHOLE)


@pytest.mark.timing
@pytest.mark.parametrize("part", [WHOLE[:20], HEAD + b"X-Long: ", WHOLE[:-40]])
def test_a_request_that_trickles_is_given_up(hasty: Sandbox, part: bytes) -> None:
    """Each byte in time is not the request in time."""
    with dial(hasty) as client:
        client.sendall(part)
        began = time.monotonic()
        with contextlib.suppress(OSError):  # sent away
            while time.monotonic() - began < 5.0:
                client.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - began < 5.0
    assert hasty.wait_closed()
    assert is_well(hasty)


def test_a_tls_record_that_stays_half_does_not_stop_the_clock(tls: ssl.SSLContext) -> None:
    """The pause of a script ends, though a client has begun to send something."""
    script = [say("a"), silence(timeout=0.3)]
    with Sandbox(script, ssl_context=tls, read_timeout=SOON) as sandbox, dial(sandbox) as client:
        client.sendall(WHOLE)
        assert sandbox.wait_request()
        os.write(client.fileno(), b"\x17\x03\x03\x01")
        assert sandbox.wait_closed(timeout=2.0)


def test_a_connection_that_is_kept_is_not_kept_for_ever(hasty: Sandbox) -> None:
    """An answer is whole, and then the client is silent."""
    with dial(hasty) as client:
        client.sendall(WHOLE)
        assert everything(client).endswith(b"0\r\n\r\n")
    assert hasty.disconnects == []


def test_a_request_may_take_its_time_after_a_long_answer(hasty: Sandbox) -> None:
    """The limit is for what the client sends, not for how long it is answered."""
    hasty.play([say("a"), silence(timeout=3 * SOON)])
    with dial(hasty) as client:
        client.sendall(WHOLE)
        began = time.monotonic()
        everything(client)
        assert time.monotonic() - began > 2 * SOON


def test_a_client_that_never_reads_is_given_up(hasty: Sandbox) -> None:
    """It counts as one that left."""
    hasty.play([raw(b"x" * 30_000_000), done()])
    with dial(hasty) as client:
        client.sendall(WHOLE)
        assert hasty.wait_disconnect()
        assert hasty.wait_closed()
    assert is_well(hasty)


# --- clients that break off ----------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 30, len(HEAD), len(WHOLE) - 50, len(WHOLE) - 1])
def test_a_request_that_was_cut_uses_up_no_script(length: int) -> None:
    """An end in the middle of the head is not the head's end, and nobody waits for an answer."""
    with Sandbox(pause=0) as sandbox:
        sandbox.play([say("for the sandbox's next question"), done()])
        with tcp(sandbox) as client:
            client.sendall(WHOLE[:length])
            client.shutdown(socket.SHUT_WR)
            assert everything(client) == b""
        client = tcp(sandbox)
        client.sendall(WHOLE[:length])
        reset(client)
        assert sandbox.wait_closed()
        assert sandbox.requests == []
        assert is_well(sandbox)


# --- nonsense ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (HEAD + b"Content-Length: 33554433\r\n\r\n", 413),
        (HEAD + b"Content-Length: \xb2\r\n\r\n", 411),
        (HEAD + b"Content-Length: 1_0\r\n\r\n", 411),
        (HEAD + b"Content-Length: +1\r\n\r\n", 411),
        (HEAD + b"Content-Length: 5, 5\r\n\r\n", 411),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\n\r\n", 411),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", 413),
        (HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (HEAD + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/\xb2.0\r\n\r\n", 400),
        (b"\0" * 100 + b"\r\n\r\n", 400),
        (bytes(range(0x20, 0x100)) + b"\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
    ids=ascii,
)
def test_nonsense_is_refused_and_the_reason_arrives(sent: bytes, status: int) -> None:
    """Though a megabyte follows that nobody reads: no reset takes the answer away."""
    with Sandbox(pause=0) as sandbox:
        with tcp(sandbox) as client:
            client.sendall(sent + b"x" * MIB)
            client.shutdown(socket.SHUT_WR)
            answer = everything(client).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert is_well(sandbox)


def test_any_bytes() -> None:
    """Whatever comes, no thread fails and the sandbox answers the next client."""
    dice = random.Random(7)
    with Sandbox(pause=0, read_timeout=SOON) as sandbox:
        for _ in range(150):
            sent = bytearray(WHOLE)
            for _ in range(dice.randrange(1, 8)):
                sent[dice.randrange(len(sent))] = dice.randrange(256)
            with tcp(sandbox) as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                everything(client)
        assert is_well(sandbox)


# --- no more to be had ---------------------------------------------------------------------------

FEW_DESCRIPTORS = """
import resource, sys, threading
from websopy_sync.sandbox import Sandbox

with Sandbox(pause=0) as sandbox:
    in_use = 12  # the standard streams, the listener, the selector, the bell, and some for Python
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use, in_use))
    print(sandbox.port, flush=True)
    sys.stdin.readline()
    print(sandbox.connections, len(sandbox.requests), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rudely", [False, True], ids=["closed", "reset"])
def test_no_file_descriptor_left(rudely: bool) -> None:
    """Clients wait until one is free, and are answered then."""
    process = subprocess.Popen(
        [sys.executable, "-c", FEW_DESCRIPTORS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        port = int(process.stdout.readline())
        address = ("127.0.0.1", port)
        clients = [socket.create_connection(address, timeout=5) for _ in range(60)]
        time.sleep(0.2)  # it has tried to accept them all by now
        for client in clients[:-1]:
            reset(client) if rudely else client.close()
        clients[-1].sendall(WHOLE)
        assert b"200 OK" in clients[-1].recv(65536)
        clients[-1].close()
        out, err = process.communicate("\n", timeout=10)
    assert (process.returncode, err) == (0, "")
    assert int(out.split()[1]) == 1


def test_no_descriptor_to_start_with() -> None:
    """OSError, and what was opened is closed again."""
    code = """
import os, resource
from websopy_sync.sandbox import Sandbox
def in_use():
    return [number for number in range(20) if os.path.exists(f"/proc/self/fd/{number}")]
before = in_use()
for free in (0, 1, 2, 3):
    limit = max(before) + 1 + free
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, 4096))
    try:
        Sandbox().start()
    except OSError as error:
        print(error.errno, in_use() == before)
"""
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=20
    )
    assert (answer.stdout, answer.stderr) == ("24 True\n" * 4, "")


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """That client is sent away, the next one is served."""
    start, refused = threading.Thread.start, threading.Event()

    def start_unless_refused(thread: threading.Thread) -> None:
        if refused.is_set() and thread.name == "websopy-sandbox":
            refused.clear()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_unless_refused)
    with Sandbox(pause=0) as sandbox:
        refused.set()
        with tcp(sandbox) as client:
            assert everything(client) == b""
        assert sandbox.open_connections == 0
        assert is_well(sandbox)


# --- what is remembered --------------------------------------------------------------------------


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    """Also the bodies of requests that were refused; the newest ones are there."""
    body = b"x" * (12 * MIB)
    with Sandbox(pause=0) as sandbox:
        for number in range(6):
            with tcp(sandbox) as client:
                head = b"POST /%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (number, len(body))
                client.sendall(head + body)
                assert b"404" in client.recv(65536)
        kept = sandbox.requests
        assert sum(len(request.body) for request in kept) <= REMEMBERED_BYTES
        assert [request.path for request in kept] == ["/4", "/5"]
        assert sandbox.wait_request(6)


def test_clients_that_left_are_remembered_within_the_same_bound() -> None:
    """Their count goes on."""
    with Sandbox([silence()]) as sandbox:
        body = QUESTION[:-1] + b" " * (12 * MIB) + b"}"
        for number in range(1, 5):
            with tcp(sandbox) as client:
                client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                assert sandbox.wait_request(number)
            assert sandbox.wait_disconnect(number)
        assert len(sandbox.disconnects) == 2


def test_memory_keeps_the_newest() -> None:
    """Within its number and its size, and one at least."""
    memory: Memory[str] = Memory()
    for number in range(10_005):
        memory.keep(number, str(number), 1)
    assert (memory.all()[0], memory.all()[-1], len(memory.all())) == ("5", "10004", 10_000)
    memory.keep("large", "large", REMEMBERED_BYTES - 1)
    assert memory.all() == ["10004", "large"]
    memory.keep("larger", "larger", 2 * REMEMBERED_BYTES)
    assert memory.all() == ["larger"]
    memory.keep("larger", "smaller", 1)
    memory.keep("small", "small", 1)
    assert memory.all() == ["smaller", "small"]
    assert (memory.get("small"), memory.get("large")) == ("small", None)


# --- close() while all this goes on --------------------------------------------------------------


@pytest.mark.timing
@pytest.mark.slow
def test_close_while_clients_break_off_and_dawdle(tls: ssl.SSLContext) -> None:
    """It returns soon, with no thread and no socket left (conftest.py looks for them)."""
    stop = threading.Event()

    def nag(sandbox: Sandbox, sent: bytes, rudely: bool) -> None:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            while not stop.is_set():
                client = tcp(sandbox)
                stack.enter_context(client)
                client.sendall(sent)
                if rudely:
                    reset(client)

    for context in (None, tls):
        stop.clear()
        sandbox = Sandbox([raw(b"x" * 10_000_000)], ssl_context=context).start()
        naggers = [
            threading.Thread(target=nag, args=(sandbox, sent, rudely))
            for sent in (b"", HELLO, HEAD, WHOLE, b"nonsense\r\n\r\n")
            for rudely in (False, True)
        ]
        for nagger in naggers:
            nagger.start()
        assert until(lambda sandbox=sandbox: sandbox.connections > 100)  # type: ignore[misc]
        began = time.monotonic()
        sandbox.close()
        assert time.monotonic() - began < 3.0
        stop.set()
        for nagger in naggers:
            nagger.join()
