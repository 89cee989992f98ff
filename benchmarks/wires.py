"""The same texts as the events of three services: Websopy's, OpenAI's and Anthropic's.

Knows nothing of HTTP: events come out as bytes, how they are framed is the server's business.
The two others are rendered as their API references show a streamed answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import cycle, islice

__all__ = ["WIRES", "Wire", "texts"]

TEXTS = (
    "AI", " 正在", "改变", "世界", "。", " It", " reads", " what", " we", " write", ",", " 并且",
    "回答", "我们的", " questions", ".\n",
)  # fmt: skip
"""One round of an answer's pieces, about as long as tokens are; half of them are not ASCII."""


def texts(count: int) -> list[str]:
    """The pieces that an answer of `count` chunks is made of, in order."""
    return list(islice(cycle(TEXTS), count))


@dataclass(frozen=True)
class Wire:
    """How one service writes an answer: events before, around and after each text."""

    head: tuple[bytes, ...]
    before: bytes
    after: bytes
    tail: tuple[bytes, ...]

    def event(self, text: str) -> bytes:
        """One piece of text as an event."""
        return self.before + json.dumps(text, ensure_ascii=False)[1:-1].encode() + self.after


def _event(fields: object, name: str = "") -> bytes:
    data = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def _around(event: bytes) -> tuple[bytes, bytes]:
    before, _, after = event.partition(b"TEXT")
    return before, after


def _websopy() -> Wire:
    before, after = _around(_event({"type": "content", "content": "TEXT"}))
    usage = {"promptTokens": 20, "completionTokens": 150}
    return Wire((), before, after, (_event({"type": "done", "usage": usage}),))


def _openai_chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {
        "index": 0,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish_reason,
    }
    return _event(
        {
            "id": "chatcmpl-123",
            "object": "chat.completion.chunk",
            "created": 1694268190,
            "model": "gpt-4o-mini",
            "system_fingerprint": "fp_44709d6fcb",
            "choices": [choice],
        }
    )


def _openai() -> Wire:
    before, after = _around(_openai_chunk({"content": "TEXT"}))
    head = _openai_chunk({"role": "assistant", "content": ""})
    return Wire((head,), before, after, (_openai_chunk({}, "stop"), b"data: [DONE]\n\n"))


def _anthropic_event(name: str, **fields: object) -> bytes:
    return _event({"type": name, **fields}, name)


def _anthropic() -> Wire:
    message: dict[str, object] = {
        "id": "msg_123",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-opus-4-6",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": 1},
    }
    delta = {"type": "text_delta", "text": "TEXT"}
    before, after = _around(_anthropic_event("content_block_delta", index=0, delta=delta))
    block = {"type": "text", "text": ""}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return Wire(
        (
            _anthropic_event("message_start", message=message),
            _anthropic_event("content_block_start", index=0, content_block=block),
            _anthropic_event("ping"),
        ),
        before,
        after,
        (
            _anthropic_event("content_block_stop", index=0),
            _anthropic_event("message_delta", delta=end, usage={"output_tokens": 150}),
            _anthropic_event("message_stop"),
        ),
    )


WIRES = {"websopy": _websopy(), "openai": _openai(), "anthropic": _anthropic()}
"""Each service's wire by its name."""
