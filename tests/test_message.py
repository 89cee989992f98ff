"""Chunks add up to a message."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from test_chunks import chunks

from websopy_sync.chunks import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    StreamChunk,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
)
from websopy_sync.message import Message, MessageBuilder


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
    usages = [part.usage for part in parts if isinstance(part, DoneChunk)]
    assert build(*parts) == Message(
        "".join(part.content for part in parts if isinstance(part, ContentChunk)),
        tuple(part.tool for part in parts if isinstance(part, ToolCallChunk)),
        usages[-1] if usages else None,
    )


@given(st.lists(chunks, max_size=12))
def test_without_keeping_only_the_usage_is_there(parts: list[StreamChunk]) -> None:
    """keep=False lets text and tool calls pass."""
    assert build(*parts, keep=False) == Message("", (), build(*parts).usage)


def test_memory_stays_flat_without_keeping() -> None:
    """A stream that runs for days costs what its last chunk costs."""
    builder = MessageBuilder(keep=False)
    tool = ToolCallChunk(ToolCall("f", "x" * 1000))
    tracemalloc.start()
    try:
        for _ in range(2000):
            builder.add(ContentChunk("x" * 1000))
            builder.add(tool)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000


def test_message_is_ready_to_be_sent_back() -> None:
    """As the guide's own component pushes it: role and content."""
    message = Message("你好", (ToolCall("f", "{}"),), Usage(1, 1))
    assert message.to_dict() == {"role": "assistant", "content": "你好"}


def test_message_holds_its_tool_calls_as_a_tuple() -> None:
    """A list that is passed in is not shared."""
    calls = [ToolCall("f", "{}")]
    message = Message("", calls)  # type: ignore[arg-type]  # a converter takes it
    calls.clear()
    assert message.tool_calls == (ToolCall("f", "{}"),)


def test_empty_message_has_nothing() -> None:
    """`Message()` is an answer of which nothing came."""
    assert Message() == Message("", (), None)
