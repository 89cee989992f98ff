"""Writes a text to a stream as it comes: as it is, or wrapped at the terminal's edge.

Knows nothing of chunks. `output` decides which text goes where.
"""

from __future__ import annotations

import sys
from typing import Protocol

from .terminal import obeys_codes, say, terminal_columns
from .wrap import Wrapper

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


class Writer(Protocol):
    """Writes the pieces of a text. Control characters are gone from them already."""

    def write(self, text: str) -> None:
        """Write the next piece."""

    def finish(self) -> None:
        """End the line, so that another text may follow. More of this one may come later."""


class PlainWriter:
    """Writes to stdout what it is given, and nothing else."""

    def __init__(self) -> None:
        self._mid_line = False

    def write(self, text: str) -> None:
        """Write the next piece."""
        if text:  # set before print(): Ctrl-C may come between the two
            self._mid_line = not text.endswith("\n")
        print(text, end="", flush=True)

    def finish(self) -> None:
        """End the line if it has begun."""
        if self._mid_line:
            self._mid_line = False
            print(flush=True)


class WrappingWriter:
    """Writes to a terminal, with line ends between words."""

    def __init__(self) -> None:
        self._wrapper = Wrapper(terminal_columns)

    def write(self, text: str) -> None:
        """Write the next piece."""
        print(self._wrapper.write(text), end="", flush=True)

    def finish(self) -> None:
        """End the line if it has begun."""
        if self._wrapper.mid_line:
            print(flush=True)
            self._wrapper.write("\n")  # only now: after Ctrl-C in print(), it is done again


class ThoughtsWriter:
    """Writes what the model thinks to a terminal on stderr: dimmed, under its own heading."""

    def __init__(self) -> None:
        self._styled = obeys_codes(sys.stderr)
        self._wrapper: Wrapper | None = None

    def write(self, text: str) -> None:
        """Write the next piece."""
        if self._wrapper is None:
            self._wrapper = Wrapper(terminal_columns)
            self._say("thinking\n")
        wrapped = self._wrapper.write(text)
        self._say(wrapped if self._styled else text)

    def finish(self) -> None:
        """End the line, and leave a blank one before the answer."""
        if self._wrapper is not None:
            self._say("\n\n" if self._wrapper.mid_line else "\n")
            self._wrapper = None

    def _say(self, text: str) -> None:
        say(f"{DIM}{text}{PLAIN}" if self._styled else text, name="", end="")
