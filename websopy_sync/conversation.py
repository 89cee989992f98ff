"""Conversation: the turns of a chat, kept and sent again with each new one.

Knows nothing of how a request is made: it is given a function that sends messages.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from .errors import ConfigError
from .interrupts import discreet
from .message import Message
from .options import ChatOptions
from .stream import ChatStream

__all__ = ["Conversation"]

OnEnd = Callable[[Message | None], None]
Send = Callable[[list[dict[str, Any]], Mapping[str, Any], OnEnd], ChatStream]
"""Sends messages: (messages, options as `ChatOptions` has them, what to call at the end)."""


class Conversation:
    """Turns of one chat. Make it with `client.ai.conversation()`.

    An answer joins `messages` once it is complete. After a failure or a cancel the user's turn is
    the last one. A turn that could not be sent is taken out again.

    Attributes:
        messages: The turns so far, as `{"role": …, "content": …}`; yours to edit between answers.
    """

    def __init__(self, send: Send, *, system: str | None = None) -> None:
        self._chat = send
        self._permits = [True]  # the thread that pops it may send, and puts it back
        self._stream: weakref.ref[ChatStream] | None = None
        self.messages: list[dict[str, Any]] = []
        if system is not None:
            self.messages.append({"role": "system", "content": system})

    @property
    def streaming(self) -> bool:
        """Whether an answer is still coming."""
        return self._open_stream() is not None

    @property
    def current_content(self) -> str:
        """The text so far of the answer that is coming; "" when none is."""
        stream = self._open_stream()
        return "" if stream is None else stream.current_message.content

    def _open_stream(self) -> ChatStream | None:
        stream = None if self._stream is None else self._stream()
        return None if stream is None or stream.state != "open" else stream

    @discreet
    def send(self, text: str, **options: Unpack[ChatOptions]) -> ChatStream:
        """Send the user's next turn; the stream of the model's answer.

        Args:
            text: What the user says.
            **options: As for `client.ai.chat_stream`, but without `keep_message`.

        Raises:
            ConfigError: An answer is still coming, or a value cannot be sent.
            APIError: Whatever `client.ai.chat_stream` raises.
        """
        if "keep_message" in options:
            raise ConfigError("keep_message: a conversation keeps its answers")
        try:
            self._permits.pop()
        except IndexError:
            raise ConfigError("conversation: another turn is being sent") from None
        try:
            return self._send({"role": "user", "content": text}, options)
        finally:
            self._permits.append(True)

    def _send(self, turn: dict[str, Any], options: ChatOptions) -> ChatStream:
        if self.streaming:
            raise ConfigError("conversation: an answer is still coming; read or close it first")
        self.messages.append(turn)
        try:
            stream = self._chat(list(self.messages), options, self._add_answer)
        except BaseException:
            self.messages[:] = [kept for kept in self.messages if kept is not turn]
            raise
        self._stream = weakref.ref(stream)
        return stream

    def _add_answer(self, answer: Message | None) -> None:
        if answer is not None:
            self.messages.append(answer.to_dict())
