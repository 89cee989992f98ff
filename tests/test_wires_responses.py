"""OpenAI Responses."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import DATA, STEPS, datas, play, shown
from tables import each

from websopy_sync import Conversation, StreamProtocolError, WebsopyClient
from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
)
from websopy_sync.errors import ConfigError
from websopy_sync.message import Message
from websopy_sync.sandbox import Sandbox, done, expect_tool_result, say, think, tool
from websopy_sync.sandbox.turn_check import turns_problem
from websopy_sync.sandbox.wires.responses import ResponsesService, ResponsesWriter
from websopy_sync.wires import ChatRequest, FastReader, find_wire
from websopy_sync.wires.responses import Responses

WIRE = Responses()


def event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def said(delta: str, index: int = 0) -> str:
    return event("response.output_text.delta", output_index=index, content_index=0, delta=delta)


def item(kind: str, index: int = 0, **fields: Any) -> str:
    return event(f"response.output_item.{kind}", output_index=index, item=fields)


def said_whole(text: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def end(status: str = "completed", **fields: Any) -> str:
    return event(f"response.{status}", response={"status": status, **fields})


CALL = {"type": "function_call", "call_id": "c", "name": "f"}
REFUSAL = {"type": "refusal", "refusal": "no"}
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}

CASES: list[tuple[str, str, list[Any], str | None]] = [
    (
        "as documented",
        event("response.created", response={"id": "r"})
        + said("Hi")
        + event("response.output_text.done", output_index=0, content_index=0, text="Hi")
        + item("done", type="message", content=[{"type": "output_text", "text": "Hi"}])
        + end(usage=USAGE),
        [["content", "Hi"], ["done", ["stop", 7]]],
        None,
    ),
    ("the end of the bytes", said("Hi"), [["content", "Hi"]], "StreamInterruptedError"),
    (
        "the end of the bytes after a whole item",
        said("Hi") + item("done", type="message"),
        [["content", "Hi"]],
        "StreamInterruptedError",
    ),
    ("nothing", "", [], "StreamInterruptedError"),
    (
        "text that comes once, as a whole",
        event("response.output_text.done", output_index=0, content_index=0, text="Hi") + end(),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "text in items only, of which no piece came",
        item("done", 0, **said_whole("Hi"))
        + item("done", 1, **said_whole(" you"))
        + end(output=[said_whole("Hi"), said_whole(" you")]),
        [["content", "Hi"], ["content", " you"], ["done", ["stop", None]]],
        None,
    ),
    (
        "text in pieces, and in items under other places",
        event("response.output_text.delta", delta="Hi")
        + item("done", 1, **said_whole("Hi"))
        + end(output=[said_whole("Hi")]),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "an item without its text, which comes with the end",
        item("done", 0, type="message", content=[]) + end(output=[said_whole("Hi")]),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "the end as OpenRouter names it",
        said("Hi") + event("response.done", response={"status": "completed"}),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a response that was cancelled",
        said("Hi") + event("response.cancelled", response={"status": "cancelled"}),
        [["content", "Hi"], ["error", ["the service gave no reason", "cancelled"]]],
        "StreamServerError",
    ),
    (
        "a failed response without an error, in the event of a complete one",
        said("Hi") + event("response.completed", response={"status": "failed"}),
        [["content", "Hi"], ["error", ["the service gave no reason", "failed"]]],
        "StreamServerError",
    ),
    (
        "pieces that each have another index, as of vLLM",
        "".join(
            event("response.output_text.delta", output_index=0, content_index=index, delta=text)
            for index, text in enumerate(("H", "i"))
        )
        + event("response.output_text.done", output_index=0, content_index=2, text="Hi")
        + item("done", 0, **said_whole("Hi"))
        + end(output=[said_whole("Hi")]),
        [["content", "H"], ["content", "i"], ["done", ["stop", None]]],
        None,
    ),
    (
        "two parts of one message that come as a whole, and then the message",
        event("response.output_text.done", output_index=0, content_index=0, text="H")
        + event("response.output_text.done", output_index=0, content_index=1, text="i")
        + item("done", 0, **said_whole("Hi"))
        + end(output=[said_whole("Hi")]),
        [["content", "H"], ["content", "i"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a piece without text, and then all of it",
        said("")
        + event("response.output_text.done", output_index=0, content_index=0, text="Hi")
        + end(),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "two texts whose pieces come in turn",
        said("a")
        + said("b", 1)
        + event("response.output_text.done", output_index=0, content_index=0, text="a")
        + event("response.output_text.done", output_index=1, content_index=0, text="b")
        + end(),
        [["content", "a"], ["content", "b"], ["done", ["stop", None]]],
        None,
    ),
    (
        "interleaved calls",
        item("added", 0, **CALL, arguments="")
        + item("added", 1, **CALL | {"call_id": "d", "name": "g"}, arguments="")
        + event("response.function_call_arguments.delta", output_index=1, delta="[]")
        + event("response.function_call_arguments.delta", output_index=0, delta="{}")
        + item("done", 0, **CALL, arguments="{}")
        + item("done", 1, **CALL | {"call_id": "d", "name": "g"}, arguments="[]")
        + end(),
        [
            ["tool_call", ["f", "{}", "c"]],
            ["tool_call", ["g", "[]", "d"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "a call that comes with the end only, after one that came before",
        item("added", 0, **CALL, arguments="")
        + item("done", 0, **CALL, arguments="{}")
        + item("added", 1, **CALL, arguments="")
        + end(output=[{**CALL, "arguments": "{}"}, {**CALL, "call_id": "d", "arguments": "[]"}]),
        [
            ["tool_call", ["f", "{}", "c"]],
            ["tool_call", ["f", "[]", "d"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "of two calls the second comes before the end, which has both",
        item("added", 0, **CALL, arguments="")
        + item("added", 1, **CALL | {"call_id": "d"}, arguments="")
        + item("done", 1, **CALL | {"call_id": "d"}, arguments="[]")
        + end(output=[CALL | {"arguments": "{}"}, CALL | {"call_id": "d", "arguments": "[]"}]),
        [
            ["tool_call", ["f", "[]", "d"]],
            ["tool_call", ["f", "{}", "c"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    *(
        (
            "arguments that the whole item lacks",
            item("added", 0, **CALL, id="x", arguments="")
            + event("response.function_call_arguments.done", **place, arguments='{"a": 1}')
            + item("done", 0, **CALL, id="x", arguments=None).replace('"output_index": 0, ', index)
            + end(),
            [["tool_call", ["f", '{"a": 1}', "c"]], ["done", ["tool_calls", None]]],
            None,
        )
        for place, index in (
            ({"output_index": 0, "item_id": "y"}, '"output_index": 0, '),
            ({"item_id": "x"}, ""),
        )
    ),
    (
        "a call of which is said twice that it begins",
        item("added", 0, **CALL, id="x", arguments="") * 2
        + event("response.function_call_arguments.done", output_index=0, arguments={})
        + item("done", 0, **CALL, id="x", arguments={})
        + end(),
        [["tool_call", ["f", "{}", "c"]], ["done", ["tool_calls", None]]],
        None,
    ),
    (
        "an error that is none, in each event",
        event("response.created", error=None) + said("Hi") + end(),
        [["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "a call that began and never came as a whole",
        item("added", 0, **CALL, arguments="") + end(output=[]),
        [],
        "StreamProtocolError",
    ),
    (
        "calls that are whole but for their items, as of SGLang's router",
        item("added", 0, **CALL, id="x", arguments="")
        + item("added", 1, **CALL | {"call_id": "d"}, id="y", arguments="")
        + event("response.function_call_arguments.done", output_index=1, arguments="[]")
        + event("response.function_call_arguments.done", output_index=0, arguments="{}")
        + end(output=[{"type": "message", "content": [{"type": "text", "text": ""}]}]),
        [
            ["tool_call", ["f", "{}", "c"]],
            ["tool_call", ["f", "[]", "d"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "of two calls one was not whole",
        item("added", 0, **CALL, arguments="")
        + item("added", 1, **CALL | {"call_id": "d"}, arguments="")
        + event("response.function_call_arguments.done", output_index=1, arguments="[]")
        + end(),
        [],
        "StreamProtocolError",
    ),
    (
        "a call that was cut with the response",
        item("added", 0, **CALL, arguments="") + end("incomplete", output=[]),
        [["done", ["length", None]]],
        None,
    ),
    (
        "text under another id in each event",
        event("response.output_text.delta", item_id="a", output_index=0, content_index=0, delta="H")
        + event(
            "response.output_text.delta", item_id="b", output_index=0, content_index=0, delta="i"
        )
        + event(
            "response.output_text.done", item_id="c", output_index=0, content_index=0, text="Hi"
        )
        + end(),
        [["content", "H"], ["content", "i"], ["done", ["stop", None]]],
        None,
    ),
    (
        "parts that only their ids tell apart",
        event("response.output_text.delta", item_id="a", delta="H")
        + event("response.output_text.done", item_id="b", text="i")
        + end(),
        [["content", "H"], ["content", "i"], ["done", ["stop", None]]],
        None,
    ),
    (
        "all of the response in its last event",
        end(
            output=[
                {"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "Hi"}, REFUSAL]},
                CALL | {"arguments": "{}"},
            ]
        ),
        [
            ["content", "Hi"],
            ["content", "no"],
            ["tool_call", ["f", "{}", "c"]],
            ["done", ["tool_calls", None]],
        ],
        None,
    ),
    (
        "a call that is whole in the last event only",
        said("Hi")
        + item("added", **CALL, arguments="")
        + event("response.function_call_arguments.delta", output_index=0, delta="{}")
        + end(
            output=[
                {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
                CALL | {"arguments": "{}"},
            ]
        ),
        [["content", "Hi"], ["tool_call", ["f", "{}", "c"]], ["done", ["tool_calls", None]]],
        None,
    ),
    (
        "what has come is not taken again",
        said("Hi")
        + item("done", **CALL, arguments="{}")
        + end(
            output=[
                {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
                CALL | {"arguments": "{}", "call_id": "another"},
            ]
        ),
        [["content", "Hi"], ["tool_call", ["f", "{}", "c"]], ["done", ["tool_calls", None]]],
        None,
    ),
    (
        "an incomplete response without a reason",
        said("Hi") + end("incomplete", incomplete_details=None),
        [["content", "Hi"], ["done", ["length", None]]],
        None,
    ),
    (
        "an incomplete response in the event of a complete one",
        said("Hi") + event("response.completed", response={"status": "incomplete"}),
        [["content", "Hi"], ["done", ["length", None]]],
        None,
    ),
    (
        "a failed response in the event of a complete one",
        said("Hi")
        + event("response.completed", response={"status": "failed", "error": {"message": "m"}}),
        [["content", "Hi"], ["error", ["m", None]]],
        "StreamServerError",
    ),
    (
        "an output that is no list",
        said("Hi") + end(output={}),
        [["content", "Hi"]],
        "StreamProtocolError",
    ),
    (
        "a call that is cut",
        item("added", **CALL, arguments="")
        + event("response.function_call_arguments.delta", output_index=0, delta='{"a"'),
        [],
        "StreamInterruptedError",
    ),
    (
        "reasoning, its summary, and a refusal",
        event("response.reasoning_text.delta", delta="hm")
        + event("response.reasoning_summary_text.delta", delta=" so")
        + event("response.refusal.delta", delta="I will not")
        + end(),
        [
            ["reasoning", "hm"],
            ["reasoning", " so"],
            ["content", "I will not"],
            ["done", ["stop", None]],
        ],
        None,
    ),
    (
        "reasoning in items only, of which no piece came",
        item("done", type="reasoning", summary=[{"type": "summary_text", "text": "h"}])
        + item("done", 1, type="reasoning", content=[{"text": "m"}], summary=None)
        + said("Hi", 2)
        + end(output=[{"type": "reasoning", "summary": [{"text": "h"}]}]),
        [["reasoning", "h"], ["reasoning", "m"], ["content", "Hi"], ["done", ["stop", None]]],
        None,
    ),
    (
        "reasoning in pieces, and in its item",
        event("response.reasoning_text.delta", delta="hm")
        + item("done", type="reasoning", content=[{"text": "hm"}])
        + end(),
        [["reasoning", "hm"], ["done", ["stop", None]]],
        None,
    ),
    *(
        (
            f"cut by its length: {reason}",
            said("Hi") + end("incomplete", incomplete_details={"reason": reason}),
            [["content", "Hi"], ["done", ["length", None]]],
            None,
        )
        for reason in ("max_output_tokens", "max_tokens")
    ),
    (
        "cut by a filter",
        said("Hi") + end("incomplete", incomplete_details={"reason": "content_filter"}),
        [["content", "Hi"], ["done", ["content_filter", None]]],
        None,
    ),
    (
        "failed",
        said("Hi") + end("failed", error={"code": "server_error", "message": "boom"}),
        [["content", "Hi"], ["error", ["boom", "server_error"]]],
        "StreamServerError",
    ),
    (
        "an error event",
        said("Hi") + event("error", code="rate_limit", message="boom", param=None),
        [["content", "Hi"], ["error", ["boom", "rate_limit"]]],
        "StreamServerError",
    ),
    (
        "an error without a type",
        'data: {"error":{"message":"boom","code":503}}\n\n',
        [["error", ["boom", "503"]]],
        "StreamServerError",
    ),
    (
        "halves of a pair over two events",
        said("a\ud83d") + said("\ude00") + said("\ud83d") + end(),
        [["content", "a"], ["content", "😀"], ["content", "\ufffd"], ["done", ["stop", None]]],
        None,
    ),
    (
        "events that are not known",
        event("response.new", x=1) + end(),
        [["done", ["stop", None]]],
        None,
    ),
    (
        "a delta that is none",
        event("response.output_text.delta", delta=7),
        [],
        "StreamProtocolError",
    ),
    ("no object", "data: []\n\n", [], "StreamProtocolError"),
    ("a call without a name", item("done", type="function_call"), [], "StreamProtocolError"),
    (
        "counts that are none",
        end(usage={**USAGE, "input_tokens": None}),
        [["done", ["stop", None]]],
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
    assert play(events, FastReader(WIRE.reader, name="responses")) == (read, failure)


@each("step", STEPS)
def test_recordings(step: int) -> None:
    """Text with characters that JSON escapes, and two tool calls in pieces."""
    plain, _ = play(datas(WIRE, (DATA / "responses_plain.txt").read_bytes(), step), WIRE.reader())
    text = "".join(chunk.content for chunk in plain if isinstance(chunk, ContentChunk))
    assert text == 'Hello 世界, this is a plain answer with <b>tags</b> and "quotes".'
    done = plain[-1]
    assert isinstance(done, DoneChunk) and done.finish_reason == "stop"
    assert done.model == "gpt-5" and (done.id or "").startswith("resp-")
    tool, _ = play(datas(WIRE, (DATA / "responses_tool.txt").read_bytes(), step), WIRE.reader())
    calls = [chunk.tool for chunk in tool if isinstance(chunk, ToolCallChunk)]
    assert [(call.name, call.parse_arguments()) for call in calls] == [
        ("get_weather", {"city": "Paris", "unit": "C"}),
        ("get_time", {"city": "Paris"}),
    ]
    assert all((call.id or "").startswith("call_") for call in calls)


def test_arguments_count_once() -> None:
    """The arguments come in their own event and in the whole item. They count once."""
    reader, arguments = WIRE.reader(), json.dumps({"a": "x" * 100_000})
    whole = event("response.function_call_arguments.done", output_index=0, arguments=arguments)
    for data in datas(WIRE, f"{whole}{item('done', **CALL, arguments=arguments)}".encode(), 10**6):
        reader.read(data)
    assert getattr(reader, "held", None) == 0


def test_where_an_answer_has_it_from() -> None:
    """PROMISE 47: its sources are kept, and count for `max_answer_size`."""
    reader, note = WIRE.reader(), {"type": "url_citation", "url": "https://x/\ud83d", "title": "y"}
    for size in (100_000, 200_000):
        data = {"type": "response.output_text.annotation.added", "annotation": note}
        reader.read(json.dumps(data | {"annotation": note | {"title": "x" * 100_000}}))
        assert getattr(reader, "held", 0) > size - 65_536
    stream = said("Hi") + event("response.output_text.annotation.added", annotation=note)
    chunks, _ = play(datas(WIRE, f"{stream}{end()}".encode(), 7), WIRE.reader())
    last = chunks[-1]
    assert isinstance(last, DoneChunk)
    assert last.extra == {"annotations": [note | {"url": "https://x/\ufffd"}]}


@each("came", ["done", "added"])
def test_sources_that_only_the_items_name(came: str) -> None:
    """PROMISE 47: some servers send no event for each."""
    notes = [{"type": "url_citation", "url": f"https://x/{name}"} for name in "abc"]
    items = [
        {"type": "message", "content": [{"type": "output_text", "text": "H", "annotations": each}]}
        for each in (notes[:2], notes[2:], None)
    ]
    stream = said("H") + "".join(item(came, **fields) for fields in items) + end(output=items)
    chunks, _ = play(datas(WIRE, stream.encode(), 1000), WIRE.reader())
    assert chunks[-1].extra == {"annotations": notes}


def test_log_probabilities() -> None:
    """PROMISE 47: those of a piece come with it."""
    piece = {"type": "response.output_text.delta", "delta": "Hi"}
    for sent, extra in (([{"token": "Hi"}], {"logprobs": [{"token": "Hi"}]}), ([], {})):
        chunk = WIRE.reader().read(json.dumps(piece | {"logprobs": sent}))
        assert chunk == ContentChunk("Hi") and chunk.extra == extra


@each(
    "kind",
    [
        "response.image_generation_call.partial_image",
        "response.audio.delta",
        "response.audio.transcript.delta",
    ],
)
def test_pieces_of_sound_and_images(kind: str) -> None:
    """PROMISE 47: they come as they are."""
    chunk = WIRE.reader().read(json.dumps({"type": kind, "x": "\ud83d"}))
    assert chunk == UnknownChunk(kind, {"type": kind, "x": "\ufffd"})  # type: ignore[arg-type]


@each("came", [True, False])
def test_items_of_other_kinds(came: bool) -> None:
    """PROMISE 47: what the service's own tools did, and calls of custom tools, come once each."""
    items = [
        {"type": "image_generation_call", "id": "ig", "result": "AA=="},
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x\ud83d"},
    ]
    stream = "".join(item("done", **fields) for fields in items if came) + end(output=items)
    chunks, error = play(datas(WIRE, stream.encode(), 7), WIRE.reader())
    assert error is None and [chunk.type for chunk in chunks] == [
        *(i["type"] for i in items),
        "done",
    ]
    call = chunks[1]
    assert isinstance(call, UnknownChunk) and call.data == items[1] | {"input": "x\ufffd"}


# --- state ---------------------------------------------------------------------------------------

SECRET = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"}
OTHER = SECRET | {"id": "rs_2", "encrypted_content": "def"}
SEARCH = {"type": "web_search_call", "id": "ws", "action": {"query": "x"}}
FOUND = {"type": "tool_search_call", "id": "ts"}
NAMESPACE = {"namespace": "n"}
TEXT, PLACE = {"type": "message"}, {"type": "function_call"}


@each(
    ("stream", "items"),
    [
        (item("done", **SECRET) + said("a") + item("done", **TEXT), [SECRET, TEXT]),
        (
            item("added", **SECRET | {"encrypted_content": "a"})  # may not be whole there
            + item("done", **SECRET, status="completed", content=[])  # not taken back
            + item("done", 1, **CALL, arguments="{}")
            + item("done", 2, **OTHER)
            + item("done", 3, **CALL, arguments="{}"),
            [SECRET, PLACE, OTHER, PLACE],
        ),
        (
            item("done", type="reasoning", encrypted_content="abc"),
            [{"type": "reasoning", "summary": [], "encrypted_content": "abc"}],
        ),
        (item("done", **SECRET | {"encrypted_content": None}) + said("a"), None),
        (item("done", **SECRET | {"encrypted_content": ""}) + said("a"), None),  # llama.cpp
        (item("done", **SECRET | {"encrypted_content": 7}) + said("a"), None),
        (item("done", type=7), None),
        (  # the service's own tools; a custom one would have to have a result
            item("done", **SECRET)
            + item("done", **SEARCH)
            + item("done", type="custom_tool_call")
            + item("done", **TEXT),
            [SECRET, SEARCH, TEXT],
        ),
        (
            item("done", **TEXT, phase="commentary")
            + item("done", **FOUND)
            + item("done", **FOUND, execution="server")
            + item("done", **CALL, arguments="{}", namespace="n", caller=None),
            [TEXT | {"phase": "commentary"}, FOUND | {"execution": "server"}, PLACE | NAMESPACE],
        ),
        (item("done", **SEARCH) + said("a") + item("done", **TEXT), None),
        (said("a") + item("done", **TEXT), None),
    ],
)
def test_what_must_be_sent_back(stream: str, items: list[Any] | None) -> None:
    """PROMISE 48: encrypted reasoning, and the places of text and tool calls around it."""
    chunks, _ = play(datas(WIRE, (stream + end()).encode(), 1000), WIRE.reader())
    last = chunks[-1]
    assert isinstance(last, DoneChunk) and last.state == (items and {"responses": {"items": items}})


OUTPUT: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs_0", "summary": []},  # nothing to send back
    SECRET,
    TEXT | {"content": [{"type": "output_text", "text": "a"}]},
    OTHER,
    CALL | {"arguments": "{}"},
]


@each(
    ("came", "items"),
    [
        ("", [SECRET, TEXT, OTHER, PLACE]),
        (item("done", **SECRET), [SECRET, TEXT, OTHER, PLACE]),
        ("".join(item("done", **done) for done in OUTPUT), [SECRET, TEXT, OTHER, PLACE]),
    ],
)
def test_reasoning_that_comes_with_the_end(came: str, items: list[Any]) -> None:
    """Some servers send items only in the event that ends the response."""
    stream = said("a") + came + end(output=OUTPUT)
    chunks, _ = play(datas(WIRE, stream.encode(), 1000), WIRE.reader())
    assert [chunk.type for chunk in chunks] == ["content", "tool_call", "done"]
    last = chunks[-1]
    assert isinstance(last, DoneChunk) and last.state == {"responses": {"items": items}}


def said_before(text: str) -> dict[str, Any]:
    """An answer as it is sent, without its id."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "status": "completed", "role": "assistant", "content": [part]}


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items, each message without its id."""
    return [
        {
            name: value
            for name, value in item.items()
            if name != "id" or item.get("type") != "message"
        }
        for item in items
    ]


A = said_before("a")
C, D = ({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"} for id in "cd")
CALLS = [{"name": "f", "arguments": "{}", "id": id} for id in "cd"]
EARLY, LATE = ({"type": "message", "phase": phase} for phase in ("commentary", "final_answer"))


@each(
    ("kept", "content", "calls", "sent"),
    [
        ([SECRET, TEXT, PLACE], "a", CALLS[:1], [SECRET, A, C]),
        ([SECRET, SEARCH, TEXT], "a", [], [SECRET, SEARCH, A]),
        ([SECRET, PLACE, OTHER, PLACE], "", CALLS, [SECRET, C, OTHER, D]),
        ([SECRET, TEXT, OTHER, PLACE], "a", CALLS[:1], [SECRET, A, OTHER, C]),
        ([SECRET, PLACE], "a", CALLS[:1], [SECRET, A, C]),
        ([EARLY, PLACE | NAMESPACE], "a", CALLS[:1], [A | EARLY, C | NAMESPACE]),
        ([EARLY, SEARCH, LATE], "a", [], [SEARCH, A | LATE]),
        # the service refuses reasoning that nothing follows
        ([SECRET, TEXT, OTHER], "a", [], [SECRET, A]),
        ([SECRET, TEXT, OTHER, PLACE], "a", [], [SECRET, A]),  # a call that the user took out
        ([SECRET], "", [], [said_before("")]),
        ("no list", "a", [], [A]),
    ],
)
def test_state_is_sent_back(kept: Any, content: str, calls: list[Any], sent: Any) -> None:
    """PROMISE 48: in the order in which it came, around the text and the calls."""
    state = {"responses": {"items": kept}, "another": {"signature": "s3cret"}}
    turn = {"role": "assistant", "content": content, "tool_calls": calls, "state": state}
    before = json.dumps(turn)
    assert without_ids(body_of(turn)["input"]) == sent
    assert json.dumps(turn) == before


def test_a_tool_loop_with_reasoning(tmp_path: Path) -> None:
    """PROMISE 48: run and conversation send the reasoning back, also after save and load."""
    state = {"responses": {"items": [SECRET, TEXT, OTHER, PLACE]}}

    def f() -> str:
        """Answer."""
        return "1"

    with Sandbox(wire="responses", pause=0) as service:
        options: dict[str, Any] = {"base_url": service.url, "model": "m", "plugins": []}
        with WebsopyClient(wire="responses", **options) as client:
            answer = [think("hm"), say("a"), tool("f", {}, "c")]
            service.play([*answer, done(finish_reason="tool_calls", state=state)])
            service.play([expect_tool_result("f"), say("b"), done(finish_reason="stop")])
            asked = {"include": ["reasoning.encrypted_content"], "store": False}
            run = client.ai.run("x", tools=[f], **asked)
            assert list(run)[-1].type == "done"
            service.play([say("c"), done(finish_reason="stop")])
            conversation = client.ai.conversation()
            conversation.messages += json.loads(json.dumps(run.messages))
            conversation.save(tmp_path / "chat.json")
            Conversation.load(tmp_path / "chat.json", client).send("y").until_done()
            bodies = [request.json for request in service.requests]
    assert all(body["include"] == asked["include"] for body in bodies[:2])
    assert "include" not in bodies[2]  # models that do not reason refuse it
    result = {"type": "function_call_output", "call_id": "c", "output": "1"}
    sent = [{"role": "user", "content": "x"}, SECRET, A, OTHER, C, result]
    assert without_ids(bodies[1]["input"]) == sent
    assert bodies[2]["input"][:6] == bodies[1]["input"]
    (turn,) = (turn for turn in run.messages if "state" in turn)
    for wire in ("openai", "anthropic", "gemini", "ollama", "websopy"):
        elsewhere = json.dumps(find_wire(wire).body(ChatRequest([turn], model="m")))
        assert "abc" not in elsewhere and '"f"' in elsewhere


@each("kind", ["keepalive", "ping"])
def test_pings(kind: str) -> None:
    """They are no progress; any other event is."""
    reader = WIRE.reader()
    assert reader.read(json.dumps({"type": kind})) is None
    assert reader.read('{"type": "response.in_progress"}') is not None


def test_reasoning_without_end() -> None:
    """PROMISE 16: what goes back is held in memory, so it counts for `max_answer_size`."""
    secret = SECRET | {"encrypted_content": "x" * 1000}
    with Sandbox(wire="responses", pause=0) as service:
        state = {"responses": {"items": [secret] * 100}}
        service.play([say("a"), done(finish_reason="stop", state=state)])
        with WebsopyClient(base_url=service.url, wire="responses", plugins=[]) as client:
            with pytest.raises(StreamProtocolError, match="too large"):
                client.ai.chat("x", model="m", max_answer_size=20_000)


# --- what a service writes -----------------------------------------------------------------------

_text = st.text(min_size=1)
_counts = st.integers(0, 2**60)
_chunks = st.one_of(
    st.builds(ContentChunk, _text),
    st.builds(ReasoningChunk, _text),
    st.builds(ToolCallChunk, st.builds(ToolCall, _text, st.text(), st.none() | _text)),
)
_ends = st.one_of(
    st.builds(
        DoneChunk,
        st.none()
        | st.builds(Usage, _counts, _counts, cached_tokens=_counts, reasoning_tokens=_counts),
        st.sampled_from(["length", "content_filter"]),
        st.none() | _text,
        st.none() | _text,
    ),
    st.builds(ErrorChunk, _text, st.none() | _text.filter(lambda code: code != "error")),
)


def _kinds(written: list[Any]) -> list[str]:
    """The kinds of the items that chunks become."""
    kinds = {ContentChunk: "message", ReasoningChunk: "reasoning", ToolCallChunk: "function_call"}
    each = itertools.groupby(written, lambda chunk: kinds[type(chunk)])
    return [kind for kind, run in each for _ in (run if kind == "function_call" else [0])]


@given(st.lists(_chunks, max_size=6), _ends, st.integers(0, 7))
def test_what_a_service_writes_is_read_back(written: list[Any], last: Any, at: int) -> None:
    """The sandbox's writer and the reader agree, also on reasoning that has no text."""
    items: list[dict[str, Any]] = [{"type": kind} for kind in _kinds(written)]
    items = [SECRET if item["type"] == "reasoning" else item for item in items]
    items.insert(at, OTHER)
    writer = ResponsesWriter()
    if isinstance(last, DoneChunk):
        last = attrs.evolve(last, state={"responses": {"items": items}})
        writer.ending = last
    events = [event.data for chunk in [*written, last] for event in writer.write(chunk)]
    read, _ = play(events, WIRE.reader())
    assert read == [*written, last]


# --- what is sent --------------------------------------------------------------------------------


def body_of(*turns: dict[str, Any], **fields: Any) -> Any:
    return json.loads(json.dumps(WIRE.body(ChatRequest(turns, **fields))))


def test_a_tool_turn() -> None:
    """PROMISE 48: calls and results are items of their own, and become turns again."""
    turns = [
        {"role": "user", "content": "x"},
        Message("a", (ToolCall("f", "{}", "c"), ToolCall("g", "[]", "d"))).to_dict(),
        {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"},
        {"role": "tool", "tool_call_id": "d", "name": "g", "content": "2"},
    ]
    body = body_of(*turns)
    assert without_ids(body["input"]) == [
        {"role": "user", "content": "x"},
        A,
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "d", "name": "g", "arguments": "[]"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "function_call_output", "call_id": "d", "output": "2"},
    ]
    read = ResponsesService().turns_in(body)
    assert not turns_problem(read) and isinstance(read, list) and len(read) == 4


def test_ids_of_answers() -> None:
    """PROMISE 48: vLLM refuses an answer without an id; that of the user's stays."""
    turn = Message("a").to_dict()
    first, second, own = body_of(turn, turn, turn | {"id": "mine", "status": "incomplete"})["input"]
    assert body_of(turn)["input"] == [first]
    assert first["id"].startswith("msg_") and first["id"] != second["id"]
    assert own == A | {"id": "mine", "status": "incomplete"}


def test_calls_of_another_service() -> None:
    """PROMISE 48: one that gives no ids, and no text for arguments of which there are none."""
    call = Message("", (ToolCall("f", ""),)).to_dict()
    result = {"role": "tool", "tool_call_id": None, "name": "f", "content": "1"}
    asked, told = body_of(call, result)["input"]
    assert asked["call_id"] == told["call_id"] == "call_0_0" and asked["arguments"] == "{}"
    call = Message("", (ToolCall("f", "{}", "c" * 65), ToolCall("f", "{}", "d" * 64))).to_dict()
    long, short, told = body_of(call, result | {"tool_call_id": "c" * 65})["input"]
    assert long["call_id"] == told["call_id"] and len(long["call_id"]) <= 64
    assert short["call_id"] == "d" * 64


def test_a_tool_turn_without_text() -> None:
    """An answer that is only calls has no message."""
    (sent,) = body_of(Message("", (ToolCall("f", "{}", "c"),)).to_dict())["input"]
    assert sent["type"] == "function_call"


def test_parts() -> None:
    """In the service's form, for both sides of the conversation; what is in it already stays."""
    parts = [
        {"type": "text", "text": "x"},
        {"type": "image", "media_type": "image/png", "data": "AA=="},
        {"type": "image", "url": "https://x/y.png", "detail": "low"},
        {"type": "file", "name": "n", "media_type": "text/plain", "data": "AA=="},
        {"type": "input_audio", "x": 1},
    ]
    (user, model, result) = body_of(
        {"role": "user", "content": parts},
        {"role": "assistant", "content": parts[:1]},
        {"role": "tool", "tool_call_id": "c", "content": parts},
    )["input"]
    assert (
        user["content"]
        == result["output"]
        == [
            {"type": "input_text", "text": "x"},
            {
                "type": "input_image",
                "image_url": "data:image/png;base64,AA==",
                "detail": "auto",
            },
            {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
            {"type": "input_file", "filename": "n", "file_data": "data:text/plain;base64,AA=="},
            {"type": "input_audio", "x": 1},
        ]
    )
    assert model["content"] == said_before("x")["content"]


def test_body() -> None:
    """Streaming; tools and schema in the service's form; other parameters go through."""
    tool = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    turn = {"role": "user", "content": "x"}
    body = body_of(
        turn,
        model="m",
        tools=[tool, {"type": "web_search"}],
        params={"max_tokens": 9, "reasoning": {"effort": "low"}},
        output_schema={"type": "object"},
    )
    assert body == {
        "input": [turn],
        "model": "m",
        "stream": True,
        "tools": [{"type": "function", **tool}, {"type": "web_search"}],
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}},
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
    }


def test_a_schema_beside_the_users_text() -> None:
    """How long an answer may be says nothing of its form; what the user says of that counts."""
    turn, schema = {"role": "user", "content": "x"}, {"type": "object"}
    text = body_of(turn, params={"text": {"verbosity": "low"}}, output_schema=schema)["text"]
    form = {"type": "json_schema", "name": "answer", "schema": schema}
    assert text == {"format": form, "verbosity": "low"}
    own = {"format": {"type": "text"}}
    assert body_of(turn, params={"text": own}, output_schema=schema)["text"] == own
    assert body_of(turn, params={"text": own})["text"] == own


def test_several_answers_are_refused() -> None:
    """A message is one answer, which is not asked for: the service refuses the parameter."""
    with pytest.raises(ConfigError, match="n: expected 1"):
        body_of({"role": "user", "content": "x"}, params={"n": 2})
    assert "n" not in body_of({"role": "user", "content": "x"}, params={"n": 1})


# --- the service's own SDK as a client of the sandbox --------------------------------------------


@pytest.mark.slow
def test_the_sandbox_as_the_sdk_sees_it() -> None:
    """OpenAI's own SDK reads what the sandbox writes as this package does, and sends it back."""
    openai = pytest.importorskip("openai")
    state = {"responses": {"items": [SECRET, TEXT, OTHER, PLACE]}}
    steps = [think("hm"), say("a "), say("😀"), tool("f", {"x": "世"}, "c")]
    ending = done(20, 150, finish_reason="tool_calls", model="m-1", answer_id="r", state=state)
    asked: dict[str, Any] = {"model": "m", "store": False}
    result = {"type": "function_call_output", "call_id": "c", "output": "1"}
    with Sandbox(wire="responses", pause=0) as service:
        with openai.OpenAI(api_key="k3y", base_url=service.url, max_retries=0) as sdk:
            service.play([*steps, ending])
            with sdk.responses.stream(input="x", **asked) as stream:
                theirs = stream.get_final_response()
            items = [item.to_dict() for item in theirs.output]
            service.play([expect_tool_result("f", content="1"), say("b"), ending])
            back = [{"role": "user", "content": "x"}, *items, result]
            assert sdk.responses.create(input=back, stream=True, **asked)
        with WebsopyClient("k3y", base_url=service.url, wire="responses", plugins=[]) as client:
            service.play([*steps, ending])
            ours = client.ai.chat("x", **asked)
    sent = body_of(ours.to_dict())["input"]
    assert [item["type"] for item in items] == [item["type"] for item in sent]
    assert [item for item in sent if item["type"] == "reasoning"] == [SECRET, OTHER]
    assert [item.encrypted_content for item in theirs.output if item.type == "reasoning"] == [
        "abc",
        "def",
    ]
    assert theirs.output_text == ours.content == "a 😀"
    assert (theirs.id, theirs.model) == (ours.id, ours.model)
    assert theirs.usage.total_tokens == 170 == ours.usage.total_tokens
