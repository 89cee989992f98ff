"""The JSON body of a request: encoded, compared and copied."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websopy_sync.errors import ConfigError
from websopy_sync.request_body import copied_body, encode_body, same_json

HALF = chr(0xD83D)
"""Half of a surrogate pair."""

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


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
        "s3cret" + HALF,
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
