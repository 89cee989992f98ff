"""The service's JSON as chunks, and chunks as the service's JSON."""

from __future__ import annotations

import json
import math
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
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
from websopy_sync.errors import ConfigError, StreamProtocolError
from websopy_sync.wires.websopy import (
    ChunkReader,
    Request,
    chat_body,
    copied_body,
    dump_chunk,
    encode_body,
    parse_chunk,
    same_json,
)

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
    ('{"type":"error","error":{"message":"busy","code":"503"}}', ErrorChunk("busy", "503")),
    ('{"type":"error","error":{"message":"busy"}}', ErrorChunk("busy")),
    (
        '{"type":"thinking","content":"hm","depth":2}',
        UnknownChunk("thinking", {"type": "thinking", "content": "hm", "depth": 2}),
    ),
    ('{"type":"ping"}', UnknownChunk("ping", {"type": "ping"})),
    ('{"type":""}', UnknownChunk("", {"type": ""})),
]
both_ways = pytest.mark.parametrize(("data", "chunk"), TABLE, ids=[data[:45] for data, _ in TABLE])


@both_ways
def test_reading(data: str, chunk: StreamChunk) -> None:
    """What the service writes becomes the chunk."""
    assert parse_chunk(data) == ChunkReader().read(data) == chunk


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
    assert parse_chunk(dump_chunk(chunk)) == chunk


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


@pytest.mark.parametrize(
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
    assert parse_chunk(data) == ChunkReader().read(data) == chunk


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("data", NOT_CHUNKS, ids=[data[:56] for data in NOT_CHUNKS])
def test_what_is_no_chunk(data: str) -> None:
    """StreamProtocolError, short, and no JSONDecodeError, RecursionError or ValueError beneath."""
    for read in (parse_chunk, ChunkReader().read):
        with pytest.raises(StreamProtocolError) as caught:
            read(data)
        assert type(caught.value) is StreamProtocolError
        assert caught.value.__cause__ is None and caught.value.__context__ is None
        assert len(str(caught.value)) < 800


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


def test_the_chunk_in_an_error_is_cut_short() -> None:
    """200 characters of a bad chunk are enough to see what it was."""
    with pytest.raises(StreamProtocolError) as caught:
        parse_chunk("no json " + "x" * 100_000)
    assert "no json" in str(caught.value) and len(str(caught.value)) < 500


# --- surrogates ----------------------------------------------------------------------------------


def content(text: str) -> str:
    """A content chunk as JavaScript writes it: escapes, surrogate halves among them."""
    return json.dumps({"type": "content", "content": text}, ensure_ascii=True)


def read_all(*texts: str) -> list[StreamChunk | None]:
    reader = ChunkReader()
    return [*(reader.read(content(text)) for text in texts), reader.flush()]


HIGH, LOW = chr(0xD83D), chr(0xDE00)
FFFD = "\ufffd"


@pytest.mark.parametrize(
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
    ids=range(17),
)
def test_surrogate_halves_over_chunks(texts: list[str], read: list[str | None]) -> None:
    """A pair is one character wherever it is cut; a lone half is U+FFFD, and nothing is lost."""
    expected = [None if text is None else ContentChunk(text) for text in read]
    assert read_all(*texts) == expected


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
    joined = "".join(chunk.content for chunk in read_all(*texts) if isinstance(chunk, ContentChunk))
    joined.encode()
    assert joined == units.decode("utf-16-le", "replace")


def test_half_read_alone_is_replaced() -> None:
    """parse_chunk has no next chunk to look for the other half in."""
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


def test_halves_do_not_meet_in_other_chunks() -> None:
    """Only text goes on from chunk to chunk: a tool call in between has texts of its own."""
    reader = ChunkReader()
    assert reader.read(content(HIGH)) is None
    tool = json.dumps({"type": "tool_call", "tool": {"name": LOW, "arguments": ""}})
    assert reader.read(tool) == ToolCallChunk(ToolCall(FFFD, ""))
    assert reader.read(content(LOW)) == ContentChunk("😀")


def test_halves_meet_in_chunks_with_white_space_around_them() -> None:
    """White space means nothing in JSON."""
    reader = ChunkReader()
    assert reader.read(f" {content(HIGH)}\n") is None
    assert reader.read(f"{content(LOW)}\t") == ContentChunk("😀")


def test_flush_gives_a_half_once() -> None:
    """What was flushed is not held any more."""
    reader = ChunkReader()
    reader.read(content(HIGH))
    assert reader.flush() == ContentChunk(FFFD)
    assert reader.flush() is None
    assert reader.read(content(LOW)) == ContentChunk(FFFD)


@pytest.mark.timing
def test_time_does_not_grow_with_the_length_squared() -> None:
    """A chunk of 2 MiB, full of escapes or of halves, is read at the pace of a short one."""
    for text in ("\n" * 400_000, HIGH * 100_000, "😀" * 100_000):
        data = content(text)
        start = time.perf_counter()
        parse_chunk(data)
        assert time.perf_counter() - start < 2.0


# --- what is asked -------------------------------------------------------------------------------


def test_body_of_a_text() -> None:
    """A str is one user message."""
    assert chat_body("你好", {}, None) == {"messages": [{"role": "user", "content": "你好"}]}


def test_body_of_turns() -> None:
    """Turns go as they are, with what else they hold; parameters beside them."""
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "", "name": "n"},
        {"role": "user", "content": [{"type": "image", "url": "u"}]},
    ]
    assert chat_body(turns, {"model": "m", "temperature": 0.5}, {"seed": 7, "model": "n"}) == {
        "messages": turns,
        "model": "n",
        "temperature": 0.5,
        "seed": 7,
    }


def test_body_does_not_share_the_turns() -> None:
    """A plugin that edits the body does not edit the user's list."""
    turns = [{"role": "user", "content": "x"}]
    body = chat_body(turns, {}, None)
    assert isinstance(body, dict)
    body["messages"][0]["content"] = "changed"
    body["messages"].append("more")
    assert turns == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "at least one"),
        (None, "NoneType"),
        (7, "int"),
        (b"text", "bytes"),
        ({"role": "user", "content": "s3cret"}, "dict"),
        ({"s3cret"}, "set"),
        (iter(["s3cret"]), "iterator"),
        (["s3cret"], r"messages\[0\].*str"),
        ([None], r"messages\[0\].*NoneType"),
        ([{}], r"messages\[0\].*'role'"),
        ([{"role": "user"}], r"messages\[0\].*'content'"),
        ([{"content": "s3cret"}], r"messages\[0\].*'role'"),
        ([{"role": None, "content": "s3cret"}], r"messages\[0\].*'role'.*NoneType"),
        ([{"role": "", "content": "s3cret"}], r"messages\[0\].*role"),
        ([{"role": 7, "content": "s3cret"}], r"messages\[0\].*'role'.*int"),
        ([{"role": "user", "content": None}], r"messages\[0\].*'content'.*NoneType"),
        ([{"role": "user", "content": b"s3cret"}], r"messages\[0\].*'content'.*bytes"),
        ([{"role": "user", "content": "ok"}, ("user", "s3cret")], r"messages\[1\].*tuple"),
    ],
    ids=range(18),
)
def test_bad_messages(messages: Any, says: str) -> None:
    """A ConfigError that says which and why, and quotes no text. Given back, not raised."""
    problem = chat_body(messages, {}, None)
    assert isinstance(problem, ConfigError)
    assert problem.message.startswith("messages")
    assert re.search(says, problem.message)
    assert "s3cret" not in str(problem)


@pytest.mark.parametrize("extra", [[("a", 1)], "a", 7])
def test_bad_extra_body(extra: Any) -> None:
    """Only a mapping has names for what it adds."""
    assert "extra_body" in str(chat_body("x", {}, extra))


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ({}, b"{}"),
        ({"a": 1, "b": [True, None]}, b'{"a":1,"b":[true,null]}'),
        ({"messages": [{"role": "user", "content": "世界"}]}, None),
        ({'"': "\n\u2028"}, None),
    ],
    ids=range(4),
)
def test_body_as_json(body: dict[str, Any], written: bytes | None) -> None:
    """Compact UTF-8 JSON, as json itself would write it."""
    encoded = encode_body(body)
    assert isinstance(encoded, bytes)
    assert encoded == (
        written or json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    )


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _values, max_size=4))
def test_any_body_is_json_or_a_config_error(body: dict[str, Any]) -> None:
    """What is sent is what was meant."""
    encoded = encode_body(body)
    if isinstance(encoded, bytes):
        assert json.loads(encoded) == json.loads(json.dumps(body))


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"s3cret",
        {"s3cret"},
        1j,
        math.nan,
        math.inf,
        "s3cret" + HIGH,
        {("s3cret",): 1},
        10**5000,
    ],
    ids=range(9),
)
def test_body_that_json_cannot_hold(value: Any) -> None:
    """The parameter is named; its value is not quoted."""
    problem = encode_body({"good": 1, "bad_one": value})
    assert isinstance(problem, ConfigError)
    assert "bad_one" in str(problem) and "s3cret" not in str(problem)


@pytest.mark.parametrize("build", [_deep, _circle])
def test_body_without_end(build: Any) -> None:
    """Deep and circular ones are the same kind of error."""
    assert isinstance(encode_body({"bad": build()}), ConfigError)


@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_body_that_is_no_object(body: Any) -> None:
    """A plugin may have put anything there."""
    assert isinstance(encode_body(body), ConfigError)


def test_request_shows_neither_headers_nor_body() -> None:
    """A plugin that logs the request leaks nothing by its repr."""
    request = Request("POST", "http://h/v1/ai/chat", {"X-Secret": "s3cret"}, {"p": "s3cret"}, "k")
    assert repr(request) == "<Request POST http://h/v1/ai/chat>"


# --- the same JSON -------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, -0.0, 1.0, 0.5, "", "a"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.tuples(inner)
        | st.dictionaries(st.sampled_from(["a", "b", 1, True, 1.0]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(JSON, JSON)
def test_same_json_is_the_same_text(one: object, other: object) -> None:
    """What is told to be the same is, to its last sign."""
    if same_json(one, other):
        assert json.dumps(one) == json.dumps(other)


@given(JSON)
def test_a_copy_is_the_same_json(value: object) -> None:
    """A body that plugins could have edited and did not is not encoded again."""
    assert same_json({"x": value}, copied_body({"x": value}))


class Odd(dict[str, object]):
    """A dict that the encoder may see in another way than a copy."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("1", 1),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": [1, {"b": "x"}]}, {"a": [1, {"b": "y"}]}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({1: "x"}, {True: "x"}),
        (Odd(a=1), {"a": 1}),
        ([], {}),
        (None, []),
    ],
)
def test_different_json(one: object, other: object) -> None:
    """Whatever Python's == says."""
    assert not same_json(one, other)
    assert not same_json(other, one)
    assert not same_json({"x": [one]}, {"x": [other]})
