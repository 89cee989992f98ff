"""What the command line writes and how Ctrl-C ends it: no text rules the terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

_VISIBLE = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t\r"},
    0x0D: None,  # of a CRLF only the LF is needed; alone it would write over the line
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def visible(text: str) -> str:
    """The text without any power over a terminal.

    Control characters but LF and TAB are shown as their Unicode pictures (U+2400 and on), C1
    controls and those that turn the reading direction as U+FFFD; CR goes.
    """
    return text.translate(_VISIBLE)


def in_one_line(text: str) -> str:
    """The text, visible, its line ends and other white space as single spaces."""
    return " ".join(visible(text).split())


def say(text: str, *, name: str = "websopy-sync: ", end: str = "\n") -> None:
    """Say something in one line on stderr, if there is one."""
    if sys.stderr:
        with contextlib.suppress(OSError):  # nobody listens, and there is nobody else to tell
            line = in_one_line(text) if name else text
            print(f"{name}{line}", end=end, file=sys.stderr, flush=True)


def forgive_encodings() -> None:
    """Write `?` for what the locale's encoding lacks, where Python would raise.

    What is typed and is no text in it is kept, for `text_of` to say so.
    """
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "replace"),
        (sys.stderr, "replace"),
    ):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)


def drop_unwritable() -> None:
    """Forget output that cannot be written, or Python would fail at it once more as it ends."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def interrupt_once() -> None:
    """Have Ctrl-C raise once and be ignored from then on.

    A second one would interrupt the end that the first one began: a lock that is held for a moment
    could stay locked then, and the process would hang. Nothing changes under `nohup`, where it is
    ignored from the start.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def allow_interrupt() -> None:
    """Have the next Ctrl-C raise again, after one that was dealt with."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by the one that came
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
