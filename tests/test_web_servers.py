"""Answers through the servers that people run, with the sandbox as the service behind them."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from documents import saved_files
from tables import each
from web_apps import kinds
from web_apps.kinds import KINDS, check_present
from web_apps.running import Server, free_port, running

from websopy_sync.chunks import ContentChunk, DoneChunk, ErrorChunk, StreamChunk
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    before_headers,
    done,
    pause,
    say,
    silence,
    status,
    wait,
)
from websopy_sync.sse import Decoder
from websopy_sync.wires.websopy import parse_chunk

pytestmark = pytest.mark.slow

HEARTBEAT = 1.0
"""Seconds; the servers are started with it."""


# --- servers ---------------------------------------------------------------------------------

THREADED = [name for name, kind in KINDS.items() if kind.threaded]
WAITING = [name for name in THREADED if KINDS[name].waits]

ENVIRONMENT = {**kinds.ENVIRONMENT, "HEARTBEAT": str(HEARTBEAT)}


@pytest.fixture(scope="module", params=list(KINDS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each kind of server, one after the other."""
    kind = KINDS[request.param]
    check_present(kind.needs)
    log = tmp_path_factory.mktemp(request.param) / "log"
    with running(kind.command, log, environment=ENVIRONMENT) as started:
        yield started


# --- browsers --------------------------------------------------------------------------------


@contextmanager
def get(port: int, path: str) -> Iterator[HTTPResponse]:
    """A browser's request, which takes gzip as browsers do, and leaves the connection."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip, deflate, br"})
        with connection.getresponse() as answer:
            yield answer
    finally:
        connection.close()


def chat(sandbox: Sandbox, path: str = "/chat", question: str = "hello") -> str:
    """The path that asks this service."""
    return f"{path}?{urllib.parse.urlencode({'upstream': sandbox.url, 'q': question})}"


def chunks(answer: HTTPResponse) -> Iterator[StreamChunk]:
    """The chunks of an answer as they come."""
    decoder, gzip = Decoder(), answer.headers["Content-Encoding"] == "gzip"
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress if gzip else bytes
    while data := answer.read1(65536):
        for event in decoder.feed(inflate(data)):
            yield parse_chunk(event.data)


def visitor(port: int, path: str) -> socket.socket:
    """A browser that has asked and not read yet."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return connection


def read_until(browser: socket.socket, word: bytes) -> None:
    """Read what comes, up to this word."""
    received = b""
    while word not in received:
        more = browser.recv(65536)
        assert more, received
        received += more


def slow_browser(port: int, path: str) -> socket.socket:
    """The same with little room of its own."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # Loopback's segments of 64 KB would have the kernel take megabytes from the server at once.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return connection


# --- what holds on every one -----------------------------------------------------------------


def test_the_first_chunk_is_there_while_the_second_is_held_back(server: Server) -> None:
    """No server, no middleware and no framing makes a browser wait."""
    more = threading.Event()
    with Sandbox([say("AI"), wait(more), say(" 正在"), done()]) as sandbox:
        with get(server.port, chat(sandbox)) as answer:
            received = chunks(answer)
            assert next(received) == ContentChunk("AI")
            more.set()
            assert list(received) == [ContentChunk(" 正在"), DoneChunk()]


def test_headers_reach_the_browser(server: Server) -> None:
    with Sandbox([done()]) as sandbox, get(server.port, chat(sandbox)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store, no-transform"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Encoding"] in (None, "identity")
        assert list(chunks(answer)) == [DoneChunk()]


@each("path", ["/chat", "/waiting-chat"])
def test_a_refused_question_has_a_status_of_the_views_choice(server: Server, path: str) -> None:
    """What fails before the first chunk is no stream yet."""
    with Sandbox(status(401)) as sandbox, get(server.port, chat(sandbox, path)) as answer:
        assert answer.status == 502
        assert b"401" in answer.read()


@pytest.mark.timing
@pytest.mark.parametrize("spoken", [True, False], ids=["after a chunk", "before any"])
def test_a_vanished_browser_is_noticed_within_a_heartbeat(server: Server, spoken: bool) -> None:
    """While the model is silent: nothing but the heartbeat could notice it."""
    with Sandbox([say("AI"), silence()] if spoken else [silence()]) as sandbox:
        with get(server.port, chat(sandbox)) as answer:
            if spoken:
                assert next(chunks(answer)) == ContentChunk("AI")
        left = time.monotonic()
        assert sandbox.wait_disconnect(timeout=5.0)
        assert time.monotonic() - left < HEARTBEAT + 0.25


MODELS: dict[str, Steps] = {
    "before headers": [before_headers(silence())],
    "silent": [say("AI"), silence()],
    "trickling": [[say("x"), pause(0.1)] * 50, silence()],
    "talkative": [[say("x" * 50_000)] * 200, silence()],
}
"""What the model does when its visitor leaves or presses Stop."""


@pytest.mark.timing
def test_leaving_is_noticed_within_a_heartbeat(server: Server) -> None:
    """Whatever the model does, and before the service has answered: four visitors at once."""
    with ExitStack() as stack:
        services = {name: stack.enter_context(Sandbox(model)) for name, model in MODELS.items()}
        visitors = [
            stack.enter_context(visitor(server.port, chat(service, "/opening-chat", name)))
            for name, service in services.items()
        ]
        for name, browser in zip(services, visitors, strict=True):
            assert services[name].wait_request(), name
            read_until(browser, b": keep-alive" if name == "before headers" else b'"content":"')
        left = time.monotonic()
        for browser in visitors:
            browser.close()
        for name, service in services.items():
            assert service.wait_disconnect(timeout=left + HEARTBEAT + 0.25 - time.monotonic()), name


@pytest.mark.timing
@pytest.mark.parametrize("server", THREADED, indirect=True)
def test_stop_from_another_request(server: Server) -> None:
    """It takes effect at once, before the service has answered too, and the page is told."""
    with ExitStack() as stack:
        services = {name: stack.enter_context(Sandbox(model)) for name, model in MODELS.items()}
        answers = [
            stack.enter_context(get(server.port, chat(service, "/opening-chat", name)))
            for name, service in services.items()
        ]
        for name, service in services.items():
            assert service.wait_request()
            with get(server.port, chat(service, "/stop", name)) as answer:
                assert answer.read() == b"<CancelToken cancelled>"
        pressed = time.monotonic()
        for name, service in services.items():
            assert service.wait_disconnect(timeout=pressed + HEARTBEAT - time.monotonic()), name
        for name, answer in zip(services, answers, strict=True):
            assert [*chunks(answer)][-1] == ErrorChunk("The answer was stopped.", "cancelled"), name


@pytest.mark.parametrize("server", WAITING, indirect=True)
def test_slow_browsers_cost_a_bounded_buffer(server: Server) -> None:
    """100 of them, reading a byte now and then of 4 MB each: the service is made to wait."""
    with Sandbox([[say("x" * 50_000)] * 80, done()]) as sandbox, ExitStack() as stack:
        before = memory_of(server.pid)
        waiting = []
        for number in range(1, 101):
            waiting.append(stack.enter_context(slow_browser(server.port, chat(sandbox))))
            # Django's own server has room for ten that wait to be let in.
            assert number % 10 or sandbox.wait_request(number, timeout=20)
        for _ in range(3):
            for browser in waiting:
                assert browser.recv(1)
            time.sleep(0.3)
        assert settled(lambda: memory_of(server.pid)) - before < 100 * MOST_PER_BROWSER


MOST_PER_BROWSER = 1e6
"""Bytes of a process for each: the buffer, an event on its way in and out, the threads."""


def settled(measure: Callable[[], float]) -> float:
    """What is measured once it grows no more."""
    last = 0.0
    while (now := measure()) > last * 1.02:
        last = now
        time.sleep(0.3)
    return now


def memory_of(pid: int) -> float:
    """Bytes that a process and its children have in memory."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() + sum(memory_of(int(child)) for child in children)


@pytest.mark.parametrize("server", THREADED, indirect=True)
def test_a_slow_browser_that_leaves_is_noticed(server: Server) -> None:
    """Its server waits for room then, not for the model."""
    with Sandbox([[say("x" * 50_000)] * 200, silence()]) as sandbox:
        with slow_browser(server.port, chat(sandbox)) as browser:
            assert browser.recv(1)
            time.sleep(0.3)  # all buffers on the way are full by now
        assert sandbox.wait_disconnect(timeout=HEARTBEAT + 1.0)


@pytest.mark.timing
@pytest.mark.parametrize("server", THREADED, indirect=True)
def test_fifty_streams_leave_room_for_a_ping(server: Server) -> None:
    """A threaded server answers others while 50 answers are being written."""
    more = threading.Event()
    with Sandbox([say("AI"), wait(more, timeout=30), done()]) as sandbox, ExitStack() as stack:
        answers = [stack.enter_context(get(server.port, chat(sandbox))) for _ in range(50)]
        readers = [chunks(answer) for answer in answers]
        assert [next(reader) for reader in readers] == [ContentChunk("AI")] * 50
        began = time.monotonic()
        with get(server.port, "/ping") as answer:
            assert answer.read() == b"pong"
        assert time.monotonic() - began < 1.0
        more.set()
        assert [list(reader) for reader in readers] == [[DoneChunk()]] * 50


# --- what is special to one ------------------------------------------------------------------


ASGI = [
    "django-uvicorn",
    "django-daphne",
    "fastapi-uvicorn",
    "fastapi-hypercorn",
    "fastapi-daphne",
]


@pytest.mark.parametrize("server", ASGI, indirect=True)
def test_an_async_view_is_live_too(server: Server) -> None:
    """The response is made in the event loop itself there."""
    more = threading.Event()
    with Sandbox([say("AI"), wait(more), done()]) as sandbox:
        with get(server.port, chat(sandbox, "/async-chat")) as answer:
            received = chunks(answer)
            assert next(received) == ContentChunk("AI")
            more.set()
            assert list(received) == [DoneChunk()]


@pytest.mark.parametrize("server", ASGI, indirect=True)
def test_an_asgi_server_notices_a_vanished_browser_by_itself(server: Server) -> None:
    """It says so: no heartbeat is waited for, and no thread is left of it."""
    with Sandbox([say("AI"), silence()]) as sandbox:
        for path in ("/chat", "/async-chat"):
            with get(server.port, chat(sandbox, path)) as answer:
                assert next(chunks(answer)) == ContentChunk("AI")
                assert relaying(server.port) > 0
        assert sandbox.wait_disconnect(2, timeout=HEARTBEAT / 4)
        deadline = time.monotonic() + 1.0
        while relaying(server.port):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def relaying(port: int) -> int:
    """Threads of a server that pass an answer on."""
    with get(port, "/threads") as answer:
        return int(answer.read())


def test_gunicorn_gives_its_listeners_user_timeout_to_each_connection(tmp_path: Path) -> None:
    """By the settings in docs/how-to/deploy.md: so a browser that vanished is given up."""
    kind = KINDS["gunicorn-gthread"]
    check_present(kind.needs)
    settings = dict(saved_files("docs/how-to/deploy.md").values())["gunicorn.conf.py"]
    (tmp_path / "gunicorn.conf.py").write_text(settings, "utf-8")
    command = (*kind.command, "--config", str(tmp_path / "gunicorn.conf.py"))
    with running(command, tmp_path / "log", environment=ENVIRONMENT) as server:
        with get(server.port, "/user-timeout") as answer:
            assert answer.read() == b"20000"


NGINX = """
daemon off; pid {here}/pid; error_log {here}/error; worker_processes 1; {user}
events {{ worker_connections 256; }}
http {{
    access_log off; gzip on; gzip_types *; default_type text/plain;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
    }}
}}
"""
"""nginx as it comes (buffering on, HTTP/1.0 to the server behind), and compressing all types."""


@pytest.fixture(scope="module", params=["gunicorn-gthread", "django-uvicorn"])
def nginx(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """nginx in front of a threaded WSGI server, and of an ASGI one."""
    kind = KINDS[request.param]
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    check_present(kind.needs)
    if not program:
        pytest.skip("needs nginx")
    here, port = tmp_path_factory.mktemp("nginx"), free_port()
    user = "user root;" if os.getuid() == 0 else ""
    with running(kind.command, here / "log", environment=ENVIRONMENT) as behind:
        settings = NGINX.format(here=here, port=port, upstream=behind.port, user=user)
        (here / "nginx.conf").write_text(settings, "ascii")
        command = (program, "-p", str(here), "-c", str(here / "nginx.conf"))
        with running(command, here / "nginx.log", port=port) as server:
            yield server


def test_nginx_does_not_hold_an_answer_back(nginx: Server) -> None:
    """Its defaults would keep it until the end; a header says otherwise."""
    more = threading.Event()
    with Sandbox([say("AI"), wait(more), say("!"), done()]) as sandbox:
        with get(nginx.port, chat(sandbox)) as answer:
            received = chunks(answer)
            assert next(received) == ContentChunk("AI")
            more.set()
            assert list(received) == [ContentChunk("!"), DoneChunk()]


@pytest.mark.timing
def test_a_browser_that_vanishes_behind_nginx_is_noticed(nginx: Server) -> None:
    """nginx lets go of the server behind it, which then notices as it does without."""
    with Sandbox([say("AI"), silence()]) as sandbox:
        with get(nginx.port, chat(sandbox)) as answer:
            assert next(chunks(answer)) == ContentChunk("AI")
        left = time.monotonic()
        assert sandbox.wait_disconnect(timeout=5.0)
        assert time.monotonic() - left < HEARTBEAT + 0.25
