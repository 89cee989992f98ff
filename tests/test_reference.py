"""docs/reference.md has every public name, and each docstring every parameter."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tables import each

import websopy_sync
import websopy_sync.hooks
import websopy_sync.sandbox
import websopy_sync.web
from websopy_sync.options import BodyFields, ChatOptions

REFERENCE = (Path(__file__).parents[1] / "docs" / "reference.md").read_text("utf-8")

# What these export for the package itself: nobody else uses it.
INTERNAL = {"HOOKS", "Hooks", "Listeners", "__version__"}
MODULES = (websopy_sync, websopy_sync.hooks, websopy_sync.sandbox, websopy_sync.web)
PUBLIC = [
    (f"{module.__name__}.{name}", getattr(module, name))
    for module in MODULES
    for name in module.__all__
    if name not in INTERNAL
]

DIRECTIVE = re.compile(r"\.\. (currentmodule|auto\w+|data):: ([\w.]+)(\(\))?")
SECTION = re.compile(r"^(?:Args|Attributes):\n((?:^ +.*\n|^\n)*)", re.MULTILINE)
PARAMETER = re.compile(r"^    \*{0,2}(\w+)(?: \(.*\))?: \S", re.MULTILINE)


def documented() -> Iterator[tuple[object, bool]]:
    """The objects of the reference, and whether users call them: `name()` says they do not."""
    module = "websopy_sync"
    for kind, name, not_called in DIRECTIVE.findall(REFERENCE):
        if kind == "currentmodule":
            module = name
            continue
        full = name if name.startswith("websopy_sync.") else f"{module}.{name}"
        item = pkgutil.resolve_name(full)
        yield item, kind in ("autoclass", "autoexception", "autofunction") and not not_called


def callables() -> Iterator[tuple[str, Callable[..., Any], str]]:
    """What users call: its name, itself, and the docstring that has to explain it."""
    for item, called in documented():
        if called and callable(item):
            yield item.__qualname__, item, docstring_of(item)
        for name in dir(item) if inspect.isclass(item) else ():
            method = getattr(item, name)
            module = getattr(method, "__module__", None) or ""
            if not name.startswith("_") and callable(method) and module.startswith("websopy_sync"):
                yield f"{item.__qualname__}.{name}", method, docstring_of(method)


def docstring_of(item: Any) -> str:
    """An object's docstring; a class's with those of the classes that it is made from."""
    items = inspect.getmro(item) if inspect.isclass(item) else [item]
    ours = [one for one in items if one.__module__.startswith("websopy_sync")]
    return "\n\n".join(inspect.getdoc(one) or "" for one in ours)


def in_docstring(docstring: str) -> set[str]:
    """The parameters that a docstring explains."""
    sections = SECTION.findall(docstring + "\n")
    return {name for section in sections for name in PARAMETER.findall(section)}


def undocumented(function: Callable[..., Any], docstring: str) -> list[str]:
    """The parameters that a docstring does not explain."""
    names = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return [name for name in names if name not in in_docstring(docstring)]


@each(("name", "item"), PUBLIC)
def test_every_public_name_is_in_the_reference(name: str, item: object) -> None:
    """What can be imported is documented."""
    assert any(item is other for other, _ in documented()), name


@each(("name", "function", "docstring"), callables())
def test_every_parameter_is_in_the_docstring(
    name: str, function: Callable[..., Any], docstring: str
) -> None:
    """Under `Args:`, or under `Attributes:` of a class of values."""
    assert not undocumented(function, docstring), name


def test_every_option_of_a_chat_is_in_the_docstring() -> None:
    """The keywords of `**options` are those of a TypedDict."""
    names = set(ChatOptions.__annotations__) - set(BodyFields.__annotations__)
    assert in_docstring(inspect.getdoc(ChatOptions) or "") == names


DOCSTRING = """Add up.

Args:
    first: A number.
    *rest: More numbers, among which
        second: is not.
    **more: Others.

Returns:
    second: no parameter.
"""


def test_an_undocumented_parameter_is_found() -> None:
    """The test above fails when it should."""
    assert undocumented(lambda first, *rest, second, **more: None, DOCSTRING) == ["second"]


def test_every_fixture_is_in_the_reference() -> None:
    """pytest-websopy's, too."""
    plugin = Path(__file__).parents[1] / "plugins/pytest-websopy/src/pytest_websopy/plugin.py"
    fixtures = re.findall(r"^@pytest\.fixture.*\ndef (\w+)", plugin.read_text("utf-8"), re.M)
    assert len(fixtures) >= 4
    assert fixtures == [name for name in fixtures if f"`{name}`" in REFERENCE]
