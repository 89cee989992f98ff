"""The file of typed messages, for the arrow keys in later conversations.

Knows nothing of answers. A message is one line of JSON, so that one of several lines stays whole.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping

from ..errors import ConfigError
from ..files import read_file, write_file
from .input import for_readline
from .terminal import say

try:
    import readline
except ImportError:  # not on every platform
    HAS_READLINE = False
else:
    HAS_READLINE = True

VARIABLE = "WEBSOPY_CHAT_HISTORY"

MOST_MESSAGES = 1000
"""Messages that are kept; the oldest go first."""

LONGEST = 10_000
"""Characters of a message that is kept: a longer one was pasted, and is a file somewhere else."""

_MAX_SIZE = 256 * 1024 * 1024
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class MessageHistory:
    """The messages that the arrow keys bring back.

    Args:
        environ: The environment variables.

    Raises:
        ConfigError: WEBSOPY_CHAT_HISTORY is neither yes nor no.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._path = _path(environ) if HAS_READLINE and _wanted(environ) else ""
        self._last = ""

    def load(self) -> None:
        """Read the messages of earlier conversations; the oldest leave the file."""
        if not self._path or not os.path.exists(self._path):
            return
        try:
            lines = read_file(self._path, what="message history", max_size=_MAX_SIZE).splitlines()
            if len(lines) > MOST_MESSAGES:
                lines = lines[-MOST_MESSAGES:]
                write_file(self._path, b"\n".join([*lines, b""]), what="message history")
        except ConfigError as error:
            self._give_up(str(error))
            return
        for line in lines:
            self._remember(_message_in(line))

    def add(self, message: str) -> None:
        """Keep a message, unless it is the last one again."""
        if not message or message == self._last or not HAS_READLINE:
            return
        self._remember(message)
        if not self._path or len(message) > LONGEST:
            return
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            with open(self._path, "ab", opener=_open_for_its_owner) as file:
                file.write(json.dumps(message).encode() + b"\n")
        except OSError as error:
            self._give_up(f"message history: cannot write: {error.strerror}")

    def _remember(self, message: str) -> None:
        if message:
            with contextlib.suppress(UnicodeEncodeError):  # another terminal could show it
                readline.add_history(for_readline(message))
            self._last = message

    def _give_up(self, problem: str) -> None:
        self._path = ""
        say(f"warning: {problem}")


def _open_for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _message_in(line: bytes) -> str:
    """The message of a line; "" for a line that is none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return message if isinstance(message, str) and "\0" not in message else ""


def _wanted(environ: Mapping[str, str]) -> bool:
    value = environ.get(VARIABLE, "").strip().lower()
    if value and value not in _YES + _NO:
        raise ConfigError(f"{VARIABLE}: expected 0 or 1, got {environ[VARIABLE]!a:.200}")
    return value not in _NO


def _path(environ: Mapping[str, str]) -> str:
    folder = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(folder):  # the specification says to ignore it then
        folder = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(folder, "websopy-sync", "chat-messages.jsonl")
