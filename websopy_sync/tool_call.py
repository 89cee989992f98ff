"""ToolCall: a tool that the model wants called.

A frozen value. Knows nothing of the tools that the user has: see `tools`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from .errors import ToolArgumentsError
from .interrupts import is_interrupt
from .value_fields import build

__all__ = ["ToolCall"]


def _is_str(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name}: expected str, got {type(value).__name__}")


@attrs.frozen
class ToolCall:
    """A tool that the model wants called.

    Attributes:
        name: The tool's name.
        arguments: The arguments as the model wrote them, which should be JSON.
        id: The service's id for this call, None if it gave none.
    """

    name: str = attrs.field(validator=_is_str)
    arguments: str = attrs.field(validator=_is_str)
    id: str | None = attrs.field(default=None, validator=attrs.validators.optional(_is_str))

    def parse_arguments(self) -> dict[str, Any]:
        """The arguments as a dict.

        Raises:
            ToolArgumentsError: They are no JSON object, as a model can write anything. It is a
                ValueError. `arguments` still holds the text.
        """
        try:
            parsed = json.loads(self.arguments)
            problem = "" if isinstance(parsed, dict) else f"got JSON {type(parsed).__name__}"
        except (ValueError, RecursionError) as error:
            if is_interrupt(error):
                raise
            parsed, problem = None, str(error) or type(error).__name__
        if problem:
            raise ToolArgumentsError(
                f"arguments of tool {self.name!r:.200}: expected a JSON object: {problem:.200}"
            )
        return dict(parsed)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dict that `json.dumps` takes."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ToolCall:
        """The tool call that `to_dict` was called on.

        Args:
            fields: What `to_dict` returned.

        Raises:
            ConfigError: They are not the fields of a tool call.
        """
        return build(cls, fields)
