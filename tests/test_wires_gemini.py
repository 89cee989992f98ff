"""Gemini."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import DATA, STEPS, datas, play, shown
from tables import each

from websopy_sync import Message, RateLimitError, StreamServerError, WebsopyClient
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
from websopy_sync.sandbox import (
    Sandbox,
    done,
    expect_tool_result,
    raw,
    say,
    status,
    think,
    tool,
)
from websopy_sync.sandbox.wires.gemini import GeminiService, GeminiWriter
from websopy_sync.wires import ChatRequest, FastReader
from websopy_sync.wires.gemini import Gemini

WIRE = Gemini()


def event(**fields: Any) -> str:
    return f"data: {json.dumps(fields)}\r\n\r\n"


def parts(*parts: Any, reason: Any = None, **more: Any) -> str:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    return event(candidates=[candidate | ({"finishReason": reason} if reason else {})], **more)


def text(text: str, reason: Any = None, **more: Any) -> str:
    return parts({"text": text}, reason=reason, **more)


def counts(prompt: Any, answer: Any, total: Any, **more: Any) -> dict[str, Any]:
    names = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")
    given = zip(names, (prompt, answer, total), strict=True)
    return {name: count for name, count in given if count is not None} | more


def call(name: Any = "f", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **more}}


HI, DONE = ["content", "Hi"], ["done", ["stop", None]]

CASES: list[tuple[str, str, list[Any], str | None]] = [
    (
        "as documented",
        text("Hi", usageMetadata=counts(3, None, 3))
        + text("", "STOP", usageMetadata=counts(3, 4, 7)),
        [HI, ["done", ["stop", 7]]],
        None,
    ),
    ("the end of the bytes", text("Hi"), [HI], "StreamInterruptedError"),
    ("usage is no end", text("Hi", usageMetadata=counts(3, 4, 7)), [HI], "StreamInterruptedError"),
    ("an event that is cut", text("Hi") + text("", "STOP")[:-4], [HI], "StreamInterruptedError"),
    ("nothing", "", [], "StreamInterruptedError"),
    (
        "no reason yet",
        text("Hi", "FINISH_REASON_UNSPECIFIED") + text("", ""),
        [HI],
        "StreamInterruptedError",
    ),
    (
        "the reason in each event, usage after the last",
        text("Hi", "STOP") + text("Hi", "STOP") + event(usageMetadata=counts(3, 4, 7)),
        [HI, HI, ["done", ["stop", 7]]],
        None,
    ),
    (
        "thoughts, text and calls in one event",
        parts(
            {"text": "hm", "thought": True},
            {"text": "Hi"},
            call(args={"a": [1, "世"]}, id="c"),
            call("g", args={}),
            call("h"),
            reason="STOP",
        ),
        [
            ["reasoning", "hm"],
            HI,
            ["tool_call", ["f", '{"a": [1, "世"]}', "c"]],
            ["tool_call", ["g", "{}", None]],
            ["tool_call", ["h", "", None]],
            DONE,
        ],
        None,
    ),
    (
        "the same call twice is two calls",
        parts(call(args={})) + parts(call(args={}), reason="STOP"),
        [["tool_call", ["f", "{}", None]], ["tool_call", ["f", "{}", None]], DONE],
        None,
    ),
    (
        "an error in the middle",
        text("Hi") + event(error={"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}),
        [HI, ["error", ["slow", "RESOURCE_EXHAUSTED"]]],
        "StreamServerError",
    ),
    (
        "a half before an error",
        text("Hi\ud83d") + event(error={"message": "boom"}),
        [HI, ["content", "\ufffd"], ["error", ["boom", None]]],
        "StreamServerError",
    ),
    (
        "an error after the finish reason",
        text("Hi", "STOP") + event(error={"code": 500, "message": "boom"}),
        [HI, ["error", ["boom", "500"]]],
        "StreamServerError",
    ),
    (
        "a prompt that is refused",
        event(promptFeedback={"blockReason": "SAFETY"}, usageMetadata=counts(3, None, 3)),
        [["done", ["content_filter", 3]]],
        None,
    ),
    (
        "feedback that refuses nothing",
        event(promptFeedback={"safetyRatings": []})
        + text("Hi", promptFeedback={"blockReason": "x"}),
        [HI],
        "StreamInterruptedError",
    ),
    (
        "halves of a pair over two events",
        text("a\ud83d") + text("\ude00") + text("\ud83d", "STOP"),
        [["content", "a"], ["content", "😀"], ["content", "\ufffd"], DONE],
        None,
    ),
    (
        "halves of thoughts and text are apart",
        parts({"text": "\ud83d", "thought": True})
        + text("\ude00")
        + parts({"text": "\ude00", "thought": True}, reason="STOP"),
        [["content", "\ufffd"], ["reasoning", "😀"], DONE],
        None,
    ),
    (
        "another candidate is another answer",
        event(
            candidates=[{"index": 1, "content": {"parts": [{"text": "B"}]}, "finishReason": "STOP"}]
        )
        + event(candidates=[{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]),
        [HI, DONE],
        None,
    ),
    (
        "null and empty everywhere",
        event(candidates=None, usageMetadata=None, promptFeedback=None)
        + event(candidates=[])
        + event(candidates=[{"content": None, "finishReason": None}])
        + event(candidates=[{"content": {"parts": None}}])
        + event()
        + text("Hi", "STOP", usageMetadata={}, modelVersion=None, responseId=7),
        [HI, DONE],
        None,
    ),
    (
        "a comment that a proxy sends as data",
        "data: : PROCESSING\n\n" + text("Hi", "STOP"),
        [HI, DONE],
        None,
    ),
    ("no object", text("Hi") + "data: []\n\n", [HI], "StreamProtocolError"),
    ("no JSON", text("Hi") + "data: [OVER]\n\n", [HI], "StreamProtocolError"),
    ("a text that is none", parts({"text": 7}), [], "StreamProtocolError"),
    ("a part that is none", parts("Hi"), [], "StreamProtocolError"),
    ("candidates that are none", event(candidates={}), [], "StreamProtocolError"),
    ("a candidate that is none", event(candidates=["Hi"]), [], "StreamProtocolError"),
    ("a call without a name", parts(call("", args={})), [], "StreamProtocolError"),
    ("a call that is none", parts({"functionCall": "f"}), [], "StreamProtocolError"),
    (
        "a piece of a call, for which a user may ask: its arguments follow",
        text("Hi") + parts(call(willContinue=True)),
        [HI],
        "StreamProtocolError",
    ),
]


@each(("name", "stream", "chunks", "error"), CASES)
@each("step", STEPS)
def test_cases(name: str, stream: str, chunks: list[Any], error: str | None, step: int) -> None:
    """Read whole, in pieces and byte by byte; the fast path gives the same."""
    events = list(datas(WIRE, stream.encode(), step))
    read, failure = play(events, WIRE.reader())
    assert ([shown(chunk) for chunk in read], failure) == (chunks, error)
    assert play(events, FastReader(WIRE.reader, name="gemini")) == (read, failure)


@each("step", STEPS)
def test_recordings(step: int) -> None:
    """Text with characters that JSON escapes, and two tool calls whose arguments are objects."""
    plain, _ = play(datas(WIRE, (DATA / "gemini_plain.txt").read_bytes(), step), WIRE.reader())
    said = "".join(chunk.content for chunk in plain if isinstance(chunk, ContentChunk))
    assert said == 'Hello 世界, this is a plain answer with <b>tags</b> and "quotes".'
    assert plain[-1] == DoneChunk(Usage(0, 0), "stop")
    called, _ = play(datas(WIRE, (DATA / "gemini_tool.txt").read_bytes(), step), WIRE.reader())
    calls = [chunk.tool for chunk in called if isinstance(chunk, ToolCallChunk)]
    assert [(call.name, call.parse_arguments(), call.id) for call in calls] == [
        ("get_weather", {"city": "Paris", "unit": "C"}, None),
        ("get_time", {"city": "Paris"}, None),
    ]
    assert called[-1] == DoneChunk(Usage(0, 0), "tool_calls")


def test_an_error_without_a_field() -> None:
    """PROMISE 13: the service says between its events, in bare JSON, that it cannot go on."""
    said = {"error": {"code": 503, "message": "high demand", "status": "UNAVAILABLE"}}
    failure = json.dumps(said, indent=2).encode() + b"\n"
    with Sandbox([say("a"), raw(failure)], wire="gemini", pause=0) as service:
        with WebsopyClient(base_url=service.url, wire="gemini", model="m", plugins=[]) as client:
            with pytest.raises(StreamServerError, match="high demand") as caught:
                client.ai.chat("x")
    assert caught.value.code == "UNAVAILABLE"
    assert caught.value.partial is not None and caught.value.partial.content == "a"


def done_of(*events: str) -> DoneChunk:
    read, _ = play(datas(WIRE, "".join(events).encode(), 10**6), WIRE.reader())
    assert isinstance(read[-1], DoneChunk)
    return read[-1]


@each(
    ("sent", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("FUNCTION_CALL", "tool_calls"),
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
        ("OTHER", "OTHER"),
    ],
)
def test_finish_reasons(sent: str, reason: str) -> None:
    """PROMISE 47: the usual word, else the service's own."""
    assert done_of(text("a", sent)).finish_reason == reason


@each(
    ("events", "usage"),
    [
        (
            [counts(20, 100, 170, thoughtsTokenCount=50, cachedContentTokenCount=5)],
            Usage(20, 150, cached_tokens=5, reasoning_tokens=50),
        ),
        # Some servers count thoughts among the answer's tokens, too.
        ([counts(20, 150, 170, thoughtsTokenCount=50)], Usage(20, 150, reasoning_tokens=50)),
        ([counts(3, 1, 4), counts(3, 9, 12)], Usage(3, 9)),
        ([counts(3, None, 3), counts(None, 9, 12)], Usage(3, 9)),
        ([counts(3, 9, None)], Usage(3, 9)),
        ([counts(3, None, None)], Usage(3, 0)),
        ([counts(3, None, 10, thoughtsTokenCount=7)], Usage(3, 7, reasoning_tokens=7)),
        (
            [counts(3, 9, 14, toolUsePromptTokenCount=2, trafficType="ON_DEMAND")],
            Usage(5, 9, details={"toolUsePromptTokenCount": 2, "trafficType": "ON_DEMAND"}),
        ),
        ([counts("3", 9, 12)], None),
        ([counts(3, -9, 12)], None),
        ([counts(3, 9, 12.5)], None),
        ([counts(3, 9, 12, thoughtsTokenCount=True)], None),
        ([{}], None),
    ],
)
def test_usage(events: list[Any], usage: Usage | None) -> None:
    """PROMISE 47: thoughts are the answer's; a count that is left out is 0, or stays."""
    assert done_of(*(text("a", "STOP", usageMetadata=each) for each in events)).usage == usage


def test_what_the_end_says() -> None:
    """Model and id, and what this version does not know."""
    end = done_of(
        text("a", modelVersion="m-1", responseId="r", later=[1]),
        event(candidates=[{"finishReason": "STOP", "groundingMetadata": {"a": "\ud83d"}}]),
    )
    assert (end.model, end.id) == ("m-1", "r")
    assert end.extra == {"later": [1], "groundingMetadata": {"a": "\ufffd"}}
    refused = done_of(event(promptFeedback={"blockReason": "OTHER"}))
    assert refused.extra == {"promptFeedback": {"blockReason": "OTHER"}}


IMAGE = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}


def test_text_with_another_field() -> None:
    """PROMISE 47: text stays text; the field comes with it."""
    stream = parts({"text": "Hi", "partMetadata": {"x": 1}}) + text("!", "STOP")
    chunks, error = play(datas(WIRE, stream.encode(), 7), WIRE.reader())
    first, last = chunks[0], chunks[-1]
    assert error is None and [shown(chunk) for chunk in chunks[:2]] == [
        ["content", "Hi"],
        ["content", "!"],
    ]
    assert isinstance(first, ContentChunk) and first.extra == {"partMetadata": {"x": 1}}
    assert isinstance(last, DoneChunk) and last.state is None


def test_other_parts() -> None:
    """They come as they are."""
    read, _ = play(datas(WIRE, parts(IMAGE, reason="STOP").encode(), 7), WIRE.reader())
    (part, _) = read
    assert isinstance(part, UnknownChunk)
    assert (str(part.type), part.data) == ("inlineData", IMAGE)


# --- what must be sent back ----------------------------------------------------------------------

SIGNED = {"thoughtSignature": "s1g"}
OTHER = {"thoughtSignature": "0ther"}
TEXT: dict[str, Any] = {"text": ""}
CALL: dict[str, Any] = {"functionCall": {}}
THOUGHT = {"text": "hm", "thought": True}


@each(
    ("stream", "kept"),
    [
        (parts(call() | SIGNED, call("g")), [CALL | SIGNED, CALL]),
        (parts(call() | SIGNED) + parts(call("g") | OTHER), [CALL | SIGNED, CALL | OTHER]),
        (parts(call() | SIGNED) + parts(call() | SIGNED), [CALL | SIGNED, CALL | SIGNED]),
        (parts(call() | SIGNED) + text(""), [CALL | SIGNED]),
        (text("a") + text("b") + parts(TEXT | SIGNED), [TEXT, TEXT | SIGNED]),
        (text("a") + parts(SIGNED), [TEXT, TEXT | SIGNED]),
        (text("a") + parts({"text": "b"} | SIGNED), [TEXT, TEXT | SIGNED]),
        (parts(THOUGHT | SIGNED) + text("a"), [THOUGHT | SIGNED, TEXT]),
        (parts(THOUGHT) + text("a") + parts(call() | SIGNED), [TEXT, CALL | SIGNED]),
        (parts(IMAGE | SIGNED), [IMAGE | SIGNED]),
        (
            parts({"executableCode": {"code": "1"}}) + text("a"),
            [{"executableCode": {"code": "1"}}, TEXT],
        ),
        (parts(THOUGHT) + text("a") + parts(call()), None),
    ],
)
def test_what_must_be_sent_back(stream: str, kept: list[Any] | None) -> None:
    """PROMISE 48: signatures and the service's own parts, in their order; no text twice."""
    end = done_of(stream, text("", "STOP") if kept is None else parts(reason="STOP"))
    assert end.state == (kept and {"gemini": {"parts": kept}})


A = {"text": "a"}
F, G = ({"functionCall": {"id": id, "name": "f", "args": {}}} for id in "cd")
CALLS = [{"name": "f", "arguments": "", "id": id} for id in "cd"]


@each(
    ("kept", "content", "calls", "sent"),
    [
        ([TEXT, CALL | SIGNED], "a", CALLS[:1], [A, F | SIGNED]),
        ([CALL | SIGNED, CALL], "", CALLS, [F | SIGNED, G]),
        ([CALL, CALL | SIGNED], "a", CALLS, [A, F, G | SIGNED]),
        ([TEXT, TEXT | SIGNED], "a", [], [A | SIGNED]),
        ([TEXT, CALL | OTHER, TEXT | SIGNED], "a", CALLS[:1], [A, F | OTHER, TEXT | SIGNED]),
        ([THOUGHT | SIGNED, TEXT], "a", [], [THOUGHT | SIGNED, A]),
        ([CALL | SIGNED, TEXT], "a", CALLS[:1], [F | SIGNED, A]),
        ([TEXT | SIGNED], "", [], [TEXT | SIGNED]),
        ([IMAGE | SIGNED], "a", [], [IMAGE | SIGNED, A]),
        ([CALL | SIGNED, CALL], "", CALLS[:1], [F | SIGNED]),  # a call that a user took out
        ([CALL | SIGNED], "", CALLS, [F | SIGNED, G]),  # and one that was put in
        ("no list", "a", [], [A]),
        ([7], "a", [], [A]),
    ],
)
def test_state_is_sent_back(kept: Any, content: str, calls: list[Any], sent: Any) -> None:
    """PROMISE 48: in the order in which it came, around the text and the calls."""
    state = {"gemini": {"parts": kept}, "another": {"signature": "s3cret"}}
    turn = {"role": "assistant", "content": content, "tool_calls": calls, "state": state}
    before = json.dumps(turn)
    assert body_of(turn)["contents"] == [{"role": "model", "parts": sent}]
    assert json.dumps(turn) == before


@each(
    ("model", "signed"),
    [("gemini-3-pro-preview", True), ("gemini-2.5-flash", False), (None, False)],
)
def test_calls_of_another_service(model: str | None, signed: bool) -> None:
    """PROMISE 48: Gemini 3 wants a signature; Google has one for calls that have none."""
    turn = {"role": "assistant", "content": "", "tool_calls": CALLS}
    skip = {"thoughtSignature": "skip_thought_signature_validator"} if signed else {}
    assert body_of(turn, model=model)["contents"][0]["parts"] == [F | skip, G]
    own = turn | {"state": {"gemini": {"parts": [CALL | SIGNED, CALL]}}}
    assert body_of(own, model=model)["contents"][0]["parts"] == [F | SIGNED, G]


def test_a_tool_loop_with_signatures() -> None:
    """PROMISE 48: run and conversation send them back, also after save and load."""
    state = {"gemini": {"parts": [TEXT, CALL | SIGNED]}}

    def f() -> str:
        """Answer."""
        return "1"

    with Sandbox(wire="gemini", pause=0) as service:
        with WebsopyClient(base_url=service.url, wire="gemini", model="m", plugins=[]) as client:
            answer = [think("hm, 世"), say("a"), tool("f", {}, "c")]
            service.play([*answer, done(finish_reason="stop", state=state)])
            service.play([expect_tool_result("f", content="1"), say("b"), done()])
            run = client.ai.run("x", tools=[f])
            assert list(run)[-1].type == "done"
            service.play([say("c"), done()])
            conversation = client.ai.conversation()
            conversation.messages += json.loads(json.dumps(run.messages))
            conversation.send("y").until_done()
            bodies = [request.json["contents"] for request in service.requests]
    result = {"id": "c", "name": "f", "response": {"output": "1"}}
    sent = [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [A, F | SIGNED]},
        {"role": "user", "parts": [{"functionResponse": result}]},
    ]
    assert bodies[1] == sent and bodies[2][:3] == sent


# --- what a server writes ------------------------------------------------------------------------

_text = st.text(min_size=1)
_counts = st.integers(0, 2**50)
_usages = st.builds(
    lambda prompt, cached, answer, thoughts: Usage(
        prompt, answer + thoughts, cached_tokens=cached, reasoning_tokens=thoughts
    ),
    *[_counts] * 4,
)
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
)
_reasons = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "LANGUAGE"])
_states = st.sampled_from([None, {"gemini": {"parts": [TEXT | SIGNED]}}])
_ends = st.builds(
    DoneChunk,
    st.none() | _usages,
    _reasons,
    st.none() | _text,
    st.none() | _text,
    state=_states,
) | st.builds(ErrorChunk, _text, st.none() | _text.filter(lambda code: code != "error"))


@given(st.lists(_chunks, max_size=6), _ends)
def test_what_a_server_writes_is_read_back(written: list[Any], last: Any) -> None:
    """The sandbox's writer and the reader agree."""
    writer = GeminiWriter()
    writer.ending = last if isinstance(last, DoneChunk) else None
    events = [event.data for chunk in [*written, last] for event in writer.write(chunk)]
    read, _ = play(events, WIRE.reader())
    assert play(events, FastReader(WIRE.reader, name="gemini"))[0] == read
    if isinstance(last, DoneChunk) and last.state:
        assert read[-1].state["gemini"]["parts"][-1] == TEXT | SIGNED  # type: ignore[union-attr,index]
        read[-1] = attrs.evolve(read[-1], state=last.state)
    assert read == [*written, last]


_names = st.sampled_from(
    [
        *("candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall"),
        *("name", "args", "id", "index", "finishReason", "usageMetadata", "promptTokenCount"),
        *(
            "totalTokenCount",
            "promptFeedback",
            "blockReason",
            "modelVersion",
            "error",
            "inlineData",
        ),
    ]
)
_any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
)


@given(st.lists(st.dictionaries(_names, _any, max_size=4) | _any, max_size=4))
def test_any_json(values: list[Any]) -> None:
    """PROMISE 13: what no service sends is StreamProtocolError, or read as far as it goes."""
    events = [json.dumps(value) for value in values]
    read, failure = play(events, WIRE.reader())
    assert play(events, FastReader(WIRE.reader, name="gemini")) == (read, failure)
    json.dumps([chunk.to_dict() for chunk in read], ensure_ascii=False).encode()


_events = st.builds(
    lambda parts, usage, reason: json.dumps(
        {
            "candidates": [{"content": {"parts": parts}, "finishReason": reason}],
            "usageMetadata": usage,
        }
    ),
    st.lists(
        st.sampled_from(
            [
                *({"text": text} for text in ("a", "b", "")),
                *({"text": text} | SIGNED for text in ("a", "b", "")),
                *({"text": half} for half in ("a\ud83d", "\ude00b")),
                *(THOUGHT, THOUGHT | SIGNED, IMAGE, SIGNED),
                *({"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}} | SIGNED),
            ]
        ),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from([None, counts(3, None, 3), counts(3, 4, 7)]),
    st.sampled_from([None, None, "STOP"]),
)


@given(st.lists(_events, max_size=8))
def test_the_fast_path(events: list[str]) -> None:
    """It gives the same chunks and the same ending, with what must be sent back."""
    read, failure = play(events, WIRE.reader())
    assert play(events, FastReader(WIRE.reader, name="gemini")) == (read, failure)


# --- what is sent --------------------------------------------------------------------------------


def body_of(*turns: dict[str, Any], **fields: Any) -> Any:
    return json.loads(json.dumps(WIRE.body(ChatRequest(turns, **fields))))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def response(name: str, result: Any, **more: Any) -> dict[str, Any]:
    return {"functionResponse": {**more, "name": name, "response": {"output": result}}}


@each(
    ("turns", "contents"),
    [
        ([user("x")], [("user", {"text": "x"})]),
        ([user("x"), Message("a").to_dict()], [("user", {"text": "x"}), ("model", A)]),
        ([user("x"), Message("").to_dict()], [("user", {"text": "x"})]),
        (
            [Message("a", (ToolCall("f", '{"a":1}', "c"), ToolCall("g", "no JSON"))).to_dict()],
            [
                (
                    "model",
                    A,
                    call("f", id="c", args={"a": 1}),
                    call("g", args={}),
                )
            ],
        ),
        (
            [
                {"role": "assistant", "content": None, "tool_calls": CALLS},
                {"role": "tool", "tool_call_id": "c", "content": "1"},
                {"role": "tool", "tool_call_id": "d", "name": "f", "content": "2"},
                user("y"),
                {"role": "assistant", "content": None, "tool_calls": CALLS[:1]},
                {"role": "tool", "tool_call_id": "c", "content": "3"},
            ],
            [
                ("model", F, G),
                ("user", response("f", "1", id="c"), response("f", "2", id="d")),
                ("user", {"text": "y"}),
                ("model", F),
                ("user", response("f", "3", id="c")),
            ],
        ),
        (
            [{"role": "tool", "tool_call_id": None, "name": "f", "content": [A, IMAGE]}],
            [
                (
                    "user",
                    {
                        "functionResponse": response("f", "a")["functionResponse"]
                        | {"parts": [IMAGE]}
                    },
                )
            ],
        ),
        (
            [
                user(
                    [
                        {"type": "text", "text": "a"},
                        {"type": "image", "media_type": "image/png", "data": "AA=="},
                        {"type": "image", "url": "https://x/y.png?z"},
                        {"type": "image", "url": "https://x/y"},
                        {"type": "file", "name": "n", "media_type": "text/plain", "data": "AA=="},
                        {"fileData": {"fileUri": "u"}},
                        "b",
                    ]
                )
            ],
            [
                (
                    "user",
                    A,
                    IMAGE,
                    {"fileData": {"mimeType": "image/png", "fileUri": "https://x/y.png?z"}},
                    {"fileData": {"fileUri": "https://x/y"}},
                    {"inlineData": {"mimeType": "text/plain", "data": "AA=="}},
                    {"fileData": {"fileUri": "u"}},
                    {"text": "b"},
                )
            ],
        ),
        ([{"role": "model", "parts": [A, IMAGE]}], [("model", A, IMAGE)]),
        (
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}],
                }
            ],
            [("model", F)],
        ),
    ],
)
def test_turns(turns: list[dict[str, Any]], contents: list[Any]) -> None:
    """PROMISE 48: in Gemini's form, and back in that of the package."""
    before = json.dumps(turns)
    body = body_of(*turns)
    sent = [{"role": role, "parts": list(parts)} for role, *parts in contents]
    assert body["contents"] == sent and json.dumps(turns) == before
    assert isinstance(GeminiService().turns_in(body), list)


def test_an_image_alone() -> None:
    """Vertex refuses a text without anything in it."""
    image = {"type": "image", "media_type": "image/png", "data": "AA=="}
    empty = {"type": "text", "text": ""}
    assert body_of(user([empty, image]))["contents"][0]["parts"] == [IMAGE]
    assert body_of(user([empty]))["contents"][0]["parts"] == [{"text": ""}]  # it says so


def test_turns_back() -> None:
    """The sandbox reads the form of the package from that of Gemini."""
    calls = [
        {"name": "f", "arguments": "{}", "id": "c"},
        {"name": "f", "arguments": "{}", "id": None},
    ]
    image = {"type": "image", "media_type": "image/png", "data": "AA=="}
    linked = {"type": "image", "url": "https://x/y"}
    file = {"type": "file", "media_type": "text/plain", "data": "AA==", "name": ""}
    said = {"type": "text", "text": "a"}
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": [said]},
        user([said, image, linked, file]),
        {"role": "assistant", "content": [said], "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"},
        {"role": "tool", "tool_call_id": None, "name": "f", "content": "2"},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]
    body = body_of(*turns)
    assert GeminiService().turns_in(body) == turns
    (asked, model) = body["contents"][:2]
    apart = [{"role": "model", "parts": [part]} for part in model["parts"]]  # as Google's client
    body["contents"] = [asked, *apart, *body["contents"][2:]]
    assert GeminiService().turns_in(body) == turns


def test_tools_back() -> None:
    """The sandbox reads the functions among the tools, under both names of their parameters."""
    schema = {"type": "object"}
    functions = [{"name": "f", "parameters": schema}, {"name": "g"}]
    body = body_of(user("x"), tools=[*functions, {"googleSearch": {}}])
    (first, second) = GeminiService().tools_in(body)
    assert (first["name"], first["parameters"], second) == ("f", schema, {"name": "g"})
    own = {"functionDeclarations": [{"name": "f", "parameters_json_schema": schema}]}
    assert GeminiService().tools_in({"tools": [own]})[0]["parameters"] == schema
    assert GeminiService().tools_in({"tools": "x"}) == "x"


def test_system_turns() -> None:
    """They stand apart, after the parameter of that name."""
    system, later = {"role": "system", "content": "s"}, {"role": "developer", "content": [A]}
    body = body_of(system, user("x"), later)
    assert body["systemInstruction"] == {"parts": [{"text": "s"}, A]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "x"}]}]
    given = {"system_instruction": {"parts": [{"text": "p"}]}}
    body = body_of(system, user("x"), params=given)
    assert body["systemInstruction"] == {"parts": [{"text": "p"}, {"text": "s"}]}
    assert body_of(user("x"), params=given)["systemInstruction"] == given["system_instruction"]
    assert "systemInstruction" not in body_of(user("x"))


def test_body() -> None:
    """Parameters of the request stand beside those of `generationConfig`."""
    schema = {"type": "object"}
    known = {"name": "f", "description": "d"}
    params = {
        "temperature": 0.5,
        "max_tokens": 9,
        "top_p": 0.1,
        "stop": "x",
        "thinking_config": {"includeThoughts": True},
        "safety_settings": [{"category": "c"}],
        "generation_config": {"topK": 3, "temperature": 0.7},
        "laterField": 1,
    }
    own = [{"googleSearch": {}}, {"functionDeclarations": [known]}]
    body = body_of(
        user("x"),
        model="m",
        tools=[{**known, "parameters": schema}, *own, known],
        params=params,
        output_schema=schema,
    )
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "tools": [
            {"functionDeclarations": [{**known, "parametersJsonSchema": schema}, known]},
            *own,
        ],
        "safetySettings": [{"category": "c"}],
        "generationConfig": {
            "responseMimeType": "application/json",
            "responseJsonSchema": schema,
            "temperature": 0.7,
            "maxOutputTokens": 9,
            "topP": 0.1,
            "stopSequences": ["x"],
            "thinkingConfig": {"includeThoughts": True},
            "topK": 3,
            "laterField": 1,
        },
    }
    assert body_of(user("x")) == {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    assert body_of(user("x"), params={"contents": []}) == {"contents": []}


@each(
    ("turn", "params", "says"),
    [
        (user("x"), {"n": 2}, "n: expected 1"),
        (user("x"), {"candidate_count": 2}, "n: expected 1"),
        (user("x"), {"generationConfig": {"candidateCount": 2}}, "n: expected 1"),
        (user("x"), {"generation_config": 7}, "generationConfig: expected a dict, got int"),
        (
            {"role": "assistant", "content": "", "tool_calls": ["s3cret"]},
            {},
            "expected dicts, got str",
        ),
    ],
)
def test_what_gemini_cannot_take(turn: dict[str, Any], params: Any, says: str) -> None:
    """A typed error, before anything is sent, that quotes no turn."""
    with pytest.raises(ConfigError, match=says) as caught:
        body_of(turn, params=params)
    assert "s3cret" not in str(caught.value) and caught.value.__context__ is None


def test_a_request() -> None:
    """The model is in the path, the key in its own header; the query asks for events."""
    with Sandbox([say("a"), done()], wire="gemini") as service:
        with WebsopyClient("k3y", base_url=service.url, wire="gemini") as client:
            client.ai.chat("x", model="m/1", tools=[{"googleSearch": {}}])
            with pytest.raises(ConfigError, match="model"):
                client.ai.chat("x")
        (request,) = service.requests
    assert request.path == "/v1/models/m%2F1:streamGenerateContent"
    assert request.query == {"alt": "sse"}
    assert request.headers["x-goog-api-key"] == "k3y"
    assert "authorization" not in request.headers and "model" not in request.json
    assert request.json["tools"] == [{"googleSearch": {}}]


def test_a_refused_request() -> None:
    """PROMISE 21: the error says what the service said, without the prompt and the key."""
    prompt, key = "the prompt of this test", "k3y-of-this-test"
    said = {"code": 429, "message": f"{prompt} {key}", "status": "RESOURCE_EXHAUSTED"}
    with Sandbox([status(429, {"error": said})], wire="gemini") as service:
        with WebsopyClient(
            key, base_url=service.url, wire="gemini", model="m", plugins=[], max_retries=0
        ) as client:
            with pytest.raises(RateLimitError, match="RESOURCE_EXHAUSTED") as caught:
                client.ai.chat([{"role": "system", "content": prompt}, user("x")])
    assert prompt not in str(caught.value) and key not in str(caught.value)


@pytest.mark.parametrize("model", ["m\ud800", "m\r\nX: y", "m\0", ".", ".."])
def test_a_model_that_cannot_stand_in_a_path(model: str) -> None:
    """A typed error before anything is sent: a name must not lead to another path."""
    with Sandbox(wire="gemini", pause=0) as service:
        with WebsopyClient(base_url=service.url, wire=WIRE, api_key="k") as client:
            with pytest.raises(ConfigError, match="model: expected a printable name"):
                client.ai.chat("x", model=model)
        assert not service.requests
