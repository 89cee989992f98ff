"""Ollama's own API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import DATA, STEPS, datas, play, shown
from tables import each

from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    ToolCall,
    ToolCallChunk,
    Usage,
)
from websopy_sync.errors import ConfigError
from websopy_sync.message import Message
from websopy_sync.sandbox.wires.ollama import OllamaService, OllamaWriter
from websopy_sync.wires import ChatRequest, FastReader
from websopy_sync.wires.base import chunks_of
from websopy_sync.wires.ollama import Ollama

WIRE = Ollama()


def line(**fields: Any) -> str:
    return json.dumps({"model": "m", "created_at": "now", **fields}) + "\n"


def say(content: str, **more: Any) -> str:
    return line(message={"role": "assistant", "content": content, **more}, done=False)


def end(content: str = "", reason: str | None = "stop", **more: Any) -> str:
    reasons = {} if reason is None else {"done_reason": reason}
    return line(message={"role": "assistant", "content": content}, done=True, **reasons, **more)


CALL = {"function": {"name": "f", "arguments": {"a": 1}}}

CASES: list[tuple[str, str, list[Any], str | None]] = [
    (
        "as documented",
        say("Hi") + end(prompt_eval_count=3, eval_count=4),
        [["content", "Hi"], ["done", ["stop", 7]]],
        None,
    ),
    ("the end of the bytes", say("Hi"), [["content", "Hi"]], "StreamInterruptedError"),
    (
        "a last line that is cut",
        say("Hi") + end()[:-1],
        [["content", "Hi"]],
        "StreamInterruptedError",
    ),
    ("nothing", "", [], "StreamInterruptedError"),
    (
        "calls in the last line",
        line(message={"content": "", "tool_calls": [CALL, CALL]}, done=True, done_reason="stop"),
        [["tool_call", ["f", '{"a": 1}', None]]] * 2 + [["done", ["stop", None]]],
        None,
    ),
    (
        "text and thinking in one line",
        say("Hi", thinking="hm") + end("!", None),
        [["reasoning", "hm"], ["content", "Hi"], ["content", "!"], ["done", [None, None]]],
        None,
    ),
    (
        "no counts for what was in a cache",
        say("Hi") + end(eval_count=4),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "an error in the middle",
        say("Hi") + line(error="boom"),
        [["content", "Hi"], ["error", ["boom", None]]],
        "StreamServerError",
    ),
    (
        "an error after half a pair",
        say("a\ud83d") + line(error="boom"),
        [["content", "a"], ["content", "\ufffd"], ["error", ["boom", None]]],
        "StreamServerError",
    ),
    (
        "halves of a pair over two lines",
        say("a\ud83d") + say("\ude00") + say("\ud83d") + end(),
        [["content", "a"], ["content", "😀"], ["content", "\ufffd"], ["done", ["stop", None]]],
        None,
    ),
    ("a line that is no object", say("Hi") + "[]\n", [["content", "Hi"]], "StreamProtocolError"),
    ("a content that is none", line(message={"content": 7}, done=False), [], "StreamProtocolError"),
    (
        "a call without a name",
        say("", tool_calls=[{"function": {"arguments": {}}}]),
        [],
        "StreamProtocolError",
    ),
    ("done that is only truthy", line(message={}, done=1), [], "StreamInterruptedError"),
    ("null everywhere", line(message=None) + end(), [["done", ["stop", None]]], None),
]


@each(("name", "stream", "chunks", "error"), CASES)
@each("step", STEPS)
def test_cases(name: str, stream: str, chunks: list[Any], error: str | None, step: int) -> None:
    """Read whole, in pieces and byte by byte; the fast path gives the same."""
    events = list(datas(WIRE, stream.encode(), step))
    read, failure = play(events, WIRE.reader())
    assert ([shown(chunk) for chunk in read], failure) == (chunks, error)
    assert play(events, FastReader(WIRE.reader, name="ollama")) == (read, failure)


@each("step", STEPS)
def test_recordings(step: int) -> None:
    """Text with characters that JSON escapes, and two tool calls whose arguments are objects."""
    plain, _ = play(datas(WIRE, (DATA / "ollama_plain.txt").read_bytes(), step), WIRE.reader())
    text = "".join(chunk.content for chunk in plain if isinstance(chunk, ContentChunk))
    assert text == 'Hello 世界, this is a plain answer with <b>tags</b> and "quotes".'
    assert plain[-1] == DoneChunk(Usage(0, 0), "stop", "llama3")
    assert plain[-1].extra.keys() >= {"total_duration", "eval_duration"}
    tool, _ = play(datas(WIRE, (DATA / "ollama_tool.txt").read_bytes(), step), WIRE.reader())
    calls = [chunk.tool for chunk in tool if isinstance(chunk, ToolCallChunk)]
    assert [(call.name, call.parse_arguments()) for call in calls] == [
        ("get_weather", {"city": "Paris", "unit": "C"}),
        ("get_time", {"city": "Paris"}),
    ]


def test_unknown_fields_are_kept() -> None:
    """PROMISE 47: log probabilities, say, come with their text."""
    reader = WIRE.reader()
    chunk = reader.read(say("Hi", images=["AA=="]).replace('"done"', '"logprobs": [1], "done"'))
    assert isinstance(chunk, ContentChunk) and chunk.extra == {"logprobs": [1], "images": ["AA=="]}
    text, last = chunks_of(reader.read(end("!", logprobs=[2])))
    assert isinstance(text, ContentChunk) and not text.extra
    assert isinstance(last, DoneChunk) and last.extra == {"logprobs": [2]}
    (last,) = chunks_of(reader.read(end(eval_count=4)))
    assert isinstance(last, DoneChunk) and (last.usage, last.extra) == (None, {"eval_count": 4})


_text = st.text(min_size=1)
_chunks = st.one_of(
    st.builds(ContentChunk, _text),
    st.builds(ReasoningChunk, _text),
    st.builds(
        lambda name, fields, id: ToolCallChunk(
            ToolCall(name, json.dumps(fields, ensure_ascii=False), id)
        ),
        _text,
        st.dictionaries(st.text(), st.integers() | st.text()),
        st.none() | _text,
    ),
    st.builds(
        DoneChunk,
        st.none() | st.builds(Usage, st.integers(0, 2**60), st.integers(0, 2**60)),
        st.none() | _text,
        st.none() | _text,
    ),
    st.builds(ErrorChunk, _text, st.none() | _text.filter(lambda code: code != "error")),
)


@given(st.lists(_chunks, max_size=6))
def test_what_a_server_writes_is_read_back(written: list[Any]) -> None:
    """The sandbox's writer and the reader agree."""
    writer, reader = OllamaWriter(), WIRE.reader()
    for chunk in written:
        (event,) = writer.write(chunk)
        read, _ = play([event.data], reader)
        assert read == [chunk]


# --- what is sent --------------------------------------------------------------------------------


def body_of(*turns: dict[str, Any], **fields: Any) -> Any:
    return json.loads(json.dumps(WIRE.body(ChatRequest(turns, **fields))))


@each(
    ("turn", "sent"),
    [
        ({"role": "user", "content": "x"}, {"role": "user", "content": "x"}),
        (
            Message("", (ToolCall("f", '{"a":1}', "c"), ToolCall("g", "no JSON"))).to_dict(),
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [CALL, {"function": {"name": "g", "arguments": {}}}],
            },
        ),
        (  # OpenAI's form
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": CALL["function"] | {"arguments": text},
                    }
                    for text in ('{"a":1}', "")
                ],
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [CALL, {"function": {"name": "f", "arguments": {}}}],
            },
        ),
        ({"role": "developer", "content": "x"}, {"role": "system", "content": "x"}),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
        ),
        (
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"},
            {"role": "tool", "tool_name": "f", "content": "1"},
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image", "media_type": "image/png", "data": "AA=="},
                    {"type": "text", "text": "b"},
                ],
            },
            {"role": "user", "content": "a\nb", "images": ["AA=="]},
        ),
    ],
)
def test_turns(turn: dict[str, Any], sent: dict[str, Any]) -> None:
    """PROMISE 48: in Ollama's form, and back in that of the package."""
    before = json.dumps(turn)
    body = body_of(turn)
    assert body["messages"] == [sent] and json.dumps(turn) == before
    assert isinstance(OllamaService().turns_in(body), list)


def test_body() -> None:
    """Parameters of the model are options; those of the request stand beside them."""
    tool = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    params = {"temperature": 0.5, "max_tokens": 9, "think": True, "options": {"top_k": 3}}
    body = body_of(
        {"role": "user", "content": "x"},
        model="m",
        tools=[tool],
        params=params,
        output_schema={"type": "object"},
    )
    assert body == {
        "messages": [{"role": "user", "content": "x"}],
        "model": "m",
        "stream": True,
        "tools": [{"type": "function", "function": tool}],
        "format": {"type": "object"},
        "think": True,
        "options": {"temperature": 0.5, "num_predict": 9, "top_k": 3},
    }
    turn = {"role": "user", "content": "x"}
    assert "options" not in body_of(turn)
    for stop, sent in (("x", ["x"]), (["x", "y"], ["x", "y"])):  # a list is wanted
        assert body_of(turn, params={"stop": stop})["options"] == {"stop": sent}
        assert body_of(turn, params={"options": {"stop": stop}})["options"] == {"stop": sent}


@each(
    ("part", "says"),
    [
        ({"type": "image", "url": "https://x/y.png"}, "'image'"),
        ({"type": "file", "name": "n", "media_type": "text/plain", "data": ""}, "'file'"),
    ],
)
def test_what_ollama_cannot_take(part: dict[str, Any], says: str) -> None:
    """An image needs its data, and there are no files."""
    with pytest.raises(ConfigError, match=says):
        body_of({"role": "user", "content": [part]})
    with pytest.raises(ConfigError, match="options: expected a dict, got int"):
        body_of({"role": "user", "content": "x"}, params={"options": 7})
