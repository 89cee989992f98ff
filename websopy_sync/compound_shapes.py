"""Shapes that are made of others: collections, choices, unions, objects.

Pure. Knows nothing of annotations: `json_types` finds the shape of a type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from .json_shapes import Definitions, Mismatch, Reading, Shape, built, expected, shown
from .surrogates import scalar_text

__all__ = [
    "Choice",
    "Described",
    "Field",
    "Items",
    "Named",
    "Object",
    "OneOf",
    "Positions",
    "Values",
]


@attrs.frozen(eq=False)
class Items(Shape):
    """An array whose items have one shape: a list, a tuple or a set."""

    name: str
    item: Shape
    make: Callable[[list[Any]], Any]
    unique: bool = False
    kind: type = list

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        schema: dict[str, Any] = {"type": "array"}
        items = self.item.schema(defs)
        schema |= {"items": items} if items else {}
        return schema | ({"uniqueItems": True} if self.unique else {})

    def read(self, value: object, reading: Reading) -> Any:
        """The collection. A set takes an item that comes twice once."""
        if type(value) is not list:
            raise expected(self.name, value)
        items = [reading.inner(at, self.item, item) for at, item in enumerate(value)]
        return items if self.make is list else built(lambda: self.make(items), self.name)


@attrs.frozen(eq=False)
class Positions(Shape):
    """An array with a shape for each place: a tuple of a certain length."""

    name: str
    items: tuple[Shape, ...]
    kind: type = list

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        count = len(self.items)
        schema: dict[str, Any] = {"type": "array", "minItems": count, "maxItems": count}
        prefix = [item.schema(defs) for item in self.items]
        return schema | ({"prefixItems": prefix} if prefix else {})

    def read(self, value: object, reading: Reading) -> Any:
        """The tuple."""
        if type(value) is not list:
            raise expected(self.name, value)
        if len(value) != len(self.items):
            raise Mismatch(f"expected {len(self.items)} items, got {len(value)}")
        pairs = zip(self.items, value, strict=True)
        return tuple(reading.inner(at, item, one) for at, (item, one) in enumerate(pairs))


@attrs.frozen(eq=False)
class Values(Shape):
    """An object with any names, whose values have one shape: a dict."""

    item: Shape
    name: str = "dict"
    kind: type = dict

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        items = self.item.schema(defs)
        return {"type": "object"} | ({"additionalProperties": items} if items else {})

    def read(self, value: object, reading: Reading) -> dict[str, Any]:
        """The dict."""
        if type(value) is not dict:
            raise expected(self.name, value)
        return {
            scalar_text(name): reading.inner(name, self.item, item) for name, item in value.items()
        }


_JSON_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


@attrs.frozen(eq=False)
class Choice(Shape):
    """One of several JSON values, each of which stands for a Python value."""

    options: Sequence[tuple[Any, Any]]
    """Pairs of a JSON value and what it stands for."""

    @property
    def name(self) -> str:  # type: ignore[override]  # a property is as good as an attribute
        """What a message calls it."""
        return "one of " + ", ".join(shown(option) for option, _ in self.options)

    @property
    def kind(self) -> type | None:  # type: ignore[override]
        """The type that all of the values have."""
        kinds = {type(option) for option, _ in self.options}
        return kinds.pop() if len(kinds) == 1 else None

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        kind = self.kind and _JSON_TYPES[self.kind]
        options = [option for option, _ in self.options]
        return ({"type": kind} if kind else {}) | {"enum": options}

    def read(self, value: object, reading: Reading) -> Any:
        """What the value stands for."""
        for option, meant in self.options:
            both_bool = isinstance(option, bool) == isinstance(value, bool)  # True == 1 in Python
            if both_bool and isinstance(value, str | int | float | None) and option == value:
                return meant
        raise Mismatch(f"expected {self.name:.400}, got ", told=shown(value))


@attrs.frozen(eq=False)
class OneOf(Shape):
    """A union."""

    options: Sequence[Shape]
    kind: None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """What a message calls it."""
        return " or ".join(option.name for option in self.options)

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        return {"anyOf": [option.schema(defs) for option in self.options]}

    def read(self, value: object, reading: Reading) -> Any:
        """The value that the first option gives; one with the value's own type comes first."""
        if not isinstance(value, list | dict):
            return _result(self._outcome(value, reading))
        # Once for each value: without that, a union of two classes that contain it would read a
        # value of n levels 2^n times.
        key = id(value), id(self)
        if key not in reading.outcomes:
            reading.outcomes[key] = self._outcome(value, reading)
        return _result(reading.outcomes[key])

    def _outcome(self, value: object, reading: Reading) -> object:
        """The result of an option, or the failure of the one that came furthest."""
        failures: list[tuple[int, bool, Mismatch]] = []
        for option in sorted(self.options, key=lambda option: option.kind is not type(value)):
            try:
                return option.read(value, reading)
            except Mismatch as error:
                failures.append((len(error.path), option.kind is type(value), error))
        depth, alike, failure = max(failures, key=lambda entry: entry[:2])
        return failure if depth or alike else expected(self.name, value)


def _result(outcome: object) -> Any:
    if isinstance(outcome, Mismatch):
        raise Mismatch(outcome.problem, outcome.path, outcome.told)  # its path grows
    return outcome


@attrs.frozen(eq=False)
class Described(Shape):
    """A shape with words on what it is for."""

    shape: Shape
    description: str

    @property
    def name(self) -> str:  # type: ignore[override]
        """What a message calls it."""
        return self.shape.name

    @property
    def kind(self) -> type | None:  # type: ignore[override]
        """The type of JSON value."""
        return self.shape.kind

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        return self.shape.schema(defs) | {"description": self.description}

    def read(self, value: object, reading: Reading) -> Any:
        """The value, as without the words."""
        return self.shape.read(value, reading)


@attrs.define(eq=False)
class Named(Shape):
    """A shape with a name of its own, which may contain itself.

    Attributes:
        name: What a message and the `$defs` call it.
        target: The shape. It is set once all that it contains is known.
    """

    name: str
    target: Shape = attrs.field(default=None, repr=False)

    @property
    def kind(self) -> type | None:  # type: ignore[override]
        """The type of JSON value."""
        return self.target.kind

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """A reference to its definition."""
        reference: dict[str, Any] = defs.reference(
            self, self.name, lambda: self.target.schema(defs)
        )
        return reference

    def read(self, value: object, reading: Reading) -> Any:
        """The value of the shape."""
        return self.target.read(value, reading)


@attrs.frozen
class Field:
    """A field of an object.

    Attributes:
        shape: The shape of its value.
        keyword: What `make` calls it.
        required: Whether it must be there.
        description: What it is for, "" if nobody said.
    """

    shape: Shape
    keyword: str
    required: bool = True
    description: str = ""

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema. What its own annotation says comes first."""
        schema = self.shape.schema(defs)
        if self.description and not isinstance(self.shape, Described):
            schema = schema | {"description": self.description}
        return schema


@attrs.frozen(eq=False)
class Object(Shape):
    """An object with these fields and no others."""

    name: str
    fields: Mapping[str, Field]
    make: Callable[..., Any]
    description: str = ""
    kind: type = dict

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        about = {"description": self.description} if self.description else {}
        return {
            "type": "object",
            **about,
            "properties": {name: field.schema(defs) for name, field in self.fields.items()},
            "required": [name for name, field in self.fields.items() if field.required],
            "additionalProperties": False,
        }

    def read(self, value: object, reading: Reading) -> Any:
        """What `make` returns for the fields."""
        if type(value) is not dict:
            raise expected(self.name, value)
        for name in value:
            if name not in self.fields:
                known = ", ".join(self.fields) or "none"
                raise Mismatch(f"unknown name; expected one of: {known:.200}", [name])
        given = {}
        for name, field in self.fields.items():
            if name in value:
                given[field.keyword] = reading.inner(name, field.shape, value[name])
            elif field.required:
                raise Mismatch(f"expected {field.shape.name}, got nothing", [name])
        return given if self.make is dict else built(lambda: self.make(**given), self.name)
