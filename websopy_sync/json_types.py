"""From a Python type to the shape of its JSON.

Reads annotations, fields and docstrings. Knows nothing of JSON itself.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, NoReturn, Union, get_args, get_origin

import attrs

from .compound_shapes import (
    Choice,
    Described,
    Field,
    Items,
    Named,
    Object,
    OneOf,
    Positions,
    Values,
)
from .docstrings import entries_of, summary_of
from .errors import ConfigError, described
from .interrupts import find_interrupt, is_interrupt
from .json_shapes import Anything, Integer, Number, Plain, Shape, shown
from .model_shapes import model_shape

__all__ = ["SUPPORTED", "Types", "hints_of"]

SUPPORTED = (
    "str, int, float, bool, None, Any, list, tuple, set, dict with str keys, Literal, Enum, "
    "Optional, Union, Annotated, dataclasses, attrs classes, TypedDict, pydantic models, "
    "msgspec Structs"
)
"""The types whose values JSON can hold."""

_PLAIN: list[tuple[Any, Shape]] = [
    (str, Plain("str", str, "string")),
    (int, Integer()),
    (float, Number()),
    (bool, Plain("bool", bool, "boolean")),
    (None, Plain("None", type(None), "null")),
    (type(None), Plain("None", type(None), "null")),
    (Any, Anything()),
    (object, Anything()),
]

_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
_SETS = {set: set, abc.Set: frozenset, abc.MutableSet: set, frozenset: frozenset}
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_WRAPPERS = ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar")


def hints_of(owner: Any, where: str) -> dict[str, Any]:
    """The annotations of a class or function, evaluated.

    Args:
        owner: The class or function.
        where: What an error calls it.

    Raises:
        ConfigError: One cannot be evaluated.
    """
    interrupt = None
    if isinstance(owner, type):
        # A class in a function is not among the names that its own annotations are looked up in.
        tries: list[Any] = [(None, None), (None, {owner.__name__: owner})]
    else:  # without the result's, which may be imported for type checkers only
        tries = [(getattr(inspect.unwrap(owner), "__globals__", {}), None)]
        annotations = dict(getattr(owner, "__annotations__", {}))
        annotations.pop("return", None)
        owner = types.SimpleNamespace(__annotations__=annotations)
    for names, own in tries:
        try:
            return typing.get_type_hints(owner, names, own, include_extras=True)
        except Exception as error:  # noqa: BLE001  # an annotation may be any expression
            interrupt, problem = find_interrupt(error), described(error)
        if interrupt is not None:
            raise interrupt
    raise ConfigError(f"{where}: its annotations cannot be read: {problem:.200}")


class Types:
    """Finds the shapes of types. It makes one for each class, so a class may contain itself."""

    def __init__(self) -> None:
        self._known: dict[Any, Shape] = {}

    def shape(self, hint: Any, where: str) -> Shape:
        """The shape of a type.

        Args:
            hint: The type, as in an annotation.
            where: What an error calls its place, such as `Weather.city`.

        Raises:
            ConfigError: JSON cannot hold a value of this type.
        """
        for kind, plain in _PLAIN:
            if hint is kind:
                return plain
        found = self._wrapped(hint, where) or self._collection(hint, where)
        found = found or self._class(hint, where)
        if found is None:
            _refuse(hint, where)
        return found

    def _wrapped(self, hint: Any, where: str) -> Shape | None:
        """A union, a Literal, or a type around another one."""
        origin, args = get_origin(hint), get_args(hint)
        if origin is typing.Annotated:
            texts = [text for text in hint.__metadata__ if isinstance(text, str)]
            shape = self.shape(args[0], where)
            return Described(shape, " ".join(texts)) if texts else shape
        if origin is Union or origin is types.UnionType:
            return OneOf([self.shape(option, where) for option in args])
        if origin is typing.Literal:
            return Choice([(_json_value(option, where), option) for option in args])
        if getattr(origin, "_name", None) in _WRAPPERS:
            return self.shape(args[0], where)
        if isinstance(hint, typing.TypeVar):
            return self.shape(hint.__bound__ or Any, where)
        if hasattr(hint, "__supertype__"):  # a NewType
            return self.shape(hint.__supertype__, where)
        return None

    def _collection(self, hint: Any, where: str) -> Shape | None:
        origin, args = get_origin(hint) or hint, get_args(hint)
        if not isinstance(origin, type):
            return None
        if origin is tuple and args and args[-1] is not Ellipsis:
            return Positions("tuple", tuple(self.shape(item, where) for item in args))
        if origin in _DICTS:
            names, values = args or (str, Any)
            if names is not str:
                raise ConfigError(f"{where}: expected a dict with str keys, got {_named(hint)}")
            return Values(self.shape(values, where))
        item = self.shape(args[0], where) if args and origin in (*_LISTS, tuple, *_SETS) else None
        item = item or Anything()
        if origin in _LISTS:
            return Items("list", item, list)
        if origin is tuple and hint != tuple[()]:
            return Items("tuple", item, tuple)
        if origin is tuple:
            return Positions("tuple", ())
        return Items("set", item, _SETS[origin], unique=True) if origin in _SETS else None

    def _class(self, hint: Any, where: str) -> Shape | None:
        """A class with fields, an Enum, or a named type."""
        cls = get_origin(hint) or hint
        if isinstance(cls, type) and issubclass(cls, enum.Enum):
            return Choice([(_json_value(member.value, where), member) for member in cls])
        alias = type(cls).__name__ == "TypeAliasType"
        if not alias and not isinstance(cls, type):
            return None
        key = _key(hint)
        if key in self._known:
            return self._known[key]
        model = model_shape(hint, where)
        if model is not None:
            self._known[key] = model
            return model
        if not alias and not _has_fields(cls):
            return None
        self._known[key] = named = Named(_named(hint))
        aliased = self.shape(cls.__value__, where) if alias else None
        named.target = aliased or self._object(cls, hint, named.name)
        return named

    def _object(self, cls: type, hint: Any, name: str) -> Object:
        hints = _declared(cls) | hints_of(cls, name)
        given = _given(cls, hint)
        docs: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            docs |= entries_of(vars(base).get("__doc__"))
        fields = {}
        for field, (keyword, required) in _fields(cls, hints).items():
            where = f"{name}.{field}"
            if field not in hints:
                raise ConfigError(f"{where}: expected a type, got none")
            kind = _filled(hints[field], given)
            fields[keyword] = Field(
                self.shape(kind, where), keyword, required, docs.get(field) or docs.get(keyword, "")
            )
        if _is_typed_dict(cls):
            return Object(name, fields, dict, _about(cls))
        _check_constructor(cls, fields, name)
        return Object(name, fields, cls, _about(cls))


def _key(hint: Any) -> object:
    """A key for a type: it has no hash if an `Annotated` in it holds a value without one."""
    try:
        hash(hint)
    except TypeError as error:
        if is_interrupt(error):
            raise
        return repr(hint)
    return hint


def _refuse(hint: Any, where: str) -> NoReturn:
    raise ConfigError(
        f"{where}: expected a type that JSON can hold ({SUPPORTED}), got {_named(hint)}"
    )


def _named(hint: Any) -> str:
    """A type as a message and a schema name it."""
    if isinstance(hint, type) and get_origin(hint) is None:
        return hint.__name__
    if hint is None or isinstance(hint, str | int | float):
        return shown(hint)[:200]
    if type(hint).__module__ not in ("types", "typing", "typing_extensions"):
        return f"an object of the class {type(hint).__name__}"
    return re.sub(r"([\w<>]+\.)+(?=\w)", "", str(hint))[:200]


def _json_value(value: object, where: str) -> object:
    """The JSON value of an option of a Literal or an Enum."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or type(value) in (str, int, float, bool):
        return value
    got = type(value).__name__
    raise ConfigError(f"{where}: expected options of str, int, float, bool or None, got {got}")


def _has_fields(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) or attrs.has(cls) or _is_typed_dict(cls)


def _is_typed_dict(cls: type) -> bool:
    # Not typing.is_typeddict(): that one does not know those of typing_extensions.
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")


def _declared(cls: type) -> dict[str, Any]:
    """The types that an attrs class gives its fields without annotations."""
    fields = attrs.fields(cls) if attrs.has(cls) else ()
    return {field.name: field.type for field in fields if field.type is not None}


def _fields(cls: type, hints: Mapping[str, Any]) -> dict[str, tuple[str, bool]]:
    """The fields that its constructor takes: their keyword, and whether it must be there."""
    if _is_typed_dict(cls):
        return {name: (name, _is_required(cls, name, hints[name])) for name in hints}
    if attrs.has(cls):
        return {
            field.name: (field.alias or field.name, field.default is attrs.NOTHING)
            for field in attrs.fields(cls)
            if field.init
        }
    missing = dataclasses.MISSING
    return {
        field.name: (field.name, field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(cls)
        if field.init
    }


def _check_constructor(cls: type, fields: Mapping[str, Field], name: str) -> None:
    """Refuse a class whose constructor takes other arguments: an InitVar, its own `__init__`."""
    required = {field.keyword for field in fields.values() if field.required}
    try:
        constructor = inspect.signature(cls)
        for given in (required, fields):
            constructor.bind(**dict.fromkeys(given))
        return
    except (TypeError, ValueError) as error:
        if is_interrupt(error):
            raise
        problem = str(error)
    raise ConfigError(f"{name}: expected a class that is made of its fields: {problem:.200}")


def _is_required(cls: Any, name: str, hint: Any) -> bool:
    """Whether a key of a TypedDict must be there.

    Python does not see Required and NotRequired in annotations that are strings.
    """
    while (word := getattr(get_origin(hint), "_name", None)) in _WRAPPERS:
        if word in ("Required", "NotRequired"):
            return bool(word == "Required")
        hint = get_args(hint)[0]
    return bool(name in cls.__required_keys__)


def _given(cls: type, hint: Any) -> dict[Any, Any]:
    """What the type variables of a generic class and its bases stand for."""
    given: dict[Any, Any] = {}
    bases = [base for one in cls.__mro__ for base in vars(one).get("__orig_bases__", ())]
    for generic in (hint, *bases):
        variables = getattr(get_origin(generic), "__parameters__", ())
        for variable, kind in zip(variables, get_args(generic), strict=False):
            filled = _filled(kind, given)
            # Two classes may use the same variable; an annotation does not say whose it is.
            given[variable] = filled if given.get(variable, filled) == filled else Any
    return given


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """An annotation of a generic class, with the types that its variables were given."""
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, hint)
    variables = getattr(hint, "__parameters__", ())
    if not given or not variables or isinstance(hint, type):
        return hint
    try:
        return hint[tuple(given.get(variable, variable) for variable in variables)]
    except TypeError as error:  # typing wants a hash of each member of a union
        if is_interrupt(error):
            raise
        problem = str(error)
    raise ConfigError(f"{_named(hint)}: its type variables cannot be filled in: {problem:.200}")


def _about(cls: type) -> str:
    """What a class's own docstring says of it. The one that `dataclass` writes says nothing."""
    docstring = vars(cls).get("__doc__")
    if dataclasses.is_dataclass(cls) and (docstring or "").startswith(f"{cls.__name__}("):
        return ""
    return summary_of(docstring)
