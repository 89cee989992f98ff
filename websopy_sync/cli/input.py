"""The user's text from an argument and from standard input.

Knows nothing of flags or of the client. What is typed at a prompt comes from prompt.py.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import sys

from ..errors import ConfigError
from .terminal import say

MOST_PIPED = 64 * 1024 * 1024
"""Most bytes read from standard input: `yes | websopy-sync chat` would never end."""

QUIET = 2.0
"""Seconds of silence on standard input after which a line says that it is being read."""


def text_of(argument: str, name: str) -> str:
    """The user's argument as text.

    Args:
        argument: As Python decoded it. With surrogates, where the locale could not, its bytes are
            read as UTF-8.
        name: What the error calls it.

    Raises:
        ConfigError: It is no UTF-8 text.
    """
    try:
        argument.encode()
    except UnicodeEncodeError:
        pass  # decoded below: the context of its error would be a foreign exception
    else:
        return argument
    return _decoded(os.fsencode(argument), name)


def _decoded(data: bytes, name: str) -> str:
    """Bytes as text. Anything else is an error: a replacement character would change the text."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = error.start
    raise ConfigError(f"{name}: expected UTF-8 text, got something else at byte {position}")


def path_of(typed: str) -> str:
    """The path that a user typed, or dropped: a terminal writes a dropped file as a shell wants it.

    Args:
        typed: The path, as it is or quoted.
    """
    path = os.path.expanduser(typed)
    if os.path.lexists(path):
        return path
    try:
        words = shlex.split(typed)
    except ValueError:  # a quotation mark that is not closed
        return path
    return os.path.expanduser(words[0]) if len(words) == 1 else path


def for_readline(text: str) -> str:
    """A text as readline takes it: it knows the locale, which may be C where input is UTF-8.

    Args:
        text: Any text.

    Raises:
        UnicodeEncodeError: Standard input cannot have this text.
    """
    encoding = getattr(sys.stdin, "encoding", None) or "utf-8"
    return text.encode(encoding, "surrogateescape").decode("ascii", "surrogateescape")


def trimmed(text: str) -> str:
    """A text without the white space around it; the first of several lines keeps its indent.

    Args:
        text: What was piped or typed, which may be code.
    """
    alone = text.strip()
    return text.rstrip().lstrip("\r\n") if "\n" in alone else alone


def joined(piped: str, message: str) -> str:
    """The message to send: the piped text, a blank line, the argument.

    Raises:
        ConfigError: Both are empty.
    """
    if not piped.strip():
        piped = ""
    if piped and message.strip():
        return piped.rstrip("\r\n") + "\n\n" + message
    question = trimmed(piped) or message
    if not question.strip():
        raise ConfigError("no message: give one as an argument or on standard input")
    return question


def piped() -> str:
    """All of standard input; "" when there is none.

    Raises:
        ConfigError: It is too long, or no UTF-8 text.
    """
    if not sys.stdin or sys.stdin.closed:
        return ""
    try:
        if not waits(QUIET, unknown=True):
            say("reading standard input; `< /dev/null` keeps it out")
        data = sys.stdin.buffer.read(MOST_PIPED + 1)
    except OSError as error:
        # EBADF: nohup opens it for writing only. No errno: a test or a notebook replaced it with
        # an object that is no file.
        if error.errno not in (errno.EBADF, None):
            raise
        return ""
    if len(data) > MOST_PIPED:
        raise ConfigError(f"standard input: expected at most {MOST_PIPED} bytes, got more")
    return _decoded(data, "standard input")


def waits(seconds: float, *, unknown: bool) -> bool:
    """Whether a read of standard input returns within so many seconds.

    Args:
        seconds: How long to wait for it.
        unknown: What to return where this cannot be known.
    """
    try:
        return bool(select.select([sys.stdin], [], [], seconds)[0])
    except (OSError, ValueError):  # no file, or a platform whose select() takes only sockets
        return unknown
