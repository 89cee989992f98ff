"""Our UI message streams as the AI SDK's own parser, schemas and message builder read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ai_sdk import INSTALLED, VERSIONS, read
from test_web_ai_sdk import CALLING, parts_of, running
from test_web_events import INJECTIONS

from websopy_sync import APITimeoutError, StreamCancelledError, StreamInterruptedError
from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    Usage,
)
from websopy_sync.sandbox import done, say, think, tool
from websopy_sync.web import sse_body
from websopy_sync.web.ai_sdk import AISDKFormat, ending, start
from websopy_sync.web.buffer import KEEP_ALIVE
from websopy_sync.web.page_json import DEEPEST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="needs `npm --prefix tests/node ci`"),
]

every_version = pytest.mark.parametrize("version", VERSIONS)


def written(*chunks: StreamChunk) -> bytes:
    """The stream of an answer of these chunks."""
    return b"".join(AISDKFormat().events(chunks))


def body_of_a_run() -> bytes:
    """Reasoning, text, tools that work and fail, and a second answer."""
    first = [think("hm"), say("Let me see. "), *CALLING[:-1], tool("broken", {"q": "b"}, "e")]
    with running([*first, done(1, 2)], [say("A"), say("I"), done(3, 4, finish_reason="stop")]) as r:
        return b"".join(sse_body(r, format="ai-sdk"))


def known(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a message without the fields that have no value."""
    return {name: value for name, value in part.items() if value is not None}


@every_version
def test_a_run_becomes_the_message_that_a_page_shows(version: str) -> None:
    """Whole, and with nothing else in it."""
    body = body_of_a_run()
    (result,) = read([body], version=version)
    assert result["error"] is None
    assert result["parts"] == parts_of(body)[:-1]
    message = result["message"]
    usage = {"inputTokens": 4, "outputTokens": 6, "totalTokens": 10}
    assert (message["role"], message["metadata"]) == ("assistant", {"usage": usage})
    parts = [known(part) for part in message["parts"]]
    for part in parts:
        part.pop("id", None)  # of a reasoning part, in some versions
    output = {"state": "output-available", "input": {"q": "a"}}
    assert parts == [
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm", "state": "done"},
        {"type": "text", "text": "Let me see. ", "state": "done"},
        {"type": "tool-look", "toolCallId": "c", **output, "output": {"found": "a"}},
        {"type": "tool-count", "toolCallId": "d", **output, "output": "42"},
        {
            "type": "tool-broken",
            "toolCallId": "e",
            "state": "output-error",
            "input": {"q": "b"},
            "errorText": "The tool failed.",
        },
        {"type": "step-start"},
        {"type": "text", "text": "AI", "state": "done"},
    ]


@every_version
def test_a_message_that_has_its_id_from_the_server(version: str) -> None:
    """As websopy-relay begins an answer. What an answer ends in that failed is an error."""
    rest = b"".join(AISDKFormat(is_started=True).events([ContentChunk("Hi"), DoneChunk()]))
    whole, broken = read([start("a1") + rest, start("a1") + ending("It broke.")], version=version)
    assert whole["error"] is None and whole["message"]["id"] == "a1"
    assert "It broke." in broken["error"]


@every_version
def test_comments_and_cuts_change_nothing(version: str) -> None:
    """Heartbeats stand between any two events, and a network cuts anywhere."""
    body = body_of_a_run()
    busy = KEEP_ALIVE + body.replace(b"\n\n", b"\n\n" + KEEP_ALIVE * 2)
    plain, commented = read([body, busy], version=version)
    (cut,) = read([busy], version=version, step=3)
    assert plain["error"] is None
    assert commented["parts"] == cut["parts"] == plain["parts"]


HARMLESS = '{"constructor": {"a": 1}, "a": "__proto__", "b": "\\ud83d"}'

HOSTILE = [
    '{"__proto__": {"a": 1}}',
    '{"a": [{"constructor": {"prototype": {}}}]}',
    '{"a": NaN}',
    '{"a": 1e999}',
    "[" * 5000 + "]" * 5000,
    "{",
]


@every_version
def test_nothing_that_a_model_writes_breaks_a_stream(version: str) -> None:
    """In a text, a name, an id or arguments: the AI SDK fails an answer at the first bad part."""
    bodies = []
    for words in [*INJECTIONS, "__proto__", "constructor", "toString"]:
        chunks = [
            ContentChunk(f"t{words}"),
            ReasoningChunk(f"r{words}"),
            ToolCallChunk(ToolCall(words, json.dumps({f"k{words}": words}), f"i{words}")),
            ToolCallChunk(ToolCall("f", words, words)),
        ]
        bodies.append(written(*chunks, DoneChunk(Usage(2**63 - 1, 0), finish_reason=words)))
    deep = '{"a":' * DEEPEST + "1" + "}" * DEEPEST
    for arguments in [HARMLESS, *HOSTILE, deep]:
        bodies.append(written(ToolCallChunk(ToolCall("f", arguments, "c")), DoneChunk()))
    for body, result in zip(bodies, read(bodies, version=version), strict=True):
        assert result["error"] is None, body
        assert [part["type"] for part in result["parts"]] == [
            part["type"] for part in parts_of(body)[:-1]
        ]
        assert result["parts"][-1]["type"] == "finish"


def test_the_ai_sdk_refuses_what_we_keep_from_it() -> None:
    """Else the guard could go."""
    part = '{"type":"tool-input-available","toolCallId":"c","toolName":"f","input":%s}'
    bodies = [f"data: {part % arguments}\n\n".encode() for arguments in HOSTILE[:3]]
    assert all(result["error"] for result in read(bodies))


@every_version
def test_a_failure_is_an_error_and_never_a_whole_answer(version: str) -> None:
    """What had come stays in the message; the text is the fixed one."""
    begun = b"".join(AISDKFormat().events([ContentChunk("half"), DoneChunk()])).split(b"data: ")
    beginning = b"data: ".join(begun[:5])  # start, start-step, text-start, text-delta
    fail = AISDKFormat().failure
    ends = [fail(StreamInterruptedError("x")), fail(APITimeoutError("x", phase="idle"))]
    told = ["The answer broke off.", "The answer took too long."]
    bodies = [beginning + end for end in ends] + ends
    for result, words in zip(read(bodies, version=version), told * 2, strict=True):
        assert words in result["error"]
        assert "finish" not in [part["type"] for part in result["parts"]]


@every_version
def test_a_cancelled_answer_is_no_error(version: str) -> None:
    """It is an abort, and has no finish."""
    (result,) = read([AISDKFormat().failure(StreamCancelledError("x"))], version=version)
    assert result["error"] is None
    assert [part["type"] for part in result["parts"]] == ["abort"]
