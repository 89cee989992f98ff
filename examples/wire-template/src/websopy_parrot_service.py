"""The server's side of Parrot, for tests: `Sandbox(wire=ParrotService())` plays it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from websopy_parrot import REASONS, Parrot

from websopy_sync import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCallChunk,
)
from websopy_sync.sandbox.wires import Service, Writer, WrittenEvent

WORDS = {ours: parrots for parrots, ours in REASONS.items()}


class ParrotService(Service):
    """A Parrot server."""

    wire = Parrot()

    def writer(self) -> Writer:
        """A new writer, for one response."""
        return ParrotWriter()

    def turns_in(self, body: Mapping[str, Any]) -> object:
        """The turns of a request, as websopy-sync has them."""
        return [turn_of(line) for line in body["turns"]]


def turn_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """A turn as websopy-sync has it."""
    turn = {"role": line["who"], "content": line["says"]}
    if "calls" in line:
        turn["tool_calls"] = line["calls"]
    if "ref" in line:
        turn["tool_call_id"] = line["ref"]
    return turn


class ParrotWriter(Writer):
    """Writes the chunks of one response, each in a line."""

    def write(self, chunk: StreamChunk) -> Sequence[WrittenEvent]:
        """The line of a chunk."""
        line: dict[str, Any]
        match chunk:
            case ContentChunk():
                line = {"kind": "text", "text": chunk.content}
            case ReasoningChunk():
                line = {"kind": "thought", "text": chunk.text}
            case ToolCallChunk(tool=call):
                given = json.loads(call.arguments or "{}")
                line = {"kind": "call", "tool": call.name, "input": given, "ref": call.id}
            case ErrorChunk():
                line = {"kind": "problem", "message": chunk.message, "code": chunk.code}
            case DoneChunk():
                why = chunk.finish_reason or "stop"
                line = {"kind": "end", "why": WORDS.get(why, why), "model": chunk.model}
                if chunk.usage:
                    counts = chunk.usage
                    line["tokens"] = {"in": counts.prompt_tokens, "out": counts.completion_tokens}
            case _:
                return ()
        return [WrittenEvent(json.dumps(line))]
