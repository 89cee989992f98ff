"""Promises 13, 14: what an event's data can be but a good chunk, and text that can be encoded."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from faults import DONE, ask, body, client, event, play, text
from tables import each

from websopy_sync import (
    DoneChunk,
    ErrorChunk,
    StreamProtocolError,
    StreamServerError,
    ToolCall,
    ToolCallChunk,
    UnknownChunk,
    Usage,
)
from websopy_sync.chunks import from_dict
from websopy_sync.wires.websopy import parse_chunk
from websopy_sync.wires.websopy.writer import dump_chunk


def asked(*pieces: bytes) -> Any:
    """The outcome of an answer of these events."""
    with play(body(*pieces, end=False)) as server:
        return ask(server)


def encodable(value: object) -> None:
    """Every text in a value can be encoded."""
    repr(value).encode()
    json.dumps(value, ensure_ascii=False, default=repr).encode()


# -------------------------------------------------------------------------------- no chunk at all

NO_JSON = [
    "",
    " ",
    "x",
    "{",
    '{"type": "content"',
    "{'type': 'content'}",
    '{"type": "content",}',
    "[DONE]",
    "undefined",
    '{"type": "x", "n": NaN}',
    '{"type": "done", "n": -Infinity}',
    "NaN",
    "Infinity",
    '{"type": "content", "content": NaN}',
    '{"a": -Infinity}',
    '{"type": "content", "content": "a"} x',
    '{"type": "content", "content": "\x01"}',
    "\ufeff{}",
    '{"type": "content", "content": "\\x"}',
    '{"type": "content", "content": "\\ud83"}',
    "<html>",
    "[" * 100_000,
    '{"a":' * 100_000,
    "[" * 100_000 + "]" * 100_000,
    "1" * 5_000,
    "\x00",
    '{"type"}',
    '"',
    "//",
    "{}{}",
]


@each("data", NO_JSON)
def test_no_json(data: str) -> None:
    """Data that is no JSON is a protocol error with what had come; no foreign exception."""
    got = asked(text("half"), event(data), DONE)
    assert type(got.error) is StreamProtocolError
    assert (got.text, got.error.partial.content) == ("half", "half")
    assert len(str(got.error)) < 700
    encodable(str(got.error))


@each("data", [[], {}, [{"type": "content"}], 1, 1.5, "content", None, True])
def test_json_that_is_no_chunk(data: Any) -> None:
    """JSON that is no object, or has no type, is a protocol error."""
    got = asked(text("half"), event(json.dumps(data)), DONE)
    assert type(got.error) is StreamProtocolError
    assert got.error.partial.content == "half"


WRONG = [None, 1, 1.5, True, [], {}, ["a"], {"a": 1}]


@each("value", WRONG)
def test_type_that_is_no_string(value: Any) -> None:
    """A type is a string."""
    assert type(asked(event({"type": value, "content": "a"})).error) is StreamProtocolError


@each("value", WRONG)
def test_content_that_is_no_string(value: Any) -> None:
    """A content chunk's content is a string."""
    got = asked(text("half"), event({"type": "content", "content": value}), DONE)
    assert (type(got.error), got.text) == (StreamProtocolError, "half")


def test_content_that_is_missing() -> None:
    """It is not optional."""
    assert type(asked(event({"type": "content"}), DONE).error) is StreamProtocolError


@each("value", [*WRONG, "f"])
def test_tool_that_is_none(value: Any) -> None:
    """A tool call has a tool, and that has a name and arguments."""
    got = asked(text("half"), event({"type": "tool_call", "tool": value}), DONE)
    assert (type(got.error), got.error.partial.content) == (StreamProtocolError, "half")


@each("field", ["name", "arguments"])
@each("value", [*WRONG, "missing"])
def test_tool_with_a_wrong_field(field: str, value: Any) -> None:
    """Both are strings."""
    tool = {"name": "f", "arguments": "{}", field: value}
    if value == "missing":
        del tool[field]
    assert (
        type(asked(event({"type": "tool_call", "tool": tool}), DONE).error) is StreamProtocolError
    )


@pytest.mark.parametrize("value", [1, True, "20/150", [], [20, 150]])
def test_usage_that_is_none(value: Any) -> None:
    """A usage is an object, or left out."""
    got = asked(text("half"), event({"type": "done", "usage": value}))
    assert (type(got.error), got.text) == (StreamProtocolError, "half")


@each("field", ["promptTokens", "completionTokens", "totalTokens"])
@each("value", [-1, 1.5, "20", True, [], {}])
def test_usage_with_a_wrong_number(field: str, value: Any) -> None:
    """Its numbers are whole and not negative."""
    usage = {"promptTokens": 20, "completionTokens": 150, field: value}
    assert type(asked(event({"type": "done", "usage": usage})).error) is StreamProtocolError


# ------------------------------------------------------------------------------- unusual and fine


@pytest.mark.parametrize("fields", [{}, {"usage": None}])
def test_done_without_usage(fields: dict[str, Any]) -> None:
    """done need not say what it cost."""
    got = asked(text("a"), event({"type": "done", **fields}))
    assert got.error is None
    assert got.chunks[-1] == DoneChunk(None)


def test_usage() -> None:
    """The documented numbers, and their sum when the service does not give it."""
    assert asked(DONE).chunks == [DoneChunk(Usage(20, 150, 170))]
    total = {"promptTokens": 1, "completionTokens": 2, "totalTokens": 9, "cachedTokens": 4}
    usage = Usage(1, 2, 9, cached_tokens=4)
    assert asked(event({"type": "done", "usage": total})).chunks == [DoneChunk(usage)]


def test_extra_fields() -> None:
    """Fields we do not know are no error, in any chunk."""
    got = asked(
        event({"type": "content", "content": "a", "index": 0, "new": {"deep": [1]}}),
        event({"type": "tool_call", "tool": {"name": "f", "arguments": "", "x": 1}, "y": 2}),
        event(
            {"type": "done", "usage": {"promptTokens": 1, "completionTokens": 1, "z": {}}, "w": 1}
        ),
    )
    assert got.error is None
    assert [piece.type for piece in got.chunks] == ["content", "tool_call", "done"]


@pytest.mark.parametrize(
    "fields",
    [{"type": "thinking", "text": "hm"}, {"type": ""}, {"type": "Content"}, {"type": "ping"}],
)
def test_unknown_type(fields: dict[str, Any]) -> None:
    """A type that a later service adds is handed over as it came."""
    got = asked(text("a"), event(fields), text("b"), DONE)
    assert (got.text, got.error) == ("ab", None)
    assert got.chunks[1] == UnknownChunk(fields["type"], fields)


def test_the_later_of_two_equal_names() -> None:
    """A name that comes twice counts once, as JSON readers have it."""
    assert asked(event('{"type": "content", "content": "a", "content": "b"}'), DONE).text == "b"


def test_white_space_around_it() -> None:
    """Blanks around the JSON are fine."""
    assert asked(event('  {"type": "content", "content": "a"} \t'), DONE).text == "a"


def test_tool_call() -> None:
    """A tool call as documented, with the id that it may have."""
    tool = {"name": "find", "arguments": '{"q": "中"}', "id": "t1"}
    got = asked(event({"type": "tool_call", "tool": tool}), DONE)
    assert got.chunks[0] == ToolCallChunk(ToolCall("find", '{"q": "中"}', "t1"))
    assert got.chunks[0].tool.parse_arguments() == {"q": "中"}


@each("content", ["", "\x00", "\u2028", "</script>", "\r\n", "a" * 100_000, "\ufeff"])
def test_unusual_text(content: str) -> None:
    """Any text is a text."""
    got = asked(text(content), DONE)
    assert (got.text, got.error) == (content, None)


# --------------------------------------------------------------------------------- error chunks


@each(
    ("fields", "message", "code"),
    [
        ({"error": "too busy"}, "too busy", None),
        ({"error": {"message": "too busy"}}, "too busy", None),
        ({"error": {"message": "too busy", "code": "busy"}}, "too busy", "busy"),
        ({"error": {"message": "too busy", "type": "busy"}}, "too busy", "busy"),
        ({"error": {"message": "too busy", "code": 503}}, "too busy", "503"),
        ({"message": "too busy"}, "too busy", None),
        ({"message": "too busy", "code": "busy"}, "too busy", "busy"),
        ({"content": "too busy"}, "too busy", None),
        ({"error": {}, "message": "too busy"}, "too busy", None),
        ({"error": None, "content": "too busy"}, "too busy", None),
        ({"error": "first", "message": "second", "content": "third"}, "first", None),
        ({"message": "second", "content": "third"}, "second", None),
    ],
)
def test_error_chunk(fields: dict[str, Any], message: str, code: str | None) -> None:
    """In each shape of the guide: handed over like any chunk, and then raised."""
    got = asked(text("half"), event({"type": "error", **fields}), text("not this"), DONE)
    assert got.chunks[-1] == ErrorChunk(message, code)
    assert type(got.error) is StreamServerError
    assert (got.error.code, got.error.partial.content, got.text) == (code, "half", "half")
    assert message in str(got.error)
    assert got.stream.state == "error"


@each("fields", [
        {}, {"error": None}, {"error": {}}, {"error": []}, {"error": 5}, {"error": ""},
        {"error": {"message": 5, "code": []}}, {"message": {}}, {"error": {"message": "\ud83d"}},
    ])  # fmt: skip
def test_error_chunk_that_says_nothing(fields: dict[str, Any]) -> None:
    """An error chunk without a text is one all the same."""
    sent = json.dumps({"type": "error", **fields})
    got = asked(text("half"), event(sent))
    assert type(got.error) is StreamServerError
    assert isinstance(got.chunks[-1], ErrorChunk)
    assert str(got.error)
    encodable(str(got.error))


def test_error_chunk_is_not_asked_again() -> None:
    """A service that gave up is not asked again, though it gave ids."""
    got = asked(text("half", id="1"), event({"type": "error", "error": "no"}, id="2"))
    assert (type(got.error), got.error.attempts) == (StreamServerError, 1)


def test_error_chunk_in_a_whole_answer() -> None:
    """client.ai.chat raises it."""
    with play(body(text("half"), event({"type": "error", "error": "no"}))) as server:
        with pytest.raises(StreamServerError) as caught:
            ask_whole(server)
    assert caught.value.partial.content == "half"


def ask_whole(server: Any) -> Any:
    """The answer in one piece."""
    with client(server) as asker:
        return asker.ai.chat("hi")


# ------------------------------------------------------------------------------ surrogate halves

HIGH, LOW = "\\ud83d", "\\ude00"


def content(escaped: str) -> bytes:
    """A content event whose JSON has these escapes as they stand."""
    return event(f'{{"type": "content", "content": "{escaped}"}}')


def reasoning(escaped: str) -> bytes:
    """The same as a reasoning event."""
    return event(f'{{"type": "reasoning", "content": "{escaped}"}}')


@each(
    ("pieces", "expected"),
    [
        ([HIGH + LOW], "😀"),
        ([HIGH, LOW], "😀"),
        (["a" + HIGH, LOW + "b"], "a😀b"),
        ([HIGH, "", LOW], "😀"),
        ([HIGH + LOW + HIGH, LOW], "😀😀"),
        ([HIGH], "\ufffd"),
        ([LOW], "\ufffd"),
        ([LOW + HIGH], "\ufffd\ufffd"),
        ([HIGH, "a"], "\ufffda"),
        ([HIGH, HIGH + LOW], "\ufffd😀"),
        ([HIGH, HIGH], "\ufffd\ufffd"),
        (["a" + LOW + "b"], "a\ufffdb"),
        ([HIGH, LOW, LOW], "😀\ufffd"),
    ],
)
def test_halves(pieces: list[str], expected: str) -> None:
    """Halves of a pair are joined over chunks; a lone one becomes U+FFFD; nothing is lost."""
    got = asked(*map(content, pieces), DONE)
    assert got.error is None
    assert got.text == expected
    assert got.stream.current_message.content == expected
    reasoned = asked(*map(reasoning, pieces), DONE)
    assert reasoned.error is None
    assert reasoned.stream.current_message.reasoning == expected
    assert "".join(piece.text for piece in reasoned.chunks[:-1]) == expected
    for piece in got.chunks + reasoned.chunks:
        encodable(piece)


@each(
    ("pieces", "thought", "told"),
    [
        ([("reasoning", HIGH), ("content", LOW)], "\ufffd", "\ufffd"),
        ([("content", HIGH), ("reasoning", LOW)], "\ufffd", "\ufffd"),
        ([("reasoning", "a" + HIGH), ("content", "b")], "a\ufffd", "b"),
        ([("content", "a" + HIGH), ("reasoning", "b"), ("content", LOW)], "b", "a😀"),
        ([("reasoning", HIGH), ("content", HIGH), ("content", LOW)], "\ufffd", "😀"),
    ],
)
def test_half_in_reasoning_and_half_in_text(
    pieces: list[tuple[str, str]], thought: str, told: str
) -> None:
    """The two are two texts: a half of one makes no character with a half of the other."""
    kinds = {"reasoning": reasoning, "content": content}
    got = asked(*[kinds[kind](escaped) for kind, escaped in pieces], DONE)
    message = got.stream.current_message
    assert (message.reasoning, message.content, got.error) == (thought, told, None)


def test_half_of_reasoning_before_the_end() -> None:
    """A half that waits when the answer breaks is in the partial reasoning, or never came."""
    got = asked(reasoning("a" + HIGH))
    assert got.error.partial.reasoning in ("a\ufffd", "a")
    encodable(got.error.partial.reasoning)


def test_half_before_another_chunk() -> None:
    """Something between the halves does not change the order of the text."""
    got = asked(content("a" + HIGH), event({"type": "thinking"}), content("b"), DONE)
    assert (got.text, got.error) == ("a\ufffdb", None)


def test_half_before_the_end() -> None:
    """A half that waits when the answer breaks is in the partial text."""
    got = asked(content("a" + HIGH))
    assert got.error.partial.content in ("a\ufffd", "a")
    assert got.error.partial.content == got.text


def test_half_in_text_stream() -> None:
    """The text alone can be encoded too."""
    with play(body(content(HIGH), content(LOW), content("x" + HIGH), DONE)) as server:
        with client(server) as asker:
            pieces = list(asker.ai.chat_stream("hi").text_stream)
    assert "".join(pieces) == "😀x\ufffd"
    for piece in pieces:
        piece.encode()


@pytest.mark.parametrize(
    "data",
    [
        '{"type": "tool_call", "tool": {"name": "\\ud83d", "arguments": "\\ude00", "id": "x"}}',
        '{"type": "x\\ud83d", "\\ude00": ["\\ud83d", {"a": "\\ude00"}]}',
        '{"type": "error", "error": {"message": "\\ud83d", "code": "\\ude00"}}',
    ],
)
def test_halves_elsewhere(data: str) -> None:
    """No other text of a chunk keeps a half either."""
    got = asked(event(data), DONE)
    assert len(got.chunks) >= 1
    for piece in got.chunks:
        encodable(piece.to_dict())
    encodable(str(got.error))


def test_deep_but_not_too_deep() -> None:
    """A chunk of an unknown type may be nested as deep as JSON readers go."""
    depth = 200
    data = '{"type": "deep", "a": ' + "[" * depth + "]" * depth + "}"
    got = asked(event(data), DONE)
    assert (got.error, got.chunks[0].type) == (None, "deep")


@pytest.mark.parametrize("depth", [600, 900, 990, 1500])
def test_depth_at_the_edge(depth: int) -> None:
    """Near the depth at which JSON readers give up there is a chunk or a protocol error."""
    data = '{"type": "deep", "t": "\\u0041", "a": ' + "[" * depth + "]" * depth + "}"
    got = asked(event(data), DONE)
    assert got.error is None or type(got.error) is StreamProtocolError


# --------------------------------------------------------------- extra fields of any size and depth

DEEP = "[" * 100_000 + "]" * 100_000
NESTED = '{"a":' * 300 + "1" + "}" * 300
HUGE = {
    "5,000 digits": "1" * 5000,
    "a negative one": "-" + "7" * 5000,
    "a fraction": "0." + "3" * 5000,
    "an exponent": "1e5000",
    "deep lists": DEEP,
    "deep objects": '{"a":' * 50_000 + "null" + "}" * 50_000,
    "mixed": '[{"[": "]", "a": ' * 20_000 + '"\\"]}"' + "}]" * 20_000,
    "less deep": NESTED,
}
KNOWN = {
    "content": ('"content": "x"', "content"),
    "tool_call": ('"tool": {"name": "f", "arguments": "{}", "extra": EXTRA}', "tool_call"),
    "done": ('"usage": {"promptTokens": 1, "completionTokens": 2, "extra": EXTRA}', "done"),
    "error": ('"error": {"message": "m", "code": "c", "extra": EXTRA}', "error"),
    "later": ('"data": EXTRA', "later"),
}


@each("name", HUGE)
@each("kind", KNOWN)
def test_extra_fields_of_any_size_and_depth(name: str, kind: str) -> None:
    """Numbers of 5,000 digits and deep nesting in fields we do not know harm nothing."""
    fields, type_ = KNOWN[kind]
    data = f'{{"type": "{type_}", "extra": EXTRA, {fields}}}'.replace("EXTRA", HUGE[name])
    ends = b"" if kind in ("done", "error") else DONE
    with play(body(text("before"), event(data), ends)) as server:
        got = ask(server)
    assert type(got.error) is (StreamServerError if kind == "error" else type(None))
    chunk = got.chunks[1]
    assert chunk.type == type_
    assert pickle.loads(pickle.dumps(chunk)) == chunk
    assert copy.deepcopy(chunk) == chunk and repr(chunk)
    assert from_dict(json.loads(json.dumps(chunk.to_dict()))) == chunk
    again = parse_chunk(dump_chunk(chunk))
    assert again.type == type_ and dump_chunk(again) == dump_chunk(chunk)


def test_nesting_is_kept_as_far_as_it_goes() -> None:
    """A hundred levels are kept, and what is in deeper ones is None."""
    with play(body(event(f'{{"type": "later", "data": {NESTED}}}'), DONE)) as server:
        data = ask(server).chunks[0].data
    levels = 0
    while isinstance(data, dict):
        levels, data = levels + 1, data.get("a", data.get("data"))
    assert (levels, data) == (100, None)


@pytest.mark.parametrize("bad", ["[" * 100_000, '{"a":' * 100_000, DEEP + "]", "1" * 5000 + "x"])
def test_what_is_no_json_however_deep(bad: str) -> None:
    """What is no JSON is a protocol error as ever."""
    with play(body(text("before"), event(f'{{"type": "later", "x": {bad}}}'))) as server:
        got = ask(server)
    assert (type(got.error), got.text) == (StreamProtocolError, "before")
