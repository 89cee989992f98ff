"""Passes each hook implementation the arguments that it names.

pluggy does not fill parameters with a default, keyword-only ones, `*rest` and `**rest`; this does.
Knows nothing of plugins.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

from .specs import Specification

Function = Callable[..., object]


@functools.cache
def argument_names(hook: str) -> tuple[str, ...]:
    """The arguments of a hook, in their order."""
    return tuple(inspect.signature(getattr(Specification, hook)).parameters)[1:]


def required_keywords(function: Function) -> set[str]:
    """The keyword-only parameters without a default."""
    if not _has_more_than_positions(function):
        return set()
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}


def by_position(function: Function, required: Sequence[str], names: Sequence[str]) -> Function:
    """An implementation as a function of all the hook's arguments, in their order.

    Args:
        function: The implementation.
        required: Its positional parameters without a default.
        names: The hook's arguments.
    """
    positional, keywords = list(required), list[str]()
    if _has_more_than_positions(function):
        positional, keywords = _given(function, positional, names)
    if not keywords and positional == list(names):
        return function
    places = [names.index(name) for name in positional]
    if not keywords:
        return lambda *arguments: function(*(arguments[place] for place in places))
    named = [(name, names.index(name)) for name in keywords]
    return lambda *arguments: function(
        *(arguments[place] for place in places),
        **{name: arguments[place] for name, place in named},
    )


def _given(
    function: Function, required: list[str], names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The arguments to pass by position, and those to pass by keyword."""
    parameters = inspect.signature(function).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return required, [name for name in names if name not in required]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if inspect.Parameter.VAR_POSITIONAL in kinds and set(named) <= set(names):
        return [*named, *(name for name in names if name not in named)], []
    by_keyword = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return required, [name for name in names if name in by_keyword and name not in required]


def _has_more_than_positions(function: Function) -> bool:
    """Whether it has a parameter that pluggy does not fill. Cheaper than its signature."""
    plain = inspect.unwrap(function)
    code = plain.__code__
    rest = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return bool(rest or code.co_kwonlyargcount or plain.__defaults__)
