"""Usage: how many tokens a response cost.

A frozen value. Knows nothing of a service's names for the counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .value_fields import build, copied, given

__all__ = ["MAX_COUNT", "Usage"]

MAX_COUNT = 2**63 - 1
"""Largest number of tokens in a usage: what a signed 64-bit integer holds, in databases too."""


def _is_count(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole and 0 <= value <= MAX_COUNT):  # type: ignore[operator]  # `whole` says that it is an int
        got = "another one" if whole else type(value).__name__
        raise TypeError(f"{attribute.name}: expected an int from 0 to {MAX_COUNT}, got {got}")


@attrs.frozen
class Usage:
    """How many tokens a response cost, as the service counts them.

    Attributes:
        prompt_tokens: Tokens of what was sent.
        completion_tokens: Tokens of what the model wrote.
        total_tokens: The sum of the two unless the service gave another.
        cached_tokens: Those of the prompt that the service had in a cache; 0 when it did not say.
        reasoning_tokens: Those of the completion that went into reasoning; 0 when it did not say.
        details: The service's other counts, under its own names.
    """

    prompt_tokens: int = attrs.field(validator=_is_count)
    completion_tokens: int = attrs.field(validator=_is_count)
    total_tokens: int = attrs.field(
        default=attrs.Factory(lambda self: self.prompt_tokens + self.completion_tokens, True),
        validator=_is_count,
    )
    cached_tokens: int = attrs.field(default=0, validator=_is_count, kw_only=True)
    reasoning_tokens: int = attrs.field(default=0, validator=_is_count, kw_only=True)
    _details: Mapping[str, Any] | None = attrs.field(
        default=None, alias="details", kw_only=True, eq=False, repr=False
    )

    @property
    def details(self) -> dict[str, Any]:
        """The service's other counts, under its own names; each access gives a new copy."""
        return copied(self._details)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dict that `json.dumps` takes; the last three only when they are set."""
        fields = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }
        return fields | given(
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            details=self.details,
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Usage:
        """The usage that `to_dict` was called on.

        Args:
            fields: What `to_dict` returned.

        Raises:
            ConfigError: They are not the fields of a usage.
        """
        return build(cls, fields)
