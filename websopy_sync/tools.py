"""Tools: functions that a model may ask for, each with a name and the schema of its arguments.

Knows nothing of streams, turns and threads: `tool_calls` runs the calls of an answer.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .docstrings import summary_of
from .errors import ConfigError
from .json_schema import arguments_of, parameters_of
from .tool_call import ToolCall

__all__ = ["Tool", "ToolLike", "function_problem", "read_tools", "tool_dicts"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The names that OpenAI's and Anthropic's services take."""


def _is_name(tool: Tool, attribute: attrs.Attribute[Any], name: object) -> None:
    if not isinstance(name, str):
        raise ConfigError(f"tool name: expected str, got {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"tool name: expected 1 to 64 letters, digits, '_' or '-', got {name!a:.200}"
        )


def _is_text(tool: Tool, attribute: attrs.Attribute[Any], text: object) -> None:
    if not isinstance(text, str):
        got = type(text).__name__
        raise ConfigError(f"tool {tool.name!r}: expected a str as description, got {got}")


def _is_schema(tool: Tool, attribute: attrs.Attribute[Any], schema: object) -> None:
    if not isinstance(schema, Mapping):
        got = type(schema).__name__
        raise ConfigError(f"tool {tool.name!r}: expected a dict as parameters, got {got}")


def _is_function(tool: Tool, attribute: attrs.Attribute[Any], function: object) -> None:
    problem = function_problem(function)
    if problem:
        raise ConfigError(f"tool {tool.name!r}: expected a function, got {problem}")


def function_problem(function: object) -> str:
    """What is wrong with a function that is to be called, "" if nothing."""
    if not callable(function):
        return type(function).__name__
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    for code in (inner, type(inner).__call__):  # the second is that of an object
        if inspect.iscoroutinefunction(code):
            return "an async one, which this package cannot run"
        if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            return "a generator, which returns no result"
    return ""


@attrs.frozen
class Tool:
    """A function that the model may ask for.

    `Tool.of(function)` reads name, description and parameters from the function. Make one by hand
    to say them yourself.

    Args:
        name: What the model calls it: 1 to 64 letters, digits, "_" or "-".
        description: What it does, for the model to read.
        parameters: The JSON Schema of its arguments: an object with properties.
        function: It is called with the arguments by keyword. Arguments are checked against its
            annotations where `Tool.of` could read these; else it gets them as the model wrote them.
    """

    name: str = attrs.field(validator=_is_name)
    description: str = attrs.field(validator=_is_text)
    parameters: Mapping[str, Any] = attrs.field(validator=_is_schema, hash=False)
    function: Callable[..., Any] = attrs.field(validator=_is_function, repr=False)

    @classmethod
    def of(cls, function: Callable[..., Any] | Tool) -> Tool:
        """The tool that a function is.

        The name is the function's, the description is its docstring up to the first section, and
        the parameters come from its annotations and from `Args:` in the docstring.

        Args:
            function: A function with annotations. A Tool stays as it is.

        Raises:
            ConfigError: It is async, has no usable name, or its parameters are of no type that
                JSON can hold.
        """
        if isinstance(function, Tool):
            return function
        problem = function_problem(function)
        if problem:
            raise ConfigError(f"tool: expected a function, got {problem}")
        name = getattr(function, "__name__", type(function).__name__)
        if not (hasattr(function, "__name__") and _NAME.fullmatch(name)):
            raise ConfigError(
                f"tool: expected a function with a name, got {name!a:.200}; "
                "Tool(name, description, parameters, function) gives it one"
            )
        summary = summary_of(inspect.getdoc(_documented(function)))
        return cls(name, summary, parameters_of(function), function)

    def to_dict(self) -> dict[str, Any]:
        """`{"name", "description", "parameters"}`, as a request has it."""
        parameters = dict(self.parameters)
        return {"name": self.name, "description": self.description, "parameters": parameters}

    def parse_arguments(self, call: ToolCall) -> dict[str, Any]:
        """The keyword arguments for `function` that a call of the model stands for.

        Args:
            call: The call. Empty arguments are none.

        Raises:
            ValueError: They are no JSON object (ToolArgumentsError), or not what `function` takes.
        """
        parsed = call.parse_arguments() if call.arguments.strip() else {}
        if _has_schema(self.function):
            return arguments_of(self.function, parsed)
        try:
            inspect.signature(self.function).bind(**parsed)
        except TypeError as error:
            problem = str(error)
        except ValueError:  # a function written in C may have no signature
            return parsed
        else:
            return parsed
        raise ValueError(f"arguments: {problem:.200}")


def _documented(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function whose docstring describes the tool: every `partial` has that of its class."""
    while isinstance(function, functools.partial) and "__doc__" not in vars(function):
        function = function.func
    return function


def _has_schema(function: Callable[..., Any]) -> bool:
    try:
        parameters_of(function)
    except ConfigError:
        return False
    return True


ToolLike = Callable[..., Any] | Tool | Mapping[str, Any]
"""A tool as a user may pass it. A dict goes out as it is, and has no function to run."""


def read_tools(tools: object) -> list[Tool | Mapping[str, Any]]:
    """The tools that a user passed, functions as Tools; empty for None.

    Raises:
        ConfigError: One of them is no tool, or two have the same name.
    """
    if tools is None:
        return []
    if not isinstance(tools, list | tuple):
        got = type(tools).__name__
        raise ConfigError(f"tools: expected a list of functions, Tools or dicts, got {got}")
    read = [tool if isinstance(tool, Mapping) else Tool.of(tool) for tool in tools]
    names = [name for name in map(_name_of, read) if name is not None]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"tools: expected different names, got {name!r:.200} twice")
    return read


def _name_of(tool: Tool | Mapping[str, Any]) -> str | None:
    """A tool's name; in a dict where many services have it, None if it is not there."""
    if isinstance(tool, Tool):
        return tool.name
    inner = tool.get("function")
    name = (inner if isinstance(inner, Mapping) else tool).get("name")
    return name if isinstance(name, str) else None


def tool_dicts(tools: object) -> list[dict[str, Any]] | None:
    """The tools that a user passed, as a request has them; None for none.

    Raises:
        ConfigError: As `read_tools` does.
    """
    read = read_tools(tools)
    return [tool.to_dict() if isinstance(tool, Tool) else dict(tool) for tool in read] or None
