"""Starts a server by its command, waits until it answers, and ends it. Knows no server by name."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path

import attrs
import pytest

HERE = Path(__file__).parent
PATHS = (HERE.parent, HERE.parent.parent)
"""Where the applications and the package are."""

STARTING = 20.0
"""Seconds that a server may take to answer for the first time."""


@attrs.frozen
class Server:
    """One that runs: its port, its process and what it has written."""

    port: int
    pid: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send_signal(self, number: int) -> None:
        """As an operator's `kill` does."""
        os.kill(self.pid, number)


def free_port() -> int:
    """A port that is free, and that no connection takes before the server does.

    It is below those that a system gives to connections, and to who asks for any port.
    """
    while True:
        with contextlib.suppress(OSError):
            port = 20_000 + secrets.randbelow(10_000)
            with socket.create_server(("127.0.0.1", port)):
                return port


@contextlib.contextmanager
def running(
    command: tuple[str, ...],
    log: Path,
    *,
    port: int | None = None,
    ready: str = "/ping",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server, until left. `{port}` in the command is where it is to listen.

    `ready` is the path that it has to answer; with an empty one it has to listen.
    """
    port = port or free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, PATHS)),
                "PYTHONUNBUFFERED": "1",
                **(environment or {}),
            },
            cwd=cwd,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, port, ready, log)
        yield Server(port, process.pid, log)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with contextlib.suppress(ProcessLookupError):  # and what it started, if that is still there
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_it_answers(
    process: subprocess.Popen[bytes], port: int, path: str, log: Path
) -> None:
    deadline = time.monotonic() + STARTING
    while not _answers(port, path):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args!r} did not start:\n{log.read_text('utf-8', 'replace')}")
        time.sleep(0.05)


def _answers(port: int, path: str) -> bool:
    if not path:
        return _listens(port)
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
