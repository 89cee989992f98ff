"""The tables of promises (docs/promises.md) name places and tests that are there."""

from __future__ import annotations

import ast
import functools
import pathlib
import re

import websopy_sync

TESTS = pathlib.Path(__file__).parent
PACKAGE = pathlib.Path(websopy_sync.__file__).parent
PLUGINS = TESTS.parent / "plugins"
TABLE = (TESTS.parent / "docs" / "promises.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if re.match(r"\| \d+ \|", line)
]
STREAM_PROMISES = {*range(1, 32), 33, 41, 42}


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


def test_every_promise_of_a_stream_has_its_row() -> None:
    """Each of these promises has a row, and no promise has two."""
    numbers = [int(row[0]) for row in ROWS]
    assert set(numbers) >= STREAM_PROMISES
    assert len(numbers) == len(set(numbers))


def first(*paths: pathlib.Path) -> pathlib.Path | None:
    """The first of these files that is there."""
    return next((path for path in paths if path.exists()), None)


def test_every_place_is_there() -> None:
    """Each place of a table is in the package, or in the package of a plugin."""
    for number, _, places, _ in ROWS:
        for place in re.findall(r"`([^`]+)`", places):
            module, _, name = place.partition(".")
            path = first(PACKAGE / f"{module}.py", *PLUGINS.glob(f"*/src/{module}.py"))
            assert path, f"promise {number}: {place}"
            assert not name or name in names_in(path), f"promise {number}: {place}"


def test_every_test_is_there() -> None:
    """Each test of a table is in the tests, and each promise has one."""
    for number, _, _, tests in ROWS:
        found = re.findall(r"`(\w+)::(\w+)`", tests)
        assert found, f"promise {number} has no test"
        for file, name in found:
            path = first(TESTS / f"test_{file}.py", *PLUGINS.glob(f"*/tests/test_{file}.py"))
            assert path and name in names_in(path), f"promise {number}: {file}::{name}"
