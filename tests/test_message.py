"""Chunks add up to a message."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each
from test_chunks import chunks, messages

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
from websopy_sync.errors import ConfigError
from websopy_sync.message import Message, MessageBuilder, size_of


def build(*parts: StreamChunk, keep: bool = True) -> Message:
    builder = MessageBuilder(keep=keep)
    for part in parts:
        builder.add(part)
    return builder.message


def test_nothing_is_the_empty_message() -> None:
    """Before the first chunk there is a message, and it is empty."""
    assert build() == Message()


def test_the_guides_example_adds_up() -> None:
    """Text in the order it came, and the usage of the done chunk."""
    parts = [ContentChunk(text) for text in ("AI", " 正在", "改变", "世界...")]
    assert build(*parts, DoneChunk(Usage(20, 150))) == Message(
        "AI 正在改变世界...", (), Usage(20, 150)
    )


def test_tool_calls_keep_their_order() -> None:
    """Each tool call is one, also between pieces of text, also twice the same."""
    first, second = ToolCall("a", "{}"), ToolCall("b", "{}", "1")
    message = build(
        ToolCallChunk(first), ContentChunk("x"), ToolCallChunk(second), ToolCallChunk(first)
    )
    assert message == Message("x", (first, second, first))


def test_done_without_usage_leaves_it_none() -> None:
    """What the service does not say is not made up."""
    assert build(ContentChunk("x"), DoneChunk()).usage is None


def test_error_and_unknown_chunks_add_nothing() -> None:
    """Neither is part of the answer's text."""
    assert build(ErrorChunk("no"), UnknownChunk("ping", {"content": "x"})) == Message()


def test_a_snapshot_stays_as_it_was() -> None:
    """A message taken in the middle does not grow with the answer."""
    builder = MessageBuilder()
    builder.add(ContentChunk("a"))
    before = builder.message
    builder.add(ContentChunk("b"))
    assert (before.content, builder.message.content) == ("a", "ab")


def test_line_ends_and_surrogates_stay_as_they_are() -> None:
    """No newline is translated, no character changed."""
    text = "a\r\nb\rc\n\u2028\x00\ufeff😀"
    assert build(*map(ContentChunk, text)).content == text


@given(st.lists(chunks, max_size=12))
def test_message_is_the_sum_of_its_chunks(parts: list[StreamChunk]) -> None:
    """Whatever comes in whatever order."""
    done = [DoneChunk(), *(part for part in parts if isinstance(part, DoneChunk))][-1]
    assert build(*parts) == Message(
        "".join(part.content for part in parts if isinstance(part, ContentChunk)),
        tuple(part.tool for part in parts if isinstance(part, ToolCallChunk)),
        done.usage,
        done.finish_reason,
        done.model,
        done.id,
        "".join(part.text for part in parts if isinstance(part, ReasoningChunk)),
        state=done.state,
    )


@given(st.lists(chunks, max_size=12))
def test_without_keeping_only_the_end_is_there(parts: list[StreamChunk]) -> None:
    """keep=False lets text, reasoning and tool calls pass."""
    whole = build(*parts)
    assert build(*parts, keep=False) == attrs.evolve(whole, content="", tool_calls=(), reasoning="")


def test_memory_stays_flat_without_keeping() -> None:
    """A stream that runs for days costs what its last chunk costs."""
    builder = MessageBuilder(keep=False)
    tool = ToolCallChunk(ToolCall("f", "x" * 1000))
    tracemalloc.start()
    try:
        for _ in range(2000):
            builder.add(ContentChunk("x" * 1000))
            builder.add(ReasoningChunk("x" * 1000))
            builder.add(tool)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000


def test_message_is_ready_to_be_sent_back() -> None:
    """As the guide's own component pushes it: role and content."""
    message = Message("你好", (), Usage(1, 1), "stop", "m-1", "a-1", "hm")
    assert message.to_dict() == {"role": "assistant", "content": "你好"}


def test_tool_calls_are_part_of_the_turn() -> None:
    """PROMISE 48: without them the results that follow would answer nothing."""
    calls = (ToolCall("f", "{}", "c-1"), ToolCall("g", '{"a": "世"}'))
    turn = Message("", calls).to_dict()
    assert turn == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"name": "f", "arguments": "{}", "id": "c-1"},
            {"name": "g", "arguments": '{"a": "世"}', "id": None},
        ],
    }
    assert Message.from_dict(json.loads(json.dumps(turn))) == Message("", calls)
    assert Message.from_dict({**turn, "content": None}) == Message("", calls)


@given(messages)
def test_turn_and_back(message: Message) -> None:
    """Text, tool calls and state survive the way back; the rest is not part of a turn."""
    back = Message.from_dict(json.loads(json.dumps(message.to_dict())))
    assert back == Message(message.content, message.tool_calls, state=message.state)


@each(
    ("turn", "says"),
    [
        (None, "NoneType"),
        ([], "list"),
        ({}, "'assistant'"),
        ({"role": "user", "content": "s3cret"}, "'assistant'"),
        ({"role": "assistant"}, "content"),
        ({"role": "assistant", "content": None}, "NoneType"),
        ({"role": "assistant", "content": None, "tool_calls": []}, "NoneType"),
        ({"role": "assistant", "content": ["s3cret"]}, "list"),
        ({"role": "assistant", "content": "", "tool_calls": {"a": 1}}, "dict"),
        ({"role": "assistant", "content": "", "tool_calls": "s3cret"}, "str"),
        ({"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}, "ToolCall"),
        ({"role": "assistant", "content": "", "tool_calls": ["s3cret"]}, "ToolCall"),
        ({"role": "assistant", "content": "", "state": "s3cret"}, "state, got str"),
    ],
)
def test_what_is_no_turn_of_a_message(turn: Any, says: str) -> None:
    """A ConfigError says what was expected and what came, without the text."""
    with pytest.raises(ConfigError, match=says) as caught:
        Message.from_dict(turn)
    assert "s3cret" not in str(caught.value)


def test_reasoning_is_no_part_of_the_text() -> None:
    """What the model thinks stays apart from what it answers."""
    message = build(
        ReasoningChunk("two "), ContentChunk("4"), ReasoningChunk("and two"), DoneChunk()
    )
    assert (message.content, message.reasoning) == ("4", "two and two")


def test_the_done_chunk_says_why_and_who() -> None:
    """Finish reason, model and id come from the done chunk, also when no text is kept."""
    done = DoneChunk(Usage(1, 2), "length", "m-1", "a-1")
    for keep in (True, False):
        message = build(ContentChunk("x"), ReasoningChunk("y"), done, keep=keep)
        assert message == Message(
            "x" * keep, (), Usage(1, 2), "length", "m-1", "a-1", reasoning="y" * keep
        )


def test_state_goes_back_and_is_not_shown() -> None:
    """PROMISE 48: it is part of the turn, a copy each time, and of no repr."""
    state = {"w": {"signature": "s3cret"}}
    done = DoneChunk(state=state)
    message = build(ContentChunk("x"), done)
    assert message.to_dict() == {"role": "assistant", "content": "x", "state": state}
    assert "s3cret" not in f"{message!r}{done!r}"
    message.to_dict()["state"]["w"].clear()
    assert message.state == done.state == state
    assert DoneChunk(state={}).state is Message().state is None


@each(
    ("reason", "truncated"),
    [
        (None, False),
        ("stop", False),
        ("tool_calls", False),
        ("length", True),
        ("content_filter", True),
        ("a word of the service", False),
    ],
)
def test_truncated(reason: str | None, truncated: bool) -> None:
    """PROMISE 47: an answer that the service cut can be told from a whole one."""
    assert build(ContentChunk("x"), DoneChunk(None, reason)).truncated is truncated


def test_a_notebook_renders_the_text() -> None:
    """IPython asks an object for its Markdown."""
    assert Message("# Hello")._repr_markdown_() == "# Hello"


def test_sizes() -> None:
    """Text, reasoning and tool calls count for max_answer_size."""
    sizes = [
        size_of(ContentChunk("abc")),
        size_of(ReasoningChunk("abcd")),
        size_of(ToolCallChunk(ToolCall("f", "x" * 100, "i"))),
        size_of(ToolCallChunk(ToolCall("f", ""))),
        size_of(DoneChunk()),
    ]
    assert sizes == [3, 4, 102, 64, 0]


def test_message_holds_its_tool_calls_as_a_tuple() -> None:
    """A list that is passed in is not shared."""
    calls = [ToolCall("f", "{}")]
    message = Message("", calls)  # type: ignore[arg-type]  # a converter takes it
    calls.clear()
    assert message.tool_calls == (ToolCall("f", "{}"),)


def test_empty_message_has_nothing() -> None:
    """`Message()` is an answer of which nothing came."""
    assert Message() == Message("", (), None)
