"""A user's code as a type checker sees it; test_typing.py has mypy read it, nothing runs it.

A line that carries `type: ignore` is one that must be refused.
"""

from typing import Any, Literal, assert_never, assert_type

from websopy_sync import (
    ContentChunk,
    DoneChunk,
    ErrorChunk,
    Message,
    StreamChunk,
    ToolCallChunk,
    UnknownChunk,
    Usage,
    WebsopyClient,
)


def narrowing_by_type(chunk: StreamChunk) -> str:
    """Each comparison leaves one class."""
    if chunk.type == "content":
        assert_type(chunk, ContentChunk)
        return chunk.content
    if chunk.type == "tool_call":
        assert_type(chunk, ToolCallChunk)
        assert_type(chunk.tool.parse_arguments(), dict[str, Any])
        return chunk.tool.name
    if chunk.type == "done":
        assert_type(chunk, DoneChunk)
        assert_type(chunk.usage, Usage | None)
        return str(chunk.usage.total_tokens if chunk.usage else 0)
    if chunk.type == "error":
        assert_type(chunk, ErrorChunk)
        assert_type(chunk.code, str | None)
        return chunk.message
    assert_type(chunk, UnknownChunk)
    assert_type(chunk.data["later"], Any)
    return str(chunk.type)


def narrowing_by_class(chunk: StreamChunk) -> str:
    """`match` by class needs no default branch: the union is closed."""
    match chunk:
        case ContentChunk(content):
            return assert_type(content, str)
        case ToolCallChunk(tool):
            return tool.arguments
        case DoneChunk() | ErrorChunk() | UnknownChunk():
            return ""
        case _:
            assert_never(chunk)


def wrong_uses(chunk: StreamChunk) -> None:
    """What a checker has to find."""
    chunk.content  # type: ignore[union-attr]  # only one of them has it
    if chunk.type == "content":
        chunk.usage  # type: ignore[attr-defined]
        chunk.content = ""  # type: ignore[misc]  # chunks are frozen
    if chunk.type == "done":
        chunk.usage.total_tokens  # type: ignore[union-attr]  # may be None


def streaming(client: WebsopyClient) -> None:
    """The loop, the text lens and the whole message."""
    stream = client.ai.chat_stream([{"role": "user", "content": "Hello"}])
    for chunk in stream:
        assert_type(chunk, StreamChunk)
    for text in client.ai.chat_stream("Hello").text_stream:
        assert_type(text, str)
    assert_type(client.ai.chat("Hello"), Message)
    assert_type(stream.get_final_text(), str)
    assert_type(stream.current_message, Message)
    assert_type(stream.state, Literal["open", "done", "error", "cancelled", "closed"])
    client.ai.chat_stream()  # type: ignore[call-arg]  # messages are not optional
    client.ai.chat_stream("Hello", cancel_token="x")  # type: ignore[arg-type]
