"""`client.ai`: the verbs that talk to the model.

Knows nothing of how a call is put together and sent: `calls` does that.
"""

from __future__ import annotations

from typing import Unpack

from .calls import Calls
from .conversation import Conversation
from .errors import ConfigError
from .interrupts import discreet
from .message import Message
from .options import ChatOptions
from .stream import ChatStream
from .turns import Messages

__all__ = ["AI"]


class AI:
    """Chats with the model: `client.ai`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @discreet
    def chat_stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatStream:
        """The model's answer, chunk by chunk as it is written.

        Returns once the headers of the response are here, so a refused key raises at the call.

        Args:
            messages: A list of `{"role": …, "content": …}`, or a str for one user message.
            **options: The options of `ChatOptions`; other names are fields of the request's body.

        Raises:
            ConfigError: A value cannot be sent, or the client is closed.
            APIStatusError: The service refused the request.
            APIConnectionError: No usable response came, or a limit passed (APITimeoutError).
            StreamProtocolError: The response is no stream of chunks, or larger than allowed.
            StreamCancelledError: The token was cancelled.
        """
        return self._calls.chat(messages, options)

    @discreet
    def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> Message:
        """The model's whole answer.

        Args:
            messages: A list of `{"role": …, "content": …}`, or a str for one user message.
            **options: The options of `ChatOptions`; other names are fields of the request's body.

        Raises:
            WebsopyError: Whatever `chat_stream` raises, or iterating over its stream.
        """
        with self._calls.chat(messages, options) as stream:
            return stream.get_final_message()

    def conversation(
        self, system: str | None = None, **options: Unpack[ChatOptions]
    ) -> Conversation:
        """A chat that keeps its turns.

        Args:
            system: Text of a system message, which comes before all turns.
            **options: Options of every send, such as `model`; those of a send come before them.

        Raises:
            ConfigError: The text is no str, or an option cannot be sent.
        """
        if system is not None and not isinstance(system, str):
            raise ConfigError(f"system: expected str, got {type(system).__name__}")
        return Conversation(self._calls.chat, self._calls.check, system=system, options=options)
