"""What several wires read in a turn alike."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tables import each

from websopy_sync.errors import ConfigError
from websopy_sync.wires.turn_fields import (
    calls_in,
    in_places,
    is_system,
    object_in,
    state_in,
    with_ids,
)


@each(
    ("arguments", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        (None, {}),
        ({"a": 1}, {"a": 1}),
        ("[1]", None),
        ("{", None),
        ("[" * 100_000, None),
        (7, None),
    ],
)
def test_object_in(arguments: Any, value: Any) -> None:
    """An object, as JSON or as it is; None for all else that a model may write."""
    assert object_in(arguments) == value


@each(
    ("calls", "found"),
    [
        ([{"name": "f", "arguments": "{}", "id": "c"}], [("c", "f", "{}")]),
        (({"function": {"name": "f", "arguments": "{}"}, "id": "c"},), [("c", "f", "{}")]),
        ([{}], [(None, None, None)]),
        (None, []),
        ("no list", []),
    ],
)
def test_calls_in(calls: Any, found: Any) -> None:
    """In the form of `ChatRequest` and in OpenAI's."""
    assert list(calls_in({"tool_calls": calls})) == found


def test_a_call_that_is_none() -> None:
    """PROMISE 13: a typed error that quotes nothing of the turn."""
    with pytest.raises(ConfigError, match=r"tool_calls: expected dicts, got str$"):
        list(calls_in({"tool_calls": ["s3cret"]}))


def call_and_result(given: str | None, sent: str) -> tuple[list[Any], list[Any]]:
    """A call, another's call and their results: as the user has them, and as they are sent."""
    turns = []
    for first, second in ((given, None), (sent, "call_1_1")):
        calls = [{"name": "f", "id": first}, {"function": {"name": "g"}, "id": second}]
        turns.append(
            [
                {"role": "user", "content": "x"},
                {"role": "assistant", "tool_calls": calls},
                {"role": "tool", "tool_call_id": second, "name": "g", "content": "2"},
                {"role": "tool", "tool_call_id": first, "name": "f", "content": "1"},
            ]
        )
    return turns[0], turns[1]


@each("given", [None, "call_1_0"])
def test_with_ids(given: str | None) -> None:
    """PROMISE 48: a conversation goes on at another service, which wants an id for each call."""
    turns, sent = call_and_result(given, "call_1_0")
    before = copy.deepcopy(turns)
    assert list(with_ids(turns)) == sent and turns == before
    assert list(with_ids(sent)) == sent


def test_ids_that_come_again() -> None:
    """PROMISE 48: Anthropic refuses two calls of one id, also in answers that others wrote."""

    def turns(*ids: str) -> list[dict[str, Any]]:
        first, second, third = ids
        return [
            {
                "role": "assistant",
                "tool_calls": [{"name": "f", "id": id} for id in (first, second)],
            },
            {"role": "tool", "tool_call_id": first, "content": "1"},
            {"role": "tool", "tool_call_id": second, "content": "2"},
            {"role": "assistant", "tool_calls": [{"name": "f", "id": third}]},
            {"role": "tool", "tool_call_id": third, "content": "3"},
        ]

    assert list(with_ids(turns("0", "0", "0"))) == turns("0", "0_call_0_1", "0_call_3_0")
    assert list(with_ids(turns("0", "1", "2"))) == turns("0", "1", "2")
    nine = list(with_ids(turns("0", "0", "0"), lambda identity: f"x{len(identity)}"))
    assert nine == turns("x1", "x10", "x10")  # as far as it fits


def test_ids_that_fit() -> None:
    """PROMISE 48: a call and its result keep the same id."""
    turns, _ = call_and_result("f:0", "")
    _, sent = call_and_result("", "f_0")
    assert list(with_ids(turns, lambda identity: identity.replace(":", "_"))) == sent


@each(
    "turn",
    [
        {"role": "tool", "content": "1"},
        {"role": "tool", "tool_call_id": 7, "content": "1"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "tool_calls": ["x", {"name": "f", "id": 7}]},
        {"role": "assistant", "tool_calls": "x"},
        {},
    ],
)
def test_turns_without_ids(turn: dict[str, Any]) -> None:
    """A turn of an unknown form is sent unchanged."""
    assert list(with_ids([turn])) == [turn]


@each(
    ("state", "found"),
    [
        ({"w": {"items": [{"x": 1}]}}, [{"x": 1}]),
        ({"w": {"items": [7, {"x": 1}]}}, [{"x": 1}]),
        ({"other": {"items": [{"x": 1}]}}, []),
        ({"w": [{"x": 1}]}, []),
        ({"w": {"items": "no list"}}, []),
        (None, []),
        ("no dict", []),
    ],
)
def test_state_in(state: Any, found: Any) -> None:
    """The list of one format, as far as it is one."""
    assert state_in({"state": state}, "w", "items") == found


def test_state_in_is_a_copy() -> None:
    """A wire may change what it gets."""
    kept = {"x": 1}
    state_in({"state": {"w": {"items": [kept]}}}, "w", "items")[0].clear()
    assert kept == {"x": 1}


@each("role", ["system", "developer"])
def test_is_system(role: str) -> None:
    """By its role."""
    assert is_system({"role": role}) and not is_system({"role": "user"}) and not is_system({})


R, T, C = {"k": "r"}, {"k": "text"}, {"k": "call"}
SIGNED = T | {"signature": "s"}


@each(
    ("kept", "texts", "calls", "parts"),
    [
        ([], "a", "", "a"),
        ([], "a", "c", "ac"),
        ([R], "a", "c", "rac"),
        ([R, T, C], "a", "c", "rac"),
        ([R, C, R, C], "", "cd", "rcrd"),
        ([R, C], "a", "cd", "racd"),  # text where none came, a call more than came
        ([R, C, C], "", "c", "rc"),  # a call that the user took out
        ([R, C, T], "a", "c", "rca"),  # text that came after the call
        ([T, R, T, C], "a", "c", "rac"),  # all the text in one
        ([T, C, T], "a", "c", "ac"),
        ([R, T], "", "", "r"),
        ([SIGNED, C], "", "c", "tc"),  # a place that says something by itself
        ([T, R], "ab", "", "abr"),
    ],
)
def test_in_places(kept: list[dict[str, Any]], texts: str, calls: str, parts: str) -> None:
    """In the order in which it came, each text and each call once."""
    merged = in_places(
        kept,
        [{"say": text} for text in texts],
        [{"say": call} for call in calls],
        kind_of=lambda part: part["k"],
    )
    assert "".join(part.get("say", part.get("k", "?")[0]) for part in merged) == parts


def test_a_place_is_filled() -> None:
    """A place keeps what it says beside its kind."""
    (text, call) = in_places(
        [SIGNED, C | {"x": 1}], [{"a": 1}], [{"b": 2}], kind_of=lambda p: p["k"]
    )
    assert text == SIGNED | {"a": 1} and call == C | {"x": 1, "b": 2}
