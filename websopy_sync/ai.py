"""`client.ai`: the verbs that talk to the model.

Knows nothing of how a call is put together and sent: `calls` does that.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Generator, Iterable, Sequence
from types import UnionType
from typing import Any, TypeVar, Unpack, overload

from .calls import Calls
from .cancel import CancelToken
from .conversation import Conversation
from .errors import ConfigError, WebsopyError
from .fan_out import fan_out, fan_out_problem
from .interrupts import discreet
from .message import Message
from .options import ChatOptions, RunOptions, ToolOptions
from .run import ToolRun, start_run
from .stream import ChatStream
from .structured_output import Output, ParsedMessage
from .tool_call import ToolCall
from .tools import ToolLike
from .turns import Messages

__all__ = ["AI"]

Parsed = TypeVar("Parsed")
TypeForm = UnionType | typing._SpecialForm
"""What a type checker takes a union, a Literal or an Annotated for, as PEP 747 is not there yet."""


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

    @overload
    def chat(
        self, messages: Messages, *, response_type: None = None, **options: Unpack[ChatOptions]
    ) -> Message: ...
    @overload
    def chat(
        self, messages: Messages, *, response_type: type[Parsed], **options: Unpack[ChatOptions]
    ) -> ParsedMessage[Parsed]: ...
    @overload
    def chat(
        self, messages: Messages, *, response_type: TypeForm, **options: Unpack[ChatOptions]
    ) -> ParsedMessage[Any]: ...
    @discreet
    def chat(
        self, messages: Messages, *, response_type: object = None, **options: Unpack[ChatOptions]
    ) -> Message:
        """The model's whole answer.

        Args:
            messages: A list of `{"role": …, "content": …}`, or a str for one user message.
            response_type: The type that the answer has to be: a dataclass, an attrs class, a
                TypedDict, a pydantic model, a msgspec Struct, or a type such as `list[str]`. The
                service gets its JSON Schema, and the result is a `ParsedMessage` with the value as
                `parsed`. None for free text.
            **options: The options of `ChatOptions`; other names are fields of the request's body.

        Raises:
            ConfigError: JSON cannot hold a value of the type.
            ResponseParseError: The answer is not of this type.
            WebsopyError: Whatever `chat_stream` raises, or iterating over its stream.
        """
        if response_type is None:
            with self._calls.chat(messages, options) as stream:
                return stream.get_final_message()
        if not options.get("keep_message", True):
            raise ConfigError("keep_message: an answer of a type has to be kept; leave it out")
        output = Output.of(response_type)
        with self._calls.chat(messages, options, output_schema=output.schema) as stream:
            message = stream.get_final_message()
            # `_redact` is private so that users do not see it
            return output.message(
                message,
                stream._redact,
                request_id=stream.request_id,
                attempts=stream.retries_taken + 1,
            )

    @discreet
    def run(
        self,
        messages: Messages,
        *,
        tools: Sequence[ToolLike],
        max_turns: int = 10,
        parallel: int = 4,
        tool_timeout: float | None = None,
        strict_tools: bool = False,
        approve: Callable[[ToolCall], bool | str] | None = None,
        **options: Unpack[RunOptions],
    ) -> ToolRun:
        """The model's answers, chunk by chunk, with the tools run that they ask for.

        The results are sent with the next request, until an answer asks for no tool. Returns once
        the headers of the first response are here, so a refused key raises at the call. A tool
        call that fails is reported to the model and logged.

        Args:
            messages: A list of `{"role": …, "content": …}`, or a str for one user message.
            tools: Functions, Tool objects and dicts. A dict is sent as it is and cannot be run.
            max_turns: The most answers. If the last one still asks for tools, reading raises.
            parallel: The most tools at a time, each in its own thread. With 1 and no
                `tool_timeout` they run in the thread that reads.
            tool_timeout: Seconds that one call may take; None for no limit of its own. A call
                that takes longer goes on, but its result is dropped.
            strict_tools: Let a call that fails raise ToolError.
            approve: Called with each call before any tool of its answer runs, in the thread that
                reads. False refuses the call; a str does too and tells the model why.
            **options: The options of `ChatOptions` but keep_message, for the request of each turn.
                The total limit and the token are for the whole run. Turn n has the idempotency key
                `KEY-n` and the metadata `{"turn": n}`.

        Raises:
            ConfigError: A value cannot be sent or is no tool, or the client is closed.
            APIError: Whatever `chat_stream` raises.
        """
        settings = ToolOptions(
            max_turns=max_turns,
            parallel=parallel,
            tool_timeout=tool_timeout,
            strict_tools=strict_tools,
            approve=approve,
        )
        return ToolRun(start_run(self._calls, messages, tools, settings, options))

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

    @overload
    def map(
        self,
        prompts: Iterable[Messages],
        *,
        workers: int = 8,
        response_type: None = None,
        **options: Unpack[ChatOptions],
    ) -> Generator[tuple[int, Message | WebsopyError], None, None]: ...
    @overload
    def map(
        self,
        prompts: Iterable[Messages],
        *,
        workers: int = 8,
        response_type: type[Parsed],
        **options: Unpack[ChatOptions],
    ) -> Generator[tuple[int, ParsedMessage[Parsed] | WebsopyError], None, None]: ...
    @overload
    def map(
        self,
        prompts: Iterable[Messages],
        *,
        workers: int = 8,
        response_type: TypeForm,
        **options: Unpack[ChatOptions],
    ) -> Generator[tuple[int, ParsedMessage[Any] | WebsopyError], None, None]: ...
    @discreet
    def map(
        self,
        prompts: Iterable[Messages],
        *,
        workers: int = 8,
        response_type: Any = None,
        **options: Unpack[ChatOptions],
    ) -> Generator[tuple[int, Any], None, None]:
        """The answers to many prompts, several at a time, in the order in which they arrive.

        Each prompt gives one pair: its index, and its message or the error that `chat` would have
        raised. So one that fails, or cannot be sent, does not end the others.

        Prompts are pulled one by one, in your thread, when there is room for one more request. An
        error of the iterable ends the map and comes out. Leaving the loop cancels what runs, and
        leaves no thread. A `cancel_token` cancels all: each prompt that has no answer yet gives a
        StreamCancelledError. One thread at a time may take results.

        Args:
            prompts: What `chat` takes as messages, each; a list, or an iterator of any length.
            workers: Requests at a time, each in its own thread.
            response_type: The type that each answer has to be, as for `chat`.
            **options: As for `chat`, but no `idempotency_key` and no `keep_message=False`. Each
                holds for each request, `timeout` too.

        Raises:
            ConfigError: An option or the type cannot be used, or the client is closed. Raised at
                the call.
        """
        problem = fan_out_problem(prompts, workers)
        if options.get("idempotency_key") is not None:
            problem = "idempotency_key: each prompt of a map has its own; leave it out"
        if not options.get("keep_message", True):
            problem = "keep_message: a map gives whole messages; leave it out"
        if problem:
            raise ConfigError(problem)
        self._calls.check(options)
        if response_type is not None:
            Output.of(response_type)  # raises what is wrong with it

        def send(prompt: Messages, token: CancelToken) -> Message:
            given: ChatOptions = {**options, "cancel_token": token}
            message: Message = self.chat(prompt, response_type=response_type, **given)
            return message

        token = options.get("cancel_token")
        return fan_out(send, iter(prompts), workers=workers, token=token)
