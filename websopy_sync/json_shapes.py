"""Shapes: the JSON that a type stands for, written as JSON Schema and read as a value.

Pure. Knows nothing of annotations and classes: `json_types` finds the shape of a type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from .errors import described
from .interrupts import find_interrupt, is_interrupt
from .surrogates import scalar_text

__all__ = [
    "Anything",
    "Definitions",
    "Integer",
    "Mismatch",
    "Number",
    "Plain",
    "Reading",
    "Redact",
    "Shape",
    "built",
    "expected",
    "read",
    "shown",
    "written",
]

MAX_DEPTH = 100
"""Levels of nesting that are read: each takes several of Python's frames."""

MAX_TEXT = 65536
"""Characters of a text that are looked at for a message."""

MAX_SHOWN = 100
"""Characters of a name that a message has."""

MAX_STEPS = 20
"""Steps of a path that a message has."""

MAX_TOLD = 150
"""Characters of a value, or of an exception's text, that a message quotes."""

Redact = Callable[[str], str]
"""Takes secrets out of a text that may repeat a part of a value."""

Step = str | int
Result = TypeVar("Result")


class Mismatch(ValueError):
    """A JSON value that does not have its shape.

    Args:
        problem: What was expected, and what came. It repeats nothing of the value.
        path: The names and indexes that lead to the value, the innermost first.
        told: The end of the message, which may repeat the value.
    """

    def __init__(self, problem: str, path: Iterable[Step] = (), told: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[Step] = list(path)
        self.told = told

    def text(self, root: str, redact: Redact) -> str:
        """The whole message: `root.name[0]: expected …`."""
        path = self.path[::-1]
        if len(path) > MAX_STEPS:
            path[MAX_STEPS // 2 : -MAX_STEPS // 2] = ["…"]
        steps = "".join(_shown_step(step, redact) for step in path)
        return scalar_text(f"{root}{steps}: {self.problem}{_cut(redact(self.told), MAX_TOLD)}")


def _shown_step(step: Step, redact: Redact) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    name = _cut(redact(step), MAX_SHOWN)
    return f".{name}" if name.isidentifier() or name == "…" else f"[{shown(name)}]"


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[:size] + "…"


def shown(value: object) -> str:
    """A value for a message: a repr of text and numbers, the type of all else."""
    if isinstance(value, str):
        return repr(scalar_text(value[:MAX_TEXT]))
    if isinstance(value, int | float) and abs(value) < 1e20:  # str() of a huge int may raise
        return repr(value)
    return _kind(value)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def expected(name: str, value: object) -> Mismatch:
    """The failure of a value that has another type."""
    return Mismatch(f"expected {name}, got {_kind(value)}")


class Reading:
    """One value while it is read: how deep it is, and what unions have found out."""

    def __init__(self) -> None:
        self._depth = 0
        self.outcomes: dict[tuple[int, int], object] = {}

    def inner(self, step: Step, shape: Shape, value: object) -> Any:
        """Read a value inside of another one."""
        if self._depth >= MAX_DEPTH:
            raise Mismatch(f"expected at most {MAX_DEPTH} levels of nesting, got more")
        self._depth += 1
        try:
            return shape.read(value, self)
        except Mismatch as error:
            error.path.append(step)
            raise
        finally:
            self._depth -= 1


class Definitions:
    """The `$defs` of a schema: each class once, so that a class may contain itself."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self._names: dict[int, str] = {}

    def reference(self, key: object, name: str, write: Callable[[], dict[str, Any]]) -> Any:
        """A reference to the definition of `key`, which is written when it is the first.

        Args:
            key: What is defined. It lives as long as these definitions.
            name: What it is called. A second one of the same name gets a number.
            write: Returns its schema.
        """
        if id(key) not in self._names:
            self._names[id(key)] = unique = self.reserve(name)
            self.schemas[unique] = write()
        return {"$ref": f"#/$defs/{self._names[id(key)]}"}

    def name_of(self, key: object) -> str:
        """The name of a definition that is there or being written."""
        return self._names[id(key)]

    def reserve(self, name: str) -> str:
        """A name that is still free; its schema is to be set."""
        name = "".join(char if char.isascii() and char.isalnum() else "_" for char in name)
        unique, count = name, 1
        while unique in self.schemas:
            count += 1
            unique = f"{name}_{count}"
        self.schemas[unique] = {}
        return unique


class Shape:
    """The JSON of one type.

    Attributes:
        name: What a message calls it.
        kind: The type of JSON value, as `json.loads` gives it; None for several.
    """

    name: str
    kind: type | None

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        raise NotImplementedError

    def read(self, value: object, reading: Reading) -> Any:
        """The Python value of a JSON value.

        Raises:
            Mismatch: The JSON value has another shape.
        """
        raise NotImplementedError


@attrs.frozen(eq=False)
class Plain(Shape):
    """A str, a bool or None."""

    name: str
    kind: type
    json_type: str

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        return {"type": self.json_type}

    def read(self, value: object, reading: Reading) -> Any:
        """The value itself; a text can always be encoded."""
        if type(value) is not self.kind:
            raise expected(self.name, value)
        return scalar_text(value) if isinstance(value, str) else value


@attrs.frozen(eq=False)
class Integer(Shape):
    """An int. As in JSON Schema, 3.0 is one, and true is none."""

    name: str = "int"
    kind: type = int

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        return {"type": "integer"}

    def read(self, value: object, reading: Reading) -> int:
        """The int."""
        if type(value) is float and value.is_integer():
            return int(value)
        if type(value) is not int:
            got = shown(value) if type(value) is float else _kind(value)
            raise Mismatch("expected int, got ", told=got)
        return value


@attrs.frozen(eq=False)
class Number(Shape):
    """A float; an int is taken too."""

    name: str = "float"
    kind: type = float

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        return {"type": "number"}

    def read(self, value: object, reading: Reading) -> float:
        """The float."""
        if type(value) is not float and type(value) is not int:
            raise expected(self.name, value)
        try:
            number = float(value)
        except OverflowError as error:
            if is_interrupt(error):
                raise
            number = math.inf
        if not math.isfinite(number):
            raise Mismatch("expected a finite number, got another")
        return number


@attrs.frozen(eq=False)
class Anything(Shape):
    """Any JSON value."""

    name: str = "any JSON value"
    kind: None = None

    def schema(self, defs: Definitions) -> dict[str, Any]:
        """Write it as JSON Schema."""
        return {}

    def read(self, value: object, reading: Reading) -> Any:
        """A copy, in which each text can be encoded and each number is finite."""
        if isinstance(value, str):
            return scalar_text(value)
        if isinstance(value, list):
            return [reading.inner(at, self, item) for at, item in enumerate(value)]
        if isinstance(value, dict):
            return {
                scalar_text(name): reading.inner(name, self, item) for name, item in value.items()
            }
        if isinstance(value, float) and not math.isfinite(value):
            raise Mismatch("expected a finite number, got another")
        if value is None or isinstance(value, int | float):
            return value
        raise expected(self.name, value)


def built(
    make: Callable[[], Result],
    name: str,
    explain: Callable[[Exception], Mismatch | None] = lambda error: None,
) -> Result:
    """What a class or function of the user's makes of values that have its shape.

    Args:
        make: Makes it.
        name: What a message calls it.
        explain: Reads the exception that it raised; None when it does not know the exception.

    Raises:
        Mismatch: It refused them, with whatever exception.
        BaseException: An interrupt came.
    """
    interrupt = None
    try:
        return make()
    except Exception as error:  # noqa: BLE001  # raised by a validator of the user's
        interrupt, problem, failure = find_interrupt(error), described(error), explain(error)
    if interrupt is not None:  # raised out here: its context would hold the values
        raise interrupt
    problem = " ".join(problem[:MAX_TEXT].split())
    raise failure or Mismatch(f"refused by {name}: ", told=problem)


def read(shape: Shape, value: object, root: str, redact: Redact = str) -> Any:
    """The Python value of a JSON value.

    Args:
        shape: The shape of the value.
        value: What `json.loads` returned.
        root: What a message calls the value.
        redact: For the parts of a message that may repeat the value.

    Raises:
        ValueError: The value has another shape. The message has the path to what is wrong.
    """
    try:
        return shape.read(value, Reading())
    except Mismatch as error:
        problem = error.text(root, redact)
    except RecursionError as error:  # the caller itself is deep down
        if is_interrupt(error):
            raise
        problem = f"{root}: nested too deeply"
    raise ValueError(problem)


def written(shape: Shape) -> dict[str, Any]:
    """A shape as a whole JSON Schema, with the `$defs` that it needs."""
    defs = Definitions()
    schema = shape.schema(defs)
    if "$ref" in schema:  # a service may want the root to be an object
        name = schema["$ref"].rpartition("/")[2]
        schema = defs.schemas[name] | {key: schema[key] for key in schema if key != "$ref"}
        if f'"#/$defs/{name}"' not in json.dumps(defs.schemas):
            del defs.schemas[name]
    return schema | ({"$defs": defs.schemas} if defs.schemas else {})
