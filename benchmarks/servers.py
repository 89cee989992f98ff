"""What each web server does with an answer: `python -m benchmarks.servers`.

Starts the servers of tests/web_apps one after the other, with a service that is played here, and
prints the table of docs/how-to/deploy.md.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path

import attrs

from websopy_sync.sandbox import Sandbox, Steps, before_headers, done, pause, say, silence, wait
from websopy_sync.sse import Decoder, ServerSentEvent

from .machine import cpu_model
from .processes import memory_of, threads_of

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from web_apps.kinds import ENVIRONMENT, KINDS, Kind, python  # noqa: E402
from web_apps.running import Server, running  # noqa: E402

ALL = {
    **KINDS,
    "fastapi-uvicorn-2-workers": Kind(
        python("uvicorn", "--port", "{port}", "--workers", "2", "web_apps.fastapi_app:app"),
        ("fastapi", "uvicorn"),
    ),
    "fastapi-hypercorn-2-workers": Kind(
        python(
            *("hypercorn", "--workers=2", "--graceful-timeout=30", "--bind=127.0.0.1:{port}"),
            "web_apps.fastapi_app:app",
        ),
        ("fastapi", "hypercorn"),
    ),
    "gunicorn-preload": Kind(
        (*KINDS["gunicorn-gthread"].command, "--preload"), ("flask", "gunicorn")
    ),
}
"""Those of the tests, and some that differ in what a signal does."""

HEARTBEAT = 3.0
"""Seconds; people have 15."""

AT_ONCE, AT_ONCE_UNTHREADED = 50, 5
"""Answers for threads and memory."""

BEATS = 15
"""Chunks for the delay."""

REST = 6.0
"""Seconds that an answer goes on after its server was told to end."""

PATIENCE = 45.0
"""Seconds to wait for anything."""

MODELS: dict[str, Steps] = {
    "before": [before_headers(silence())],
    "silent": [say("AI"), silence()],
    "trickling": [[say("x"), pause(0.1)] * 600, silence()],
    "talkative": [[say("x" * 50_000)] * 2000, silence()],
}
"""What the model does while its visitor leaves."""


@contextmanager
def started(kind: Kind, **environment: str) -> Iterator[Server]:
    """A server of this kind."""
    variables = {**ENVIRONMENT, "HEARTBEAT": str(HEARTBEAT), **environment}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running(kind.command, log, environment=variables) as server:
            yield server


# --- a browser -------------------------------------------------------------------------------


class Browser:
    """A connection that has asked; its events, and a way to leave."""

    def __init__(self, server: Server, path: str, service: Sandbox) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        query = urllib.parse.urlencode({"upstream": service.url, "q": path})
        self._connection.request("GET", f"{path}?{query}")
        self._response: HTTPResponse | None = None

    def events(self) -> Iterator[ServerSentEvent]:
        """What comes, until the connection ends in any way."""
        decoder = Decoder()
        try:
            while data := self.response.read1(65536):
                yield from decoder.feed(data)
        except (OSError, HTTPException):
            return

    def read_something(self) -> None:
        """Wait for bytes of the body, a comment too."""
        self.response.read1(1000)

    @property
    def response(self) -> HTTPResponse:
        """Kept: it may hold the socket, which dropping it would close."""
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    def leave(self) -> None:
        """Close the connection."""
        if self._response is not None:
            self._response.close()
        self._connection.close()


def is_text(event: ServerSentEvent) -> bool:
    return json.loads(event.data).get("type") == "content"


# --- what is measured ------------------------------------------------------------------------


def delay(server: Server) -> float:
    """Seconds from the service's chunk to the browser's, the median."""
    beats = [threading.Event() for _ in range(BEATS)]
    delays = []
    with Sandbox([say("AI"), [[wait(beat), say("x")] for beat in beats], done()]) as service:
        browser = Browser(server, "/chat", service)
        events = browser.events()
        next(events)
        for beat in beats:
            began = time.perf_counter()
            beat.set()
            next(events)
            delays.append(time.perf_counter() - began)
            time.sleep(0.02)
        browser.leave()
    return statistics.median(delays)


def gone(server: Server, model: str) -> float:
    """Seconds from a browser's leaving to the end of the request at the service."""
    with Sandbox(MODELS[model]) as service:
        browser = Browser(server, "/opening-chat", service)
        browser.read_something()
        time.sleep(random.uniform(0.0, HEARTBEAT / 3))
        left = time.perf_counter()
        browser.leave()
        if not service.wait_disconnect(timeout=3 * HEARTBEAT):
            return float("inf")
        return time.perf_counter() - left


def costs(server: Server, count: int) -> tuple[float, float]:
    """Threads and bytes of an answer that is under way, of so many."""
    more = threading.Event()
    with Sandbox([say("AI"), wait(more, timeout=PATIENCE), done()]) as service, ExitStack() as all_:
        warm = Browser(server, "/opening-chat", service)
        next(warm.events())
        threads, memory = threads_of(server.pid), memory_of(server.pid)
        for _ in range(count):
            browser = Browser(server, "/opening-chat", service)
            all_.callback(browser.leave)
            next(browser.events())
        time.sleep(0.5)
        grown = threads_of(server.pid) - threads, memory_of(server.pid) - memory
        more.set()
        warm.leave()
    return grown[0] / count, grown[1] / count


def unread(kind: Kind) -> float:
    """Bytes that a server keeps of an answer of 8 MB whose browser reads nothing.

    A server of its own: in one that was used before, freed memory would be used again.
    """
    answer: Steps = [[say("x" * 50_000)] * 160, done()]
    with started(kind) as server, Sandbox(answer) as service, socket.socket() as browser:
        with Sandbox([done()]) as first:
            list(Browser(server, "/opening-chat", first).events())
        before = memory_of(server.pid)
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Loopback's segments of 64 KB would have the kernel take megabytes from the server at once.
        browser.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        browser.connect(("127.0.0.1", server.port))
        query = urllib.parse.urlencode({"upstream": service.url, "q": "unread"})
        browser.sendall(f"GET /opening-chat?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        service.wait_request(timeout=PATIENCE)
        now, last = memory_of(server.pid), 0.0
        while now > 1.02 * last:
            time.sleep(0.5)
            now, last = memory_of(server.pid), now
        return now - before


def restart(kind: Kind, path: str, number: int) -> str:
    """What an answer that goes on for a while sees when its server gets a signal."""
    script: Steps = [say("AI"), [[pause(0.5), say("x")] * int(REST / 0.5)], done()]
    keeps = {"KEEPS": "1"} if path == "/kept-chat" else {}
    with Sandbox(script) as service, started(kind, **keeps) as server:
        browser = Browser(server, path, service)
        events = browser.events()
        next(event for event in events if is_text(event))
        server.send_signal(number)
        began = time.perf_counter()
        last = [json.loads(event.data) for event in events][-1:]
        seconds = time.perf_counter() - began
        browser.leave()
    return outcome(last[0] if last else {}, seconds)


def outcome(last: dict[str, object], seconds: float) -> str:
    """In words, by the last event."""
    if last.get("type") == "done":
        return "whole"
    error = last.get("error")
    code = str(error["code"]) if isinstance(error, dict) else "cut"
    return f"{code} after {seconds:.1f} s"


# --- the table -------------------------------------------------------------------------------


@attrs.frozen
class Row:
    """One server."""

    name: str
    cells: tuple[str, ...]


HEAD = (
    *("server", "delay, ms", "before", "silent", "trickling", "talkative"),
    *("threads", "KB", "unread, MB", "SIGTERM", "SIGTERM, relay", "SIGHUP, relay"),
)


def measured(name: str, *, rounds: int, restarts: bool) -> Row:
    """All numbers of a server; the longest of the rounds for those who left."""
    kind = ALL[name]
    with started(kind) as server:
        # First, as memory that was freed would be used again.
        threads, memory = costs(server, AT_ONCE if kind.threaded else AT_ONCE_UNTHREADED - 1)
        cells = [f"{delay(server) * 1000:.1f}"]
        for model in MODELS:
            cells.append(f"{max(gone(server, model) for _ in range(rounds)):.1f}")
        cells += [f"{threads:.1f}", f"{memory / 1024:.0f}"]
    cells.append(f"{unread(kind) / 1e6:.1f}")
    if restarts:
        cells.append(restart(kind, "/chat", signal.SIGTERM))
        cells.append(restart(kind, "/kept-chat", signal.SIGTERM))
        cells.append(restart(kind, "/kept-chat", signal.SIGHUP))
    return Row(name, tuple(cells))


def table(rows: list[Row]) -> str:
    """As Markdown."""
    width = 1 + max(len(row.cells) for row in rows)
    lines = [HEAD[:width], ("---",) * width, *((row.name, *row.cells) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure the chosen servers, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *ALL], metavar="SERVER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-restarts", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the servers would ignore it
    rows = []
    for name in asked.names or ALL:
        rows.append(measured(name, rounds=asked.rounds, restarts=not asked.no_restarts))
        print(rows[-1], file=sys.stderr, flush=True)
    print(time.strftime("%Y-%m-%d"), cpu_model())
    print(table(rows))


if __name__ == "__main__":
    main()
