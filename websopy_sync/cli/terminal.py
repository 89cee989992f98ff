"""What every command writes to the terminal, and how Ctrl-C ends it.

A model or a server could move the cursor, set the title or reverse the text, and so show what is
not there. Their text goes through `visible` first. Knows nothing of commands and flags.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import signal
import sys
from itertools import pairwise
from types import FrameType
from typing import TextIO

from .wrap import line_starts

_VISIBLE = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t\r"},
    0x0D: None,  # a CRLF needs only its LF; a CR alone would overwrite the line
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def visible(text: str) -> str:
    """The text with no control character that a terminal would obey.

    LF and TAB stay, CR is removed. Other control characters become their Unicode pictures (from
    U+2400), C1 controls and bidirectional controls become U+FFFD.

    Args:
        text: What a model, a server or a plugin wrote.
    """
    return text.translate(_VISIBLE)


def in_one_line(text: str) -> str:
    """The visible text in one line, each run of white space as one space."""
    return " ".join(visible(text).split())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether someone watches what is written to the stream."""
    return stream is not None and stream.isatty()


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


def say(text: str, *, name: str = "websopy-sync: ", end: str = "\n") -> None:
    """Write a line to stderr, after the program's name; with `name=""` the text as it is.

    On a terminal the line is wrapped between its words.
    """
    if sys.stderr:
        with contextlib.suppress(OSError):  # stderr is closed: there is no other place to write
            written = _wrapped(f"{name}{in_one_line(text)}") if name else text
            print(written, end=end, file=sys.stderr, flush=True)


def _wrapped(line: str) -> str:
    if not obeys_codes(sys.stderr):
        return line
    starts = [0, *line_starts(line, terminal_columns() - 1), len(line)]
    return "\n".join(line[start:end].rstrip() for start, end in pairwise(starts))


def forgive_encodings() -> None:
    """Write `?` for a character that the locale's encoding lacks, where Python would raise.

    Input that is no text in this encoding is kept as surrogates, for `input.text_of` to decode.
    """
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "replace"),
        (sys.stderr, "replace"),
    ):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)


def drop_unwritable() -> None:
    """Discard output that cannot be written: Python would fail on it again at exit."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def interrupt_once() -> None:
    """Let the first Ctrl-C raise KeyboardInterrupt, and ignore the later ones.

    A second one would interrupt the clean-up that the first one began. A lock could stay locked,
    and the process would hang. Under `nohup`, Ctrl-C stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def allow_interrupt() -> None:
    """Let the next Ctrl-C raise again, after one was handled."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # set by _interrupt()
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def end_when_terminated() -> None:
    """Let SIGTERM end the program by an exception, with exit code 143 as a shell shows it.

    By default it would leave the terminal in the mode of the prompt or of the answer, and plugins
    without their last chunks.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)
