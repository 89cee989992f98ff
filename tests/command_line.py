"""The command line as real processes, and in this one: run it, read it, type into it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

import websopy_sync
from websopy_sync.cli import main
from websopy_sync.sandbox import Sandbox, Steps

GUIDE_QUESTION = "写一篇关于 AI 的文章"


COMMAND = [sys.executable, "-m", "websopy_sync"]


ROOT = str(Path(websopy_sync.__file__).parents[1])


NO_MODEL = "websopy-sync: This is the websopy-sync sandbox, played on this machine: no model.\n"


PATIENCE = 10.0
"""Seconds that a process may take for anything."""


def environment(**more: str) -> dict[str, str]:
    """What a process of a test sees: a key, UTF-8, no plugin, and Python as it is."""
    strange = ("WEBSOPY_", "PYTHON", "LC_", "LANG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    ours = {
        "WEBSOPY_API_KEY": "test",
        "WEBSOPY_PLUGINS": "",
        "WEBSOPY_CHAT_HISTORY": "0",  # never the developer's own messages
        "PYTHONPATH": ROOT,
    }
    return {**kept, "LC_ALL": "C.UTF-8", "TERM": "dumb", **ours, **more}


def run(
    *arguments: str,
    typed: bytes = b"",
    stdin: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A whole run, its output read as UTF-8."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        **({"stdin": stdin} if stdin else {"input": typed}),
        capture_output=True,
        env=env or environment(),
        timeout=PATIENCE,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same in this process, which is quicker, for what is the same in any."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    for name in ("WEBSOPY_BASE_URL", "WEBSOPY_LOG"):
        monkeypatch.delenv(name, raising=False)

    def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = main(arguments)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run_here


@pytest.fixture
def chat(here: Run) -> Run:
    """A chat with a sandbox that plays a script."""

    def chat_here(script: Steps, *arguments: str) -> subprocess.CompletedProcess[str]:
        with Sandbox(script) as sandbox:
            return here("chat", "--base-url", sandbox.url, "Hi", *arguments)

    return chat_here


@contextlib.contextmanager
def started(*arguments: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
    """A process under way, which is gone afterwards."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_until(pipe: IO[bytes] | None, text: str) -> str:
    """What comes on a pipe up to a text, as soon as it is there."""
    assert pipe is not None
    return until_text(pipe.fileno(), text)


def until_text(descriptor: int, text: str, *, pattern: bytes = b"") -> str:
    data, deadline = b"", time.monotonic() + PATIENCE
    pattern = pattern or re.escape(text.encode())
    while not re.search(pattern, data, re.DOTALL):
        ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
        piece = os.read(descriptor, 65536) if ready else b""
        assert piece, f"expected {text!r}, got {data!r}"
        data += piece
    return data.decode("utf-8", "replace")


def asked(sandbox: Sandbox) -> list[str]:
    """The last question of each request."""
    return [request.json["messages"][-1]["content"] for request in sandbox.requests]


class Terminal:
    """A process on a terminal of its own, with Ctrl-C and all."""

    TAKE = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, '-m', 'websopy_sync', *sys.argv[1:]])"
    )

    def __init__(self, *arguments: str, shell: str = "", **more: str) -> None:
        self._ours, theirs = pty.openpty()
        command = ["sh", "-c", shell] if shell else [sys.executable, "-c", self.TAKE, *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=environment(**more),
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def until(self, text: str) -> str:
        """What appears up to a text, line ends as LF."""
        return until_text(self._ours, text).replace("\r\n", "\n")

    def rest(self) -> str:
        """What appears until its end."""
        shown = b""
        with contextlib.suppress(OSError):  # Linux: the other side is closed
            while piece := os.read(self._ours, 65536):
                shown += piece
        return shown.decode()

    def answered(self) -> None:
        """Wait for an answer and the prompt after it."""
        until_text(self._ours, "an answer, and a prompt", pattern=rb"answer\r\n(\x1b\[\?2004h)?> $")

    def type(self, text: str) -> None:
        """Type; \x03 is Ctrl-C, \x04 Ctrl-D."""
        self.type_bytes(text.encode())

    def type_ahead(self, text: str) -> None:
        """Type while an answer comes.

        Linux passes it on in a thread of its own: the answer must not end before that.
        """
        self.type(text)
        time.sleep(0.2)

    def type_bytes(self, data: bytes) -> None:
        """Type what need not be text."""
        os.write(self._ours, data)

    def modes(self) -> list[Any]:
        """Its modes, such as whether it shows what is typed."""
        return termios.tcgetattr(self._ours)

    def ended(self) -> int:
        """The exit code, once there is one."""
        return self.process.wait(PATIENCE)

    def interrupt(self) -> None:
        """Press Ctrl-C at the prompt.

        CPython loses a signal that comes between readline's writing and its select().
        """
        time.sleep(0.1)
        self.type("\x03")

    def ended_by(self, signalled: Callable[[], object]) -> int:
        """The exit code after a signal, which is sent until it takes effect: see `interrupt`."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            signalled()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.3)
        return self.ended()
