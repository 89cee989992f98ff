"""Shapes of classes that read JSON themselves: pydantic models and msgspec Structs.

Neither library is needed, and none is imported. Knows nothing of annotations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, get_origin

import attrs

from .errors import ConfigError, described
from .interrupts import find_interrupt, is_interrupt
from .json_shapes import Anything, Definitions, Mismatch, Reading, Shape, built

__all__ = ["Model", "model_shape"]

_PREFIX = "#/$defs/"

Written = tuple[dict[str, Any], dict[str, Any]]
"""A schema and its definitions, with references that begin with `_PREFIX`."""


@attrs.frozen(eq=False)
class Model(Shape):
    """The shape of a class that reads JSON itself.

    Attributes:
        name: What a message calls it.
        source: Its schema and definitions.
        decode: Makes the value of its JSON text.
    """

    name: str
    source: Written
    decode: Callable[[str], Any]
    kind: type = dict

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema, its definitions among all others."""
        return dict(defs.reference(self, self.name, lambda: self._moved(defs)))

    def _moved(self, defs: Definitions) -> dict[str, Any]:
        """Its schema, after its definitions have got names that are free."""
        schema, own = self.source
        root = schema.get("$ref", "").removeprefix(_PREFIX)
        names = {name: defs.reserve(name) for name in own if name != root}
        if root:
            schema = own[root]
            names[root] = defs.name_of(self)
        for name, new in names.items():
            if name != root:
                defs.schemas[new] = _renamed(own[name], names)
        return dict(_renamed(schema, names))

    def read(self, value: object, reading: Reading) -> Any:
        """What the class makes of the value."""
        text = json.dumps(Anything().read(value, reading))
        return built(lambda: self.decode(text), self.name, _problem)


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    """A schema with other names in its references."""
    if isinstance(schema, dict):
        return {key: _renamed(value, names) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_renamed(item, names) for item in schema]
    if isinstance(schema, str) and schema.startswith(_PREFIX):
        name = schema.removeprefix(_PREFIX)
        return _PREFIX + names.get(name, name)
    return schema


def _problem(error: Exception) -> Mismatch | None:
    """What pydantic says, without the input and the address of its manual."""
    try:
        first = error.errors()[0]  # type: ignore[attr-defined]  # if it is pydantic's
        return Mismatch("", reversed(first["loc"]), told=str(first["msg"]))
    except Exception as other:
        if is_interrupt(other):
            raise
    return None


def model_shape(hint: Any, where: str) -> Model | None:
    """The shape of a pydantic model or a msgspec Struct; None for any other type.

    Args:
        hint: Any annotation.
        where: What an error calls its place.

    Raises:
        ConfigError: It has a field that JSON cannot hold.
    """
    msgspec: Any = sys.modules.get("msgspec")
    if isinstance(hint, type) and hasattr(hint, "model_validate_json"):
        decode, source = hint.model_validate_json, partial(_pydantic_source, hint)
    elif msgspec is not None and hasattr(get_origin(hint) or hint, "__struct_fields__"):
        decode = partial(msgspec.json.decode, type=hint)
        source = partial(_msgspec_source, msgspec, hint)
    else:
        return None
    interrupt = None
    try:
        return Model((get_origin(hint) or hint).__name__, source(), decode)
    except Exception as error:  # noqa: BLE001  # of whatever kind: both raise several
        interrupt, problem = find_interrupt(error), described(error)
    if interrupt is not None:
        raise interrupt
    raise ConfigError(f"{where}: {' '.join(problem[:1000].split())[:200]}")


def _pydantic_source(model: Any) -> Written:
    schema = model.model_json_schema()
    return schema, schema.pop("$defs", {})


def _msgspec_source(msgspec: Any, struct: Any) -> Written:
    (schema,), defs = msgspec.json.schema_components([struct], ref_template=_PREFIX + "{name}")
    return schema, defs
