"""JSON Schema out of Python types and functions, and values of these types back."""

from __future__ import annotations

import collections.abc as abc
import contextlib
import dataclasses
import enum
import functools
import json
import math
import socket
import sys
import time
import typing
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NotRequired, Required, TypedDict, TypeVar

import attr
import attrs
import jsonschema
import msgspec
import pydantic
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from tables import each

from websopy_sync import ConfigError
from websopy_sync.json_schema import arguments_of, parameters_of, schema_of, value_of
from websopy_sync.json_types import SUPPORTED

T = TypeVar("T")


class Unit(enum.Enum):
    CELSIUS = "c"
    KELVIN = "k"


@dataclasses.dataclass
class Place:
    """A place on Earth.

    Attributes:
        city: Its name.
        near: Other places,
            not far away.
    """

    city: str
    near: list[Place] = dataclasses.field(default_factory=list)
    seen: int = dataclasses.field(default=0, init=False)


@dataclasses.dataclass
class Capital(Place):
    country: str = ""


@attrs.frozen
class Weather:
    """The weather.

    Attributes:
        degrees: As a float.
        note: By its name without the underscore.
    """

    place: Place
    degrees: float
    unit: Unit = Unit.CELSIUS
    sky: Literal["clear", "cloudy"] | None = None
    wind: tuple[float, int] | None = None
    tags: set[str] = attrs.field(factory=set)
    _source: Annotated[str, "Who says so."] = ""
    _note: str = ""


@dataclasses.dataclass
class Dated(dict[str, int]):
    """A dict with fields is no TypedDict."""

    day: int


class Query(TypedDict, total=False):
    text: Required[str]
    limit: int
    page: NotRequired[int]


class Strict(TypedDict):
    a: NotRequired[Annotated[int, "An a."]]
    b: bool


class Backported(typing_extensions.TypedDict):
    a: typing_extensions.NotRequired[int]
    b: typing_extensions.ReadOnly[str]


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = dataclasses.field(default_factory=list)


class Model(pydantic.BaseModel):
    age: int = pydantic.Field(ge=0)
    kids: list[Model] = []


class Outer(pydantic.BaseModel):
    inner: Model


class Struct(msgspec.Struct):
    age: int
    kids: list[Struct] = []


@dataclasses.dataclass
class Mixed:
    model: Model
    outer: Outer
    again: Model
    struct: Struct


Ages = typing_extensions.TypeAliasType("Ages", dict[str, int])
Name = typing.NewType("Name", str)

SIMPLE: list[tuple[Any, dict[str, Any]]] = [
    (str, {"type": "string"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (None, {"type": "null"}),
    (type(None), {"type": "null"}),
    (Any, {}),
    (object, {}),
    (list, {"type": "array"}),
    (typing.List, {"type": "array"}),  # noqa: UP006  # users write it
    (list[int], {"type": "array", "items": {"type": "integer"}}),
    (abc.Sequence[int], {"type": "array", "items": {"type": "integer"}}),
    (tuple, {"type": "array"}),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    (tuple[()], {"type": "array", "minItems": 0, "maxItems": 0}),
    (
        tuple[int, str],
        {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
        },
    ),
    (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
    (frozenset, {"type": "array", "uniqueItems": True}),
    (dict, {"type": "object"}),
    (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    (abc.Mapping[str, Any], {"type": "object"}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal["a", 1, None, True], {"enum": ["a", 1, None, True]}),
    (Literal[Unit.KELVIN], {"type": "string", "enum": ["k"]}),
    (Unit, {"type": "string", "enum": ["c", "k"]}),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    (typing.Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
    (Annotated[int, "An age.", 7], {"type": "integer", "description": "An age."}),
    (Annotated[int, 7], {"type": "integer"}),
    (Name, {"type": "string"}),
    (T, {}),
]


@each(("kind", "schema"), SIMPLE)
def test_schema(kind: Any, schema: dict[str, Any]) -> None:
    """Each type that stands for JSON."""
    assert schema_of(kind) == schema


def test_schema_of_a_class() -> None:
    """Fields with their descriptions; a default makes one optional; `init=False` leaves one out."""
    place = {
        "type": "object",
        "description": "A place on Earth.",
        "properties": {
            "city": {"type": "string", "description": "Its name."},
            "near": {
                "type": "array",
                "items": {"$ref": "#/$defs/Place"},
                "description": "Other places, not far away.",
            },
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert schema_of(Place) == {**place, "$defs": {"Place": place}}
    schema = schema_of(Weather)
    assert schema["description"] == "The weather."
    assert schema["required"] == ["place", "degrees"]
    assert list(schema["properties"]) == [
        *("place", "degrees", "unit", "sky", "wind", "tags", "source", "note")
    ]
    assert schema["properties"]["place"] == {"$ref": "#/$defs/Place"}
    assert schema["properties"]["degrees"] == {"type": "number", "description": "As a float."}
    assert schema["properties"]["source"] == {"type": "string", "description": "Who says so."}
    assert schema["properties"]["note"]["description"] == "By its name without the underscore."
    assert schema["$defs"] == {"Place": place}


def test_schema_of_a_subclass() -> None:
    """It has the fields of its base, and their descriptions, but not the base's own."""
    schema = schema_of(Capital)
    assert "description" not in schema  # dataclass() writes a docstring that says nothing
    assert schema["properties"]["city"]["description"] == "Its name."
    assert list(schema["properties"]) == ["city", "near", "country"]


@each(
    ("kind", "required"),
    [(Query, ["text"]), (Strict, ["b"]), (Backported, ["b"])],
)
def test_keys_of_a_typed_dict(kind: Any, required: list[str]) -> None:
    """Required and NotRequired count, also in annotations that are strings, as here."""
    assert schema_of(kind)["required"] == required


def test_two_classes_of_one_name() -> None:
    """Each has its own definition."""

    def make(kind: Any) -> Any:
        return attrs.make_class("Same", {"a": attrs.field(type=kind)})

    schema = schema_of(tuple[make(int), make(str)])
    kinds = [schema["$defs"][name]["properties"]["a"]["type"] for name in ("Same", "Same_2")]
    assert kinds == ["integer", "string"]


def test_an_attrs_class_without_annotations() -> None:
    """Its fields say their types themselves."""
    made = attr.s(type("Old", (), {"a": attr.ib(type=int), "b": attr.ib(type=list[str])}))
    value = value_of(made, {"a": 1, "b": ["x"]})
    assert value == made(1, ["x"])
    assert schema_of(made)["properties"]["a"] == {"type": "integer"}


def test_definitions_of_models() -> None:
    """Each class is there once; what a model defines itself gets names that are free."""
    schema = schema_of(Mixed)
    assert list(schema["$defs"]) == ["Model", "Outer", "Model_2", "Struct"]
    assert schema["properties"]["again"] == schema["properties"]["model"]


def test_generic_classes() -> None:
    """What stands for the variable is filled in, also deeper."""
    value = {"item": {"item": 1.0}, "more": [{"item": 2, "more": [3]}]}
    assert value_of(Box[Box[int]], value) == Box(Box(1), [Box(2, [3])])
    with pytest.raises(ValueError, match=r"value\.item\.item: expected int, got str"):
        value_of(Box[Box[int]], {"item": {"item": "x"}})
    assert value_of(Box, {"item": "anything"}) == Box("anything")


@dataclasses.dataclass
class Perhaps(Generic[T]):
    next: Perhaps[T] | None = None


def test_a_type_without_a_hash() -> None:
    """What an `Annotated` in it says may be a list."""
    kind: Any = Box[Annotated[int, ["kelvin"]]]
    assert value_of(dict[str, kind], {"a": {"item": 4, "more": [5]}}) == {"a": Box(4, [5])}
    assert schema_of(kind)["properties"]["item"] == {"type": "integer"}
    with contextlib.suppress(ConfigError):  # Python 3.11 cannot make a union of such types
        schema_of(Perhaps[Annotated[int, ["kelvin"]]])


class Boxes(Box[list[T]], Generic[T]):
    """Its own variable has the name of its base's."""


class Names(Box[str]):
    """A base that is filled in."""


def test_generic_bases() -> None:
    """What a class says of its base counts; two variables of one name are not told apart."""
    assert value_of(Names, {"item": "a"}) == Names("a")
    with pytest.raises(ValueError, match="item: expected str, got int"):
        value_of(Names, {"item": 1})
    assert value_of(Boxes[int], {"item": [1]}) == Boxes([1])


def test_a_class_within_a_function_names_itself() -> None:
    """Its name is in no module."""

    @dataclasses.dataclass
    class Node:
        next: Node | None = None

    assert value_of(Node, {"next": {"next": None}}) == Node(Node())


def test_aliases() -> None:
    """`type Ages = …` of Python 3.12, which may contain itself."""
    assert value_of(list[Ages], [{"a": 1.0}]) == [{"a": 1}]
    assert list(schema_of(list[Ages])["$defs"]) == ["Ages"]
    if sys.version_info >= (3, 12):
        names: dict[str, Any] = {}
        exec("type Tree = int | list[Tree]", names)
        assert value_of(names["Tree"], [1, [2, []]]) == [1, [2, []]]
        jsonschema.validate([1, [2, []]], schema_of(names["Tree"]))


VALUES: list[tuple[Any, Any, Any]] = [
    (int, 3.0, 3),
    (int, 10**400, 10**400),
    (float, 3, 3.0),
    (int | float, 3.0, 3.0),
    (float | int, 2**53 + 1, 2**53 + 1),
    (str, "\ud800x", "\ufffdx"),
    (Any, {"\udc00": ["\ud83d\ude00", 1, None, True, 0.5]}, {"\ufffd": ["😀", 1, None, True, 0.5]}),
    (dict[str, int], {"\udc00": 1}, {"\ufffd": 1}),
    (set[int], [1, 1, 2], {1, 2}),
    (frozenset[int], [1], frozenset({1})),
    (abc.Set[int], [1], frozenset({1})),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[()], [], ()),
    (Unit, "k", Unit.KELVIN),
    (Literal[1], 1.0, 1),
    (Literal[True, 1], 1, 1),
    (Query, {"text": "x"}, {"text": "x"}),
    (Capital, {"city": "a", "country": "b"}, Capital("a", country="b")),
    (
        Weather,
        {"place": {"city": "a"}, "degrees": 1, "wind": [2, 3]},
        Weather(Place("a"), 1.0, wind=(2.0, 3)),
    ),
    (Weather | Place, {"city": "a"}, Place("a")),
    (Annotated[int, "An age."] | str, 3, 3),
    (Dated, {"day": 1}, Dated(1)),
    (
        Mixed,
        {
            "model": {"age": 1, "kids": [{"age": 2}]},
            "outer": {"inner": {"age": 3}},
            "again": {"age": 4},
            "struct": {"age": 5, "kids": [{"age": 6}]},
        },
        Mixed(
            Model(age=1, kids=[Model(age=2)]),
            Outer(inner=Model(age=3)),
            Model(age=4),
            Struct(5, [Struct(6)]),
        ),
    ),
]


@each(("kind", "value", "meant"), VALUES)
def test_value(kind: Any, value: Any, meant: Any) -> None:
    """A value that matches the schema is read; its type is right, too."""
    got = value_of(kind, value)
    assert got == meant
    assert type(got) is type(meant)
    jsonschema.validate(value, schema_of(kind)) if kind not in (set[int],) else None


class Raising:
    """Refuses with an exception that nobody expects."""


@dataclasses.dataclass
class Picky:
    a: int

    def __post_init__(self) -> None:
        if self.a == 1:
            raise KeyError("one")
        if self.a == 3:
            raise ValueError("\ud800")
        if self.a == 2:
            raise KeyboardInterrupt


MISMATCHES: list[tuple[Any, Any, str]] = [
    (str, 1, "value: expected str, got int"),
    (str, None, "value: expected str, got None"),
    (int, True, "value: expected int, got bool"),
    (int, 3.5, "value: expected int, got 3.5"),
    (int, math.inf, "value: expected int, got float"),
    (float, True, "value: expected float, got bool"),
    (float, "1", "value: expected float, got str"),
    (float, math.nan, "value: expected a finite number, got another"),
    (float, 10**400, "value: expected a finite number, got another"),
    (Any, [math.inf], "value[0]: expected a finite number, got another"),
    (Any, [b""], "value[0]: expected any JSON value, got bytes"),
    (bool, 1, "value: expected bool, got int"),
    (None, 0, "value: expected None, got int"),
    (list[int], {}, "value: expected list, got dict"),
    (list[int], [1, "x"], "value[1]: expected int, got str"),
    (tuple[int, ...], "x", "value: expected tuple, got str"),
    (tuple[int, str], [1], "value: expected 2 items, got 1"),
    (tuple[int, str], [1, 2], "value[1]: expected str, got int"),
    (tuple[int, str], 7, "value: expected tuple, got int"),
    (set[Any], [[]], "value: refused by set: TypeError: unhashable type: 'list'"),
    (dict[str, int], [], "value: expected dict, got list"),
    (dict[str, int], {"a b": "x"}, "value['a b']: expected int, got str"),
    (dict[str, int], {"\ud800": "x"}, "value['\ufffd']: expected int, got str"),
    (Literal["a"], "b", "value: expected one of 'a', got 'b'"),
    (Literal[1], True, "value: expected one of 1, got True"),
    (Literal["a"], [], "value: expected one of 'a', got list"),
    (Unit, "x" * 300, f"value: expected one of 'c', 'k', got '{'x' * 149}…"),
    (int | str, [], "value: expected int or str, got list"),
    (Annotated[int, "An age."] | str, [], "value: expected int or str, got list"),
    (Unit | None, "x", "value: expected one of 'c', 'k', got 'x'"),
    (Place, [], "value: expected Place, got list"),
    (Place, {}, "value.city: expected str, got nothing"),
    (
        Place,
        {"city": "a", "size": 1},
        "value.size: unknown name; expected one of: city, near",
    ),
    (Place, {"city": "a", "near": [{}]}, "value.near[0].city: expected str, got nothing"),
    (Place | None, {"city": 7}, "value.city: expected str, got int"),
    (Query, {"text": "a", "limit": "b"}, "value.limit: expected int, got str"),
    (Picky, {"a": 1}, "value: refused by Picky: KeyError: 'one'"),
    (Picky, {"a": 3}, "value: refused by Picky: ValueError: \ufffd"),
    (Model, {"age": -1}, "value.age: Input should be greater than or equal to 0"),
    (
        Model,
        {"age": 1, "kids": [{"age": "x"}]},
        "value.kids[0].age: Input should be a valid integer, unable to parse string as an integer",
    ),
    (Model, math.nan, "value: expected a finite number, got another"),
    (
        Struct,
        {"age": "x"},
        "value: refused by Struct: ValidationError: Expected `int`, got `str` - at `$.age`",
    ),
]


@each(("kind", "value", "says"), MISMATCHES)
def test_mismatch(kind: Any, value: Any, says: str) -> None:
    """A value that does not match: where, what was expected, what came."""
    with pytest.raises(ValueError, match=r"^(value|arguments)") as caught:
        value_of(kind, value)
    assert str(caught.value) == says
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_interrupts_come_out() -> None:
    """Of a class of the user's."""
    with pytest.raises(KeyboardInterrupt):
        value_of(Picky, {"a": 2})


@dataclasses.dataclass
class Initialized:
    """A field that is none."""

    a: dataclasses.InitVar[int]


@attrs.define(init=False)
class Unusual:
    """A constructor of the user's."""

    a: int

    def __init__(self, b: int = 1) -> None:
        self.a = b


class Sockets(TypedDict):
    a: list[socket.socket]


REFUSED: list[tuple[Any, str]] = [
    (socket.socket, "type: expected a type that JSON can hold (str, "),
    (list[bytes], "type: expected a type that JSON can hold (str, "),
    (dict[int, str], "type: expected a dict with str keys, got dict[int, str]"),
    (Literal[b"x"], "type: expected options of str, int, float, bool or None, got bytes"),
    (Callable[[], int], "type: expected a type that JSON can hold"),
    (7, f"type: expected a type that JSON can hold ({SUPPORTED}), got 7"),
    (Place("a"), f"type: expected a type that JSON can hold ({SUPPORTED}), got an object of"),
    ("Place", "type: expected a type that JSON can hold"),
    (list["Place"], "type: expected a type that JSON can hold"),
    (Sockets, "Sockets.a: expected a type that JSON can hold"),
    (attrs.make_class("Bare", ["a"]), "Bare.a: expected a type, got none"),
    (Unusual, "Unusual: expected a class that is made of its fields: got an unexpected"),
    (Initialized, "Initialized: expected a class that is made of its fields: missing"),
    (pydantic.create_model("Bad", a=(Callable, ...)), "type: PydanticInvalidForJsonSchema"),
]


@each(("kind", "says"), REFUSED)
def test_refused_type(kind: Any, says: str) -> None:
    """What JSON has nothing for is a ConfigError that names its place."""
    with pytest.raises(ConfigError) as caught:
        schema_of(kind)
    assert str(caught.value).startswith(says)
    assert caught.value.__context__ is None


# --- functions -----------------------------------------------------------------------------------


def look_up(  # noqa: D417  # a parameter may be missing there
    city: str,
    unit: Unit = Unit.CELSIUS,
    *,
    place: Place | None = None,
    days: Annotated[int, "Days."] = 1,
) -> str:
    """Look it up.

    Args:
        city: The city.
        unit (Unit): Which unit.
        days: Not read.
    """
    return f"{city} {unit.value} {place} {days}"


def test_parameters() -> None:
    """A property for each parameter, described by the docstring; an annotation comes first."""
    schema = parameters_of(look_up)
    assert list(schema["$defs"]) == ["Place"]
    del schema["$defs"]
    assert schema == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city."},
            "unit": {"type": "string", "enum": ["c", "k"], "description": "Which unit."},
            "place": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
            "days": {"type": "integer", "description": "Days."},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_arguments() -> None:
    """Keyword arguments, ready to call; those with a default may be missing."""
    parsed = {"city": "a", "unit": "k", "place": {"city": "b"}, "days": 2.0}
    given = arguments_of(look_up, parsed)
    assert given == {"city": "a", "unit": Unit.KELVIN, "place": Place("b"), "days": 2}
    assert look_up(**arguments_of(look_up, {"city": "a"})) == "a c None 1"


class Tools:
    def method(self, a: int) -> int:
        """Method.

        Args:
            a: An a.
        """
        return a

    @classmethod
    def of_class(cls, a: int) -> int:
        return a

    @staticmethod
    def static(a: int) -> int:
        return a

    def __call__(self, a: int) -> int:
        return a


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Decorated:
    """An object that a decorator puts in the place of a function."""

    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def two(  # noqa: D417
    secret: socket.socket, a: int, b: int = 2
) -> int:
    """Two.

    Args:
        a: An a.
    """
    return a + b


def promising(a: int) -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
    """As with a type that is imported under TYPE_CHECKING.

    Args:
        a: An a.
    """


AN_A = {"type": "integer", "description": "An a."}


@each(
    ("function", "properties"),
    [
        (Tools().method, {"a": AN_A}),
        (wrapped(Tools().method), {"a": AN_A}),
        (Decorated(Tools().method), {"a": AN_A}),
        (Decorated(promising), {"a": AN_A}),
        (promising, {"a": AN_A}),
        (Tools.of_class, {"a": {"type": "integer"}}),
        (Tools.static, {"a": {"type": "integer"}}),
        (Tools(), {"a": {"type": "integer"}}),
        (functools.partial(two, None), {"a": AN_A, "b": {"type": "integer"}}),
        (functools.partial(two, secret=None), {"a": AN_A, "b": {"type": "integer"}}),
        (functools.partial(functools.partial(two, None), b=3), {"a": AN_A}),
        (lambda: 7, {}),
        (Place, {"city": {"type": "string", "description": "Its name."}}),
    ],
)
def test_what_can_be_called(function: Any, properties: dict[str, Any]) -> None:
    """Methods without self, partials without what they give themselves."""
    found = parameters_of(function)["properties"]
    assert {name: found[name] for name in properties} == properties
    assert function is Place or list(found) == list(properties)


def stars(*values: int) -> None: ...
def words(**values: int) -> None: ...
def positional(a: int, /) -> None: ...
def unfit(connection: socket.socket) -> None: ...
def unresolved(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def later(a: int) -> None: ...
async def generate(a: int) -> Any:
    yield a


class Later:
    async def __call__(self, a: int) -> int:
        return a


class Odd:
    """An object that says what it is in its own way."""

    __signature__ = 7

    def __call__(self) -> None: ...


@each(
    ("function", "says"),
    [
        (stars, "stars: parameter 'values': expected one with a name of its own, got *values"),
        (words, "words: parameter 'values': expected one with a name of its own, got **values"),
        (positional, "positional: parameter 'a': expected one that is passed by name"),
        (unfit, "unfit: parameter 'connection': expected a type that JSON can hold"),
        (unresolved, "unresolved: its annotations cannot be read: NameError: name 'Nowhere'"),
        (later, "later: expected a function that returns a value, got an async one"),
        (generate, "generate: expected a function that returns a value, got an async one"),
        (functools.partial(later, 1), "later: expected a function that returns a value"),
        (Later(), "Later: expected a function that returns a value, got an async one"),
        (lambda x: x, "<lambda>: parameter 'x': expected an annotation with its type, got none"),
        (Tools.method, "method: parameter 'self': expected an annotation with its type, got none"),
        (len, "len: parameter 'obj': expected one that is passed by name"),
        (print, "print: parameter 'args'"),
        (int, "int: its parameters cannot be read"),
        (Odd(), "Odd: its parameters cannot be read: TypeError"),
        (7, "tool: expected a function, got int"),
    ],
)
def test_refused_function(function: Any, says: str) -> None:
    """A ConfigError that names the parameter, from both functions."""
    for call in (parameters_of, lambda function: arguments_of(function, {})):
        with pytest.raises(ConfigError) as caught:
            call(function)
        assert str(caught.value).startswith(says)


@each(
    ("parsed", "says"),
    [
        ({}, "arguments.city: expected str, got nothing"),
        ({"city": 7}, "arguments.city: expected str, got int"),
        ({"city": "a", "place": {"city": 7}}, "arguments.place.city: expected str, got int"),
        ({"city": "a", "self": 1}, "arguments.self: unknown name; expected one of: city,"),
        ([], "arguments: expected look_up, got list"),
    ],
)
def test_arguments_that_do_not_match(parsed: Any, says: str) -> None:
    """The message is for the model: it says what to change."""
    with pytest.raises(ValueError, match=r"^(value|arguments)") as caught:
        arguments_of(look_up, parsed)
    assert str(caught.value).startswith(says)


# --- size and depth ------------------------------------------------------------------------------


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"city": "a"}
    for _ in range(levels):
        value = {"city": "a", "near": [value]}
    return value


def test_deep_values() -> None:
    """What is deeper than 100 levels is refused, whatever its type; never a RecursionError."""
    place = value_of(Place, nested(45))
    for _ in range(45):
        (place,) = place.near
    assert place == Place("a")
    for kind in (Place, Any, Place | None, dict[str, Any]):
        with pytest.raises(ValueError, match="expected at most 100 levels of nesting, got more"):
            value_of(kind, nested(300))


def test_deep_down_in_the_callers_program() -> None:
    """Even where few frames are left."""

    def call(depth: int) -> Any:
        return call(depth - 1) if depth else value_of(Place, nested(45))

    with pytest.raises(ValueError, match="value: nested too deeply"):
        call(800)


def test_deep_types() -> None:
    """A ConfigError."""
    kind: Any = int
    for _ in range(3000):
        kind = list[kind]

    def call(a: Any) -> None: ...

    call.__annotations__["a"] = kind
    for refuse in (lambda: schema_of(kind), lambda: parameters_of(call)):
        with pytest.raises(ConfigError, match=r"nested too deeply|RecursionError"):
            refuse()


@dataclasses.dataclass
class Left:
    child: Left | Right | None


@dataclasses.dataclass
class Right:
    child: Left | Right | None


def test_unions_are_read_in_linear_time() -> None:
    """Each level has two classes to try: 2^80 readings, if none was remembered."""
    value: Any = {"child": 7}
    for _ in range(80):
        value = {"child": value}
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"\.child: expected Left or Right or None, got int"):
        value_of(Left, value)
    assert time.monotonic() - started < 5


def test_large_values() -> None:
    """A long list is read, and none of it is quoted."""
    assert value_of(list[int], list(range(200_000)))[-1] == 199_999
    with pytest.raises(ValueError, match=r"^(value|arguments)") as caught:
        value_of(dict[str, int], {"x" * 1_000_000: "y" * 1_000_000})
    assert len(str(caught.value)) < 200


# --- any type, any value -------------------------------------------------------------------------

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text()),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (type(None), st.none()),
    (Unit, st.sampled_from(Unit)),
    (Literal["a", 2, False], st.sampled_from(["a", 2, False])),
    (Name, st.text()),
]
Typed = tuple[Any, st.SearchStrategy[Any]]


def compound(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Types that are made of others, with their values."""
    return st.one_of(
        inner.map(lambda one: (list[one[0]], st.lists(one[1], max_size=3))),
        inner.map(lambda one: (tuple[one[0], ...], st.lists(one[1], max_size=3).map(tuple))),
        inner.map(lambda one: (dict[str, one[0]], st.dictionaries(st.text(), one[1], max_size=3))),
        inner.map(lambda one: (one[0] | None, st.none() | one[1])),
        inner.map(lambda one: (Box[one[0]], st.builds(Box, one[1], st.lists(one[1], max_size=2)))),
        st.tuples(inner, inner).map(
            lambda two: (tuple[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))
        ),
        st.tuples(inner, inner).map(made_class),
    )


def made_class(two: tuple[Typed, Typed]) -> Typed:
    (first, firsts), (second, seconds) = two
    made = attrs.make_class(
        "Made", {"a": attrs.field(type=first), "b": attrs.field(type=second, default=None)}
    )
    return made, st.builds(made, firsts, seconds)


def as_json(value: Any) -> Any:
    """What a model would write for a value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if attrs.has(type(value)):
        return {
            field.name: as_json(getattr(value, field.name)) for field in attrs.fields(type(value))
        }
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    return value.value if isinstance(value, enum.Enum) else value


TYPES = st.recursive(st.sampled_from(LEAVES), compound, max_leaves=6)


@given(st.data())
def test_value_to_json_and_back(data: st.DataObject) -> None:
    """A value of any type survives the way; its JSON matches the schema, which is one."""
    kind, values = data.draw(TYPES)
    value = data.draw(values)
    schema = schema_of(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(as_json(value))
    jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)
    assert value_of(kind, json.loads(text)) == value


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["item", "more", "a", "b", "c"]), inner, max_size=3)
    ),
)


@given(TYPES, ANY_JSON)
def test_what_matches_the_schema_is_read_and_nothing_else(typed: Typed, value: Any) -> None:
    """The schema and the reader agree, also on what is wrong."""
    kind, _ = typed
    matches = jsonschema.Draft202012Validator(schema_of(kind)).is_valid(value)
    try:
        value_of(kind, value)
    except ValueError:
        assert not matches
    else:
        assert matches
