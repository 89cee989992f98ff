"""PROMISE 47 from end to end: one answer, told the same by every way that it can leave."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from command_line import Run
from tables import each
from web_bodies import chunks_of

from websopy_sync import (
    ChatStream,
    ContentChunk,
    Conversation,
    DoneChunk,
    Message,
    ReasoningChunk,
    ResponseParseError,
    ToolCall,
    ToolCallChunk,
    Usage,
    WebsopyClient,
)
from websopy_sync.sandbox import Sandbox, Step, Steps, done, expect_tool_result, say, think, tool
from websopy_sync.web import sse_body

REASONS = ("stop", "length", "tool_calls", "content_filter", "a word of its own", None)
CUT = ("length", "content_filter")

THOUGHT, TEXT = "what nobody asked for", "AI 正在"
USAGE = Usage(20, 150, cached_tokens=4, reasoning_tokens=9)
CALL = ToolCall("search", '{"q":"AI"}', "call-1")


def end_of(reason: str | None) -> Step:
    """A done chunk with all that one can have."""
    return done(20, 150, finish_reason=reason, model="m-1", answer_id="a-1", cached=4, reasoning=9)


def script(reason: str | None) -> Steps:
    """An answer with reasoning and text; tool calls only where it ends for them."""
    calls = [tool("search", {"q": "AI"}, "call-1")] if reason == "tool_calls" else []
    return [think(THOUGHT), say(TEXT), calls, end_of(reason)]


def message_of(reason: str | None) -> Message:
    """What the script adds up to."""
    calls = (CALL,) if reason == "tool_calls" else ()
    return Message(TEXT, calls, USAGE, reason, "m-1", "a-1", THOUGHT)


Ask = Callable[[str | None], ChatStream]


@pytest.fixture
def answering(client: WebsopyClient, sandbox: Sandbox) -> Ask:
    """Opens a stream of the answer that ends for this reason."""

    def answering(reason: str | None) -> ChatStream:
        sandbox.play(script(reason))
        return client.ai.chat_stream("Hi")

    return answering


@each("reason", REASONS)
def test_stream_and_message(answering: Ask, reason: str | None) -> None:
    """The chunks have it, in order, and add up to the message; only the text is text."""
    calls = [ToolCallChunk(CALL)] if reason == "tool_calls" else []
    stream = answering(reason)
    assert list(stream) == [
        ReasoningChunk(THOUGHT),
        ContentChunk(TEXT),
        *calls,
        DoneChunk(USAGE, reason, "m-1", "a-1"),
    ]
    assert stream.current_message == message_of(reason)
    assert stream.current_message.truncated is (reason in CUT)
    assert list(answering(reason).text_stream) == [TEXT]
    assert answering(reason).get_final_text() == TEXT


@each("reason", REASONS)
def test_in_one_piece_and_of_many(
    client: WebsopyClient, sandbox: Sandbox, reason: str | None
) -> None:
    """`chat` and `map` give the same message."""
    sandbox.play(script(reason))
    assert client.ai.chat("Hi") == message_of(reason)
    sandbox.play(script(reason))
    assert list(client.ai.map(["Hi"])) == [(0, message_of(reason))]


@each("reason", [reason for reason in REASONS if reason != "tool_calls"])
def test_run(client: WebsopyClient, sandbox: Sandbox, reason: str | None) -> None:
    """The last answer of a run with a tool is whole, and its turns go on without the rest."""
    sandbox.play(script("tool_calls"))
    found = "nothing"
    sandbox.play([expect_tool_result("search", content=found), *script(reason)])

    def search(q: str) -> str:
        return found

    run = client.ai.run("Hi", tools=[search])
    assert [chunk.type for chunk in run].count("reasoning") == 2
    assert run.message == message_of(reason)
    assert run.messages[-1] == {"role": "assistant", "content": TEXT}
    assert THOUGHT not in str(run.messages)


@each("reason", REASONS)
def test_conversation(
    client: WebsopyClient, sandbox: Sandbox, tmp_path: Path, reason: str | None
) -> None:
    """The turn that is sent back has text and tool calls, saved or not; the rest is no turn."""
    conversation = client.ai.conversation()
    sandbox.play(script(reason))
    conversation.send("Hi").until_done()
    assert conversation.last_message == message_of(reason)
    if reason == "tool_calls":
        conversation.add_tool_result("call-1", "found")
    conversation.save(tmp_path / "saved.json")
    assert THOUGHT not in (tmp_path / "saved.json").read_text("utf-8")
    for going_on in (conversation, Conversation.load(tmp_path / "saved.json", client)):
        sandbox.play([say("more"), done()])
        going_on.send("and now?").until_done()
        (turn,) = [turn for turn in sandbox.requests[-1].json["messages"] if "正在" in str(turn)]
        calls = [{"name": "search", "arguments": '{"q":"AI"}', "id": "call-1"}]
        assert turn == {"role": "assistant", "content": TEXT} | (
            {"toolCalls": calls} if reason == "tool_calls" else {}
        )


@each("reason", REASONS)
def test_history(tmp_path: Path, needs: Any, reason: str | None) -> None:
    """The persistence plugin stores all of it."""
    needs(importlib.util.find_spec("websopy_persistence"), "websopy-persistence")
    from websopy_persistence import History, PersistencePlugin  # noqa: PLC0415  may be missing

    file = tmp_path / f"{reason}.db"
    plugin = PersistencePlugin(file)
    with (
        Sandbox(script(reason)) as sandbox,
        WebsopyClient("test", base_url=sandbox.url, plugins=[plugin]) as client,
    ):
        client.ai.chat("Hi")
    plugin.close()
    with History(file) as history:
        (stored,) = history.list()
        assert history.message(stored.id) == message_of(reason)
    assert (stored.answer, stored.reasoning) == (TEXT, THOUGHT)
    assert (stored.finish_reason, stored.truncated) == (reason, reason in CUT)
    assert (stored.answer_model, stored.answer_id) == ("m-1", "a-1")


@each("reason", REASONS)
def test_log_line(caplog: pytest.LogCaptureFixture, needs: Any, reason: str | None) -> None:
    """Its end says why, and a cut is a warning; no word of the answer is in the log."""
    needs(importlib.util.find_spec("websopy_logging"), "websopy-logging")
    from websopy_logging import LoggingPlugin  # noqa: PLC0415  may be missing

    caplog.set_level(logging.DEBUG)
    with (
        Sandbox(script(reason)) as sandbox,
        WebsopyClient("test", base_url=sandbox.url, plugins=[LoggingPlugin()]) as client,
    ):
        caplog.clear()
        client.ai.chat("Hi")
    (end,) = [record for record in caplog.records if getattr(record, "websopy", {}).get("outcome")]
    fields: dict[str, Any] = vars(end)["websopy"]
    assert (fields.get("finish_reason"), fields["truncated"]) == (reason, reason in CUT)
    assert (fields["answer_model"], fields["answer_id"]) == ("m-1", "a-1")
    assert (end.levelno == logging.WARNING) is (reason in CUT)
    assert THOUGHT not in caplog.text and TEXT not in caplog.text


@each("reason", REASONS)
def test_browser(answering: Ask, reason: str | None) -> None:
    """It gets why and what it cost, but neither the model nor the id."""
    received = chunks_of(sse_body(answering(reason)))
    assert [chunk.type for chunk in received if chunk.type != "tool_call"] == [
        "reasoning",
        "content",
        "done",
    ]
    assert received[-1] == DoneChunk(USAGE, reason)


@each("reason", REASONS)
def test_command_line(chat: Run, reason: str | None) -> None:
    """Text alone goes to a pipe; a cut is a warning; --json has every chunk."""
    answer = chat(script(reason))
    assert (answer.returncode, answer.stdout) == (0, f"{TEXT}\n")
    assert ("warning: the answer was cut" in answer.stderr) is (reason in CUT)
    assert THOUGHT not in answer.stdout + answer.stderr
    lines = [json.loads(line) for line in chat(script(reason), "--json").stdout.splitlines()]
    assert [line["type"] for line in lines if line["type"] != "tool_call"] == [
        "reasoning",
        "content",
        "done",
    ]
    assert (lines[-1].get("finish_reason"), lines[-1]["model"]) == (reason, "m-1")


@attrs.frozen
class City:
    """A type for structured output."""

    name: str


@each("reason", REASONS)
def test_structured_output(client: WebsopyClient, sandbox: Sandbox, reason: str | None) -> None:
    """The parsed message keeps what the service said, and so does the error of a cut one."""
    sandbox.play([think(THOUGHT), say('{"name": "Oslo"}'), end_of(reason)])
    message = client.ai.chat("Hi", response_type=City)
    assert message.parsed == City("Oslo")
    assert (message.reasoning, message.finish_reason, message.usage) == (THOUGHT, reason, USAGE)
    sandbox.play([think(THOUGHT), say('{"name": "Os'), end_of(reason)])
    with pytest.raises(ResponseParseError) as caught:
        client.ai.chat("Hi", response_type=City)
    partial = caught.value.partial
    assert partial == Message('{"name": "Os', (), USAGE, reason, "m-1", "a-1", THOUGHT)
