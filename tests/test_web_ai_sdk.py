"""The AI SDK's UI message stream: which parts an answer becomes, and that nothing else gets in."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import each
from test_web_events import INJECTIONS
from web_bodies import KEY, QUESTION, asked, can_import, events_of

from websopy_sync import APITimeoutError, ConfigError, ToolRun, WebsopyClient
from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    ReasoningChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
)
from websopy_sync.sandbox import (
    Sandbox,
    Steps,
    cut,
    done,
    error,
    say,
    silence,
    status,
    think,
    tool,
    wait,
)
from websopy_sync.web import SSE_HEADERS, flask_response, sse_body
from websopy_sync.web.ai_sdk import AISDKFormat


def parts_of(data: bytes) -> list[Any]:
    """The parts of a stream, and whatever else is in it."""
    events = events_of([data])
    assert {(event.event, event.id) for event in events} <= {("message", "")}
    texts = [event.data for event in events]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def written(*chunks: StreamChunk) -> list[Any]:
    """The parts of an answer of these chunks, without those that begin and end every stream."""
    ids = itertools.count(1)
    data = b"".join(AISDKFormat(lambda: f"made-{next(ids)}").events(chunks))
    assert data.endswith(b"\n\ndata: [DONE]\n\n")
    parts = parts_of(data)
    assert parts[:2] == [{"type": "start"}, {"type": "start-step"}]
    assert parts[-1] == "[DONE]"
    return parts[2:-1]


def text(number: int, *pieces: str, block: str = "text") -> list[dict[str, str]]:
    """A block of text, as it is streamed."""
    return [
        {"type": f"{block}-start", "id": str(number)},
        *({"type": f"{block}-delta", "id": str(number), "delta": piece} for piece in pieces),
        {"type": f"{block}-end", "id": str(number)},
    ]


FINISH_STEP = {"type": "finish-step"}
DONE = DoneChunk(finish_reason="stop")
FINISHED = [FINISH_STEP, {"type": "finish", "finishReason": "stop"}]


def call(name: str, arguments: str, id: str | None = None) -> ToolCallChunk:
    return ToolCallChunk(ToolCall(name, arguments, id))


# --- an answer -------------------------------------------------------------------------------


def test_headers() -> None:
    """Those of every body, and the one by which the AI SDK knows its protocol."""
    with asked(say("a"), done()) as (stream, _), sse_body(stream, format="ai-sdk") as body:
        assert body.headers == {**SSE_HEADERS, "X-Vercel-AI-UI-Message-Stream": "v1"}


def test_headers_of_a_response(needs: Callable[[object, str], None]) -> None:
    """A framework's response has them as the body does."""
    needs(can_import("flask"), "Flask")
    with asked(say("a"), done()) as (stream, _):
        response = flask_response(stream, format="ai-sdk")
    assert response.headers["X-Vercel-AI-UI-Message-Stream"] == "v1"
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    response.close()


def test_text_and_reasoning_are_blocks() -> None:
    """A block ends where the other begins, and each has its own id."""
    chunks = [ReasoningChunk("h"), ReasoningChunk("m"), ContentChunk("A"), ContentChunk("I"), DONE]
    assert written(*chunks) == [
        *text(1, "h", "m", block="reasoning"),
        *text(2, "A", "I"),
        *FINISHED,
    ]


def test_what_is_empty_begins_no_block() -> None:
    """A page would show an empty paragraph."""
    assert written(ContentChunk(""), ReasoningChunk(""), DONE) == FINISHED


def test_each_part_is_there_as_soon_as_its_chunk() -> None:
    """Nothing waits for more."""
    more = threading.Event()
    with asked(say("AI"), wait(more), say("!"), done()) as (stream, _):
        with sse_body(stream, format="ai-sdk") as body:
            seen = b""
            while b'"delta":"AI"' not in seen:
                seen += next(body)
            more.set()
            seen += b"".join(body)
    assert parts_of(seen)[2:6] == text(1, "AI", "!")


@each(
    ("reason", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool-calls"),
        ("content_filter", "content-filter"),
        ("a word of the service's own", "other"),
        (None, "other"),
    ],
)
def test_finish_reasons(reason: str | None, told: str) -> None:
    """The AI SDK refuses a word that it does not know."""
    finish = written(DoneChunk(finish_reason=reason))[-1]
    assert finish == {"type": "finish", "finishReason": told}


def test_usage_is_metadata_of_the_message() -> None:
    """In the AI SDK's names, and of all answers of a run together."""
    first = DoneChunk(Usage(1, 2), "tool_calls")
    last = DoneChunk(Usage(3, 4, 9, cached_tokens=1, reasoning_tokens=2), "stop")
    usage = {"inputTokens": 4, "outputTokens": 6, "totalTokens": 12}
    more = {"cachedInputTokens": 1, "reasoningTokens": 2}
    assert written(first, last)[-1] == {
        "type": "finish",
        "finishReason": "stop",
        "messageMetadata": {"usage": usage | more},
    }
    assert "messageMetadata" not in written(first, DONE)[-1]  # a sum of some would be wrong


CHUNKS = st.one_of(
    st.builds(ContentChunk, st.text(max_size=3)),
    st.builds(ReasoningChunk, st.text(max_size=3)),
    st.builds(lambda id: call("f", "{}", id), st.sampled_from([None, "", "c", "d"])),
    st.builds(DoneChunk, st.builds(Usage, st.integers(0, 9), st.integers(0, 9))),
    st.just(UnknownChunk("debug", {})),
)


@settings(max_examples=40)
@given(st.lists(CHUNKS, max_size=12))
def test_any_chunks_make_an_orderly_message(chunks: list[StreamChunk]) -> None:
    """A block has one beginning and one end, steps hold all else, and no text is lost."""
    seen: set[str] = set()
    block = ""
    depth = 1
    texts = {"text": "", "reasoning": ""}
    for part in written(*chunks, DONE):
        kind, _, event = part["type"].rpartition("-")
        if part["type"] in ("start-step", "finish-step"):
            depth += 1 if part["type"] == "start-step" else -1
            assert not block
        elif kind in texts:
            assert (block == "") == (event == "start") and depth == 1
            assert event == "start" or block == part["id"]
            block = "" if event == "end" else part["id"]
            texts[kind] += part.get("delta", "")
        name = part.get("toolCallId") or (part["id"] if event == "start" else None)
        assert name not in seen and depth in (0, 1)
        seen |= {name} - {None}
    assert (block, depth) == ("", 0)
    assert texts["text"] == "".join(c.content for c in chunks if isinstance(c, ContentChunk))
    assert texts["reasoning"] == "".join(c.text for c in chunks if isinstance(c, ReasoningChunk))


def test_what_is_not_for_visitors_is_left_out() -> None:
    """Unknown chunks and fields, the model's name, what the service must get back, its errors."""
    secret = {"node": "7"}
    data = b"".join(
        AISDKFormat().events(
            [
                ContentChunk("a", extra=secret),
                UnknownChunk("debug", {"trace": "7"}),
                ErrorChunk("node 7 burns", "7"),
                DoneChunk(None, "stop", "gpt-7", "id-7", state={"w": secret}, extra=secret),
            ]
        )
    )
    assert b"7" not in data
    assert parts_of(data)[2:-1] == [*text(1, "a"), *FINISHED]


# --- tool calls ------------------------------------------------------------------------------


def available(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    kind = "tool-input-available"
    return {"type": kind, "toolCallId": call_id, "toolName": name, "input": arguments}


def test_a_call_is_one_part() -> None:
    """It ends the text before it; empty arguments are none, as they are for a tool."""
    calls = call("f", '{"q": "猫"}', "c"), call("g", " ", "d")
    assert written(ContentChunk("a"), *calls, DONE) == [
        *text(1, "a"),
        available("c", "f", {"q": "猫"}),
        available("d", "g", {}),
        *FINISHED,
    ]


def test_ids_of_calls_are_unique() -> None:
    """A service may give none, or the same one in each answer; a page keeps calls by their ids."""
    calls = call("f", "{}"), call("f", "{}", ""), call("f", "{}", "c"), call("f", "{}", "c")
    ids = [part["toolCallId"] for part in written(*calls, DONE)[:-2]]
    assert ids == ["made-1", "made-2", "c", "made-3"]
    first, second = (b"".join(AISDKFormat().events([calls[0], DONE])) for _ in range(2))
    assert parts_of(first)[2]["toolCallId"] != parts_of(second)[2]["toolCallId"]


@each(
    "arguments",
    ["{oops", "[1]", "7", "null", "NaN", '{"a": NaN}', '{"a": 1e999}', '{"__proto__": {}}'],
)
def test_arguments_that_no_page_can_read(arguments: str) -> None:
    """The AI SDK would fail the whole answer; the text that the model wrote stays visible."""
    assert written(call("f", arguments, "c"), DONE)[0] == {
        "type": "tool-input-error",
        "toolCallId": "c",
        "toolName": "f",
        "input": arguments,
        "errorText": "The arguments could not be read.",
    }


def test_half_a_character_in_arguments() -> None:
    """JSON can name what UTF-8 cannot hold."""
    part = written(call("f", '{"q": "\\ud83d"}', "c"), DONE)[0]
    assert part == available("c", "f", {"q": "\ufffd"})


# --- a run -----------------------------------------------------------------------------------


def look(q: str) -> dict[str, str]:
    """A tool that gives an object."""
    return {"found": q}


def count(q: str) -> str:
    """A tool that gives a text that happens to be JSON."""
    return "42"


def broken(q: str) -> str:
    """A tool that fails."""
    raise KeyError(f"/srv/secret/{q}")


def refuse_count(tool_call: ToolCall) -> bool | str:
    return "not for /srv/secret" if tool_call.name == "count" else True


@contextmanager
def running(*scripts: Steps, **options: Any) -> Iterator[ToolRun]:
    """A run whose answers these are."""
    with (
        Sandbox() as sandbox,
        WebsopyClient("test", base_url=sandbox.url, max_retries=0, plugins=[]) as client,
    ):
        for script in scripts:
            sandbox.play(script)
        earlier = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": "{}"}]},
            {"role": "tool", "name": "f", "content": "of an earlier turn"},
        ]
        yield client.ai.run(earlier, tools=[look, count, broken], **options)


CALLING = [tool("look", {"q": "a"}, "c"), tool("count", {"q": "a"}, "d"), done(1, 2)]


def test_a_run_is_one_message_of_steps() -> None:
    """Each answer is a step with the results of its calls; there is one finish."""
    last = [say("A"), done(3, 4, finish_reason="stop")]
    with running(CALLING, [tool("look", {"q": "b"}, "c"), done(1, 2)], last) as run:
        parts = parts_of(b"".join(sse_body(run, format="ai-sdk")))
    second = parts[8]["toolCallId"]
    assert second != "c"
    output = {"type": "tool-output-available"}
    assert parts == [
        {"type": "start"},
        {"type": "start-step"},
        available("c", "look", {"q": "a"}),
        available("d", "count", {"q": "a"}),
        {**output, "toolCallId": "c", "output": {"found": "a"}},
        {**output, "toolCallId": "d", "output": "42"},
        FINISH_STEP,
        {"type": "start-step"},
        available(second, "look", {"q": "b"}),
        {**output, "toolCallId": second, "output": {"found": "b"}},
        FINISH_STEP,
        {"type": "start-step"},
        *text(1, "A"),
        FINISH_STEP,
        {
            "type": "finish",
            "finishReason": "stop",
            "messageMetadata": {"usage": {"inputTokens": 5, "outputTokens": 8, "totalTokens": 13}},
        },
        "[DONE]",
    ]


def test_why_a_tool_failed_is_not_told() -> None:
    """The model is told; a visitor gets a fixed text, as for every other failure."""
    script = [tool("broken", {"q": "a"}, "c"), tool("count", {"q": "a"}, "d"), done()]
    with running(script, [say("A"), done()], approve=refuse_count) as run:
        data = b"".join(sse_body(run, format="ai-sdk"))
    results = [part for part in parts_of(data)[:-1] if part["type"] == "tool-output-error"]
    assert [part["errorText"] for part in results] == ["The tool failed.", "The call was refused."]
    assert b"secret" not in data and b"KeyError" not in data


@pytest.mark.parametrize(
    ("second", "options", "told"),
    [
        (status(503, {"error": {"message": "fire"}}), {}, "The service could not answer."),
        ([say("half"), cut()], {}, "The answer broke off."),
        ([], {"max_turns": 1}, "Something went wrong."),
    ],
    ids=["refused", "cut", "too many turns"],
)
def test_results_are_there_when_the_next_answer_fails(
    second: Steps, options: dict[str, Any], told: str
) -> None:
    """The tools have run, and each result is written once."""
    with running(CALLING, second, **options) as run:
        parts = parts_of(b"".join(sse_body(run, format="ai-sdk")))
    kinds = [part["type"] for part in parts[:-1]]
    assert kinds.count("tool-output-available") == 2 and "finish" not in kinds
    assert parts[-2] == {"type": "error", "errorText": told}


def test_calls_that_nobody_runs_have_no_result() -> None:
    """The answer ends with them."""
    assert written(call("f", "{}", "c"), DoneChunk(finish_reason="tool_calls")) == [
        available("c", "f", {}),
        FINISH_STEP,
        {"type": "finish", "finishReason": "tool-calls"},
    ]


# --- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([say("half"), cut()], "The answer broke off."),
        ([say("half"), error(f"no room for {KEY}", "fire")], "The service could not answer."),
    ],
    ids=["cut", "error chunk"],
)
def test_an_answer_that_fails_has_an_error_and_no_finish(
    script: Steps, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A page must not take a part for the whole; the text is fixed."""
    with asked(script) as (stream, sandbox):
        data = b"".join(sse_body(stream, format="ai-sdk"))
        address = sandbox.url
    parts = parts_of(data)
    assert parts[-2:] == [{"type": "error", "errorText": told}, "[DONE]"]
    assert [part["type"] for part in parts[2:-2]] == ["text-start", "text-delta"]
    for secret in (KEY, QUESTION, address, "room", "fire", "Traceback"):
        assert secret not in data.decode()
        assert secret not in caplog.text


def test_a_failure_before_the_first_word() -> None:
    """The answer is opened in the body, and its failure is the only part."""

    def fail(cancel: object) -> Any:
        raise APITimeoutError("x", phase="connect")

    parts = parts_of(b"".join(sse_body(fail, format="ai-sdk")).replace(b": keep-alive\n\n", b""))
    assert parts == [{"type": "error", "errorText": "The answer took too long."}, "[DONE]"]


def test_your_own_cancel_is_no_error() -> None:
    """A page that stopped it by another request shows no fault."""
    with asked(say("half"), silence()) as (stream, _), sse_body(stream, format="ai-sdk") as body:
        seen = b""
        while b"half" not in seen:
            seen += next(body)
        stream.cancel()
        seen += b"".join(body)
    abort = {"type": "abort", "reason": "The answer was stopped."}
    assert parts_of(seen)[-2:] == [abort, "[DONE]"]


def test_a_bug_is_told_by_a_fixed_text(caplog: pytest.LogCaptureFixture) -> None:
    """Any exception may come out of a source."""

    def fail(cancel: object) -> Any:
        raise RuntimeError("at /srv/secret")

    with caplog.at_level(logging.CRITICAL):
        data = b"".join(sse_body(fail, format="ai-sdk"))
    assert b'"type":"error"' in data and b"secret" not in data


def test_an_unknown_format() -> None:
    """It is refused before anything is opened."""
    with asked(say("a"), done()) as (stream, _), stream:
        with pytest.raises(ConfigError, match="format: expected websopy or ai-sdk, got 'sse'"):
            sse_body(stream, format="sse")  # type: ignore[arg-type]


# --- nothing gets out of its line ------------------------------------------------------------


@each("words", INJECTIONS)
def test_no_text_becomes_anything_but_itself(words: str) -> None:
    """In no field that a model or a tool writes."""
    arguments = json.dumps({words: words})
    chunks = [
        ReasoningChunk(f"r{words}"),
        ContentChunk(f"t{words}"),
        call(words, arguments, f"i{words}"),
        call("f", f"{{{words}", "bad"),
        DoneChunk(finish_reason=words),
    ]
    data = b"".join(AISDKFormat().events(chunks))
    assert not set("<>&\u2028\u2029\0\r") & set(data.decode())
    assert parts_of(data)[2:-3] == [
        *text(1, f"r{words}", block="reasoning"),
        *text(2, f"t{words}"),
        available(f"i{words}", words, {words: words}),
        {
            "type": "tool-input-error",
            "toolCallId": "bad",
            "toolName": "f",
            "input": f"{{{words}",
            "errorText": "The arguments could not be read.",
        },
    ]
    assert data.count(b"\n") == 2 * len(events_of([data]))  # data, blank: one line each


def test_thoughts_of_a_stream() -> None:
    """From the wire to the parts."""
    with asked(think("hm"), say("4"), done()) as (stream, _):
        parts = parts_of(b"".join(sse_body(stream, format="ai-sdk")))
    assert parts[2:5] == text(1, "hm", block="reasoning")
