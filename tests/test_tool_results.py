"""Which tool calls have no result, and what a result may be."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import attrs
import msgspec
import pydantic
import pytest
from tables import each

from websopy_sync import ConfigError, Message, ToolCall
from websopy_sync.tool_results import open_calls, result_text, result_turn

ONE, TWO = ToolCall("f", "{}", "1"), ToolCall("g", "{}", "2")
NAMELESS = ToolCall("f", "{}")
USER = {"role": "user", "content": "x"}


def calling(*calls: ToolCall) -> dict[str, Any]:
    return Message(tool_calls=calls).to_dict()


def result(call_id: str | None, name: str = "f") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "name": name, "content": "r"}


@each(
    ("turns", "calls"),
    [
        ([], []),
        ([USER], []),
        ([USER, {"role": "assistant", "content": "a"}], []),
        ([USER, calling(ONE, TWO)], [ONE, TWO]),
        ([calling(ONE), {"role": "assistant", "content": "a"}], []),
        ([calling(ONE, TWO), result("1")], [TWO]),
        ([calling(ONE, TWO), result("2", "another name")], [ONE]),
        ([calling(ONE, TWO), result("2"), result("1")], []),
        ([result("1"), calling(ONE)], [ONE]),
        ([calling(ONE), USER], [ONE]),
        ([calling(ONE), USER, result("1")], []),
        ([calling(ONE), result("3")], [ONE]),
        ([calling(ONE), result(None)], [ONE]),
        ([calling(NAMELESS, NAMELESS), result(None)], [NAMELESS]),
        ([calling(NAMELESS), result(None, "g")], [NAMELESS]),
        ([calling(NAMELESS), {"role": "tool", "name": "f", "content": ""}], []),
        ([calling(ONE, ONE), result("1")], [ONE]),
    ],
)
def test_open_calls(turns: list[Any], calls: list[ToolCall]) -> None:
    """Those of the last assistant's turn that no later turn answers."""
    assert open_calls(turns) == calls


@each(
    "turn",
    [
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
        {"role": "assistant", "tool_calls": [None, 7, {"name": 1, "arguments": "{}"}]},
        {"role": "assistant", "tool_calls": "f"},
        {"role": "assistant", "toolCalls": [{"name": "f", "arguments": "{}"}]},
        {"tool_calls": [ONE.to_dict()]},
        "assistant",
        None,
    ],
)
def test_other_forms_have_no_calls(turn: Any) -> None:
    """What a user writes in a service's own form is the user's, and goes out as it is."""
    assert open_calls([turn]) == []
    with pytest.raises(ConfigError, match=r"\(none\), got another"):
        result_turn("1", "r", [turn])


@each("call", [ONE, "1", ToolCall("f", '{"x": 1}', "1")])
def test_the_turn_of_a_result(call: Any) -> None:
    """The id alone says which call it is; the name is that of the call."""
    assert result_turn(call, "r", [calling(TWO, ONE)]) == result("1")


def test_a_call_without_an_id_is_the_whole_call() -> None:
    """Its arguments tell it from others of its name."""
    other = ToolCall("f", '{"x": 1}')
    turns = [calling(other, NAMELESS)]
    assert result_turn(NAMELESS, "r", turns) == result(None)
    with pytest.raises(ConfigError, match="got another"):
        result_turn(ToolCall("f", '{"x": 2}'), "r", turns)


def test_calls_of_ours_beside_others() -> None:
    """What is no call of ours hides none that is."""
    turn = {"role": "assistant", "tool_calls": [{"id": "0"}, ONE.to_dict(), None, TWO.to_dict()]}
    assert open_calls([turn]) == [ONE, TWO]


@each(
    ("call", "says"),
    [
        ("3", "call: expected one that has no result yet ('f' with id '1', 'f'), got another"),
        (TWO, "call: expected one that has no result yet ('f' with id '1', 'f'), got another"),
        (None, "call: expected a ToolCall or its id, got NoneType"),
        (ONE.to_dict(), "call: expected a ToolCall or its id, got dict"),
    ],
)
def test_the_error_names_the_open_calls(call: Any, says: str) -> None:
    """Their tools and ids, and not their arguments."""
    with pytest.raises(ConfigError) as caught:
        result_turn(call, "r", [calling(ONE, NAMELESS)])
    assert str(caught.value) == says


@dataclasses.dataclass
class Weather:
    degrees: float
    wind: list[Any]


@attrs.frozen
class Wind:
    from_: str


class Unit(enum.Enum):
    KELVIN = "k"


class Level(str, enum.Enum):  # noqa: UP042  # the str() of its members is their name
    HIGH = "high"


class Model(pydantic.BaseModel):
    unit: Unit


class Struct(msgspec.Struct):
    unit: Unit


@attrs.define
class Unset:
    """Its field has no value yet, so that reading it raises."""

    s3cret: str = attrs.field(init=False)


@each(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (Level.HIGH, "high"),
        (None, "null"),
        (3, "3"),
        (["文", True], '["文", true]'),
        (Weather(1.5, [Wind("N")]), '{"degrees": 1.5, "wind": [{"from_": "N"}]}'),
        ([Model(unit=Unit.KELVIN)], '[{"unit": "k"}]'),
        (Struct(Unit.KELVIN), '{"unit": "k"}'),
    ],
)
def test_results_as_text(value: object, text: str) -> None:
    """A str as it is, anything else as JSON."""
    told = result_text(value)
    assert told == text
    assert type(told) is str, "turns hold no member of an Enum, whose str() is its name"


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def endless() -> list[Any]:
    nested: list[Any] = []
    nested.append(nested)
    return nested


@each(
    ("value", "got"),
    [
        (b"s3cret", "bytes"),
        ({"s3cret"}, "set"),
        ([Wind("s3cret"), object()], "object"),
        (Weather, "type"),
        (float("nan"), "ValueError"),
        (endless(), "ValueError"),
        (deep(), "RecursionError"),
        ("s3cret\ud800", "a lone surrogate"),
        ([{"a": "s3cret\ud800"}], "a lone surrogate"),
        (Unset(), "AttributeError"),
    ],
)
def test_results_that_cannot_be_sent(value: object, got: str) -> None:
    """Named by their type, without their text. Given back, not raised."""
    problem = result_text(value)
    assert isinstance(problem, ConfigError)
    assert problem.message.startswith(f"result: expected a str or what JSON can hold, got {got}")
    assert "s3cret" not in str(problem)
    with pytest.raises(ConfigError, match=got):
        result_turn(ONE, value, [calling(ONE)])
