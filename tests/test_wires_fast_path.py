"""The fast path around a reader gives what the reader gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import cases, datas, play
from tables import each

from websopy_sync.chunks import ContentChunk, DoneChunk
from websopy_sync.errors import StreamProtocolError
from websopy_sync.wires import FastReader, Reader, Wire
from websopy_sync.wires.anthropic import Anthropic, AnthropicReader
from websopy_sync.wires.base import ReadResult
from websopy_sync.wires.gemini import GeminiReader
from websopy_sync.wires.openai import OpenAI, OpenAIReader
from websopy_sync.wires.responses import ResponsesReader
from websopy_sync.wires.websopy import Websopy, WebsopyReader

HIGH, LOW = chr(0xD83D), chr(0xDE00)

_texts = st.lists(st.sampled_from(["a", " 世", "😀", '"', "\\", "\n", HIGH, LOW, ""]), max_size=4)


def websopy(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "content", "content": text, **more}


def openai(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": 0, "delta": {"content": text, **more}}], "model": "m"}


def anthropic(text: str, **more: Any) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": text, **more}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def responses(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": 0, "delta": text, **more}


def gemini(text: str, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": text, **more}]}}]}


def other_events(wire: str) -> list[dict[str, Any]]:
    """Events between the texts that are no plain text."""
    if wire == "responses":
        item = {"type": "message", "content": [{"text": "hm" + HIGH}]}
        return [
            {"type": "response.output_text.done", "output_index": 0, "text": "hm"},
            {"type": "response.output_text.done", "output_index": 1, "text": "hm" + HIGH},
            {"type": "response.output_item.done", "item": item},
            {"type": "response.reasoning_text.delta", "delta": HIGH},
        ]
    if wire == "gemini":
        call = {"functionCall": {"name": "f"}, "thoughtSignature": "s"}
        parts = [call, {"text": HIGH, "thought": True}, {"text": "", "thoughtSignature": "s"}]
        return [{"candidates": [{"content": {"parts": [part]}}]} for part in parts]
    if wire == "websopy":
        return [
            {"type": "reasoning", "content": "hm" + HIGH},
            {"type": "tool_call", "tool": {"name": "f", "arguments": "{}"}},
            {"type": "ping"},
        ]
    if wire == "anthropic":
        block = {"type": "tool_use", "id": "c", "name": "f"}
        return [
            {"type": "content_block_start", "index": 1, "content_block": block},
            {"type": "content_block_stop", "index": 1},
            {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": HIGH}},
            {"type": "ping"},
        ]
    call = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
    deltas = ({"reasoning": "hm" + HIGH}, {"tool_calls": [call]}, {"role": "assistant"})
    return [{"choices": [{"delta": delta}]} for delta in deltas]


WIRES = {
    "websopy": (websopy, WebsopyReader),
    "openai": (openai, OpenAIReader),
    "anthropic": (anthropic, AnthropicReader),
    "responses": (responses, ResponsesReader),
    "gemini": (gemini, GeminiReader),
}


@given(st.data())
@pytest.mark.parametrize("wire", WIRES)
def test_any_stream_reads_the_same(wire: str, data: st.DataObject) -> None:
    """PROMISE 14: halves of pairs, padding, odd white space and other events included."""
    shape, make = WIRES[wire]
    event = st.one_of(
        st.builds(lambda parts: shape("".join(parts)), _texts),
        st.builds(
            lambda parts, pad: shape("".join(parts), pad=pad), _texts, st.sampled_from(["x", "yy"])
        ),
        st.sampled_from(other_events(wire)),
    )
    written = st.builds(
        lambda fields, ascii, space: json.dumps(fields, ensure_ascii=ascii) + space,
        event,
        st.booleans(),
        st.sampled_from(["", "", " "]),
    )
    # A half that is no escape cannot come: the bytes were decoded as UTF-8.
    events = [
        text.encode("utf-8", "replace").decode()
        for text in data.draw(st.lists(written, max_size=12))
    ]
    events *= data.draw(st.integers(1, 3))
    plain, fast = make(), FastReader(make, name=wire)
    for text in events:
        one, other = plain.read(text), fast.read(text)
        assert _with_extra(one) == _with_extra(other)
    assert plain.done == fast.done


def _with_extra(result: ReadResult) -> Any:
    chunks = result if isinstance(result, list | tuple) else [result]
    return type(result), [(chunk, chunk and chunk.extra) for chunk in chunks]


class Counting:
    """A reader that counts what reaches it."""

    done: DoneChunk | None = None
    reads = 0

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def read(self, data: str) -> ReadResult:
        Counting.reads += 1
        return self._reader.read(data)


@each("ascii", [False, True])
@each("wire", [Websopy(), OpenAI(), Anthropic()])
def test_the_reader_sees_the_first_text_only(
    wire: Wire, ascii: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the first text, and once for the probe; the rest is read without it."""
    monkeypatch.setattr(Counting, "reads", 0)
    shape, _ = WIRES[wire.name]
    fast = FastReader(lambda: Counting(wire.reader()), name=wire.name)
    texts = ["世", "a", " b", '"\\\n', "\u2028"]
    read = [fast.read(json.dumps(shape(text), ensure_ascii=ascii)) for text in texts]
    assert read == [ContentChunk(text) for text in texts]
    assert Counting.reads == 2


def test_padding_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that never sends the same JSON twice costs no probe for ever."""
    monkeypatch.setattr(Counting, "reads", 0)
    fast = FastReader(lambda: Counting(OpenAIReader()), name="openai")
    for number in range(500):
        fields = openai("a") | {"obfuscation": "x" * (number % 97) + str(number)}
        assert fast.read(json.dumps(fields)) == ContentChunk("a")
    assert Counting.reads == 600


def test_unknown_fields_are_not_passed_over() -> None:
    """PROMISE 47: an event with a field that is kept is read by the reader each time."""
    fast = FastReader(WebsopyReader, name="websopy")
    for _ in range(3):
        chunk = fast.read(json.dumps(websopy("a", index=0)))
        assert isinstance(chunk, ContentChunk) and chunk.extra == {"index": 0}


class Broken:
    done: DoneChunk | None = None

    def read(self, data: str) -> ReadResult:
        raise LookupError(data)


def test_what_a_reader_raises() -> None:
    """PROMISE 13: it comes out as StreamProtocolError, without the data."""
    with pytest.raises(StreamProtocolError, match="wire 'x': its reader raised LookupError") as e:
        FastReader(Broken, name="x").read("s3cret")
    assert "s3cret" not in str(e.value)
    assert e.value.__cause__ is None and e.value.__context__ is None


class Odd:
    """Returns what the test says, and may have a property that raises."""

    def __init__(self, result: Any) -> None:
        self._result = result

    @property
    def done(self) -> DoneChunk | None:
        if self._result == "done":
            raise LookupError("s3cret")
        return None

    def read(self, data: str) -> ReadResult:
        result: ReadResult = () if self._result == "done" else self._result
        return result


@each("result", ["text", ["text"], [ContentChunk("x"), None], 7, {"type": "content"}, "done"])
def test_what_is_no_chunk(result: Any) -> None:
    """PROMISE 13: a reader that returns anything else is a fault with the wire's name."""
    with pytest.raises(StreamProtocolError, match="wire 'x': its reader") as caught:
        FastReader(lambda: Odd(result), name="x").read("s3cret")
    assert "s3cret" not in str(caught.value)


class NoProbes:
    """A reader that takes words only, and no text of one control character."""

    done: DoneChunk | None = None

    def read(self, data: str) -> ReadResult:
        text = json.loads(data)
        if not text.isprintable():
            raise LookupError(text)
        return ContentChunk(text)


def test_a_reader_that_does_not_like_the_probe() -> None:
    """PROMISE 13: what only the probe does to a reader is nothing to the user."""
    fast = FastReader(NoProbes, name="x")
    assert [fast.read('"a"'), fast.read('"b"')] == [ContentChunk("a"), ContentChunk("b")]


@each("case", cases("openai"))
def test_cases(case: dict[str, Any]) -> None:
    """What compatible servers send reads the same on the fast path."""
    wire, stream = OpenAI(), case["stream"].encode()
    events = list(datas(wire, stream, 10**6)) * 2  # so that something is learned
    assert play(events, wire.reader()) == play(events, FastReader(wire.reader, name="openai"))
