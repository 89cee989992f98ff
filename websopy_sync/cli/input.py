"""Text that a person gives: as an argument, on standard input, or typed line by line."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Iterator

from ..errors import ConfigError
from .terminal import say

PROMPT = "> "
GOES_ON = "  "


PASTED = 0.05
"""Seconds within which a further line belongs to the same message: nobody types so fast."""

MOST_PIPED = 64 * 1024 * 1024
"""Bytes of standard input that are asked at most; `yes` would never end."""

QUIET = 2.0
"""Seconds after which it is said that standard input is being waited for."""


def text_of(argument: str, name: str) -> str:
    """An argument as text: where the locale could not decode it, it is taken for UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return _decoded(os.fsencode(argument), name)
    return argument


def _decoded(data: bytes, name: str) -> str:
    """Bytes as text. What is no text is an error: a replacement would be asked in its place."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = error.start
    raise ConfigError(f"{name}: expected UTF-8 text, got something else at byte {position}")


def joined(piped: str, message: str) -> str:
    """What to ask: what is piped in, then the argument, with a blank line between them."""
    if not piped.strip():
        piped = ""
    if piped and message.strip():
        return piped.rstrip("\r\n") + "\n\n" + message
    question = piped.strip() or message
    if not question.strip():
        raise ConfigError("no message: give one as an argument or on standard input")
    return question


def piped() -> str:
    """What standard input holds, "" without one that can be read."""
    if not sys.stdin or sys.stdin.closed:
        return ""
    try:
        if not _waits(QUIET, unknown=True):
            say("reading standard input; `< /dev/null` keeps it out")
        data = sys.stdin.buffer.read(MOST_PIPED + 1)
    except OSError as error:
        # Under nohup it is open for writing only. Without a number it is no file, but what a
        # test or a notebook put in its place.
        if error.errno not in (errno.EBADF, None):
            raise
        return ""
    if len(data) > MOST_PIPED:
        raise ConfigError(f"standard input: expected at most {MOST_PIPED} bytes, got more")
    return _decoded(data, "standard input")


def _waits(seconds: float, *, unknown: bool) -> bool:
    """Whether standard input has something to read, its end included, within so many seconds."""
    try:
        return bool(select.select([sys.stdin], [], [], seconds)[0])
    except (OSError, ValueError):  # no file, or a platform that can select sockets only
        return unknown


def typed() -> Iterator[str]:
    """What is typed until its end, message by message.

    Lines that wait already when one is read belong to the same message: they were pasted.
    """
    with contextlib.suppress(EOFError):
        while True:
            lines = [_line(PROMPT)]
            try:
                while _waits(PASTED, unknown=False):
                    lines.append(_line(GOES_ON))
            except EOFError:
                yield "\n".join(lines)
                return
            yield "\n".join(lines)


def _line(prompt: str) -> str:
    if sys.stdout and sys.stdout.isatty():
        return input(prompt)
    say(prompt, name="", end="")  # input() would write it among the answers
    return input()
