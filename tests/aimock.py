"""A server that nobody here wrote and that plays five services: aimock, from npm.

`npm --prefix tests/node ci` installs it. It plays shapes; its counts and its words are its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent / "node/node_modules/@copilotkit/aimock/dist/cli.js"

PATIENCE = 30.0
"""Seconds for it to start; it takes one when the machine is idle."""


def node() -> str | None:
    """The program that runs it."""
    return shutil.which("node")


@contextlib.contextmanager
def aimock(folder: Path, fixtures: list[dict[str, Any]]) -> Iterator[str]:
    """Run it, with what it answers.

    Args:
        folder: Where its file of answers is written.
        fixtures: What it matches, and what it answers.

    Yields:
        Its address, without a path.
    """
    answers = folder / "answers.json"
    answers.write_text(json.dumps({"fixtures": fixtures}), "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["-p", str(port), "-h", "127.0.0.1", "-f", str(answers), "--log-level", "silent"]
    program = node()
    assert program
    process = subprocess.Popen(
        [program, PROGRAM, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        # The whole group: `node` from a wheel is a script that starts the real one. And killed, as
        # it would wait six seconds for connections that are kept.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, f"aimock left: {process.returncode}"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return
        time.sleep(0.05)
    raise AssertionError(f"aimock was not ready after {PATIENCE} s")
