"""What the readers of several wires share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from tables import each

from websopy_sync.chunks import ContentChunk, ErrorChunk, StreamChunk
from websopy_sync.errors import StreamProtocolError
from websopy_sync.usage import Usage
from websopy_sync.wires import find_wire
from websopy_sync.wires.pieces import (
    arguments_text,
    collected,
    error_chunk,
    event_object,
    json_object,
    optional,
    text_in,
    usage_of,
)


@each(
    ("fields", "message", "code"),
    [
        ({"error": "boom"}, "boom", None),
        (
            {"error": {"message": "boom", "type": "server_error", "code": None}},
            "boom",
            "server_error",
        ),
        (
            {"error": {"message": "boom", "code": 503, "status": "UNAVAILABLE"}},
            "boom",
            "UNAVAILABLE",
        ),
        ({"error": {"message": "boom", "code": 503}}, "boom", "503"),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "boom"}},
            "boom",
            "overloaded_error",
        ),
        ({"type": "error", "code": "c", "message": "boom"}, "boom", "c"),
        ({"object": "error", "message": "boom"}, "boom", None),
        ({"detail": "boom"}, "boom", None),
        ({"error": {}}, "the service gave no reason", None),
        ({"error": {"message": "a\ud83d"}}, "a\ufffd", None),
    ],
)
def test_errors_of_every_service(fields: dict[str, Any], message: str, code: str | None) -> None:
    """The code is a word if there is one, else the number."""
    assert error_chunk(fields) == ErrorChunk(message, code)


@each(
    ("counts", "usage"),
    [
        ((1, 2), Usage(1, 2)),
        ((1, 2, 9), Usage(1, 2, 9)),
        ((0, 0, 0), Usage(0, 0)),
        ((1, None), None),
        ((1.0, 2), None),
        ((True, 2), None),
        ((-1, 2), None),
        (("1", 2), None),
        ((2**63 - 1, 1), None),
        ((1, 2, "3"), None),
    ],
)
def test_usage(counts: tuple[Any, ...], usage: Usage | None) -> None:
    """What is no count costs the usage, and never the answer."""
    assert usage_of(*counts) == usage


def test_usage_details() -> None:
    """A detail that is no count is 0."""
    assert usage_of(3, 4, cached=2, reasoning="x") == Usage(3, 4, cached_tokens=2)


@each("data", ["", "[]", "{", "null", '"{}"', "{}{}", "[" * 100_000, "DONE"])
def test_what_is_no_object(data: str) -> None:
    """PROMISE 13: one kind of error, which quotes the data whole."""
    with pytest.raises(StreamProtocolError, match="expected a JSON object") as caught:
        json_object(data)
    assert caught.value.message.endswith(f", got {data!r}")
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@each("wire", ["anthropic", "gemini", "openai", "responses"])
@each("data", ["", " ", ": alive", "[DONE]", " [DONE]\n"])
def test_what_gateways_send_besides(wire: str, data: str) -> None:
    """PROMISE 13: nothing, comments as data, and OpenAI's end mark in every format."""
    if "DONE" not in data or wire != "openai":
        assert event_object(data) is find_wire(wire).reader().read(data) is None


def test_objects_are_read_leniently() -> None:
    """NaN and infinities, which servers in Python write, are no number."""
    assert json_object('{"a":NaN,"b":-Infinity,"c":"\\ud83d"}') == {
        "a": None,
        "b": None,
        "c": "\ud83d",
    }


def test_fields() -> None:
    """A field may be missing or null; of another type it is an error that names it."""
    assert optional({"a": None}, "a", list) == optional({}, "a", list) == []
    assert optional({"a": "x"}, "a", str) == "x"
    with pytest.raises(TypeError, match="expected str for 'a', got int"):
        optional({"a": 7}, "a", str)
    with pytest.raises(TypeError, match="expected an object with 'a', got list"):
        optional([], "a", str)  # type: ignore[arg-type]
    assert text_in({"a": "x\ud83d"}, "a") == "x\ufffd"
    assert text_in({"a": 7}, "a") is text_in({"a": ""}, "a") is text_in({}, "a") is None


def test_arguments() -> None:
    """Text as it is, an object as JSON."""
    assert arguments_text('{"a" : 1}') == '{"a" : 1}'
    assert arguments_text({"a": "世\ud83d"}) == '{"a": "世\ufffd"}'
    assert arguments_text({}) == "{}" and arguments_text(None) == ""


def test_collecting_an_event() -> None:
    """One chunk is one, several are several; a wrong type is one kind of error."""
    one, two = ContentChunk("a"), ContentChunk("b")
    assert collected(iter([one]), "") == one
    assert collected([one, two], "") == [one, two] and collected([], "") == []

    def wrong() -> Iterator[StreamChunk]:
        yield one
        optional({"a": 7}, "a", str)

    with pytest.raises(StreamProtocolError, match="event: expected str for 'a', got int, got 'x'"):
        collected(wrong(), "x")


def test_an_interrupt_while_an_event_is_read() -> None:
    """PROMISE 43: what a signal handler raises comes out as it is, also as TypeError."""

    def handler(signum: int, frame: object) -> None:
        raise TypeError("of the program")

    def interrupted() -> Iterator[StreamChunk]:
        signal.raise_signal(signal.SIGUSR1)
        yield ContentChunk("a")

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(TypeError, match="of the program"):
            collected(interrupted(), "x")
    finally:
        signal.signal(signal.SIGUSR1, old)
