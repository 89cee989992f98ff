"""Conversation: the turns of a chat, kept and sent again with each new one.

Knows nothing of how a request is made: it is given a function that sends messages.
"""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, Unpack

import attrs

from .conversation_file import read_turns, write_turns
from .errors import ConfigError
from .files import FilePath
from .interrupts import discreet
from .message import Message
from .options import ChatOptions
from .stream import ChatStream
from .tool_call import ToolCall
from .tool_results import open_calls, result_turn, shown
from .turns import turns_of

__all__ = ["Conversation"]

OnEnd = Callable[[Message, bool], None]
Send = Callable[[list[Any], Mapping[str, Any], OnEnd], ChatStream]
"""Sends messages: (messages, options as `ChatOptions` has them, what to call at the end)."""

Check = Callable[[Mapping[str, Any]], object]
"""Raises ConfigError for options that no send can have."""


class _AI(Protocol):
    def conversation(
        self, system: str | None = None, **options: Unpack[ChatOptions]
    ) -> Conversation: ...


class _Client(Protocol):
    """The part of `WebsopyClient` that a loaded conversation needs."""

    @property
    def ai(self) -> _AI: ...


class Conversation:
    """Turns of one chat. Make it with `client.ai.conversation()`.

    An answer joins `messages` once it is complete. After a failure or a cancel the user's turn is
    the last one, unless `keep_partial` was asked for. A turn that could not be sent is taken out
    again.

    Attributes:
        messages: The turns so far, as `{"role": …, "content": …}`; yours to edit between answers.
    """

    def __init__(
        self,
        send: Send,
        check: Check,
        *,
        system: str | None = None,
        options: ChatOptions | None = None,
    ) -> None:
        self._chat = send
        self._check = check
        self._permits = [True]  # the thread that deletes it may send, and puts it back
        self._stream: weakref.ref[ChatStream] | None = None
        self._last_message: Message | None = None
        self.options = ChatOptions() if options is None else options
        self.messages: list[Any] = []
        if system is not None:
            self.messages.append({"role": "system", "content": system})

    @classmethod
    @discreet
    def load(cls, path: FilePath, client: _Client, **options: Unpack[ChatOptions]) -> Conversation:
        """The conversation that `save` wrote, ready to go on.

        Args:
            path: The file, of at most 256 MiB.
            client: The client that sends its next turns.
            **options: As for `client.ai.conversation`: the file has none.

        Raises:
            FileError: The file cannot be read.
            ConfigError: It holds no conversation, or an option cannot be sent.
        """
        if not hasattr(client, "ai"):
            raise ConfigError(f"client: expected a WebsopyClient, got {type(client).__name__}")
        conversation = client.ai.conversation(**options)
        conversation.messages += read_turns(path)
        return conversation

    @discreet
    def save(self, path: FilePath) -> None:
        """Write the turns to a file that only you may read: JSON, UTF-8.

        The file is replaced as a whole: after a failure it is as it was. It has neither the key nor
        the options.

        Args:
            path: The file.

        Raises:
            FileError: It cannot be written. `errno` has the system's number.
            ConfigError: A turn cannot be sent, so that it cannot be saved either.
        """
        self._end_cancelled()
        _check_list(self.messages)
        write_turns(path, list(self.messages))

    def __copy__(self) -> Self:
        """Another conversation of the same client, with its own list of these turns."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self))
        other._permits, other._stream = [True], None
        other.options, other.messages = self._options, list(self.messages)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same, with its own turns. The client has connections, and is not copied."""
        other = copy.copy(self)
        other.messages = copy.deepcopy(other.messages, memo)
        return other

    @property
    def options(self) -> ChatOptions:
        """Options of every send, such as `model`. A dict that you may edit or replace."""
        return self._options

    @options.setter
    def options(self, options: ChatOptions) -> None:
        if not isinstance(options, Mapping):
            raise ConfigError(f"options: expected a dict, got {type(options).__name__}")
        _check_names(options)
        self._check(options)
        self._options = ChatOptions(**options)

    @property
    def last_message(self) -> Message | None:
        """The last answer that joined `messages`, with its usage; None before the first one."""
        return self._last_message

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
    def send(
        self,
        content: str | list[Any] | None = None,
        *,
        keep_partial: bool = False,
        **options: Unpack[ChatOptions],
    ) -> ChatStream:
        """Send the user's next turn; the stream of the model's answer.

        Args:
            content: What the user says: a text, or a list of parts. None adds no turn and sends
                `messages` as they are, for example after `add_tool_result`.
            keep_partial: Whether the text of an answer that ends early, by a cancel, a break or a
                failure, joins `messages`. Its tool calls do not: they may be incomplete.
            **options: As for `client.ai.chat_stream`, but without `keep_message`. They come before
                those of the conversation.

        Raises:
            ConfigError: An answer is still coming, a tool call has no result, or a value cannot be
                sent.
            APIError: Whatever `client.ai.chat_stream` raises.
        """
        if not isinstance(keep_partial, bool):
            raise ConfigError(f"keep_partial: expected a bool, got {type(keep_partial).__name__}")
        _check_names(self._options)
        if "keep_message" in options:
            raise ConfigError("keep_message: a conversation keeps its answers")
        given: dict[str, Any] = {**self._options, **options}
        try:
            del self._permits[0]  # not pop(): a signal may come when a call returns
        except IndexError:
            raise ConfigError("conversation: another turn is being sent") from None
        try:
            return self._send(content, given, keep_partial=keep_partial)
        finally:
            self._permits.append(True)

    def _send(
        self, content: object, options: Mapping[str, Any], *, keep_partial: bool
    ) -> ChatStream:
        if self.streaming:
            raise ConfigError("conversation: an answer is still coming; read or close it first")
        self._end_cancelled()
        self._check_turns()
        turn = None if content is None else self._turn(content)
        try:
            if turn is not None:
                self.messages.append(turn)
            asked = self.messages[-1] if self.messages else None
            on_end = functools.partial(self._add_answer, asked, keep_partial)
            stream = self._chat(list(self.messages), options, on_end)
        except BaseException:
            self.messages[:] = [kept for kept in self.messages if kept is not turn]
            raise
        self._stream = weakref.ref(stream)
        return stream

    def _turn(self, content: object) -> dict[str, Any]:
        """The user's turn, its parts as dicts."""
        turns = turns_of([*self.messages, {"role": "user", "content": content}])
        if isinstance(turns, ConfigError):
            raise turns
        return turns[-1]

    def _check_turns(self) -> None:
        """Raise for tool calls without a result: services that pair them refuse such turns."""
        _check_list(self.messages)
        calls = open_calls(self.messages)
        if calls:
            names = ", ".join(map(shown, calls))
            raise ConfigError(
                f"conversation: expected a result of each tool call, got none of {names:.200}; "
                "add_tool_result() adds it"
            )

    def _end_cancelled(self) -> None:
        """End a stream that was cancelled and not read since, so that its text joins now."""
        stream = None if self._stream is None else self._stream()
        if stream is not None and stream.state not in ("open", "done"):
            stream.close()

    def _add_answer(
        self, asked: object, keep_partial: bool, message: Message, complete: bool
    ) -> None:
        """Add an answer after the turn that asked for it, or at the end if that is gone."""
        if not complete:
            if not (keep_partial and message.content):
                return
            message = attrs.evolve(message, tool_calls=())
        self._last_message = message
        places = (place for place, turn in enumerate(self.messages, 1) if turn is asked)
        place = next(places, len(self.messages))
        if place == len(self.messages):  # a list of the user's own may do more than a list does
            self.messages.append(message.to_dict())
        else:
            self.messages.insert(place, message.to_dict())

    @discreet
    def add_tool_result(self, call: ToolCall | str, result: object) -> None:
        """Add the result of a tool call that the last answer asked for; `send()` then sends it.

        Args:
            call: The call, or its id.
            result: A str, or what JSON can hold. Objects of dataclasses, attrs classes, pydantic
                models and msgspec Structs count as dicts, and members of an Enum as their values.

        Raises:
            ConfigError: The call is not one of the last answer's, has a result, or the result
                cannot be sent.
        """
        if self.streaming:
            raise ConfigError("conversation: an answer is still coming; read it first")
        _check_list(self.messages)
        self.messages.append(result_turn(call, result, self.messages))


def _check_list(messages: object) -> None:
    if not isinstance(messages, list):
        raise ConfigError(f"messages: expected a list, got {type(messages).__name__}")


def _check_names(options: Mapping[str, Any]) -> None:
    """Raise for what cannot be the same in every send."""
    for name in options:
        if not isinstance(name, str):
            raise ConfigError(f"options: expected names of type str, got {type(name).__name__}")
    if "idempotency_key" in options:
        raise ConfigError("idempotency_key: each send needs another one; pass it to send()")
    if "keep_partial" in options:
        raise ConfigError(
            "keep_partial: it is not for all answers of a conversation; pass it to send()"
        )
    if "keep_message" in options:
        raise ConfigError("keep_message: a conversation keeps its answers")
