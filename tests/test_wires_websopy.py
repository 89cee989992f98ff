"""The service's JSON as chunks, and chunks as the service's JSON."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tables import each
from test_chunks import chunks

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
from websopy_sync.errors import StreamProtocolError
from websopy_sync.message import Message
from websopy_sync.sandbox.wires.websopy import WebsopyService
from websopy_sync.wires import ChatRequest
from websopy_sync.wires.base import ReadResult, chunks_of
from websopy_sync.wires.websopy import Websopy, WebsopyReader, parse_chunk
from websopy_sync.wires.websopy.writer import dump_chunk

# --- one table, both ways ------------------------------------------------------------------------

TABLE: list[tuple[str, StreamChunk]] = [
    ('{"type":"content","content":"AI"}', ContentChunk("AI")),
    ('{"type":"content","content":" 正在"}', ContentChunk(" 正在")),
    ('{"type":"content","content":""}', ContentChunk("")),
    ('{"type":"content","content":"a\\nb\\r\\t\\"\\\\"}', ContentChunk('a\nb\r\t"\\')),
    (
        '{"type":"tool_call","tool":{"name":"weather","arguments":"{\\"city\\":\\"上海\\"}"}}',
        ToolCallChunk(ToolCall("weather", '{"city":"上海"}')),
    ),
    (
        '{"type":"tool_call","tool":{"name":"f","arguments":"","id":"call-1"}}',
        ToolCallChunk(ToolCall("f", "", "call-1")),
    ),
    (
        '{"type":"done","usage":{"promptTokens":20,"completionTokens":150}}',
        DoneChunk(Usage(20, 150)),
    ),
    (
        '{"type":"done","usage":{"promptTokens":1,"completionTokens":2,"totalTokens":9}}',
        DoneChunk(Usage(1, 2, 9)),
    ),
    ('{"type":"done"}', DoneChunk()),
    (
        '{"type":"done","usage":{"promptTokens":1,"completionTokens":2,"cachedTokens":1,'
        '"reasoningTokens":2},"finishReason":"length","model":"m-1","id":"a-1"}',
        DoneChunk(Usage(1, 2, cached_tokens=1, reasoning_tokens=2), "length", "m-1", "a-1"),
    ),
    ('{"type":"reasoning","content":"两 + 两"}', ReasoningChunk("两 + 两")),
    ('{"type":"error","error":{"message":"busy","code":"503"}}', ErrorChunk("busy", "503")),
    ('{"type":"error","error":{"message":"busy"}}', ErrorChunk("busy")),
    (
        '{"type":"thinking","content":"hm","depth":2}',
        UnknownChunk("thinking", {"type": "thinking", "content": "hm", "depth": 2}),
    ),
    ('{"type":"ping"}', UnknownChunk("ping", {"type": "ping"})),
    ('{"type":""}', UnknownChunk("", {"type": ""})),
]
both_ways = each(("data", "chunk"), TABLE)


@both_ways
def test_reading(data: str, chunk: StreamChunk) -> None:
    """What the service writes becomes the chunk."""
    assert parse_chunk(data) == WebsopyReader().read(data) == chunk


@both_ways
def test_writing(data: str, chunk: StreamChunk) -> None:
    """The chunk is written as the service writes it, byte for byte."""
    assert dump_chunk(chunk) == data


@given(chunks)
@example(ContentChunk("\u2028\u2029\x85\x00\ufeff"))
@example(ErrorChunk("m", "0"))
def test_what_is_written_is_read_back(chunk: StreamChunk) -> None:
    """dump → parse is the identity, but for what the wire has no words for.

    An empty error text or code cannot be told from a missing one; the data of an unknown chunk is
    the whole object, its type included.
    """
    if isinstance(chunk, ErrorChunk):
        reason = chunk.message or "the service gave no reason"
        chunk = ErrorChunk(reason, chunk.code or None)
    elif isinstance(chunk, UnknownChunk):
        chunk = UnknownChunk(chunk.type, {**chunk.data, "type": chunk.type})
    elif isinstance(chunk, DoneChunk):
        chunk = attrs.evolve(chunk, state=None)  # the service has none
    assert parse_chunk(dump_chunk(chunk)) == chunk


@each(
    ("data", "extra"),
    [
        ('{"type":"content","content":"x","index":0,"a":{"b":[1]}}', {"index": 0, "a": {"b": [1]}}),
        ('{"type":"content","content":"\\u4e16","index":0}', {"index": 0}),
        ('{"type":"content","content":"","u":"\\ud83d"}', {"u": "\ufffd"}),
        ('{"type":"reasoning","content":"x","signature":"s"}', {"signature": "s"}),
        ('{"type":"reasoning","summary":["x"]}', {"summary": ["x"]}),
        ('{"type":"reasoning","content":"x","text":"y"}', {"text": "y"}),
        (
            '{"type":"tool_call","tool":{"name":"f","arguments":"","index":1},"last":true}',
            {"last": True, "tool": {"index": 1}},
        ),
        ('{"type":"done","timings":{"ms":1.5}}', {"timings": {"ms": 1.5}}),
        (
            '{"type":"done","finishReason":7,"model":["m"],"id":{}}',
            {"finishReason": 7, "model": ["m"], "id": {}},
        ),
        (
            '{"type":"error","error":{"message":"m","param":"p"},"at":1}',
            {"at": 1, "error": {"param": "p"}},
        ),
        ('{"type":"content","content":"x"}', {}),
        ('{"type":"done","usage":null,"finishReason":null,"model":"","id":null}', {}),
        ('{"type":"x","a":1}', {}),
    ],
)
def test_unknown_fields_are_kept(data: str, extra: dict[str, Any]) -> None:
    """PROMISE 47: as they came, at the place where they stood; and written again."""
    for read in (parse_chunk, WebsopyReader().read):
        chunk = read(data)
        assert not isinstance(chunk, tuple) and chunk is not None
        assert chunk.extra == extra  # type: ignore[union-attr]
        again = parse_chunk(dump_chunk(chunk))  # type: ignore[arg-type]
        assert (again, again.extra) == (chunk, extra)


@each(
    ("sent", "read"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("toolCalls", "tool_calls"),
        ("contentFilter", "content_filter"),
        ("max_tokens", "length"),
        ("maxTokens", "length"),
        ("其他", "其他"),
        ("", None),
        (None, None),
    ],
)
def test_finish_reasons(sent: str | None, read: str | None) -> None:
    """PROMISE 47: four words for what services say in several, and the service's own beyond."""
    chunk = parse_chunk(json.dumps({"type": "done", "finishReason": sent}))
    assert isinstance(chunk, DoneChunk) and chunk.finish_reason == read


@each(
    ("usage", "cached", "details"),
    [
        ({"cachedTokens": 3}, 3, {}),
        ({"cachedTokens": None, "audioTokens": 2}, 0, {"audioTokens": 2}),
        ({"cachedTokens": "3"}, 0, {"cachedTokens": "3"}),
        ({"cachedTokens": True}, 0, {"cachedTokens": True}),
        ({"cachedTokens": -1}, 0, {"cachedTokens": -1}),
        ({"cachedTokens": 2**63}, 0, {"cachedTokens": 2**63}),
    ],
)
def test_usage_details(usage: dict[str, Any], cached: int, details: dict[str, Any]) -> None:
    """Counts that the guide does not have are never an error; what is none is a detail."""
    fields = {"promptTokens": 1, "completionTokens": 2, **usage}
    chunk = parse_chunk(json.dumps({"type": "done", "usage": fields}))
    assert isinstance(chunk, DoneChunk) and chunk.usage is not None
    assert (chunk.usage.cached_tokens, chunk.usage.details) == (cached, details)


def body_of(*turns: dict[str, Any], **fields: Any) -> Any:
    """The body for these turns, as it goes out."""
    return json.loads(json.dumps(Websopy().body(ChatRequest(turns, **fields))))


@each(
    ("turn", "sent"),
    [
        ({"role": "user", "content": "x"}, {"role": "user", "content": "x"}),
        (
            Message("a", (ToolCall("f", "{}", "c"), ToolCall("g", ""))).to_dict(),
            {
                "role": "assistant",
                "content": "a",
                "toolCalls": [
                    {"name": "f", "arguments": "{}", "id": "c"},
                    {"name": "g", "arguments": ""},
                ],
            },
        ),
        (
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"},
            {"role": "tool", "toolCallId": "c", "name": "f", "content": "1"},
        ),
        (
            {"role": "tool", "tool_call_id": None, "name": "f", "content": "1"},
            {"role": "tool", "name": "f", "content": "1"},
        ),
        (
            {"role": "user", "content": [{"type": "image", "media_type": "image/png", "data": ""}]},
            {"role": "user", "content": [{"type": "image", "mediaType": "image/png", "data": ""}]},
        ),
        # what is in a form of the service's, or of another one, is the service's to judge
        (
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        ),
        (
            {"role": "assistant", "content": "", "toolCalls": [1]},
            {"role": "assistant", "content": "", "toolCalls": [1]},
        ),
    ],
)
def test_turns_as_they_are_sent(turn: dict[str, Any], sent: dict[str, Any]) -> None:
    """PROMISE 48: tool calls and results go back under names like the guide's own."""
    before = json.dumps(turn)
    assert body_of(turn) == {"messages": [sent]}
    assert json.dumps(turn) == before


@each(
    ("before", "after"),
    [([], ["user"]), (["system"], ["user"]), (["system", "system"], ["user", "system"]), ([], [])],
)
def test_output_schema_is_a_system_turn(before: list[str], after: list[str]) -> None:
    """The guide has no parameter for it, so a system turn after the user's own says it."""
    turns = [{"role": role, "content": "x"} for role in (*before, *after)]
    messages = body_of(*turns, output_schema={"type": "世"})["messages"]
    told = messages.pop(len(before))
    assert messages == turns
    assert told["role"] == "system" and told["content"].endswith('{"type":"世"}')


@given(chunks)
def test_writing_is_one_line_of_encodable_json(chunk: StreamChunk) -> None:
    """Nothing in a chunk can end the line that it is written in."""
    written = dump_chunk(chunk)
    assert "\n" not in written and "\r" not in written
    assert json.loads(written.encode())["type"] == chunk.type


@pytest.mark.parametrize("half", [chr(0xD83D), chr(0xDE00), "a" + chr(0xD800)])
def test_writing_a_lone_surrogate_stays_readable(half: str) -> None:
    """A chunk that somebody built with half a character can still be encoded, and says U+FFFD."""
    written = dump_chunk(ContentChunk(half))
    assert parse_chunk(written.encode("utf-8", "replace").decode()) == ContentChunk(
        half[:-1] + "\ufffd"
    )


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_writing_never_makes_what_is_no_json(value: float) -> None:
    """1e999 comes in as infinity; `Infinity` is no JSON, so it goes out as something that is."""
    written = dump_chunk(UnknownChunk("x", {"type": "x", "n": value}))
    json.loads(written, parse_constant=pytest.fail)


# --- lenient: unknown types, extra fields, white space -------------------------------------------


@each(
    ("data", "chunk"),
    [
        ('{"type":"content","content":"x","extra":1,"index":null}', ContentChunk("x")),
        ('{"content":"x","type":"content"}', ContentChunk("x")),
        (' \n{"type" : "content" ,\n "content":"x"}\t', ContentChunk("x")),
        ('{"type":"content","content":"x","content":"y"}', ContentChunk("y")),
        (
            '{"type":"tool_call","tool":{"name":"f","arguments":"{}","id":null,"x":1}}',
            ToolCallChunk(ToolCall("f", "{}")),
        ),
        ('{"type":"done","usage":null}', DoneChunk()),
        ('{"type":"done","usage":{}}', DoneChunk()),
        ('{"type":"done","finish":"stop"}', DoneChunk()),
        (
            '{"type":"done","usage":{"promptTokens":1,"completionTokens":1,"cached":9}}',
            DoneChunk(Usage(1, 1)),
        ),
        (
            '{"type":"done","usage":{"promptTokens":1,"completionTokens":1,"totalTokens":null}}',
            DoneChunk(Usage(1, 1)),
        ),
        ('{"type":"content","content":"\\u4e16\\u754c"}', ContentChunk("世界")),
        ('{"type":"content","content":"\\u0000\\u2028"}', ContentChunk("\0\u2028")),
        ('{"type":"content","content":"","x":"\\u0041"}', ContentChunk("")),
        ('{"type":"Content"}', UnknownChunk("Content", {"type": "Content"})),
        ('{"type":"x","n":1e999}', UnknownChunk("x", {"type": "x", "n": math.inf})),
        (
            '{"type":"x","n":' + "9" * 4000 + "}",
            UnknownChunk("x", {"type": "x", "n": int("9" * 4000)}),
        ),
    ],
)
def test_lenient_reading(data: str, chunk: StreamChunk) -> None:
    """Unknown types, extra fields, another order, white space and escapes are no error."""
    assert parse_chunk(data) == WebsopyReader().read(data) == chunk


@each(
    ("fields", "message", "code"),
    [
        ({"error": "boom"}, "boom", None),
        ({"error": {"message": "boom"}}, "boom", None),
        ({"error": {"message": "boom", "code": "c"}}, "boom", "c"),
        ({"error": {"message": "boom", "code": 503}}, "boom", "503"),
        ({"error": {"message": "boom", "code": 0}}, "boom", "0"),
        ({"error": {"message": "boom", "type": "overloaded"}}, "boom", "overloaded"),
        ({"error": {"message": "boom", "code": "c", "type": "t"}}, "boom", "c"),
        ({"error": {"message": "boom", "code": None, "type": "t"}}, "boom", "t"),
        ({"error": {"message": "boom"}, "code": "outer"}, "boom", "outer"),
        ({"message": "boom"}, "boom", None),
        ({"message": "boom", "code": "c"}, "boom", "c"),
        ({"content": "boom"}, "boom", None),
        ({"error": "first", "message": "second", "content": "third"}, "first", None),
        ({"error": {"code": "c"}, "message": "second", "content": "third"}, "second", "c"),
        ({"error": "", "message": "", "content": "third"}, "third", None),
        ({"error": None, "message": "boom"}, "boom", None),
        ({"error": 7, "message": "boom"}, "boom", None),
        ({"error": ["x"], "content": "boom"}, "boom", None),
        ({"error": {"message": {"text": "x"}}, "content": "boom"}, "boom", None),
        ({"error": {"message": "boom", "code": ["x"]}}, "boom", None),
    ],
)
def test_every_shape_of_an_error(fields: dict[str, Any], message: str, code: str | None) -> None:
    """The guide gives an error chunk no field for its text: `error`, `message`, then `content`."""
    data = json.dumps({"type": "error", **fields})
    assert parse_chunk(data) == ErrorChunk(message, code)


@pytest.mark.parametrize("fields", [{}, {"error": {}}, {"error": None, "message": 7}])
def test_error_without_a_text_still_says_something(fields: dict[str, Any]) -> None:
    """An error is an error, also when the service does not say which."""
    chunk = parse_chunk(json.dumps({"type": "error", **fields}))
    assert isinstance(chunk, ErrorChunk) and chunk.message and chunk.code is None


# --- strict: what is no chunk --------------------------------------------------------------------

NOT_CHUNKS = [
    "",
    " ",
    "[DONE]",
    "null",
    "true",
    "7",
    '"content"',
    "[]",
    '[{"type":"content","content":"x"}]',
    "{}",
    "{",
    '{"type":"content","content":"x"',
    '{"type":"content","content":"x"}{"type":"done"}',
    '{"type":"content","content":"x"} x',
    "{'type':'content'}",
    '{"type":"content","content":"a\nb"}',
    '{"type":"content","content":"\\x"}',
    '{"type":"content","content":"\\u12"}',
    '\ufeff{"type":"content","content":"x"}',
    '{"type":null}',
    '{"type":7}',
    '{"type":["content"]}',
    '{"type":{"content":1}}',
    '{"Type":"content","content":"x"}',
    '{"type":"content"}',
    '{"type":"content","content":null}',
    '{"type":"content","content":7}',
    '{"type":"content","content":["x"]}',
    '{"type":"content","content":{"text":"x"}}',
    '{"type":"content","content":true}',
    '{"type":"content","Content":"x"}',
    '{"type":"tool_call"}',
    '{"type":"tool_call","tool":null}',
    '{"type":"tool_call","tool":"f"}',
    '{"type":"tool_call","tool":[]}',
    '{"type":"tool_call","tool":{}}',
    '{"type":"tool_call","tool":{"name":"f"}}',
    '{"type":"tool_call","tool":{"arguments":"{}"}}',
    '{"type":"tool_call","tool":{"name":null,"arguments":"{}"}}',
    '{"type":"tool_call","tool":{"name":"f","arguments":{}}}',
    '{"type":"tool_call","tool":{"name":"f","arguments":null}}',
    '{"type":"tool_call","tool":{"name":7,"arguments":"{}"}}',
    '{"type":"tool_call","tool":{"name":"f","arguments":"{}","id":7}}',
    '{"type":"done","usage":7}',
    '{"type":"done","usage":"20"}',
    '{"type":"done","usage":[]}',
    '{"type":"done","usage":[20,150]}',
    '{"type":"done","usage":false}',
    '{"type":"done","usage":{"promptTokens":1}}',
    '{"type":"done","usage":{"completionTokens":1}}',
    '{"type":"done","usage":{"promptTokens":"1","completionTokens":1}}',
    '{"type":"done","usage":{"promptTokens":1.5,"completionTokens":1}}',
    '{"type":"done","usage":{"promptTokens":true,"completionTokens":1}}',
    '{"type":"done","usage":{"promptTokens":null,"completionTokens":1}}',
    '{"type":"done","usage":{"promptTokens":-1,"completionTokens":1}}',
    '{"type":"done","usage":{"promptTokens":1,"completionTokens":1,"totalTokens":"2"}}',
    '{"type":"done","usage":{"promptTokens":1,"completionTokens":1,"totalTokens":-2}}',
    '{"type":"done","usage":{"promptTokens":' + "9" * 5000 + ',"completionTokens":1}}',
    '{"type":"done","usage":{"promptTokens":9223372036854775807,"completionTokens":1}}',
    '{"type":"done","usage":{"promptTokens":9223372036854775808,"completionTokens":1}}',
    '{"type":"done","usage":{"prompt_tokens":1,"completion_tokens":1}}',
    '{"type":"x","n":NaN}',
    '{"type":"x","n":Infinity}',
    '{"type":"x","n":-Infinity}',
    '{"type":"content","content":NaN}',
    "[" * 100_000,
    '{"a":' * 100_000,
    '{"type":"content","content":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
]


@each("data", NOT_CHUNKS)
def test_what_is_no_chunk(data: str) -> None:
    """StreamProtocolError, and no JSONDecodeError, RecursionError or ValueError beneath."""
    for read in (parse_chunk, WebsopyReader().read):
        with pytest.raises(StreamProtocolError) as caught:
            read(data)
        assert type(caught.value) is StreamProtocolError
        assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize("depth", [100, 900, 3000, 20_000])
def test_nesting_is_a_chunk_or_a_protocol_error(depth: int) -> None:
    """On no depth does a RecursionError come out, with escapes in the text or without."""
    for extra in ("", '"u":"\\u0041",'):
        data = '{"type":"x",' + extra + '"n":' + "[" * depth + "]" * depth + "}"
        try:
            chunk = parse_chunk(data)
        except StreamProtocolError:
            continue
        assert chunk.type == "x"


@given(st.text() | st.text('{}[]":,\\u0123dDtypeconn \n'))
def test_any_text_is_a_chunk_or_a_protocol_error(data: str) -> None:
    """Whatever a server sends."""
    try:
        chunk = parse_chunk(data)
    except StreamProtocolError:
        return
    assert isinstance(chunk.type, str)


NAMES = ("type", "content", "tool", "name", "arguments", "id", "error", "message", "code", "usage")
_names = st.sampled_from([*NAMES, "promptTokens", "completionTokens", "totalTokens"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=4,
)
_kinds = st.sampled_from(["content", "tool_call", "done", "error", "x"])


@given(st.dictionaries(_names, _values, max_size=5), _kinds)
def test_any_fields_are_a_chunk_or_a_protocol_error(fields: dict[str, Any], kind: str) -> None:
    """Any value in any field; what is read can be encoded, compared and written."""
    try:
        chunk = parse_chunk(json.dumps({**fields, "type": kind}))
    except StreamProtocolError:
        return
    assert chunk.type == kind
    repr(chunk).encode()
    dump_chunk(chunk).encode()


# --- surrogates ----------------------------------------------------------------------------------


def content(text: str) -> str:
    """A content chunk as JavaScript writes it: escapes, surrogate halves among them."""
    return json.dumps({"type": "content", "content": text}, ensure_ascii=True)


def read_all(*texts: str) -> list[ReadResult]:
    """What each text gives, and then a done chunk."""
    reader = WebsopyReader()
    return [*(reader.read(content(text)) for text in texts), reader.read('{"type":"done"}')]


HIGH, LOW = chr(0xD83D), chr(0xDE00)
FFFD = "\ufffd"


@each(
    ("texts", "read"),
    [
        (["a" + HIGH + LOW + "b"], ["a😀b", None]),
        (["a" + HIGH, LOW + "b"], ["a", "😀b", None]),
        ([HIGH, LOW], [None, "😀", None]),
        ([HIGH, "", LOW], [None, None, "😀", None]),
        ([HIGH, LOW + HIGH, LOW], [None, "😀", "😀", None]),
        ([HIGH, "x"], [None, FFFD + "x", None]),
        ([HIGH, HIGH], [None, FFFD, FFFD]),
        ([HIGH, HIGH, LOW], [None, FFFD, "😀", None]),
        ([LOW], [FFFD, None]),
        ([LOW, HIGH], [FFFD, None, FFFD]),
        (["a" + LOW + "b"], ["a" + FFFD + "b", None]),
        ([HIGH + "b"], [FFFD + "b", None]),
        (["a" + HIGH], ["a", FFFD]),
        ([HIGH], [None, FFFD]),
        ([LOW + HIGH + LOW], [FFFD + "😀", None]),
        (["plain", "text"], ["plain", "text", None]),
        (["", ""], ["", "", None]),
    ],
)
def test_surrogate_halves_over_chunks(texts: list[str], read: list[str | None]) -> None:
    """A pair is one character wherever it is cut; a lone half is U+FFFD, and nothing is lost."""
    *before, held = read
    expected: list[ReadResult] = [() if text is None else ContentChunk(text) for text in before]
    done = DoneChunk()
    assert read_all(*texts) == [*expected, done if held is None else (ContentChunk(held), done)]


def test_halves_meet_in_reasoning_too() -> None:
    """PROMISE 14: a pair that is cut over two chunks of one kind is one character."""
    reader = WebsopyReader()
    texts = [json.dumps({"type": "reasoning", "content": half}) for half in (HIGH, LOW + HIGH)]
    assert [reader.read(text) for text in texts] == [(), ReasoningChunk("😀")]
    assert reader.read(content("x" + HIGH)) == ContentChunk("x")
    lost = [ReasoningChunk(FFFD), ContentChunk(FFFD)]
    assert reader.read('{"type":"done"}') == (*lost, DoneChunk())


def test_halves_meet_beside_unknown_fields() -> None:
    """A field that we do not know changes nothing about the text."""
    reader = WebsopyReader()
    read = [
        reader.read(json.dumps({"type": "content", "content": half, "index": 0}))
        for half in ("a" + HIGH, LOW)
    ]
    assert read == [ContentChunk("a"), ContentChunk("😀")]
    assert all(isinstance(chunk, ContentChunk) and chunk.extra == {"index": 0} for chunk in read)


@given(
    st.lists(st.sampled_from(["a", "世", "😀", HIGH, LOW]), max_size=12),
    st.lists(st.integers(1, 3), max_size=12),
)
def test_any_cut_gives_the_same_text(pieces: list[str], sizes: list[int]) -> None:
    """However UTF-16 is cut into chunks, their texts join to one, with no surrogate in it."""
    units = "".join(pieces).encode("utf-16-le", "surrogatepass")
    texts, position = [], 0
    for size in [*sizes, 999]:
        unit = units[position : position + 2 * size]
        texts.append(unit.decode("utf-16-le", "surrogatepass"))
        position += 2 * size
    # `decode` above keeps halves apart that json.dumps must not join either
    read = [chunk for result in read_all(*texts) for chunk in chunks_of(result)]
    joined = "".join(chunk.content for chunk in read if isinstance(chunk, ContentChunk))
    joined.encode()
    assert joined == units.decode("utf-16-le", "replace")


def test_half_read_alone_is_replaced() -> None:
    """A chunk by itself has no next one that could bring the other half."""
    assert parse_chunk(content("a" + HIGH)) == ContentChunk("a" + FFFD)
    assert parse_chunk(content(HIGH)) == ContentChunk(FFFD)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "tool_call", "tool": {"name": "f" + HIGH, "arguments": LOW, "id": HIGH}},
        {"type": "error", "error": {"message": "m" + HIGH, "code": LOW}},
        {"type": "x" + HIGH, HIGH: [LOW, {LOW: HIGH}]},
        {"type": HIGH + LOW, "a": HIGH + LOW},
    ],
    ids=["tool", "error", "unknown", "pair"],
)
def test_every_text_of_every_chunk_can_be_encoded(fields: dict[str, Any]) -> None:
    """PROMISE 14: names, arguments, codes, keys of unknown data."""
    chunk = parse_chunk(json.dumps(fields))
    json.dumps(chunk.to_dict(), ensure_ascii=False).encode()
    dump_chunk(chunk).encode()


def test_halves_do_not_meet_across_another_chunk() -> None:
    """A half that is held comes before the next chunk that is no text, as U+FFFD."""
    reader = WebsopyReader()
    assert reader.read(content(HIGH)) == ()
    tool = json.dumps({"type": "tool_call", "tool": {"name": LOW, "arguments": ""}})
    assert reader.read(tool) == (ContentChunk(FFFD), ToolCallChunk(ToolCall(FFFD, "")))
    assert reader.read(content(LOW)) == ContentChunk(FFFD)


def test_halves_meet_in_chunks_with_white_space_around_them() -> None:
    """White space means nothing in JSON."""
    reader = WebsopyReader()
    assert reader.read(f" {content(HIGH)}\n") == ()
    assert reader.read(f"{content(LOW)}\t") == ContentChunk("😀")


@pytest.mark.timing
def test_time_does_not_grow_with_the_length_squared() -> None:
    """A chunk of 2 MiB, full of escapes or of halves, is read at the pace of a short one."""
    for text in ("\n" * 400_000, HIGH * 100_000, "😀" * 100_000):
        data = content(text)
        start = time.perf_counter()
        WebsopyReader().read(data)
        assert time.perf_counter() - start < 2.0


# --- the request ---------------------------------------------------------------------------------


def test_body() -> None:
    """The turns first, then what the user named; other parameters beside them."""
    turns = [{"role": "user", "content": "x"}]
    assert Websopy().body(ChatRequest(turns)) == {"messages": turns}
    request = ChatRequest(turns, model="m", tools=[{"name": "f"}], params={"temperature": 0.5})
    assert Websopy().body(request) == {
        "messages": turns,
        "model": "m",
        "tools": [{"name": "f"}],
        "temperature": 0.5,
    }


@pytest.mark.parametrize(
    ("body", "turns"),
    [({"messages": [1]}, [1]), ({"messages": None}, None), ({}, None)],
)
def test_turns_in_a_body(body: dict[str, Any], turns: object) -> None:
    """What the sandbox reads is what the wire writes, and anything else is none."""
    assert WebsopyService().turns_in(body) == turns
    assert WebsopyService().turns_in(
        Websopy().body(ChatRequest([{"role": "user", "content": "x"}]))
    )
