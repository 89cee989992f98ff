"""The tables of promises (docs/promises.md) name places and tests that are there."""

from __future__ import annotations

import ast
import functools
import pathlib
import pkgutil
import re

TESTS = pathlib.Path(__file__).parent
PLUGINS = TESTS.parent / "plugins"
TABLE = (TESTS.parent / "docs" / "promises.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if re.match(r"\| \d+ \|", line)
]


@functools.cache
def names_in(path: pathlib.Path) -> set[str]:
    """The functions and classes of a file, methods as Class.method."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{sub.name}" for sub in node.body if isinstance(sub, ast.FunctionDef)
            }
    return names


def test_every_promise_has_one_row() -> None:
    """Each of the numbers is there, once; 53, a plugin that refuses a request, is not built."""
    assert sorted(int(row[0]) for row in ROWS) == [*range(1, 53), *range(54, 57)]


def is_there(place: str) -> bool:
    """Whether `transport.Transport.send` names something here, or in a plugin's source."""
    try:
        pkgutil.resolve_name(f"websopy_sync.{place}")
    except (ImportError, AttributeError, ValueError):
        module, _, name = place.partition(".")
        files = PLUGINS.glob(f"*/src/{module}.py")
        return any(not name or name in names_in(path) for path in files)
    return True


def test_every_place_is_there() -> None:
    """Each place of a table is in the package, or in the package of a plugin."""
    for number, _, places, _ in ROWS:
        for place in re.findall(r"`([^`]+)`", places):
            assert is_there(place), f"promise {number}: {place}"


def test_every_test_is_there() -> None:
    """Each test of a table is in the tests, and each promise has one."""
    for number, _, _, tests in ROWS:
        found = re.findall(r"`(\w+)::(\w+)`", tests)
        assert found, f"promise {number} has no test"
        for file, name in found:
            folders = (TESTS, *PLUGINS.glob("*/tests"))
            paths = [path for folder in folders if (path := folder / f"test_{file}.py").exists()]
            assert paths and name in names_in(paths[0]), f"promise {number}: {file}::{name}"
