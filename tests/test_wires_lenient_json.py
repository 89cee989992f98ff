"""JSON from a server, as values that can be copied, shown and encoded."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync.wires.lenient_json import MAX_DEPTH, parse, scan

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(values)
def test_usual_json_is_read_as_json_reads_it(value: Any) -> None:
    """Both ways of reading agree."""
    data = json.dumps(value)
    assert parse(data) == json.loads(data)
    assert scan(data, 0) == (json.loads(data), len(data))


@each(
    ("data", "value"),
    [
        (" [1] ", [1]),
        ("9" * 5000, math.inf),
        ("-" + "9" * 5000, -math.inf),
        ("1e999", math.inf),
        ('"\\ud83d\\ude00"', "😀"),
        ('["\\ud83d", {"\\ude00": "a"}]', ["\ufffd", {"\ufffd": "a"}]),
    ],
)
def test_unusual_json(data: str, value: object) -> None:
    """Numbers of any length are read, and every text can be encoded."""
    assert parse(data) == value


@each("data", ["", "NaN", "[Infinity]", "-Infinity", "{", "[1]x", "\ufeff1", "'a'"])
def test_what_is_no_json(data: str) -> None:
    """Python's own extensions are no JSON either."""
    with pytest.raises(ValueError, match=r"Expecting|Extra data|is not JSON"):
        parse(data)


@each("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 2000, 100_000])
def test_nesting(depth: int) -> None:
    """What is nested deeper than MAX_DEPTH is null, so that the rest can be used."""
    value = parse('["a", ' * depth + '"]"' + "]" * depth)
    copy.deepcopy(value)
    levels = 0
    while isinstance(value, list):
        assert value[0] == "a"
        value, levels = value[1], levels + 1
    assert levels == min(depth, MAX_DEPTH)
    assert value == ("]" if depth <= MAX_DEPTH else None)


def test_brackets_that_never_close() -> None:
    """They are no JSON, at any depth."""
    for data in ("[" * 100_000, '{"a":' * 100_000):
        with pytest.raises((ValueError, RecursionError)):
            parse(data)
