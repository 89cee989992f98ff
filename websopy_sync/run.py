"""ToolRun: asks the model, runs the tools that it asks for, and asks again.

Knows nothing of how a request is made, nor of how a tool is called: `calls` and `tool_calls` do
that.
"""

from __future__ import annotations

import contextvars
from collections.abc import Generator, Iterator, Mapping, Sequence
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any, Self

from .calls import Calls
from .cancel import CancelScope
from .chunks import StreamChunk
from .collector import program_thread
from .errors import APIError, ConfigError, StreamError, WebsopyError
from .interrupts import clear_frames, is_interrupt, run_all
from .message import Message
from .options import ToolOptions, body_fields
from .stream import ChatStream
from .tool_call import ToolCall
from .tool_calls import ToolCaller
from .tool_errors import MaxTurnsError
from .tools import Tool, read_tools
from .turns import Messages, turns_of

__all__ = ["ToolRun", "Turns", "start_run"]

_NAMES = tuple(ToolOptions.__annotations__)


class _Transcript:
    """The turns so far, and the last whole answer.

    It is apart from `Turns`, as each stream adds its answer here: a stream that held its run would
    be a reference cycle, and its connection would stay open until the garbage collector runs.
    """

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages = messages
        self.message: Message = Message()

    def add(self, answer: Message, complete: bool) -> None:
        """Add an answer, if it is complete."""
        if complete:
            self.message = answer
            self.messages.append(answer.to_dict())

    def add_results(self, calls: Sequence[ToolCall], results: Sequence[str]) -> None:
        """Add the results of an answer's tool calls."""
        for call, result in zip(calls, results, strict=True):
            turn = {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": result}
            self.messages.append(turn)


class Turns:
    """The turns of one run: what the generator in a `for` loop holds.

    Neither this nor the user's `ToolRun` holds the generator of a loop. So leaving the loop frees
    the generator, which closes the connection at once.
    """

    def __init__(
        self,
        calls: Calls,
        transcript: _Transcript,
        scope: CancelScope,
        *,
        caller: ToolCaller,
        max_turns: int,
        given: Mapping[str, Any],
    ) -> None:
        self.transcript = transcript
        self.scope = scope
        self.turn: int = 0
        self.stream: ChatStream | None = None
        self.failure: WebsopyError | None = None
        self._calls = calls
        self._caller = caller
        self._max_turns = max_turns
        self._given = given
        self._opener = program_thread()
        self._context = contextvars.copy_context()

    def send(self) -> None:
        """Send the turns so far; the answer is the next stream."""
        self.turn += 1
        given = {**self._given, "metadata": {**(self._given.get("metadata") or {})}}
        given["metadata"]["turn"] = self.turn
        key = self._given.get("idempotency_key")
        if key is not None:
            given["idempotency_key"] = f"{key}-{self.turn}"
        transcript = self.transcript
        self.stream = self._calls.chat(transcript.messages, given, transcript.add, self.scope)

    def go_on(self) -> bool:
        """Run the tools of the last answer, and send the results. False when it asks for none.

        Raises:
            MaxTurnsError: There were enough answers.
            WebsopyError: Whatever `ToolCaller.results` raises, and sending the request.
        """
        calls = self.transcript.message.tool_calls
        if not calls:
            return False
        self.transcript.add_results(calls, self._results(calls))
        if self.turn == self._max_turns:
            raise MaxTurnsError(
                f"expected an answer without tool calls in at most {self.turn} turns (max_turns)",
                messages=self.transcript.messages,
                turns=self.turn,
            )
        self.send()
        return True

    def _results(self, calls: Sequence[ToolCall]) -> list[str]:
        # As for hooks: another thread than the one that began the run has other variables.
        here = self._opener == program_thread()
        context = contextvars.copy_context() if here else self._context
        token = self._given.get("cancel_token")
        key = token and token.subscribe(lambda: self.scope.abort("cancelled"))
        try:
            cut = self.transcript.message.truncated
            return self._caller.results(calls, context, truncated=cut)
        finally:
            if token is not None:
                token.unsubscribe(key)

    def fail(self, error: BaseException) -> None:
        """End the run with an error that is about to be raised."""
        interrupt = is_interrupt(error)
        clear_frames(error)
        if isinstance(error, APIError) and error.partial is None:
            error.partial = self.transcript.message
        run_all(self.close, error=error if interrupt else None)
        self.failure = self.scope.abort_error()
        if isinstance(error, WebsopyError) and not interrupt:
            self.failure = error

    def close(self) -> None:
        """Close the open stream, and wake the thread that waits for tools."""
        self.scope.abort("closed")
        if self.stream is not None:
            self.stream.close()


def start_run(
    calls: Calls,
    messages: Messages,
    tools: object,
    options: ToolOptions,
    given: Mapping[str, Any],
) -> Turns:
    """Send the first request of a run.

    Args:
        calls: Sends the requests.
        messages: What the user passed.
        tools: What the user passed.
        options: How tools are called.
        given: Options and fields of the body, as the user passed them.
    """
    if "keep_message" in given:
        raise ConfigError("keep_message: a run keeps its answers")
    body_fields(given, _NAMES)
    turns = turns_of(messages)
    if isinstance(turns, ConfigError):
        raise turns
    read = read_tools(tools)
    by_name = {tool.name: tool for tool in read if isinstance(tool, Tool)}
    scope = calls.scope(given)
    run = Turns(
        calls,
        _Transcript(turns),
        scope,
        caller=ToolCaller(by_name, options, scope),
        max_turns=options.max_turns,
        given={**given, "tools": read},
    )
    calls.track(run)
    run.send()
    return run


def _chunks(turns: Turns) -> Generator[StreamChunk, None, None]:
    try:
        while True:
            assert turns.stream is not None  # start_run() has sent the first request
            yield from turns.stream
            if not turns.go_on():
                return
    except BaseException as error:
        turns.fail(error)
        del turns  # the error's traceback holds this frame, and `turns` holds the error
        raise


class ToolRun:
    """The chunks of every answer of a run, each as soon as it arrives. It can be read once.

    Between two answers it runs the tools that the first asks for. One thread at a time may read.
    cancel() and close() may be called from any thread and from a signal handler. Leaving the loop
    closes the connection and starts no further tool.

    Raises:
        MaxTurnsError: `max_turns` answers came, and the last one still asks for tools.
        ToolError: A tool call failed, and `strict_tools` was asked for.
        APITimeoutError: A limit passed. The total one is for all turns and tools together.
        StreamCancelledError: cancel() or close() was called.
        APIError: Whatever reading a `ChatStream` raises, and sending a request.
        StreamError: The run was read before, or a second thread, a hook or a tool tries to read it.
        Exception: Whatever `approve` raises.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        # The right to read, as in `lifecycle.Stream`. The item is what next() has begun to read.
        self._right: list[Generator[StreamChunk, None, None] | None] = [None]
        self._begun = False

    def __repr__(self) -> str:
        return f"<ToolRun turn {self.turn}>"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The turns so far, whole answers and results of tools included: a new list."""
        return list(self._turns.transcript.messages)

    @property
    def message(self) -> Message:
        """The last whole answer; `Message()` before the first."""
        return self._turns.transcript.message

    @property
    def turn(self) -> int:
        """The number of the request that was sent last, from 1."""
        return self._turns.turn

    def _take_right(self) -> Generator[StreamChunk, None, None] | None:
        try:
            return self._right.pop()
        except IndexError:
            raise StreamError("the run is being read, in another thread, hook or tool") from None

    def _begin(self) -> Generator[StreamChunk, None, None]:
        if self._begun:
            raise StreamError("a run can be read once, and this one was")
        self._begun = True
        return _chunks(self._turns)

    def __iter__(self) -> Iterator[StreamChunk]:
        begun = self._take_right()
        try:
            if begun is None or getgeneratorstate(begun) == GEN_CLOSED:
                return self._begin()
            chunks, begun = begun, None  # the loop goes on after next()
            return chunks
        finally:
            self._right.append(begun)

    def __next__(self) -> StreamChunk:
        begun = self._take_right()
        try:
            begun = begun or self._begin()
            return next(begun)
        except StopIteration:
            if self._turns.failure is None:
                raise
        finally:
            self._right.append(begun)
        raise self._turns.failure  # a failed run must not look complete to a reader who goes on

    def until_done(self) -> Self:
        """Read the run to its end, and return it.

        Raises:
            WebsopyError: As reading does.
        """
        for _ in self:
            pass
        return self

    def cancel(self) -> None:
        """End the run, from any thread, at any moment.

        Returns at once. The reader gets StreamCancelledError. A tool that runs goes on, but its
        result is dropped. After the end it does nothing.
        """
        self._turns.scope.abort("cancelled")

    def close(self) -> None:
        """Close the connection. May be called again.

        A reader that waits in another thread gets StreamCancelledError, reason "closed".
        """
        self._turns.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        run_all(self.close, error=error if is_interrupt(error) else None)  # it must not be hidden
