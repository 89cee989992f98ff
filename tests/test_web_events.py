"""Chunks as the bytes of events: nothing that a model writes gets out of its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from web_bodies import asked, chunks_of, events_of

from websopy_sync import ToolRun, WebsopyClient
from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ReasoningChunk,
    ToolCall,
    ToolCallChunk,
    Usage,
)
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    chunk,
    cut,
    done,
    event,
    no_ids,
    say,
    silence,
    think,
    tool,
)
from websopy_sync.web import sse_body
from websopy_sync.web.events import events as encoded
from websopy_sync.wires.websopy import parse_chunk


def test_chunks_arrive_as_the_service_writes_them() -> None:
    """The browser reads what the service's own guide documents."""
    with asked(say("AI"), tool("search", '{"q":"猫"}'), done(20, 150)) as (stream, _):
        events = events_of(sse_body(stream))
    assert [event.event for event in events] == ["message"] * 3
    assert [json.loads(event.data) for event in events] == [
        {"type": "content", "content": "AI"},
        {"type": "tool_call", "tool": {"name": "search", "arguments": '{"q":"猫"}'}},
        {"type": "done", "usage": {"promptTokens": 20, "completionTokens": 150}},
    ]


def test_ids_count_from_one_whatever_the_service_called_its_events() -> None:
    """An id is ours, so that it can hold nothing; resuming in the browser can build on it."""
    with asked(say("a", id="evil"), no_ids(), say("b"), done()) as (stream, _):
        assert [event.id for event in events_of(sse_body(stream))] == ["1", "2", "3"]


SECRET = "trace of node 7"


@pytest.mark.parametrize(
    ("fields", "public"),
    [
        ({"type": "content", "content": "a"}, {}),
        ({"type": "reasoning", "content": "a"}, {}),
        ({"type": "tool_call", "tool": {"name": "f", "arguments": "{}", "id": "c"}}, {}),
        ({"type": "done", "finishReason": "length"}, {}),
        ({"type": "done", "finishReason": "the service's own"}, {}),
        (
            {
                "type": "done",
                "usage": {
                    "promptTokens": 1,
                    "completionTokens": 2,
                    "cachedTokens": 1,
                    "reasoningTokens": 2,
                },
            },
            {},
        ),
        ({"type": "done", "model": SECRET, "id": SECRET}, {"model": None, "id": None}),
    ],
    ids=lambda fields: fields.get("type"),
)
def test_a_browser_gets_the_known_fields(fields: dict[str, Any], public: dict[str, None]) -> None:
    """An unknown field may be the service's business, and the model's name is the operator's."""
    inside = {"internal": SECRET, "route": {"host": SECRET}}
    sent = {**fields, **inside}
    for name in ("tool", "usage"):
        if name in fields:
            sent[name] = {**fields[name], **inside}
    with asked(event(json.dumps(sent)), done()) as (stream, _):
        data = b"".join(sse_body(stream))
    expected = {name: value for name, value in fields.items() if name not in public}
    assert json.loads(events_of([data])[0].data) == expected
    assert SECRET not in data.decode() and "internal" not in data.decode()


def test_state_is_left_out() -> None:
    """What the service must get back comes from the server's own memory, not from a page."""
    (data,) = encoded([DoneChunk(Usage(1, 2), "stop", state={"w": {"signature": SECRET}})])
    assert json.loads(events_of([data])[0].data) == {
        "type": "done",
        "usage": {"promptTokens": 1, "completionTokens": 2},
        "finishReason": "stop",
    }


def test_unknown_chunks_are_left_out() -> None:
    """Nobody knows what they are for. The ids of the others count on without them."""
    with asked(say("a"), chunk("debug", {"trace": SECRET}), say("b"), done()) as (stream, _):
        events = events_of(sse_body(stream))
    assert [json.loads(event.data)["type"] for event in events] == ["content", "content", "done"]
    assert [event.id for event in events] == ["1", "2", "3"]


def fast(q: str) -> str:
    """A tool."""
    return q.upper()


@contextmanager
def running(*scripts: Steps, **options: Any) -> Iterator[tuple[ToolRun, Sandbox]]:
    """A run with a tool, whose answers these are, and the service."""
    with (
        Sandbox() as sandbox,
        WebsopyClient("test", base_url=sandbox.url, max_retries=0, plugins=[]) as client,
    ):
        for script in scripts:
            sandbox.play(script)
        yield client.ai.run("Hi", tools=[fast], **options), sandbox


CALLING = [say("Let me see. "), tool("fast", {"q": "a"}, "c"), done(1, 2)]


def test_a_run_has_one_end() -> None:
    """The page stops at a done chunk, so that only the last answer's is sent."""
    with running(CALLING, CALLING, [say("A"), done(3, 4, finish_reason="stop")]) as (run, _):
        events = events_of(sse_body(run))
    chunks = [parse_chunk(event.data) for event in events]
    kinds = ["content", "tool_call", "content", "tool_call", "content", "done"]
    assert [chunk.type for chunk in chunks] == kinds
    assert chunks[-1] == DoneChunk(Usage(3, 4), "stop")
    assert [event.id for event in events] == ["1", "2", "3", "4", "5", "6"]


def test_a_run_that_fails_has_no_end_but_its_error() -> None:
    """Between two answers, or because there were too many."""
    for options in ({"max_turns": 1}, {"max_turns": 2}):
        with running(CALLING, [say("half"), cut()], **options) as (run, _):
            events = events_of(sse_body(run))
        kinds = [json.loads(event.data)["type"] for event in events]
        assert "done" not in kinds and kinds[-1] == "error"


def test_a_browser_that_leaves_ends_the_run() -> None:
    """In its second answer, at the service."""
    with running(CALLING, [say("half"), silence()]) as (run, sandbox), sse_body(run) as body:
        seen = b""
        while b"half" not in seen:
            seen += next(body)
        body.close()
        assert sandbox.wait_disconnect(timeout=1.0)
        assert run.turn == 2


def test_tool_calls_that_nobody_runs_have_their_end() -> None:
    """The last answer may be one of tool calls."""
    with asked(say("a"), tool("f", "{}"), done(finish_reason="tool_calls")) as (stream, _):
        assert chunks_of(sse_body(stream))[-1] == DoneChunk(finish_reason="tool_calls")


INJECTIONS = [
    "a\rb",
    "a\nb",
    "a\r\n\r\nb",
    "\n\ndata: forged\n\n",
    "\r\rid: 99\r\revent: error\rdata: {}\r\r",
    "data: x",
    "id: 7",
    "event: error",
    "retry: 1",
    ": comment",
    "\u2028data: forged\u2028\u2028",
    "\u2029",
    "\x85\x0b\x0c\x1c\x1d\x1e",
    "</script><script>alert(1)</script>",
    "<!-- <script>",
    "]]>&amp;&lt;",
    "\0",
    "a\0b",
    "\ufeffBOM",
    "\x1b]0;owned\x07",
    '"},{"type":"error"',
    "\\u003c\\n",
    "中文 🌱 👩‍👩‍👧",
    "\u202eright to left",
    "",
]


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_no_text_becomes_anything_but_itself(text: str) -> None:
    """Nothing the model writes can end a line, an event or a script."""
    with asked(say(text), done()) as (stream, _):
        data = b"".join(sse_body(stream))
    assert chunks_of([data]) == [ContentChunk(text), DoneChunk()]
    assert [event.id for event in events_of([data])] == ["1", "2"]
    assert not set("<>&\u2028\u2029\0\r") & set(data.decode())
    assert data.decode().count("\n") == 3 * 2  # id, data, blank: one line each


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_no_other_field_becomes_anything_but_itself(text: str) -> None:
    """The same for reasoning, tool calls and why the answer ended."""
    script = think(text), tool(text, text, text), done(finish_reason=text or None)
    with asked(*script) as (stream, _):
        data = b"".join(sse_body(stream))
    assert chunks_of([data]) == [
        ReasoningChunk(text),
        ToolCallChunk(ToolCall(text, text, text)),
        DoneChunk(finish_reason=text or None),
    ]
    assert not set("<>&\u2028\u2029\0\r") & set(data.decode())


def test_half_a_surrogate_pair_does_not_break_the_answer() -> None:
    """JSON can name what UTF-8 cannot hold."""
    half = '{"type": "tool_call", "tool": {"name": "\\ud83d", "arguments": ""}}'
    with asked(event(half), done()) as (stream, _):
        first = events_of(sse_body(stream))[0]
    assert json.loads(first.data)["tool"]["name"] == "\ufffd"
