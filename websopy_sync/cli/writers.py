"""Writes a text to a stream as it comes: as it is, or wrapped at the terminal's edge.

Knows nothing of chunks. `output` decides which text goes where.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import sys
from itertools import pairwise
from typing import Protocol, TextIO

from .terminal import in_one_line, say
from .wrap import Wrapper, line_starts

DIM, PLAIN = "\x1b[2m", "\x1b[0m"


class Writer(Protocol):
    """Writes the pieces of a text. Control characters are gone from them already."""

    def write(self, text: str) -> None:
        """Write the next piece."""

    def finish(self) -> None:
        """End the line, so that another text may follow. More of this one may come later."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether someone watches what is written to the stream."""
    return bool(stream) and stream is not None and stream.isatty()


def obeys_codes(stream: TextIO | None) -> bool:
    """Whether it is a terminal that moves its cursor and styles its text when told to."""
    return is_terminal(stream) and os.environ.get("TERM", "dumb") != "dumb"


def is_utf8(stream: TextIO | None) -> bool:
    """Whether every character can be written to the stream."""
    name = getattr(stream, "encoding", None) or "ascii"
    return codecs.lookup(name).name == "utf-8"


def terminal_columns() -> int:
    """The width of the terminal now: a user may change it at any time."""
    columns = shutil.get_terminal_size((0, 0)).columns  # of stdout, or what COLUMNS says
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr is no terminal either
        columns = columns or os.get_terminal_size(sys.stderr.fileno()).columns
    return columns or 80


def say_wrapped(text: str) -> None:
    """Write a line to stderr, as `say` does. On a terminal its words stay whole."""
    if not obeys_codes(sys.stderr):
        say(text)
        return
    line = f"websopy-sync: {in_one_line(text)}"
    starts = [0, *line_starts(line, terminal_columns() - 1), len(line)]
    say("\n".join(line[start:end].rstrip() for start, end in pairwise(starts)), name="")


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
