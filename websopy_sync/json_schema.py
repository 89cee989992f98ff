"""JSON Schema of Python types and functions, and JSON values read as these types.

Pure. Knows nothing of tools and answers. The types are those that `json_types` lists.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any

from .compound_shapes import Field, Object
from .docstrings import entries_of
from .errors import ConfigError, described
from .interrupts import find_interrupt, is_interrupt
from .json_shapes import Shape, read, written
from .json_types import Types, hints_of

__all__ = ["arguments_of", "parameters_of", "schema_of", "shape_of", "value_of"]


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a type.

    Args:
        kind: The type: a class, or any annotation.

    Raises:
        ConfigError: JSON cannot hold a value of this type, or of one of its fields.
    """
    return written(shape_of(kind))


def value_of(kind: Any, value: object, *, name: str = "value") -> Any:
    """A JSON value as a Python value of a type.

    Args:
        kind: The type.
        value: What `json.loads` returned. It stays as it is.
        name: What an error calls the value.

    Raises:
        ValueError: The value does not match. The message says where: `value.city: expected str,
            got int`.
        ConfigError: JSON cannot hold a value of this type. It is a ValueError too.
    """
    return read(shape_of(kind), value, name)


def parameters_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of the object that holds a function's arguments.

    Args:
        function: A function, a method of an object, a `functools.partial`, or an object that can
            be called. The `Args:` of its docstring describe the properties. A parameter that a
            partial gives by keyword is left out.

    Raises:
        ConfigError: A parameter cannot be passed as JSON by its name, or the function is async.
    """
    return written(_function_shape(function))


def arguments_of(function: Callable[..., Any], parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments in JSON as the keyword arguments of a function.

    Args:
        function: As for `parameters_of`.
        parsed: The arguments as `json.loads` returned them.

    Raises:
        ValueError: They do not match. The message says where: `arguments.city: expected str, got
            int`.
        ConfigError: As from `parameters_of`.
    """
    arguments: dict[str, Any] = read(_function_shape(function), parsed, "arguments")
    return arguments


def shape_of(kind: Any, name: str = "type") -> Shape:
    """The shape of a type, to write its schema and to read its values.

    Args:
        kind: The type.
        name: What an error calls the type.

    Raises:
        ConfigError: JSON cannot hold a value of this type, or of one of its fields.
    """
    return _checked(lambda: Types().shape(kind, name), name)


def _checked(find: Callable[[], Shape], name: str) -> Shape:
    """A shape that can be written: one may be nested too deeply."""
    try:
        shape = find()
        written(shape)
        return shape
    except RecursionError as error:
        if is_interrupt(error):
            raise
    raise ConfigError(f"{name}: its type is nested too deeply")


def _function_shape(function: Callable[..., Any]) -> Shape:
    return _checked(lambda: _arguments_shape(function), "tool")


def _arguments_shape(function: Callable[..., Any]) -> Object:
    if not callable(function):
        raise ConfigError(f"tool: expected a function, got {type(function).__name__}")
    target, bound = function, set[str]()
    while isinstance(target, functools.partial):
        bound |= target.keywords.keys()
        target = target.func
    name = str(getattr(target, "__name__", type(target).__name__))
    owner = _owner(target)
    if _is_async(owner):
        raise ConfigError(f"{name}: expected a function that returns a value, got an async one")
    inner = getattr(target, "__wrapped__", None)
    if inspect.isroutine(inner) and not inspect.isroutine(target):
        owner = inner  # a decorator put an object in the place of this function
    hints, docs = hints_of(owner, name), _docs(target, owner)
    types, fields = Types(), {}
    for parameter in _signature(function, name).parameters.values():
        if parameter.name not in bound:
            place = f"{name}: parameter {parameter.name!r}"
            _check(parameter, hints, place)
            shape = types.shape(hints[parameter.name], place)
            required = parameter.default is Parameter.empty
            about = docs.get(parameter.name, "")
            fields[parameter.name] = Field(shape, parameter.name, required, about)
    return Object(name, fields, dict)


def _owner(target: Any) -> Any:
    """The function that has the annotations of what can be called."""
    if isinstance(target, type):
        return target.__init__  # type: ignore[misc]  # its own, not an instance's
    return target if inspect.isroutine(target) else type(target).__call__


def _is_async(function: Any) -> bool:
    # Not unwrapped: a decorator may run an async function to its end.
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _docs(target: Any, owner: Any) -> dict[str, str]:
    return entries_of(getattr(target, "__doc__", None)) | entries_of(owner.__doc__)


def _signature(function: Callable[..., Any], name: str) -> Signature:
    try:
        return inspect.signature(function)
    except Exception as error:  # noqa: BLE001  # an object may say its signature itself
        interrupt, problem = find_interrupt(error), described(error)
    if interrupt is not None:
        raise interrupt
    raise ConfigError(f"{name}: its parameters cannot be read: {problem:.200}")


def _check(parameter: Parameter, hints: Mapping[str, Any], place: str) -> None:
    if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        raise ConfigError(f"{place}: expected one with a name of its own, got {parameter}")
    if parameter.kind is Parameter.POSITIONAL_ONLY:
        raise ConfigError(
            f"{place}: expected one that is passed by name, got a positional-only one"
        )
    if parameter.name not in hints:
        raise ConfigError(f"{place}: expected an annotation with its type, got none")
