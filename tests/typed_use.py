"""A user's code as type checkers see it; test_typing.py has them read it, nothing runs it.

A line that carries `type: ignore` is one that must be refused.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, assert_never, assert_type

from websopy_sync import (
    CancelToken,
    ChatOptions,
    ChatStream,
    ContentChunk,
    Conversation,
    DoneChunk,
    ErrorChunk,
    FileError,
    FilePart,
    ImagePart,
    MaxTurnsError,
    Message,
    ParsedMessage,
    ReasoningChunk,
    ResponseParseError,
    RunOptions,
    StreamChunk,
    TextPart,
    Timeouts,
    Tool,
    ToolCall,
    ToolCallChunk,
    ToolError,
    ToolRun,
    UnknownChunk,
    Usage,
    WebsopyClient,
    WebsopyError,
    file,
    image,
    text,
)
from websopy_sync.hooks import StoredConversation
from websopy_sync.sandbox import Sandbox, done, expect_tool_result, say, think, tool
from websopy_sync.web import FormatName, flask_response, page_messages, sse_body
from websopy_sync.wires import Wire


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
        assert_type(chunk.finish_reason, str | None)
        assert_type((chunk.model, chunk.id), tuple[str | None, str | None])
        return str(chunk.usage.total_tokens if chunk.usage else 0)
    if chunk.type == "reasoning":
        return assert_type(chunk, ReasoningChunk).text
    if chunk.type == "error":
        assert_type(chunk, ErrorChunk)
        assert_type(chunk.code, str | None)
        return chunk.message
    assert_type(chunk, UnknownChunk)
    assert_type(chunk.data["later"], Any)
    return str(chunk.type)


def narrowing_by_match(chunk: StreamChunk) -> str:
    """`match chunk.type` leaves one class as well."""
    match chunk.type:
        case "content":
            return assert_type(chunk, ContentChunk).content
        case "tool_call":
            return assert_type(chunk, ToolCallChunk).tool.arguments
        case _:
            return ""


def narrowing_by_what_it_is_not(chunk: StreamChunk) -> str:
    """An early return leaves one class after it."""
    if chunk.type != "content":
        return ""
    return assert_type(chunk, ContentChunk).content


def type_as_text(chunk: StreamChunk) -> bool:
    """A type is a str; one that a later service adds is compared as one."""
    seen: set[str] = {chunk.type}
    return isinstance(chunk, UnknownChunk) and str(chunk.type) == "later" and "later" in seen


def narrowing_by_class(chunk: StreamChunk) -> str:
    """`match` by class needs no default branch: the union is closed."""
    match chunk:
        case ContentChunk(content):
            return assert_type(content, str)
        case ToolCallChunk(tool):
            return tool.arguments
        case ReasoningChunk(text=text):
            return assert_type(text, str)
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
    bool(chunk.type == "contents")  # type: ignore[comparison-overlap]  # misspelt


def whole_answer(chunk: StreamChunk, message: Message) -> None:
    """What the service says about an answer."""
    assert_type(chunk.extra, dict[str, Any])
    assert_type(message.finish_reason, str | None)
    assert_type(message.truncated, bool)
    assert_type(message.reasoning, str)
    assert_type(message.tool_calls, tuple[ToolCall, ...])
    assert_type(Message.from_dict(message.to_dict()), Message)
    if message.usage:
        assert_type(message.usage.cached_tokens + message.usage.reasoning_tokens, int)
        assert_type(message.usage.details, dict[str, Any])


def streaming(client: WebsopyClient) -> None:
    """The loop, the text lens and the whole message."""
    stream = client.ai.chat_stream([{"role": "user", "content": "Hello"}])
    for chunk in stream:
        assert_type(chunk, StreamChunk)
    for piece in client.ai.chat_stream("Hello").text_stream:
        assert_type(piece, str)
    assert_type(client.ai.chat("Hello"), Message)
    assert_type(stream.get_final_text(), str)
    assert_type(stream.current_message, Message)
    assert_type(stream.state, Literal["open", "done", "error", "cancelled", "closed"])
    client.ai.chat_stream()  # type: ignore[call-arg]  # messages are not optional


def options(client: WebsopyClient, token: CancelToken) -> None:
    """Each option has its type in every verb; fields of the body are free."""
    client.ai.chat("Hello", timeout=5, max_retries=None, resume=False, keep_message=False)
    client.ai.chat(messages="Hello", model="m", temperature=0.5, stop=["a"], tools=[{"x": 1}])
    client.ai.chat_stream("Hello", timeout=Timeouts(idle=1), cancel_token=token, model="m")
    client.ai.chat_stream("Hello", extra_headers={"X-A": "1"}, extra_body={"any_name": {}})
    client.ai.conversation().send(content="Hello", max_answer_size=9, idempotency_key="k", seed=1)
    client.ai.chat("Hello", metadata={"user": 7})
    client.ai.chat("Hello", metadata={7: "user"})  # type: ignore[dict-item]
    assert_type(client.ai.chat_stream("Hello").metadata, Mapping[str, Any])
    client.ai.chat("Hello", timeout="5")  # type: ignore[call-overload]
    client.ai.chat("Hello", max_retries=1.5)  # type: ignore[call-overload]
    client.ai.chat("Hello", resume="no")  # type: ignore[call-overload]
    client.ai.chat_stream("Hello", cancel_token="x")  # type: ignore[arg-type]
    client.ai.chat_stream("Hello", keep_message=None)  # type: ignore[arg-type]
    client.ai.chat_stream("Hello", extra_headers=["X-A"])  # type: ignore[arg-type]
    client.ai.conversation().send("Hello", extra_body="x")  # type: ignore[arg-type]
    client.ai.conversation().send("Hello", idempotency_key=7)  # type: ignore[arg-type]
    client.ai.conversation().send("Hello", max_answer_size="9")  # type: ignore[arg-type]


def conversations(client: WebsopyClient, call: ToolCall, path: Path) -> None:
    """Turns, parts and results, and the options of every send."""
    conversation = client.ai.conversation("system", model="m", timeout=5)
    assert_type(conversation, Conversation)
    assert_type(conversation.options, ChatOptions)
    conversation.options["model"] = "other"
    conversation.options["timeout"] = "5"  # type: ignore[typeddict-item]
    conversation.options = {"temperature": 0.5}
    conversation.options = {"timeout": "5"}  # type: ignore[typeddict-item]
    assert_type(conversation.last_message, Message | None)
    assert_type(conversation.send(), ChatStream)
    conversation.send(["look", image(path), file(b"x", "a.csv"), text("t")], keep_partial=True)
    conversation.send(7)  # type: ignore[arg-type]
    conversation.send("x", keep_partial=1)  # type: ignore[arg-type]
    conversation.add_tool_result(call, {"any": object()})
    conversation.add_tool_result("id", None)
    conversation.add_tool_result(7, None)  # type: ignore[arg-type]
    conversation.save(path)
    conversation.save("name")
    assert_type(Conversation.load(path, client, model="m"), Conversation)
    Conversation.load(path)  # type: ignore[call-arg]
    Conversation.load(path, "client")  # type: ignore[arg-type]
    client.ai.conversation(timeout="5")  # type: ignore[arg-type]
    client.ai.conversation(7)  # type: ignore[arg-type]


def parts(path: Path) -> None:
    """What makes a part, and what a part is."""
    assert_type(image("https://example.com/a.png"), ImagePart)
    assert_type(image(path, max_size=1).data, str)
    assert_type(file(b"x").media_type, str)
    assert_type(file("name", "other"), FilePart)
    assert_type(text("t"), TextPart)
    image(7)  # type: ignore[arg-type]
    image(path, 1)  # type: ignore[call-arg]
    file(path, name=7)  # type: ignore[arg-type]
    text(b"t")  # type: ignore[arg-type]
    text("t").text = "other"  # type: ignore[misc]
    try:
        image(path)
    except FileError as error:
        assert_type(error.errno, int | None)


def weather(city: str, days: int = 1) -> str:
    """A tool."""
    return city * days


def tools(client: WebsopyClient, described: list[dict[str, Any]]) -> None:
    """Functions, Tools and dicts are tools; a run yields chunks and has its own options."""
    tool = Tool.of(weather)
    assert_type(tool, Tool)
    assert_type(tool.to_dict(), dict[str, Any])
    client.ai.chat("Hello", tools=[weather, tool, {"name": "x"}])
    client.ai.chat_stream("Hello", tools=described)
    client.ai.chat("Hello", tools=None)
    with client.ai.run("Hello", tools=[weather], max_turns=3, parallel=1, model="m") as run:
        for chunk in run:
            assert_type(chunk, StreamChunk)
    assert_type(run, ToolRun)
    assert_type(run.messages, list[dict[str, Any]])
    assert_type(run.until_done().message, Message)
    assert_type(run.turn, int)
    client.ai.run("Hello", tools=[], tool_timeout=1.5, approve=lambda call: call.name == "x")
    client.ai.run("Hello", tools=[tool], strict_tools=True, timeout=5, metadata={"a": 1})
    client.ai.run("Hello")  # type: ignore[call-arg]  # tools are not optional
    client.ai.run("Hello", tools=[7])  # type: ignore[list-item]
    client.ai.run("Hello", tools=[weather], timeout="5")  # type: ignore[arg-type]
    client.ai.run("Hello", tools=[weather], max_turns=None)  # type: ignore[arg-type]
    client.ai.run("Hello", tools=[weather], approve=True)  # type: ignore[arg-type]
    client.ai.chat("Hello", tools=weather)  # type: ignore[call-overload]
    Tool("weather", "", {}, 7)  # type: ignore[arg-type]


def tool_failures(error: ToolError | MaxTurnsError) -> None:
    """Errors have what the handler needs."""
    if isinstance(error, ToolError):
        assert_type(error.call, ToolCall | None)
    else:
        assert_type(error.messages, list[dict[str, Any]])


def own_run(client: WebsopyClient, **options: Unpack[RunOptions]) -> ToolRun:
    """A function of the user's that passes the options of a run on."""
    return client.ai.run("Hello", tools=[weather], **options)


def own_verb(client: WebsopyClient, **options: Unpack[ChatOptions]) -> Message:
    """A function of the user's that passes the options on."""
    return client.ai.chat("Hello", **options)


def clients() -> None:
    """The client's options have their types too."""
    WebsopyClient("key", timeout=5, verify=False, plugins=[], default_headers={"X-A": "1"})
    assert_type(WebsopyClient(api_key=None, timeout=Timeouts()), WebsopyClient)
    WebsopyClient(lambda: "key")
    WebsopyClient(api_key=int)  # type: ignore[arg-type]  # it returns no str
    WebsopyClient(timeout="5")  # type: ignore[arg-type]
    WebsopyClient(max_retries=None)  # type: ignore[arg-type]
    WebsopyClient(plugins=7)  # type: ignore[arg-type]
    WebsopyClient(time_out=5)  # type: ignore[call-arg]
    WebsopyClient("key", "http://h")  # type: ignore[call-arg]  # only the key is positional


def listed(client: WebsopyClient, token: CancelToken) -> None:
    """The models that a service lists are names."""
    assert_type(client.models(), list[str])
    client.models(timeout=Timeouts(total=5), cancel_token=token, extra_headers={"X-A": "1"})
    client.models(timeout="5")  # type: ignore[arg-type]
    client.models(5)  # type: ignore[call-arg]  # its options go by keyword


class OwnWire(Wire):
    """A wire of the user's own, with its list of models."""

    models_path = "/list"

    def models_in(self, body: Any) -> Sequence[str]:
        """The names in a page."""
        return [*super().models_in(body)]

    def models_after(self, body: Any) -> Mapping[str, str]:
        """The next page."""
        return {"after": "x"}


def many(client: WebsopyClient, token: CancelToken) -> list[str]:
    """Each result is a message or an error."""
    for index, result in client.ai.map(["a", [{"role": "user", "content": "b"}]], workers=2):
        assert_type(index, int)
        assert_type(result, Message | WebsopyError)
        if isinstance(result, WebsopyError):
            return [result.message]
        assert_type(result, Message)
    client.ai.map((str(n) for n in range(9)), model="m", cancel_token=token).close()
    for _, typed in client.ai.map(["a"], response_type=list[int]):
        assert_type(typed, ParsedMessage[list[int]] | WebsopyError)
    client.ai.map(7)  # type: ignore[call-overload]
    client.ai.map([], workers="8")  # type: ignore[call-overload]
    client.ai.map([], timeout="5")  # type: ignore[call-overload]
    return []


@dataclasses.dataclass
class Weather:
    """What a user may ask for."""

    city: str


class Query(TypedDict):
    """Likewise."""

    text: str


def structured_output(client: WebsopyClient, options: ChatOptions) -> str:
    """The value has the type that was passed."""
    message = client.ai.chat("Hello", response_type=Weather, model="m")
    assert_type(message, ParsedMessage[Weather])
    assert_type(message.parsed, Weather)
    assert_type(client.ai.chat("Hello", response_type=Query).parsed["text"], str)
    assert_type(client.ai.chat("Hello", response_type=list[Weather]).parsed, list[Weather])
    assert_type(client.ai.chat("Hello", response_type=int).parsed, int)
    assert_type(client.ai.chat("Hello", response_type=None), Message)
    client.ai.chat("Hello", response_type=Weather | None).parsed
    client.ai.chat("Hello", response_type=Literal["yes", "no"]).parsed
    client.ai.map(["a"], response_type=Literal["yes", "no"]).close()
    client.ai.chat("Hello", response_type=7)  # type: ignore[call-overload]
    assert_type(client.ai.chat("Hello", response_type=Weather, **options).parsed, Weather)
    client.ai.chat("Hello", response_type=Weather, timeout="5")  # type: ignore[call-overload]
    message.parsed.town  # type: ignore[attr-defined]
    message.parsed = Weather("x")  # type: ignore[misc]
    try:
        return message.parsed.city
    except ResponseParseError as error:
        return assert_type(error.text, str)


async def passing_on(client: WebsopyClient) -> None:
    """The body of a response, for both kinds of loop."""
    body = sse_body(client.ai.chat_stream("Hello"), heartbeat=5, on_disconnect="finish")
    for piece in body:
        assert_type(piece, bytes)
    async for piece in body:
        assert_type(piece, bytes)
    sse_body(client.ai.run("Hello", tools=[]))
    sse_body(lambda cancel: client.ai.chat_stream("Hello", cancel_token=cancel), wait_for_status=2)
    sse_body(lambda cancel: client.ai.run("Hello", tools=[], cancel_token=cancel))
    sse_body(client.ai.chat_stream("Hello"), format="ai-sdk")
    flask_response(lambda cancel: client.ai.chat_stream("Hello"), format="ai-sdk", heartbeat=5)
    name: FormatName = "ai-sdk"
    sse_body(client.ai.chat_stream("Hello"), format=name)
    sse_body(client.ai.chat_stream("Hello"), format="sse")  # type: ignore[arg-type]
    sse_body("Hello")  # type: ignore[arg-type]  # not a stream
    sse_body(lambda: client.ai.chat_stream("Hello"))  # type: ignore[arg-type, misc]  # no token
    sse_body(client.ai.chat_stream("Hello"), on_disconnect="stop")  # type: ignore[arg-type]


def what_a_page_sent(client: WebsopyClient, body: object) -> None:
    """The turns go into a call as they are."""
    turns = assert_type(page_messages(body), list[dict[str, str]])
    client.ai.chat_stream(turns)
    client.ai.chat_stream([{"role": "system", "content": "Be brief"}, *turns])
    page_messages(body, max_messages=20, max_bytes=10_000)
    page_messages(body, max_bytes="1 MB")  # type: ignore[arg-type]


def scripts() -> Sandbox:
    """The words of a script."""
    done(20, 150, finish_reason="length", model="m", answer_id="a", cached=1, reasoning=2, id="")
    done("20")  # type: ignore[arg-type]
    done(finish_reason=1)  # type: ignore[arg-type]
    think(1)  # type: ignore[arg-type]
    expect_tool_result("f", content={})  # type: ignore[arg-type]
    expect_tool_result("f", "x")  # type: ignore[call-arg]
    asked = [tool("f", {"a": 1}, "c"), done()]
    return Sandbox([think("hm"), expect_tool_result("f", content="x"), say("a"), [asked]])


def stored_conversation(client: WebsopyClient) -> list[dict[str, Any]]:
    """None when no plugin has it, else its id and its turns."""
    found = assert_type(client.load_conversation("id"), StoredConversation | None)
    client.load_conversation(1)  # type: ignore[arg-type]
    return [] if found is None else assert_type(found["messages"], list[dict[str, Any]])
