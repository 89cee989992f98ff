"""Anthropic Messages: what is read, what is sent, and what must be sent back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import DATA, STEPS, datas, play, shown
from tables import each

from websopy_sync import WebsopyClient
from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    Usage,
)
from websopy_sync.errors import ConfigError
from websopy_sync.message import Message, MessageBuilder
from websopy_sync.sandbox import Sandbox, done, error, expect_tool_result, say, think, tool
from websopy_sync.sandbox.wires.anthropic import AnthropicService, AnthropicWriter
from websopy_sync.wires import ChatRequest, FastReader
from websopy_sync.wires.anthropic import Anthropic
from websopy_sync.wires.openai import OpenAI
from websopy_sync.wires.websopy import Websopy

WIRE = Anthropic()
HIGH, LOW = chr(0xD83D), chr(0xDE00)


def event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def begin(**usage: Any) -> str:
    message = {"id": "msg_1", "model": "m", "role": "assistant", "content": [], "usage": usage}
    return event("message_start", message=message)


def start(index: int, kind: str, **fields: Any) -> str:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def delta(index: int, kind: str, name: str, piece: Any) -> str:
    return event("content_block_delta", index=index, delta={"type": kind, name: piece})


def text(piece: str, index: int = 0) -> str:
    return delta(index, "text_delta", "text", piece)


def thought(piece: str, index: int = 0) -> str:
    return delta(index, "thinking_delta", "thinking", piece)


def arguments(piece: str, index: int = 0) -> str:
    return delta(index, "input_json_delta", "partial_json", piece)


def signature(piece: str, index: int = 0) -> str:
    return delta(index, "signature_delta", "signature", piece)


def stop(index: int = 0) -> str:
    return event("content_block_stop", index=index)


def end(reason: str | None = "end_turn", **fields: Any) -> str:
    return event("message_delta", delta={"stop_reason": reason}, **fields)


STOP = event("message_stop")
DONE = ["done", ["stop", None]]

CALLER = {"type": "code_execution_20250825", "tool_id": "s"}
BEGUN = [{"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}, "caller": CALLER}]

CASES: list[tuple[str, str, list[Any], str | None]] = [
    (
        "two calls that the server leaves open",
        begin()
        + start(0, "tool_use", id="a", name="f")
        + start(1, "tool_use", id="b", name="g")
        + arguments("{}", 1)
        + end("tool_use")
        + STOP,
        [
            ["tool_call", ["f", "{}", "a"]],
            ["tool_call", ["g", "{}", "b"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "bytes that end after text",
        begin() + text("a"),
        [["content", "a"]],
        "StreamInterruptedError",
    ),
    (
        "bytes that end after a block",
        begin() + start(0, "text", text="") + text("a") + stop(),
        [["content", "a"]],
        "StreamInterruptedError",
    ),
    (
        "bytes that end within a tool call",
        begin() + start(0, "tool_use", id="c", name="f", input={}) + arguments('{"a"'),
        [],
        "StreamInterruptedError",
    ),
    ("no message_stop", begin() + text("a") + end(), [["content", "a"], DONE], None),
    (
        "no message_delta",
        begin() + text("a") + STOP,
        [["content", "a"], ["done", [None, None]]],
        None,
    ),
    (
        "tokens before the reason",
        begin(input_tokens=3) + text("a") + end(None, usage={"output_tokens": 2}) + text("b"),
        [["content", "a"], ["content", "b"]],
        "StreamInterruptedError",
    ),
    (
        "tokens within a call",
        start(0, "tool_use", id="a", name="f")
        + arguments("{")
        + end(None, usage={"output_tokens": 2})
        + arguments("}")
        + stop()
        + end("tool_use"),
        [["tool_call", ["f", "{}", "a"]], ["done", ["tool_calls", None]]],
        None,
    ),
    (
        "halves of pairs in two blocks",
        text("a" + HIGH) + stop() + start(1, "text") + text(LOW, 1) + end(),
        [["content", "a"], ["content", "\ufffd"], ["content", "\ufffd"], DONE],
        None,
    ),
    (
        "no blocks around the deltas",
        begin() + thought("hm") + text("a", 1) + end() + STOP,
        [["reasoning", "hm"], ["content", "a"], DONE],
        None,
    ),
    (
        "text that begins a block",
        start(0, "thinking", thinking="hm") + stop() + start(1, "text", text="a") + end() + STOP,
        [["reasoning", "hm"], ["content", "a"], DONE],
        None,
    ),
    (
        "interleaved calls",
        start(0, "tool_use", id="a", name="f", input={})
        + start(1, "tool_use", id="b", name="g", input={})
        + arguments("{", 0)
        + arguments('{"x":', 1)
        + arguments("}", 0)
        + arguments("1}", 1)
        + stop(1)
        + stop(0)
        + end("tool_use")
        + STOP,
        [
            ["tool_call", ["g", '{"x":1}', "b"]],
            ["tool_call", ["f", "{}", "a"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "calls without arguments, with them at the start, and without an end",
        start(0, "tool_use", id="a", name="f", input={})
        + arguments("")
        + stop()
        + start(1, "tool_use", id="b", name="g", input={"x": "世"})
        + stop(1)
        + start(2, "tool_use", id="c", name="h")
        + end("tool_use"),
        [
            ["tool_call", ["f", "{}", "a"]],
            ["tool_call", ["g", '{"x": "世"}', "b"]],
            ["tool_call", ["h", "{}", "c"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "one index for all blocks, without an end of each",
        start(0, "tool_use", id="a", name="f")
        + arguments("{}")
        + start(0, "tool_use", id="b", name="g")
        + arguments("[]")
        + STOP,
        [
            ["tool_call", ["f", "{}", "a"]],
            ["tool_call", ["g", "[]", "b"]],
            ["done", [None, None]],
        ],
        None,
    ),
    (
        "a call that the limit cut",
        start(0, "tool_use", id="a", name="f")
        + arguments('{"x')
        + stop()
        + end("max_tokens")
        + STOP,
        [["tool_call", ["f", '{"x', "a"]], ["done", ["length", None]]],
        None,
    ),
    ("a call without a name", start(0, "tool_use", id="a"), [], "StreamProtocolError"),
    ("arguments of no call", arguments("{}"), [], "StreamProtocolError"),
    ("text that is no text", delta(0, "text_delta", "text", ["a"]), [], "StreamProtocolError"),
    ("arguments that are no text", arguments({}), [], "StreamProtocolError"),  # type: ignore[arg-type]
    (
        "a delta that is a list",
        event("content_block_delta", delta=["a"]),
        [],
        "StreamProtocolError",
    ),
    (
        "a tool's input under the index of a text: the call would lack it",
        text("a") + start(1, "tool_use", id="c", name="f") + arguments("{}", 0) + stop(0) + stop(1),
        [["content", "a"]],
        "StreamProtocolError",
    ),
    ("an index that is a text", event("content_block_stop", index="0"), [], "StreamProtocolError"),
    ("no JSON", "data: {'a'}\n\n", [], "StreamProtocolError"),
    (
        "an error in the middle of a call: the call is not whole",
        begin()
        + text("a")
        + start(1, "tool_use", id="c", name="f")
        + arguments("{", 1)
        + event("error", error={"type": "overloaded_error", "message": "Overloaded"})
        + STOP,
        [["content", "a"], ["error", ["Overloaded", "overloaded_error"]]],
        "StreamServerError",
    ),
    (
        "an error without a type, after half of a pair",
        text("a" + HIGH) + 'data: {"error":"too long"}\n\n',
        [["content", "a"], ["content", "\ufffd"], ["error", ["too long", None]]],
        "StreamServerError",
    ),
    (
        "halves of pairs, over an event that says nothing",
        text(HIGH) + event("ping") + event("later") + text(LOW) + thought(HIGH) + stop() + end(),
        [["content", "😀"], ["reasoning", "\ufffd"], DONE],
        None,
    ),
    (
        "another message within one, as of a gateway that asked again: no text comes twice",
        begin()
        + text("a")
        + start(1, "tool_use", id="a", name="f")
        + arguments('{"x', 1)
        + begin().replace("msg_1", "msg_2")
        + text("a")
        + end()
        + STOP,
        [["content", "a"]],
        "StreamProtocolError",
    ),
    (
        "the same message begins twice, and one begins anew before its text",
        begin().replace("msg_1", "msg_0") + begin() + text("a") + begin() + end() + STOP,
        [["content", "a"], DONE],
        None,
    ),
    (
        "calls that the start of the message has, and what is none",
        event("message_start", message={"content": [*BEGUN, "x", {"type": "text", "text": "a"}]})
        + event("message_start", message={"content": "x"})
        + end("tool_use")
        + STOP,
        [["tool_call", ["f", '{"x": 1}', "c"]], ["done", ["tool_calls", None]]],
        None,
    ),
    (
        "unknown blocks, deltas and events, and a comment",
        begin()
        + ": hello\n\n"
        + start(0, "server_tool_use", id="s", name="web_search", input={})
        + arguments('{"query": "x"}')
        + stop()
        + start(1, "web_search_tool_result", tool_use_id="s", content=[{"url": "u"}])
        + stop(1)
        + delta(2, "later_delta", "x", 1)
        + event("later", x=1)
        + text("a", 3)
        + end("pause_turn"),
        [["content", "a"], ["done", ["pause_turn", None]]],
        None,
    ),
]


@each(("name", "stream", "chunks", "error"), CASES)
@each("step", STEPS)
def test_cases(name: str, stream: str, chunks: list[Any], error: str | None, step: int) -> None:
    """Read whole, in pieces and byte by byte; the fast path gives the same."""
    events = list(datas(WIRE, stream.encode(), step))
    read, failure = play(events, WIRE.reader())
    assert ([shown(chunk) for chunk in read], failure) == (chunks, error)
    assert play(events, FastReader(WIRE.reader, name="anthropic")) == (read, failure)


def message_in(stream: bytes, step: int = 7) -> Message:
    chunks, error = play(datas(WIRE, stream, step), FastReader(WIRE.reader, name="anthropic"))
    assert error is None
    builder = MessageBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.message


def test_a_ping_is_no_progress() -> None:
    """PROMISE 6: other events that say nothing are."""
    assert WIRE.reader().read('{"type": "ping"}') is None
    assert WIRE.reader().read('{"type": "later"}') == []


@each("step", STEPS)
def test_recordings(step: int) -> None:
    """A real server's answer, and a mock's text and tool calls."""
    real = message_in((DATA / "llama_anthropic_plain.txt").read_bytes(), step)
    assert real.content == "Hello, welcome to my little corner of the world."
    assert real.usage == Usage(36, 12, cached_tokens=35)
    assert (real.finish_reason, real.model, real.state) == ("stop", "smollm2", None)
    assert (real.id or "").startswith("chatcmpl-")
    plain = message_in((DATA / "anthropic_plain.txt").read_bytes(), step)
    assert plain.content == 'Hello 世界, this is a plain answer with <b>tags</b> and "quotes".'
    tools = message_in((DATA / "anthropic_tool.txt").read_bytes(), step)
    assert [(call.name, call.parse_arguments()) for call in tools.tool_calls] == [
        ("get_weather", {"city": "Paris", "unit": "C"}),
        ("get_time", {"city": "Paris"}),
    ]
    assert all((call.id or "").startswith("toolu_") for call in tools.tool_calls)


@each(
    ("sent", "read"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("", None),
    ],
)
def test_finish_reasons(sent: str, read: str | None) -> None:
    """PROMISE 47: the words of all services; another one as it was sent."""
    assert message_in((text("a") + end(sent) + STOP).encode()).finish_reason == read


CACHE = {"cache_read_input_tokens": 5, "cache_creation_input_tokens": 7}


@each(
    ("first", "last", "usage"),
    [
        ({"input_tokens": 3, "output_tokens": 1}, {"output_tokens": 9}, Usage(3, 9)),
        (
            {"input_tokens": 3, **CACHE, "output_tokens": 1},
            {"output_tokens": 9},
            Usage(15, 9, cached_tokens=5),
        ),
        (
            {"input_tokens": 0, "output_tokens": 0},
            {"input_tokens": 4, "output_tokens": 9},
            Usage(4, 9),
        ),
        ({"input_tokens": 3}, {"input_tokens": None, "output_tokens": 9}, Usage(3, 9)),
        ({"input_tokens": 3}, {"input_tokens": 0, "output_tokens": 9}, Usage(3, 9)),
        (
            {"input_tokens": 3},
            {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 6}},
            Usage(3, 9, reasoning_tokens=6),
        ),
        ({"input_tokens": 3, "output_tokens": 1}, {}, None),
        ({"output_tokens": 1}, {"output_tokens": 9}, None),
        ({"input_tokens": 3}, {"output_tokens": "9"}, None),
        ({"input_tokens": 3.5}, {"output_tokens": 9}, None),
        ({"input_tokens": 3, "cache_read_input_tokens": "5"}, {"output_tokens": 9}, Usage(3, 9)),
    ],
)
def test_usage(first: dict[str, Any], last: dict[str, Any], usage: Usage | None) -> None:
    """PROMISE 47: the last counts; what came from the cache and went into it is in the prompt."""
    assert message_in((begin(**first) + text("a") + end(usage=last)).encode()).usage == usage


def test_other_counts_and_fields_are_kept() -> None:
    """PROMISE 47: what this version does not know, and where an answer has it from."""
    citation = {"type": "page_location", "cited_text": "x"}
    stream = (
        begin(input_tokens=1, **CACHE, service_tier="standard", inference_geo=None)
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}, x=1)
        + delta(0, "citations_delta", "citation", citation)
        + event(
            "message_delta", delta={"stop_reason": "stop_sequence", "stop_sequence": "###"}, y=2
        )
    )
    first, last = play(datas(WIRE, stream.encode(), 7), WIRE.reader())[0]
    assert first.extra == {"x": 1}
    assert last.extra == {"stop_sequence": "###", "y": 2, "citations": [citation]}
    counted = message_in((stream + end(usage={"output_tokens": 2})).encode())
    assert counted.usage is not None
    assert counted.usage.details == {"cache_creation_input_tokens": 7, "service_tier": "standard"}


# --- state ---------------------------------------------------------------------------------------

SIGNED = {"type": "thinking", "thinking": "hm, 世", "signature": "abc"}
HIDDEN = {"type": "redacted_thinking", "data": "xyz"}
SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]}
TEXT, CALL = {"type": "text"}, {"type": "tool_use"}
THINKS = (
    start(0, "thinking", thinking="", signature="")
    + thought("hm, ")
    + thought("世")
    + signature("ab")
    + signature("c")
    + stop()
)


@each(
    ("stream", "blocks"),
    [
        (THINKS + start(1, "text", text="") + text("a", 1) + stop(1), [SIGNED, TEXT]),
        (start(0, "redacted_thinking", data="xyz") + stop() + text("a", 1), [HIDDEN]),
        (
            THINKS
            + start(1, "tool_use", id="c", name="f", input={})
            + arguments("{}", 1)
            + stop(1),
            [SIGNED, CALL],
        ),
        (
            start(0, "server_tool_use", id="s", name="web_search", input={})
            + arguments('{"query": "x"}')
            + stop()
            + start(1, "web_search_tool_result", tool_use_id="s", content=[{"url": "u"}])
            + stop(1)
            + start(2, "text", text="")
            + text("a", 2)
            + stop(2),
            [SEARCH, FOUND, TEXT],
        ),
        (start(0, "thinking") + signature("abc") + stop(), [{**SIGNED, "thinking": ""}]),
        (start(0, "thinking", thinking="") + thought("hm") + stop() + text("a", 1), None),
        (thought("hm, 世") + signature("abc") + text("a", 1), [SIGNED]),
        (start(0, "text", text="") + text("a") + stop(), None),
        (start(0, "later") + stop(), [{"type": "later"}]),
        (
            start(0, "compaction", content=None)
            + delta(0, "compaction_delta", "content", "so ")
            + delta(0, "compaction_delta", "content", None)
            + delta(0, "compaction_delta", "content", "far")
            + delta(0, "compaction_delta", "encrypted_content", "abc")
            + stop()
            + text("a", 1),
            [{"type": "compaction", "content": "so far", "encrypted_content": "abc"}],
        ),
        (
            start(0, "tool_use", id="c", name="f", caller=CALLER)
            + stop()
            + start(1, "tool_use", id="d", name="f", caller={"type": "direct"})
            + stop(1),
            [CALL | {"caller": CALLER}, CALL],
        ),
        (start(0, 7) + stop(), None),  # type: ignore[arg-type]
    ],
)
def test_what_must_be_sent_back(stream: str, blocks: list[Any] | None) -> None:
    """PROMISE 48: signed reasoning and the service's own blocks, in their order."""
    message = message_in((begin() + stream + end() + STOP).encode())
    assert message.state == (blocks and {"anthropic": {"blocks": blocks}})


A, C, D = (
    {"type": "text", "text": "a"},
    *({"type": "tool_use", "id": id, "name": "f", "input": {}} for id in "cd"),
)
CALLS = [{"name": "f", "arguments": "", "id": id} for id in "cd"]


@each(
    ("kept", "content", "calls", "blocks"),
    [
        ([SIGNED, TEXT, CALL], "a", CALLS[:1], [SIGNED, A, C]),
        ([SIGNED, CALL, SIGNED, CALL], "", CALLS, [SIGNED, C, SIGNED, D]),
        ([CALL | {"caller": CALLER}, CALL], "", CALLS, [C | {"caller": CALLER}, D]),
        ([SIGNED, CALL], "a", CALLS, [SIGNED, A, C, D]),  # text that no block had begun
        ([TEXT, SEARCH, FOUND, TEXT], "a", [], [SEARCH, FOUND, A]),
        ([SIGNED], "a", [], [SIGNED, A]),
        ([SIGNED, TEXT, CALL, CALL], "a", CALLS[:1], [SIGNED, A, C]),  # a call that a user took out
        ([SIGNED, TEXT], " ", [], [SIGNED]),
        ("no list", "a", [], "a"),
        ([7], "a", [], "a"),
    ],
)
def test_state_is_sent_back(kept: Any, content: str, calls: list[Any], blocks: Any) -> None:
    """PROMISE 48: in the order in which it came, around the text and the calls."""
    state = {"anthropic": {"blocks": kept}, "another": {"signature": "s3cret"}}
    turn = {"role": "assistant", "content": content, "tool_calls": calls, "state": state}
    before = json.dumps(turn)
    assert body_of(turn)["messages"] == [{"role": "assistant", "content": blocks}]
    assert json.dumps(turn) == before


def test_a_tool_loop_with_reasoning() -> None:
    """PROMISE 48: run and conversation send the signature back, also after save and load."""
    state = {"anthropic": {"blocks": [SIGNED, TEXT, CALL]}}

    def f() -> str:
        """Answer."""
        return "1"

    with Sandbox(wire="anthropic", pause=0) as service:
        with WebsopyClient(base_url=service.url, wire="anthropic", model="m", plugins=[]) as client:
            answer = [think("hm, 世"), say("a"), tool("f", {}, "c")]
            service.play([*answer, done(finish_reason="tool_calls", state=state)])
            service.play([expect_tool_result("f"), say("b"), done(finish_reason="stop")])
            run = client.ai.run("x", tools=[f])
            assert list(run)[-1].type == "done"
            service.play([say("c"), done(finish_reason="stop")])
            conversation = client.ai.conversation()
            conversation.messages += json.loads(json.dumps(run.messages))
            conversation.send("y").until_done()
            bodies = [request.json["messages"] for request in service.requests]
    result = {"type": "tool_result", "tool_use_id": "c", "content": "1"}
    sent = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [SIGNED, A, C]},
        {"role": "user", "content": [result]},
    ]
    assert bodies[1] == sent and bodies[2][:3] == sent


# --- what a server writes ------------------------------------------------------------------------

_text = st.text(min_size=1)
_reasons = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "pause_turn"])
_counts = st.integers(0, 2**60)
_usages = st.builds(
    lambda rest, cached, output, thinking: Usage(
        rest + cached, output, cached_tokens=cached, reasoning_tokens=thinking
    ),
    *[_counts] * 4,
)
_whole = st.lists(
    st.builds(ContentChunk, _text)
    | st.builds(ReasoningChunk, _text)
    | st.builds(ToolCallChunk, st.builds(ToolCall, _text, _text, _text)),
    max_size=6,
)
_ends = st.builds(DoneChunk, _usages, _reasons, _text, _text) | st.builds(
    ErrorChunk, _text, _text.filter(lambda code: code != "error")
)


@given(_whole, _ends)
def test_what_a_server_writes_is_read_back(written: list[StreamChunk], last: Any) -> None:
    """The sandbox's writer and the reader agree; the service always says usage, model and id."""
    writer = AnthropicWriter()
    writer.ending = last if isinstance(last, DoneChunk) else None
    events = [event.data for chunk in [*written, last] for event in writer.write(chunk)]
    assert play(events, WIRE.reader())[0] == [*written, last]
    assert play(events, FastReader(WIRE.reader, name="anthropic"))[0] == [*written, last]


# --- what is sent --------------------------------------------------------------------------------


def body_of(*turns: dict[str, Any], wire: Anthropic = WIRE, **fields: Any) -> Any:
    return json.loads(json.dumps(wire.body(ChatRequest(turns, **fields))))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def use(arguments: Any, id: str = "c") -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "f", "input": arguments}


def result(id: str, content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content}


def tool_turn(content: Any, id: str | None = "c", name: str = "f") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "name": name, "content": content}


IMAGE = {"type": "image", "media_type": "image/png", "data": "AA=="}
SENT_IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "AA=="},
}


@each(
    ("turns", "sent"),
    [
        ([user("x")], [user("x")]),
        ([Message("a").to_dict()], [{"role": "assistant", "content": "a"}]),
        (  # an image alone: the service refuses a text without anything in it
            [
                user([{"type": "text", "text": " "}, IMAGE]),
                tool_turn([{"type": "text", "text": ""}]),
            ],
            [user([SENT_IMAGE]), user([result("c", [])])],
        ),
        ([user("x"), Message("").to_dict(), user("y")], [user("x"), user("y")]),
        (
            [Message("a", (ToolCall("f", '{"x": 1}', "c"),)).to_dict(), tool_turn("1")],
            [answer(A, use({"x": 1})), user([result("c", "1")])],
        ),
        (
            [
                Message("", (ToolCall("f", "", "c"), ToolCall("f", "[1", "d"))).to_dict(),
                tool_turn("1"),
                tool_turn([{"type": "text", "text": "2"}, IMAGE], "d"),
                user("y"),
            ],
            [
                answer(use({}), use({"INVALID_JSON": "[1"}, "d")),
                user([result("c", "1"), result("d", [{"type": "text", "text": "2"}, SENT_IMAGE])]),
                user("y"),
            ],
        ),
        (  # calls of a service that gives no ids
            [
                user("x"),
                Message("", (ToolCall("f", "{}"), ToolCall("f", "{}"))).to_dict(),
                tool_turn("1", None),
                tool_turn("2", None),
            ],
            [
                user("x"),
                answer(use({}, "call_1_0"), use({}, "call_1_1")),
                user([result("call_1_0", "1"), result("call_1_1", "2")]),
            ],
        ),
        (  # the ids of another service
            [
                Message("", (ToolCall("f", "{}", "functions.f:0"),)).to_dict(),
                tool_turn("1", "functions.f:0"),
            ],
            [answer(use({}, "functions_f_0")), user([result("functions_f_0", "1")])],
        ),
        (  # results after each other's calls
            [
                Message("", (ToolCall("f", "{}", "c"),)).to_dict(),
                tool_turn("1"),
                Message("", (ToolCall("f", "[1]", "d"),)).to_dict(),
                tool_turn("2", "d"),
            ],
            [
                answer(use({})),
                user([result("c", "1")]),
                answer(use({"INVALID_JSON": "[1]"}, "d")),
                user([result("d", "2")]),
            ],
        ),
        (  # OpenAI's form
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
                }
            ],
            [answer(use({}))],
        ),
        ([answer(SIGNED, A, use({}))], [answer(SIGNED, A, use({}))]),  # Anthropic's own
        ([user([result("c", "1")])], [user([result("c", "1")])]),
        (
            [
                user(
                    [
                        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                        IMAGE,
                        {"type": "image", "url": "https://x/y.png"},
                        {
                            "type": "file",
                            "name": "n",
                            "media_type": "application/pdf",
                            "data": "AA==",
                        },
                        {"type": "file", "name": "n.csv", "media_type": "text/csv", "data": "5LiW"},
                        {"type": "file", "name": "n", "media_type": "image/png", "data": "AA=="},
                        SENT_IMAGE,
                    ]
                )
            ],
            [
                user(
                    [
                        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                        SENT_IMAGE,
                        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                        {
                            "type": "document",
                            "source": {
                                "type": "base64",
                                "media_type": "application/pdf",
                                "data": "AA==",
                            },
                            "title": "n",
                        },
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "世"},
                            "title": "n.csv",
                        },
                        SENT_IMAGE,
                        SENT_IMAGE,
                    ]
                )
            ],
        ),
    ],
)
def test_turns(turns: list[dict[str, Any]], sent: list[dict[str, Any]]) -> None:
    """PROMISE 48: in Anthropic's form, in which no text is empty and each result has its call."""
    before = json.dumps(turns)
    body = body_of(*turns)
    assert body["messages"] == sent and json.dumps(turns) == before
    assert isinstance(AnthropicService().turns_in(body), list)


@each(
    ("given", "turns", "system"),
    [
        (None, ["be brief"], "be brief"),
        (None, ["a", "b"], [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        ("a", ["b"], [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        ([A], [], [A]),
        (7, [], [7]),  # the service says what is wrong with it
        (None, [[{"type": "text", "text": "a"}]], [A]),
        (None, [""], None),
    ],
)
def test_system(given: Any, turns: list[Any], system: Any) -> None:
    """System turns stand apart, wherever they were."""
    told = [{"role": "system", "content": content} for content in turns]
    body = body_of(user("x"), *told, params={} if given is None else {"system": given})
    assert body["messages"] == [user("x")] and body.get("system") == system


def test_body() -> None:
    """A limit that the service asks for; tools and schema in its form; the rest goes through."""
    schema = {"type": "object"}
    known, own = {"name": "f", "description": "d"}, {"type": "web_search_20250305", "name": "w"}
    body = body_of(
        user("x"),
        model="m",
        tools=[{**known, "parameters": schema}, {**known, "input_schema": schema}, own],
        params={"top_k": 3, "output_config": {"effort": "low"}},
        output_schema=schema,
    )
    tool = {**known, "input_schema": schema}
    assert body == {
        "model": "m",
        "max_tokens": 4096,
        "stream": True,
        "messages": [user("x")],
        "tools": [tool, tool, own],
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
        "top_k": 3,
    }
    assert body_of(user("x"), params={"max_tokens": 9})["max_tokens"] == 9
    assert body_of(user("x"), wire=Anthropic(max_tokens=7))["max_tokens"] == 7
    for stop, sent in (("x", ["x"]), (["x", "y"], ["x", "y"])):
        assert body_of(user("x"), params={"stop": stop})["stop_sequences"] == sent
    config = {"output_config": {"effort": "low"}}
    assert body_of(user("x"), params=config)["output_config"] == config["output_config"]


@each(
    ("turn", "params", "says"),
    [
        (user("x"), {"n": 2}, "n: expected 1"),
        (
            user([{"type": "file", "name": "n", "media_type": "audio/wav", "data": "gA=="}]),
            {},
            "file: Anthropic takes PDF, text and images, got audio/wav",
        ),
        (
            user([{"type": "file", "name": "n", "media_type": "text/plain", "data": "AA=="}]),
            {},
            "got text/plain",
        ),
        (
            user([{"type": "file", "name": "n", "media_type": "text/plain", "data": 7}]),
            {},
            "got text/plain",
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": ["s3cret"]},
            {},
            "expected dicts, got str",
        ),
    ],
)
def test_what_anthropic_cannot_take(turn: dict[str, Any], params: Any, says: str) -> None:
    """A typed error, before anything is sent, that quotes no turn."""
    with pytest.raises(ConfigError, match=says) as caught:
        body_of(turn, params=params)
    assert "s3cret" not in str(caught.value) and caught.value.__context__ is None


def test_one_answer_is_not_asked_for() -> None:
    """The service refuses a parameter that it does not know."""
    assert "n" not in body_of(user("x"), params={"n": 1})


def test_what_another_service_takes_as_an_answer() -> None:
    """A conversation that Anthropic began goes on elsewhere, and the other way round."""
    state = {"anthropic": {"blocks": [SIGNED, TEXT, CALL]}}
    turn = Message("a", (ToolCall("f", "{}", "c"),), state=state).to_dict()
    for wire in (Websopy(), OpenAI()):
        sent = json.dumps(wire.body(ChatRequest([turn])))
        assert "abc" not in sent and "state" not in sent


def test_headers_of_a_request() -> None:
    """The key has its own header; the version of the interface and the request's id have theirs."""
    with Sandbox([say("a"), done(finish_reason="stop")], wire="anthropic") as service:
        with WebsopyClient("k3y", base_url=service.url, wire="anthropic", model="m") as client:
            client.ai.chat("x")
        (request,) = service.requests
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == "k3y"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers


# --- the service's own SDK as a client of the sandbox --------------------------------------------


@pytest.mark.slow
def test_the_sandbox_as_the_sdk_sees_it() -> None:
    """Anthropic's own SDK reads what the sandbox writes as this package does."""
    anthropic = pytest.importorskip("anthropic")
    state = {"anthropic": {"blocks": [SIGNED, TEXT, CALL]}}
    steps = [think("hm, "), think("世"), say("a "), say("😀"), tool("f", {"x": "世"}, "c")]
    ending = done(
        20, 150, finish_reason="tool_calls", model="m-1", cached=5, reasoning=7, state=state
    )
    with Sandbox(wire="anthropic", pause=0) as service:  # the SDK may send the key as Bearer, too
        url = service.url.removesuffix("/v1")
        schema = {"type": "object", "properties": {"x": {"type": "string"}}}
        tools = [{"name": "f", "description": "d", "input_schema": schema}]
        asked: dict[str, Any] = {"model": "m", "max_tokens": 9, "tools": tools, "system": "s"}
        with (
            anthropic.Anthropic(api_key="k3y", base_url=url, max_retries=0) as sdk,
            WebsopyClient("k3y", base_url=service.url, wire="anthropic", plugins=[]) as client,
        ):
            service.play([*steps, ending])
            with sdk.messages.stream(messages=[user("x")], **asked) as stream:
                theirs = stream.get_final_message()
            service.play([*steps, ending])
            ours = client.ai.chat(
                [{"role": "system", "content": "s"}, user("x")], model="m", tools=tools
            )
            turns = [user("x"), ours.to_dict(), tool_turn("1")]
            service.play([expect_tool_result("f", content="1"), say("b"), ending])
            sdk.messages.create(messages=body_of(*turns)["messages"], stream=True, **asked).close()
            service.play([error("Overloaded", "overloaded_error")])
            with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                with sdk.messages.stream(messages=[user("x")], **asked) as stream:
                    stream.until_done()
    blocks = [block.to_dict() for block in theirs.content]
    assert blocks == [
        SIGNED,
        {"type": "text", "text": ours.content},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"x": "世"}},
    ]
    assert body_of(ours.to_dict())["messages"] == [{"role": "assistant", "content": blocks}]
    assert (theirs.stop_reason, theirs.model, theirs.id) == ("tool_use", ours.model, ours.id)
    assert theirs.usage.output_tokens == 150 == ours.usage.completion_tokens
    assert theirs.usage.input_tokens + theirs.usage.cache_read_input_tokens == 20
    assert ours.usage == Usage(20, 150, cached_tokens=5, reasoning_tokens=7)
