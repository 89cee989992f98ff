"""How the command `chat` writes an answer: its text to stdout, notes about it to stderr.

Knows nothing of flags, of the client or of what the user types.
"""

from __future__ import annotations

import importlib
import sys
import time
from types import TracebackType
from typing import Self

from ..chunks import StreamChunk
from ..errors import ConfigError
from ..message import Message
from .json_lines import json_line
from .terminal import is_terminal, is_utf8, obeys_codes, say, visible
from .usage import usage_line
from .writers import PlainWriter, ThoughtsWriter, WrappingWriter, Writer

WAITING = "waiting ..."

CUT = {
    "length": "the answer was cut: the limit of its length was reached",
    "content_filter": "the answer was cut: a content filter stopped it",
}


def output_for(*, as_json: bool, markdown: bool, usage: bool) -> AnswerOutput:
    """What writes the next answer.

    Args:
        as_json: Write one chunk a line, as JSON.
        markdown: Lay the text out as Markdown, if stdout is a terminal that can show it.
        usage: Write a line about tokens and time after the answer.

    Raises:
        ConfigError: rich is needed, and not installed.
    """
    if as_json:
        return JSONOutput(PlainWriter(), usage=usage)
    if not obeys_codes(sys.stdout):
        return AnswerOutput(PlainWriter(), usage=usage)
    return AnswerOutput(_markdown_writer() if markdown else WrappingWriter(), usage=usage)


def _markdown_writer() -> Writer:
    try:
        # Not at the top: rich is an extra, and takes 0.1 s to import.
        module = importlib.import_module(".markdown", __package__)
    except ImportError:
        raise ConfigError("--markdown: expected rich: pip install 'websopy-sync[cli]'") from None
    writer: Writer = module.MarkdownWriter()
    return writer


class AnswerOutput:
    """Writes one answer. A terminal shows "waiting ..." until the first text or note.

    Args:
        text: Writes the text of the answer.
        usage: Write a line about tokens and time after the answer.
    """

    def __init__(self, text: Writer, *, usage: bool) -> None:
        self._text = text
        self._thoughts = ThoughtsWriter() if is_terminal(sys.stderr) else None
        self._usage = usage
        self._waiting = False
        self._writer: Writer | None = None
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        self._begun = time.monotonic()
        if is_terminal(sys.stderr):
            self._waiting = True
            say(WAITING, name="", end="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._finish()
        finally:
            self._finish()  # if Ctrl-C came in the first one; there is nothing left to do otherwise

    def _finish(self) -> None:
        self._end_waiting()
        self._change_to(None)

    def add(self, chunk: StreamChunk) -> None:
        """Write the next chunk."""
        if chunk.type == "content":
            self._write(self._text, chunk.content)
        elif chunk.type == "reasoning" and self._thoughts:
            self._write(self._thoughts, chunk.text)
        elif chunk.type == "tool_call":
            self.note(f"tool call: {chunk.tool.name}({chunk.tool.arguments})")

    def note(self, text: str) -> None:
        """Write a line about the answer to stderr."""
        self._finish()
        say(text)

    def end(self, message: Message) -> None:
        """Write what is known once the answer is complete: that it was cut, and its usage."""
        if message.truncated:
            self.note(f"warning: {CUT.get(message.finish_reason or '', 'the answer was cut')}")
        if self._usage:
            self.note(usage_line(message, seconds=time.monotonic() - self._begun))

    def _write(self, writer: Writer, text: str) -> None:
        if text:
            self._end_waiting()
            self._change_to(writer)
            writer.write(visible(text))

    def _change_to(self, writer: Writer | None) -> None:
        """Let another writer begin, after the one that wrote so far has ended its line."""
        if self._writer is not writer:
            if self._writer is not None:
                self._writer.finish()
            self._writer = writer  # only now: after Ctrl-C in finish(), it is called again

    def _end_waiting(self) -> None:
        if self._waiting:
            blank = " " * len(WAITING)
            print(f"\r{blank}\r", end="", file=sys.stderr, flush=True)
            self._waiting = False  # only now: after Ctrl-C in print(), it is done again


class JSONOutput(AnswerOutput):
    """Writes one chunk a line, as JSON, to stdout."""

    def add(self, chunk: StreamChunk) -> None:
        """Write the next chunk."""
        line = json_line(chunk, ascii_only=not is_utf8(sys.stdout))
        self._end_waiting()
        self._change_to(self._text)
        self._text.write(line)
