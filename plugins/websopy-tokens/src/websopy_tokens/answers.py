"""The tokens of one answer while it streams, counted no earlier than somebody must know.

Knows nothing of hooks, totals or money.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from websopy_sync import Message, Usage

from .counters import TokenCounter
from .running import RunningCount

__all__ = ["Answer", "prompt_of"]

KEPT = 256 * 1024
"""Bytes of an answer that are kept uncounted. The service mostly tells the usage in the end, and
then no vocabulary is needed; but an answer without an end must not fill the memory."""


class Answer:
    """One question's prompt and what came of its answer.

    counter: called when the first count is needed, and not before.
    """

    def __init__(
        self, *, model: str, prompt: Iterable[str], counter: Callable[[], TokenCounter]
    ) -> None:
        self.model = model
        self.over_budget = False
        """Whether this answer was cancelled for a budget already."""
        self.noted = Usage(0, 0)
        """What was counted when `note` was last called."""
        self._prompt = tuple(prompt)
        self._prompt_bytes = sum(map(_bytes, self._prompt))
        self._prompt_tokens: int | None = None
        self._counter = counter
        self._running: RunningCount | None = None
        self._waiting = io.StringIO()
        self._waiting_bytes = 0
        self._tool_texts: list[str] = []
        self._tool_bytes = 0

    def add_text(self, text: str) -> None:
        """Take the next piece of the answer's text."""
        self._waiting.write(text)
        self._waiting_bytes += _bytes(text)
        if self._waiting_bytes > KEPT:
            self._count_waiting()

    def add_tool_call(self, name: str, arguments: str) -> None:
        """Take a tool call; the model wrote its name and its arguments too."""
        self._tool_texts += (name, arguments)
        self._tool_bytes += _bytes(name) + _bytes(arguments)

    @property
    def prompt_tokens(self) -> int:
        """The tokens of the prompt's texts, without what a service adds around them."""
        if self._prompt_tokens is None:
            self._prompt_tokens = sum(map(self._count, self._prompt))
            self._prompt = ()
        return self._prompt_tokens

    @property
    def completion_tokens(self) -> int:
        """The tokens of the answer so far."""
        return self._count_waiting().total + sum(map(self._count, self._tool_texts))

    def final_completion_tokens(self, message: Message) -> int:
        """The tokens of the answer at its end.

        A counter that does not promise to be additive is asked once for the whole text, when the
        message still holds it.
        """
        counter = self._counter()
        if not message.content or _additive(counter):
            return self.completion_tokens
        return counter.count(message.content) + sum(map(self._count, self._tool_texts))

    def note(self) -> Usage:
        """Count what there is so far, and leave it in `noted` for other threads."""
        self.over_budget = False
        """Whether this answer was cancelled for a budget already."""
        self.noted = Usage(self.prompt_tokens, self.completion_tokens)
        return self.noted

    @property
    def at_most(self) -> Usage:
        """A usage that the true one does not pass, for the price of a length.

        A token is at least a byte: while this is below a limit, nothing need be counted.
        """
        counted = self._running.at_most if self._running else 0
        completion = counted + self._waiting_bytes + self._tool_bytes
        return Usage(self._prompt_bytes, completion)

    def _count_waiting(self) -> RunningCount:
        if self._running is None:
            self._running = RunningCount(self._counter())
        if self._waiting_bytes:
            self._running.feed(self._waiting.getvalue())
            self._waiting, self._waiting_bytes = io.StringIO(), 0
        return self._running

    def _count(self, text: str) -> int:
        counter = self._counter()
        if not _additive(counter):
            return counter.count(text)
        running = RunningCount(counter)  # never asks for a long piece at once
        running.feed(text)
        return running.total


def prompt_of(body: Mapping[str, Any] | None) -> list[str]:
    """The texts of a request's messages, whatever else is in them."""
    messages = (body or {}).get("messages")
    if isinstance(messages, str):
        return [messages]
    if not isinstance(messages, list | tuple):
        return []
    contents = [message.get("content") for message in messages if isinstance(message, Mapping)]
    return [text for content in contents for text in _texts_of(content)]


def _texts_of(content: object) -> list[str]:
    """The text of one message: a str, or a list of parts of which some have a text."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list | tuple) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return [text for text in texts if isinstance(text, str)]


def _additive(counter: TokenCounter) -> bool:
    return bool(getattr(counter, "additive", False))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
