"""What the frozen values have in common: copies of unknown fields, and their dicts.

Pure. Knows no value itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .errors import ConfigError

__all__ = ["build", "copied", "given"]

Value = TypeVar("Value")


def copied(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy that its receiver may change: a value stays as it came."""
    return copy.deepcopy(dict(fields)) if fields else {}


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are set."""
    return {name: value for name, value in fields.items() if value}


def build(cls: Callable[..., Value], fields: Mapping[str, Any]) -> Value:
    """The value that these fields make.

    Raises:
        ConfigError: They do not.
    """
    try:
        return cls(**fields)
    except TypeError as error:
        problem = str(error)
    raise ConfigError(f"{cls.__name__}: {problem:.200}")
