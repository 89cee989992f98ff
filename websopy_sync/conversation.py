"""A conversation: turns kept, and sent along with the next question.

Knows nothing of how an answer is got: it is given a function that asks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from .chunks import Message
from .errors import ConfigError
from .interrupts import discreet
from .redaction import Secret
from .stream import ChatStream

__all__ = ["Conversation"]

Ask = Callable[[list[dict[str, Any]], Callable[[Message | None], None], dict[str, Any]], ChatStream]
"""Asks with these messages: (messages, what to call at the end, options of chat_stream)."""


class Conversation:
    """Turns of one chat. Make it with `client.ai.conversation()`.

    messages: the turns so far, as `{"role": …, "content": …}`; yours to edit between answers.

    An answer joins `messages` when it is complete, and only then: one that failed or was
    cancelled leaves its question as the last turn. A question that could not be sent leaves
    nothing.
    """

    def __init__(self, ask: Ask, *, system: str | None = None) -> None:
        self._ask = ask
        self._turn = [True]  # whoever pops it may send, and gives it back
        self._answering: weakref.ref[ChatStream] | None = None
        self.messages: list[dict[str, Any]] = []
        if system is not None:
            self.messages.append({"role": "system", "content": system})

    @property
    def streaming(self) -> bool:
        """Whether an answer is still coming."""
        return self._coming() is not None

    @property
    def current_content(self) -> str:
        """The text of the answer that is coming, as far as it is here; "" when none is."""
        stream = self._coming()
        return "" if stream is None else stream.current_message.content

    def _coming(self) -> ChatStream | None:
        stream = None if self._answering is None else self._answering()
        return None if stream is None or stream.state != "open" else stream

    @discreet
    def send(self, text: str, **options: Any) -> ChatStream:
        """Ask the next question; the answer's stream, as `client.ai.chat_stream` gives it.

        The options are those of chat_stream.

        Raises ConfigError while an answer is still coming, and what chat_stream raises.
        """
        turn = Secret({"role": "user", "content": text})
        del text  # a traceback with locals must not show the prompt
        if "keep_message" in options:
            raise ConfigError("keep_message: a conversation keeps its answers")
        try:
            self._turn.pop()
        except IndexError:
            raise ConfigError("conversation: another question is being sent") from None
        try:
            return self._send(turn, options)
        finally:
            self._turn.append(True)

    def _send(self, turn: Secret[dict[str, Any]], options: dict[str, Any]) -> ChatStream:
        if self.streaming:
            raise ConfigError("conversation: an answer is still coming; read or close it first")
        self.messages.append(turn.value)
        try:
            stream = self._ask(list(self.messages), self._answered, options)
        except BaseException:
            self.messages[:] = [kept for kept in self.messages if kept is not turn.value]
            raise
        self._answering = weakref.ref(stream)
        return stream

    def _answered(self, answer: Message | None) -> None:
        if answer is not None:
            self.messages.append(answer.to_dict())
