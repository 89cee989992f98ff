"""The format "ai-sdk": chunks as the UI message stream of the AI SDK, which `useChat` reads.

Its parts are what the `uiMessageChunkSchema` of the npm package `ai` (5, 6 and 7) lets through. The
AI SDK fails a whole answer at the first part that it cannot read, so nothing that a model or a tool
writes may become one. Does no I/O.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from ..chunks import DoneChunk, ErrorChunk, StreamChunk, ToolCallChunk, UnknownChunk
from ..errors import StreamCancelledError, WebsopyError
from ..run import ToolRun
from ..tool_call import ToolCall
from ..tool_calls import FAILED, REFUSED
from ..usage import Usage
from .json_event import encode_json
from .page_format import SSE_HEADERS
from .page_json import read_json
from .public_errors import public_error

Part = dict[str, Any]

END: Final = b"data: [DONE]\n\n"
"""The last event, as every stream of the AI SDK has it."""

# The AI SDK knows no other reasons; a page can tell an answer without one from a whole one.
_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool-calls",
    "content_filter": "content-filter",
}


def _new_id() -> str:
    return f"call_{secrets.token_hex(12)}"


class AISDKFormat:
    """The format that `useChat` of @ai-sdk/vue, @ai-sdk/react and their relatives reads.

    Args:
        new_id: Makes an id for a tool call that has none, or one that was there before.
        is_started: Whether the page has the part `start` already.
    """

    headers: Mapping[str, str] = MappingProxyType(
        {**SSE_HEADERS, "X-Vercel-AI-UI-Message-Stream": "v1"}
    )

    def __init__(self, new_id: Callable[[], str] = _new_id, *, is_started: bool = False) -> None:
        self._new_id = new_id
        self._is_started = is_started

    def events(self, chunks: Iterable[StreamChunk]) -> Iterator[bytes]:
        """One message. Each answer of a run is a step of it, and has the results of its calls."""
        message = _Message(_Results(chunks), self._new_id)
        step = _encode([{"type": "start-step"}])
        yield step if self._is_started else start() + step
        try:
            for chunk in chunks:
                if data := _encode(message.add(chunk)):
                    yield data
        except WebsopyError:  # the tools may have run, and a page would wait for their results
            if data := _encode(message.add_results()):
                yield data
            raise
        yield _encode(message.end()) + END

    def failure(self, error: BaseException) -> bytes:
        """An `error` part, or an `abort` part when your program cancelled the answer."""
        text = public_error(error).message
        if isinstance(error, StreamCancelledError):
            return _encode([{"type": "abort", "reason": text}]) + END
        return ending(text)


def start(message_id: str = "") -> bytes:
    """The part `start`, with the message's id if the server has given it one."""
    return _encode([{"type": "start", **({"messageId": message_id} if message_id else {})}])


def ending(text: str) -> bytes:
    """The last parts of an answer that failed, with this text for the visitor."""
    return _encode([{"type": "error", "errorText": text}]) + END


def _encode(parts: Iterable[Part]) -> bytes:
    return b"".join(
        encode_json(json.dumps(part, ensure_ascii=False, separators=(",", ":"))) for part in parts
    )


class _Results:
    """The results of a run's tools; an answer that is no run has none."""

    def __init__(self, chunks: Iterable[StreamChunk]) -> None:
        self._run = chunks if isinstance(chunks, ToolRun) else None
        self._taken = len(self._all())  # the caller's own turns may have some

    def take(self, calls: int) -> list[str]:
        """The results of the next calls, as far as they are there."""
        new = self._all()[self._taken : self._taken + calls]
        self._taken += len(new)
        return new

    def _all(self) -> list[str]:
        turns = self._run.messages if self._run else []
        return [str(turn.get("content")) for turn in turns if turn.get("role") == "tool"]


class _Message:
    """The parts of one message, and which of them are still open."""

    def __init__(self, results: _Results, new_id: Callable[[], str]) -> None:
        self._results = results
        self._new_id = new_id
        self._ids: set[str] = set()
        self._calls: list[str] = []  # the ids of the tool calls in this step
        self._block = ""  # "text" or "reasoning" while one is open
        self._blocks = 0
        self._step_done = False
        self._done: list[DoneChunk] = []

    def add(self, chunk: StreamChunk) -> Iterator[Part]:
        """The parts of the next chunk; none of an error chunk, whose text is the service's own."""
        if isinstance(chunk, ErrorChunk | UnknownChunk):
            return
        if self._step_done:
            yield from self._end_step()
            yield {"type": "start-step"}
        if isinstance(chunk, ToolCallChunk):
            yield from self._end_block()
            yield self._call(chunk.tool)
        elif isinstance(chunk, DoneChunk):
            yield from self._end_block()
            self._done.append(chunk)
            self._step_done = True
        elif chunk.type == "content":
            yield from self._add_text("text", chunk.content)
        else:
            yield from self._add_text("reasoning", chunk.text)

    def end(self) -> Iterator[Part]:
        """The parts after the last chunk."""
        yield from self._end_step()
        reason = self._done[-1].finish_reason if self._done else None
        finish: Part = {"type": "finish", "finishReason": _REASONS.get(reason or "", "other")}
        usages = [done.usage for done in self._done if done.usage]
        if usages and len(usages) == len(self._done):
            finish["messageMetadata"] = {"usage": _total(usages)}
        yield finish

    def _add_text(self, block: str, text: str) -> Iterator[Part]:
        if not text:
            return
        if self._block != block:
            yield from self._end_block()
            self._block = block
            self._blocks += 1
            yield {"type": f"{block}-start", "id": str(self._blocks)}
        yield {"type": f"{block}-delta", "id": str(self._blocks), "delta": text}

    def _end_block(self) -> Iterator[Part]:
        if self._block:
            yield {"type": f"{self._block}-end", "id": str(self._blocks)}
            self._block = ""

    def add_results(self) -> Iterator[Part]:
        """The results of the last answer's tool calls, as far as they are there."""
        for call_id, result in zip(self._calls, self._results.take(len(self._calls)), strict=False):
            yield _result_part(call_id, result)
        self._calls = []

    def _end_step(self) -> Iterator[Part]:
        yield from self.add_results()
        self._step_done = False
        yield {"type": "finish-step"}

    def _call(self, call: ToolCall) -> Part:
        """A whole call. No `tool-input-start` precedes it: its arguments come in one piece."""
        known = call.id and call.id not in self._ids
        call_id = call.id if call.id and known else self._new_id()
        self._ids.add(call_id)
        self._calls.append(call_id)
        part = {"toolCallId": call_id, "toolName": call.name}
        arguments = read_json(call.arguments) if call.arguments.strip() else {}
        if isinstance(arguments, dict):
            return {"type": "tool-input-available", **part, "input": arguments}
        text = "The arguments could not be read."
        return {"type": "tool-input-error", **part, "input": call.arguments, "errorText": text}


def _result_part(call_id: str, result: str) -> Part:
    """What came of a call. Why it failed is for the model, and may name what is not public."""
    part = {"toolCallId": call_id}
    if result.startswith(FAILED):
        return {"type": "tool-output-error", **part, "errorText": "The tool failed."}
    if result.startswith(REFUSED):
        return {"type": "tool-output-error", **part, "errorText": "The call was refused."}
    value = read_json(result)
    output = value if isinstance(value, dict | list) else result
    return {"type": "tool-output-available", **part, "output": output}


def _total(usages: Iterable[Usage]) -> dict[str, int]:
    """The usage of all steps, in the AI SDK's names."""
    total = dict.fromkeys(("inputTokens", "outputTokens", "totalTokens"), 0)
    more = {"cachedInputTokens": 0, "reasoningTokens": 0}
    for usage in usages:
        total["inputTokens"] += usage.prompt_tokens
        total["outputTokens"] += usage.completion_tokens
        total["totalTokens"] += usage.total_tokens
        more["cachedInputTokens"] += usage.cached_tokens
        more["reasoningTokens"] += usage.reasoning_tokens
    return total | {name: count for name, count in more.items() if count}
