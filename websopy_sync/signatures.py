"""Gives a function the parameters of another, for type checkers, editors and help().

Knows nothing of options.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, Concatenate, ParamSpec

__all__ = ["same_parameters"]

Options = ParamSpec("Options")


def same_parameters(
    source: Callable[Options, object],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, Options], None]]:
    """Give an `__init__` the parameters of another class, for checkers, editors and help()."""

    def decorate(init: Callable[..., None]) -> Callable[Concatenate[Any, Options], None]:
        own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
        parameters = [own, *signature(source).parameters.values()]
        init.__signature__ = signature(init).replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect reads it
        return init

    return decorate
