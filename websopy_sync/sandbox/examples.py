"""A value that fits a JSON Schema: a tool's arguments, or an answer that is to be JSON.

Pure. Reads simple schemas, such as those of this package, and makes up no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["example_of"]

DEEPEST = 10
"""Levels of a schema that are filled in."""

SHALLOW = 5
"""Below this level lists are empty and the last choice is taken, so that a recursive type ends."""

MOST = 1000
"""Most values in one example."""

_BY_TYPE: Mapping[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True}


def example_of(schema: object) -> Any:
    """A value that fits a schema, or something near it when the schema is not a simple one."""
    return _Maker(schema).make(schema, 0)


class _Maker:
    """Makes the values of one schema, which may refer to its own `$defs`."""

    def __init__(self, root: object) -> None:
        self._defs = _dict_in(root, "$defs")
        self._left = MOST

    def make(self, schema: object, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > DEEPEST or self._left < 0:
            return None
        if isinstance(schema.get("$ref"), str):
            name = schema["$ref"].rpartition("/")[2]
            return self.make(self._defs.get(name), depth + 1)
        for name in ("default", "const"):
            if name in schema:
                return schema[name]
        for name in ("enum", "examples"):
            if _list_in(schema, name):
                return schema[name][0]
        choices = _list_in(schema, "anyOf")
        if choices:
            return self.make(choices[-1 if depth > SHALLOW else 0], depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = str(schema.get("type"))
        if kind == "array":
            items = _list_in(schema, "prefixItems") or [schema.get("items")]
            needed = schema.get("minItems") or depth <= SHALLOW
            return [self.make(item, depth + 1) for item in items if needed and item]
        properties = _dict_in(schema, "properties")
        if kind == "object" or properties:
            names = dict.fromkeys(map(str, _list_in(schema, "required")))
            return {name: self.make(properties.get(name), depth + 1) for name in names}
        return _BY_TYPE.get(kind)


def _dict_in(schema: object, name: str) -> Mapping[str, Any]:
    value = schema.get(name) if isinstance(schema, dict) else None
    return value if isinstance(value, dict) else {}


def _list_in(schema: Mapping[str, Any], name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []
