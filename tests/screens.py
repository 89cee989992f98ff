"""A program on a terminal whose screen a test can read, as a user sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pyte
from command_line import PATIENCE, environment

TAKE = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)

SIZE = ("COLUMNS", "LINES")
"""Variables that say another size than the terminal's own. pytest-xdist sets the first."""


def shown(text: str, *, columns: int, rows: int = 24) -> list[str]:
    """The lines that a terminal has shown after this text, those that scrolled off included."""
    screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=1.0)
    stream = pyte.Stream(screen)
    for character in text.replace("\r\n", "\n").replace("\n", "\r\n"):
        stream.feed(character)  # pyte drops what follows a joiner in the same piece
    return lines_of(screen)


def lines_of(screen: pyte.HistoryScreen) -> list[str]:
    """The lines above the screen and on it, without blank ones at the end."""
    above = [
        "".join(line[column].data for column in range(screen.columns))
        for line in screen.history.top
    ]
    return "\n".join(line.rstrip() for line in [*above, *screen.display]).rstrip().split("\n")


class Screen:
    """A Python program on a terminal of its own, and what its screen shows.

    Args:
        *arguments: Python's own, such as `-m websopy_sync chat`.
        columns: The width.
        rows: The height.
        **more: Variables of the environment.

    Attributes:
        written: All that the program wrote.
    """

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24, **more: str) -> None:
        self._ours, theirs = pty.openpty()
        self._pyte = pyte.HistoryScreen(columns, rows, history=100_000, ratio=1.0)
        self._stream = pyte.Stream(self._pyte)
        self.written = ""
        self._pending = b""
        self._set_size(theirs, columns, rows)
        variables = environment(**{"TERM": "xterm-256color", **more})
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={name: value for name, value in variables.items() if name not in SIZE},
        )
        os.close(theirs)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    @staticmethod
    def _set_size(terminal: int, columns: int, rows: int) -> None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        """Change the size, as a user does with the window."""
        self._set_size(self._ours, columns, rows)
        self._pyte.resize(rows, columns)

    def type(self, text: str) -> None:
        r"""Type; \x03 is Ctrl-C."""
        os.write(self._ours, text.encode())

    @property
    def lines(self) -> list[str]:
        """The lines so far."""
        return lines_of(self._pyte)

    def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """The lines, once this holds for them."""
        deadline = time.monotonic() + PATIENCE
        while not holds(self.lines):
            assert self._read(deadline), self.lines
        return self.lines

    def ended(self) -> list[str]:
        """The lines after the program has ended."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        self.process.wait(PATIENCE)
        return self.lines

    def _read(self, deadline: float) -> bool:
        """Show what comes next; False at the end."""
        left = max(deadline - time.monotonic(), 0)
        assert select.select([self._ours], [], [], left)[0], self.lines
        try:
            self._pending += os.read(self._ours, 65536)
        except OSError:  # the other side is closed
            return False
        text = self._pending.decode("utf-8", "ignore")
        self._pending = self._pending[len(text.encode()) :]
        self.written += text
        for character in text:
            self._stream.feed(character)
        return True
