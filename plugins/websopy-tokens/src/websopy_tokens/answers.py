"""The tokens of one answer while it streams, counted only when a number is needed.

Knows nothing of hooks, totals or money.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from websopy_sync import Message, Usage
from websopy_sync.interrupts import is_interrupt

from .counters import TokenCounter
from .running import RunningCount

__all__ = ["Answer", "prompt_of"]

KEPT = 256 * 1024
"""Most bytes of an answer that are kept uncounted.

Most services report the usage at the end, and then no vocabulary is needed. But an endless answer
must not fill the memory.
"""


class _Writing:
    """A text that the model is writing, counted only when a number is needed.

    Args:
        counter: Returns the counter.
    """

    def __init__(self, counter: Callable[[], TokenCounter]) -> None:
        self._counter = counter
        self._running: RunningCount | None = None
        self._waiting = io.StringIO()
        self._waiting_bytes = 0

    def add(self, text: str) -> None:
        """Add the next piece."""
        self._waiting.write(text)
        self._waiting_bytes += _bytes(text)
        if self._waiting_bytes > KEPT:
            self._count_waiting()

    @property
    def tokens(self) -> int:
        """The tokens so far; no counter is needed for none."""
        return self._count_waiting().total if self._waiting_bytes or self._running else 0

    @property
    def at_most(self) -> int:
        """An upper bound of `tokens`, as cheap as a length: a token is at least one byte."""
        counted = self._running.at_most if self._running else 0
        return counted + self._waiting_bytes

    def _count_waiting(self) -> RunningCount:
        if self._running is None:
            self._running = RunningCount(self._counter())
        if self._waiting_bytes:
            self._running.feed(self._waiting.getvalue())
            self._waiting, self._waiting_bytes = io.StringIO(), 0
        return self._running


class Answer:
    """One request's prompt and its answer so far.

    Args:
        model: As the request names it; "" for none.
        prompt: The texts of its messages.
        counter: Returns the counter. Called at the first count, as it may read a vocabulary.
    """

    def __init__(
        self, *, model: str, prompt: Iterable[str], counter: Callable[[], TokenCounter]
    ) -> None:
        self.model = model
        self.over_budget = False
        """Whether it was cancelled for a budget."""
        self.noted = Usage(0, 0)
        """The count of the last `note()`."""
        self._prompt = tuple(prompt)
        self._prompt_bytes = sum(map(_bytes, self._prompt))
        self._prompt_tokens: int | None = None
        self._counter = counter
        self._text = _Writing(counter)
        self._reasoning = _Writing(counter)
        self._tool_texts: list[str] = []
        self._tool_bytes = 0
        self.add_text = self._text.add
        """Adds the next piece of text."""
        self.add_reasoning = self._reasoning.add
        """Adds the next piece of reasoning: the model wrote it, so it is part of the completion."""

    def add_tool_call(self, name: str, arguments: str) -> None:
        """Add a tool call: the model wrote its name and its arguments."""
        self._tool_texts += (name, arguments)
        self._tool_bytes += _bytes(name) + _bytes(arguments)

    @property
    def prompt_tokens(self) -> int:
        """The tokens of the prompt's texts, without those that a service adds."""
        if self._prompt_tokens is None:
            self._prompt_tokens = sum(map(self._count, self._prompt))
            self._prompt = ()
        return self._prompt_tokens

    @property
    def completion_tokens(self) -> int:
        """The tokens of the answer so far, its reasoning and its tool calls included."""
        return self._text.tokens + self._reasoning.tokens + self._tool_tokens

    def final_usage(self, message: Message) -> Usage:
        """The tokens of the complete answer.

        A counter that is not additive counts each whole text once, if the message has it.

        Args:
            message: The stream's message.
        """
        counter = self._counter()
        text, reasoning = self._text.tokens, self._reasoning.tokens
        if not _additive(counter) and (message.content or message.reasoning):
            text, reasoning = counter.count(message.content), counter.count(message.reasoning)
        completion = text + reasoning + self._tool_tokens
        return Usage(self.prompt_tokens, completion, reasoning_tokens=reasoning)

    def note(self) -> Usage:
        """Count the answer so far, and store the result in `noted` for other threads."""
        self.noted = Usage(self.prompt_tokens, self.completion_tokens)
        return self.noted

    @property
    def at_most(self) -> Usage:
        """An upper bound of the usage, as cheap as a length.

        A token is at least one byte: below a limit, nothing has to be counted.
        """
        completion = self._text.at_most + self._reasoning.at_most + self._tool_bytes
        return Usage(self._prompt_bytes, completion)

    @property
    def _tool_tokens(self) -> int:
        return sum(map(self._count, self._tool_texts))

    def _count(self, text: str) -> int:
        counter = self._counter()
        if not _additive(counter):
            return counter.count(text)
        running = RunningCount(counter)  # never counts a long piece at once
        running.feed(text)
        return running.total


_PLACES = ("system", "systemInstruction", "messages", "contents", "input")
"""Where services have the turns of a request."""


def prompt_of(body: Mapping[str, Any] | None) -> list[str]:
    """The texts of a request's messages, and of the tool calls and results in them.

    Everything else in them, such as an image, is ignored.
    """
    texts: list[str] = []
    for name in _PLACES:
        given = (body or {}).get(name)
        if isinstance(given, str):
            texts.append(given)
        turns = [given] if name == "systemInstruction" else given
        for turn in turns if _is_list(turns) else ():
            if isinstance(turn, Mapping):
                texts += _texts_of(turn.get("content")) + _texts_of(turn.get("parts"))
                texts += [*_calls_in(turn), *_texts_in(turn)]
    return texts


def _texts_of(content: object) -> list[str]:
    """The texts of one message: a str, or a list of parts, some with a text."""
    if isinstance(content, str):
        return [content]
    parts = content if _is_list(content) else ()
    return [text for part in parts if isinstance(part, Mapping) for text in _texts_in(part)]


def _texts_in(part: Mapping[str, Any]) -> list[str]:
    """The texts of a part; those of tools, in the forms of Anthropic, Gemini and Responses."""
    texts = [part.get("text"), part.get("output")]
    if part.get("type") in ("tool_use", "function_call"):
        texts += [part.get("name"), part.get("arguments"), _json(part.get("input"))]
    for inner in (part.get("functionCall"), part.get("functionResponse")):
        if isinstance(inner, Mapping):
            texts += [inner.get("name"), _json(inner.get("args")), _json(inner.get("response"))]
    found = [text for text in texts if isinstance(text, str)]
    return found + (_texts_of(part.get("content")) if part.get("type") == "tool_result" else [])


def _json(value: object) -> str | None:
    try:
        return None if value is None else json.dumps(value, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as error:
        if is_interrupt(error):
            raise
        return None  # such a request cannot be sent either


def _calls_in(turn: Mapping[str, Any]) -> list[str]:
    """The names and the arguments of a turn's tool calls, which the model wrote before."""
    calls = turn.get("toolCalls") or turn.get("tool_calls")
    found = [call for call in calls if isinstance(call, Mapping)] if _is_list(calls) else []
    inner = [call.get("function") or call for call in found]  # OpenAI has them one level deeper
    functions = [call for call in inner if isinstance(call, Mapping)]
    values = [call.get(name) for call in functions for name in ("name", "arguments")]
    # Ollama has the arguments as an object.
    texts = [_json(value) if isinstance(value, Mapping) else value for value in values]
    return [text for text in texts if isinstance(text, str)]


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _additive(counter: TokenCounter) -> bool:
    return bool(getattr(counter, "additive", False))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
