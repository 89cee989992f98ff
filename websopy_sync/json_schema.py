"""JSON Schemas of annotations, and values of JSON that fit them.

Pure. Knows nothing of tools and of requests.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from .errors import ConfigError

__all__ = ["arguments_of", "parameters_of"]

_NAMES: Mapping[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
}
_ARGS = re.compile(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", re.MULTILINE)
_ARG = re.compile(r"^    \*{0,2}(\w+)(?: \(.*?\))?: (.*(?:\n {8,}\S.*)*)", re.MULTILINE)


def parameters_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of a function's arguments, from its annotations and its docstring.

    Raises:
        ConfigError: An argument has no annotation, or one that is not known here.
    """
    texts = _texts(function)
    properties: dict[str, Any] = {}
    required = []
    for name, (kind, parameter) in _parameters(function).items():
        properties[name] = {"type": _NAMES[kind]}
        if name in texts:
            properties[name]["description"] = texts[name]
        if parameter.default is Parameter.empty:
            required.append(name)
    schema = {"type": "object", "properties": properties, "required": required}
    return {**schema, "additionalProperties": False}


def arguments_of(function: Callable[..., Any], parsed: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments that JSON stands for.

    Raises:
        ValueError: One is missing, unknown or of another type.
    """
    parameters = _parameters(function)
    for name, (_, parameter) in parameters.items():
        if name not in parsed and parameter.default is Parameter.empty:
            raise ValueError(f"arguments.{name}: expected a value, got none")
    arguments = {}
    for name, value in parsed.items():
        if name not in parameters:
            raise ValueError(f"arguments: expected {', '.join(parameters)}, got {name!a:.100}")
        kind = parameters[name][0]
        if type(value) is not kind and (type(value), kind) != (int, float):
            got = type(value).__name__
            raise ValueError(f"arguments.{name}: expected {kind.__name__}, got {got}")
        arguments[name] = kind(value)
    return arguments


def _parameters(function: Callable[..., Any]) -> dict[str, tuple[type, Parameter]]:
    """The type and the parameter of each argument."""
    try:
        parameters = inspect.signature(function).parameters
        hints = typing.get_type_hints(function)
    except Exception as error:  # noqa: BLE001  # evaluating an annotation may raise any
        raise ConfigError(f"tool: annotations cannot be read ({type(error).__name__})") from None
    found: dict[str, tuple[type, Parameter]] = {}
    for name, parameter in parameters.items():
        kind: Any = typing.get_origin(hints.get(name)) or hints.get(name)
        if kind not in _NAMES or parameter.kind not in (
            Parameter.POSITIONAL_OR_KEYWORD,
            Parameter.KEYWORD_ONLY,
        ):
            raise ConfigError(
                f"tool parameter {name!r}: expected str, int, float, bool, list or dict"
            )
        found[name] = (kind, parameter)
    return found


def _texts(function: Callable[..., Any]) -> dict[str, str]:
    """What `Args:` of a Google docstring says of each argument."""
    section = _ARGS.search((inspect.getdoc(function) or "") + "\n")
    found = _ARG.findall(section[1]) if section else []
    return {name: " ".join(text.split()) for name, text in found}
