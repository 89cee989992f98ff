"""Values that fit a schema: of this package's types, of others', and of what is none."""

from __future__ import annotations

import json
from typing import Any, Literal, Optional

import attrs
from tables import each

from websopy_sync.json_schema import schema_of, value_of
from websopy_sync.sandbox.examples import example_of


@attrs.frozen
class Place:
    """A part of another type."""

    names: list[str]
    height: float
    where: tuple[int, str] = (0, "")


@attrs.frozen
class Trip:
    """Every form that a field may have."""

    place: Place
    places: list[Place]
    prices: dict[str, int]
    kind: Literal["a", "b"]
    maybe: int | None
    sure: bool
    anything: Any


@attrs.frozen
class Tree:
    """A type that contains itself."""

    name: str
    left: Optional[Tree]  # noqa: UP045  # a string annotation that attrs resolves
    more: list[Tree]


@each("kind", [Trip, Place, Tree, int, str, bool, None, list[int], Literal[3], tuple[int, str]])
def test_example_fits_its_schema(kind: Any) -> None:
    """What the package reads of it is a value of the type."""
    example = json.loads(json.dumps(example_of(schema_of(kind))))
    value_of(kind, example)


def test_example_is_filled_in() -> None:
    """Each required field has a value that shows what it is for."""
    assert example_of(schema_of(Trip)) == {
        "place": {"names": ["text"], "height": 1.5},
        "places": [{"names": ["text"], "height": 1.5}],
        "prices": {},
        "kind": "a",
        "maybe": 1,
        "sure": True,
        "anything": None,
    }


@each(
    ("schema", "example"),
    [
        ({"type": "string", "default": "x"}, "x"),
        ({"type": "string", "default": None}, None),
        ({"const": 0}, 0),
        ({"type": "string", "examples": ["x", "y"]}, "x"),
        ({"type": "object"}, {}),
        ({"type": "array"}, []),
        ({"type": ["string", "null"]}, None),
        ({"type": "string", "enum": []}, "text"),
        ({"$ref": "#/$defs/x"}, None),
        ({"$ref": 7, "$defs": 7}, None),
        ({"properties": 7, "required": 7, "type": "object"}, {}),
        ({"properties": {"7": {"const": 1}}, "required": [7, [7], "7"]}, {"7": 1, "[7]": None}),
        ({"anyOf": [7]}, None),
        ({"type": "array", "items": {"type": "null"}}, [None]),
        (True, None),
        ([], None),
        ("x", None),
    ],
)
def test_other_schemas(schema: Any, example: Any) -> None:
    """A schema of any kind has an example, though it may be None."""
    assert example_of(schema) == example


def test_no_schema_makes_a_large_example() -> None:
    """Neither a type that needs itself nor one that is used often."""
    endless = {"$ref": "#/$defs/x", "$defs": {"x": {"required": ["a"], "properties": {"a": None}}}}
    defs: dict[str, Any] = endless["$defs"]  # type: ignore[assignment]  # values of two types
    defs["x"]["properties"]["a"] = {"$ref": "#/$defs/x"}
    assert len(json.dumps(example_of(endless))) < 200
    names = [str(number) for number in range(50)]
    defs["x"] = {"required": names, "properties": {name: {"$ref": "#/$defs/x"} for name in names}}
    assert len(json.dumps(example_of(endless))) < 200_000
