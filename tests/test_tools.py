"""Tools: what a function says of itself, what is refused, and what goes out."""

from __future__ import annotations

import asyncio
import functools
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import attrs
import pytest
from tables import each

from websopy_sync import ConfigError, Tool, ToolArgumentsError, ToolCall, WebsopyClient
from websopy_sync.sandbox import Sandbox, done, say

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def weather(city: str, days: int = 1) -> str:
    """The weather of the next days.

    It is made up.

    Args:
        city: A city's name.
        days: How many days.

    Returns:
        A forecast.
    """
    return f"{city}: {days} x sun"


def by_hand(name: str = "weather", function: Callable[..., Any] = weather) -> Tool:
    return Tool(name, "By hand.", SCHEMA, function)


class Station:
    """An object whose method is a tool."""

    def rain(self, city: str) -> str:
        """Whether it rains."""
        return city

    def __call__(self, city: str) -> str:
        return city


async def later(city: str) -> str:
    return city


def bit_by_bit(city: str) -> Iterator[str]:
    yield city


async def bit_by_bit_later(city: str) -> AsyncIterator[str]:
    yield city


class Async:
    async def __call__(self) -> None: ...


def test_a_function_is_a_tool() -> None:
    """Its name, its docstring up to the first section, its annotations."""
    tool = Tool.of(weather)
    assert (tool.name, tool.function) == ("weather", weather)
    assert tool.description == "The weather of the next days.\nIt is made up."
    assert tool.parameters["properties"]["city"]["type"] == "string"
    assert tool.parameters["required"] == ["city"]


def test_a_partial_with_a_name() -> None:
    """It says what its function says, or what was said of itself."""
    part = functools.partial(weather, days=2)
    part.__name__ = "soon"  # type: ignore[attr-defined]  # a partial takes any attribute
    assert Tool.of(part).description == Tool.of(weather).description
    part.__doc__ = "The weather soon."
    assert Tool.of(part).description == "The weather soon."


def test_a_method_is_a_tool() -> None:
    """`self` is no parameter."""
    tool = Tool.of(Station().rain)
    assert (tool.name, tool.description) == ("rain", "Whether it rains.")
    assert list(tool.parameters["properties"]) == ["city"]


def test_a_decorator_that_runs_an_async_function() -> None:
    """What it returns is no async function, although `wraps` says what is in it."""

    @functools.wraps(later)
    def run(*args: Any, **kwargs: Any) -> str:
        return asyncio.run(later(*args, **kwargs))

    tool = Tool.of(run)
    arguments = tool.parse_arguments(ToolCall("later", '{"city": "Paris"}'))
    assert (tool.name, tool.function(**arguments)) == ("later", "Paris")


def test_a_tool_stays_as_it_is() -> None:
    """What was said by hand counts."""
    tool = by_hand()
    assert Tool.of(tool) is tool
    assert tool.to_dict() == {"name": "weather", "description": "By hand.", "parameters": SCHEMA}


def test_a_tool_is_a_value() -> None:
    """It compares, pickles and can be hashed; its repr has no function."""
    tool = by_hand()
    assert tool == by_hand() == pickle.loads(pickle.dumps(tool))
    assert hash(tool) == hash(by_hand())
    assert repr(tool) == f"Tool(name='weather', description='By hand.', parameters={SCHEMA})"


@each(
    ("function", "problem"),
    [
        (later, "async"),
        (functools.partial(later, "x"), "async"),
        (Async(), "async"),
        (bit_by_bit, "generator"),
        (bit_by_bit_later, "generator"),
        (None, "NoneType"),
        ("weather", "str"),
        ({"name": "weather"}, "dict"),
        (lambda city: city, "'<lambda>'"),
        (Station(), "Station"),
        (functools.partial(weather, days=2), "partial"),
    ],
)
def test_what_is_no_tool(function: Any, problem: str) -> None:
    """Named at once."""
    with pytest.raises(ConfigError, match=problem):
        Tool.of(function)


@each(
    "fields",
    [
        (7, "d", SCHEMA, weather),
        ("", "d", SCHEMA, weather),
        ("a b", "d", SCHEMA, weather),
        ("weather\n", "d", SCHEMA, weather),
        ("é", "d", SCHEMA, weather),
        ("a" * 65, "d", SCHEMA, weather),
        ("weather", None, SCHEMA, weather),
        ("weather", "d", None, weather),
        ("weather", "d", [SCHEMA], weather),
        ("weather", "d", SCHEMA, None),
        ("weather", "d", SCHEMA, later),
    ],
)
def test_what_no_tool_can_have(fields: tuple[Any, ...]) -> None:
    """Names that services refuse, values of other types."""
    with pytest.raises(ConfigError, match=r"^tool "):
        Tool(*fields)


@each("function", [Station(), functools.partial(weather, days=2), lambda city: city])
def test_what_has_no_name_gets_one(function: Callable[..., Any]) -> None:
    """Any callable can be a tool."""
    tool = by_hand("any-name_1", function)
    assert "Paris" in tool.function(**tool.parse_arguments(ToolCall("x", '{"city": "Paris"}')))


@each(
    ("arguments", "expected"),
    [
        ('{"city": "Paris"}', {"city": "Paris"}),
        ('{"days": 2, "city": "Paris"}', {"city": "Paris", "days": 2}),
    ],
)
def test_arguments_are_read(arguments: str, expected: dict[str, Any]) -> None:
    """As the function takes them."""
    for tool in (Tool.of(weather), by_hand()):
        assert tool.parse_arguments(ToolCall("weather", arguments)) == expected


@attrs.frozen
class Trip:
    """Where to, and how."""

    city: str
    by: Literal["train", "boat"] = "train"


def book(trips: list[Trip], seats: int | None = None) -> str:
    """Book trips."""
    return " ".join(f"{trip.city} by {trip.by}" for trip in trips)


def test_arguments_become_what_the_annotations_say() -> None:
    """Objects, not dicts; what does not fit is named by its place."""
    tool = Tool.of(book)
    given = tool.parse_arguments(ToolCall("book", '{"trips": [{"city": "Oslo", "by": "boat"}]}'))
    assert given == {"trips": [Trip("Oslo", "boat")]}
    with pytest.raises(ValueError, match=r"arguments\.trips\[0\]\.by"):
        tool.parse_arguments(ToolCall("book", '{"trips": [{"city": "Oslo", "by": "car"}]}'))


@each("arguments", ["", " \n", "{}"])
def test_no_arguments(arguments: str) -> None:
    """Models write nothing for a tool without parameters."""
    tool = Tool("now", "", {"type": "object"}, lambda: "noon")
    assert tool.parse_arguments(ToolCall("now", arguments)) == {}


@each(
    ("arguments", "problem"),
    [
        ("[", "JSON object"),
        ("[1]", "got JSON list"),
        ("[" * 100_000, "JSON object"),
        ("{}", "city"),
        ('{"city": 7}', r"city.*str"),
        ('{"city": "a", "town": "b"}', "town"),
    ],
)
def test_arguments_that_are_wrong(arguments: str, problem: str) -> None:
    """Each is a ValueError that says what was expected, not what came."""
    with pytest.raises(ValueError, match=problem) as caught:
        Tool.of(weather).parse_arguments(ToolCall("weather", arguments))
    assert len(str(caught.value)) < 500
    assert isinstance(caught.value, ToolArgumentsError) == arguments.startswith("[")


def test_arguments_without_annotations() -> None:
    """A function that `Tool.of` cannot read gets what the model wrote, if it takes the names."""

    def take(*, when: complex, **rest: Any) -> Any:
        return when, rest

    tool = by_hand(function=take)
    assert tool.parse_arguments(ToolCall("x", '{"when": [1], "b": 2}')) == {"when": [1], "b": 2}
    with pytest.raises(ValueError, match="when"):
        tool.parse_arguments(ToolCall("x", '{"b": 2}'))


@each("verb", ["chat", "chat_stream", "send"])
def test_tools_go_out(client: WebsopyClient, sandbox: Sandbox, verb: str) -> None:
    """Functions and Tools by their schema, dicts as they are."""
    free = {"type": "web_search", "any": [1]}
    sandbox.play([say("a"), done()])
    source = client.ai.conversation() if verb == "send" else client.ai
    answer = getattr(source, verb)("x", tools=[weather, by_hand("b"), free])
    assert verb == "chat" or answer.until_done()
    assert sandbox.requests[-1].json["tools"] == [
        Tool.of(weather).to_dict(),
        by_hand("b").to_dict(),
        free,
    ]


@each("tools", [None, [], ()])
def test_no_tools(client: WebsopyClient, sandbox: Sandbox, tools: Any) -> None:
    """The body has no such field."""
    client.ai.chat("x", tools=tools)
    assert "tools" not in sandbox.requests[-1].json


@each(
    ("tools", "problem"),
    [
        (weather, "function"),
        ("weather", "str"),
        ({"name": "weather"}, "dict"),
        ([weather, 7], "int"),
        ([later], "async"),
        ([weather, weather], "'weather' twice"),
        ([weather, by_hand()], "'weather' twice"),
        ([weather, {"name": "weather"}], "'weather' twice"),
        ([weather, {"type": "function", "function": {"name": "weather"}}], "'weather' twice"),
        ([by_hand("a"), Tool("b", "", {"x": {1, 2}}, weather)], "JSON"),
    ],
)
def test_tools_that_are_refused(
    client: WebsopyClient, sandbox: Sandbox, tools: Any, problem: str
) -> None:
    """Before anything is sent."""
    for verb in (client.ai.chat, client.ai.chat_stream, client.ai.conversation().send):
        with pytest.raises(ConfigError, match=problem):
            verb("x", tools=tools)
    with pytest.raises(ConfigError, match=problem):
        client.ai.run("x", tools=tools)
    assert not sandbox.requests
