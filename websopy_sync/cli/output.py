"""How the command `chat` writes an answer: its text to stdout, notes about it to stderr.

Knows nothing of flags, of the client or of what the user types.
"""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import Self

from ..chunks import StreamChunk
from ..message import Message
from .terminal import say, visible

WAITING = "waiting ..."


def output_for(*, as_json: bool, markdown: bool, usage: bool) -> AnswerOutput:
    """What writes the next answer.

    Args:
        as_json: Write one chunk a line, as JSON.
        markdown: Lay the text out as Markdown.
        usage: Write a line about tokens and time after the answer.
    """
    return AnswerOutput(as_json=as_json)


class AnswerOutput:
    """Writes one answer. A terminal shows "waiting ..." until the first text or note.

    Args:
        as_json: Write one chunk a line, as JSON.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._waiting = False
        self._mid_line = False

    def __enter__(self) -> Self:
        if sys.stderr and sys.stderr.isatty():
            self._waiting = True
            say(WAITING, name="", end="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_waiting()
        self._end_line()

    def add(self, chunk: StreamChunk) -> None:
        """Write the next chunk."""
        if self._as_json:
            self._write(json.dumps(chunk.to_dict()) + "\n")  # ASCII: nothing a terminal obeys
        elif chunk.type == "content":
            self._write(visible(chunk.content))
        elif chunk.type == "tool_call":
            self.note(f"tool call: {chunk.tool.name}({chunk.tool.arguments})")

    def note(self, text: str) -> None:
        """Write a line about the answer to stderr."""
        self._end_waiting()
        self._end_line()
        say(text)

    def end(self, message: Message) -> None:
        """Write what is known once the answer is complete."""

    def _write(self, text: str) -> None:
        self._end_waiting()
        if text:  # set before print(): Ctrl-C may come between the two
            self._mid_line = not text.endswith("\n")
        print(text, end="", flush=True)

    def _end_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            blank = " " * len(WAITING)
            print(f"\r{blank}\r", end="", file=sys.stderr, flush=True)

    def _end_line(self) -> None:
        if self._mid_line:
            self._mid_line = False
            print(flush=True)
