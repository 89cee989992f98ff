"""The table of promises (docs/promises.md) names places and tests that are there."""

from __future__ import annotations

import ast
import functools
import pathlib
import re

import websopy_sync

TESTS = pathlib.Path(__file__).parent
PACKAGE = pathlib.Path(websopy_sync.__file__).parent
TABLE = (TESTS.parent / "docs" / "promises.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if re.match(r"\| \d+ \|", line)
]
STREAM_PROMISES = {*range(1, 32), 33}


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
    """Promises 1 to 31 and 33 have a row, and no promise has two."""
    numbers = [int(row[0]) for row in ROWS]
    assert set(numbers) >= STREAM_PROMISES
    assert len(numbers) == len(set(numbers))


def test_every_place_is_there() -> None:
    """Each place of the table is in the package."""
    for number, _, places, _ in ROWS:
        for place in re.findall(r"`([^`]+)`", places):
            module, _, name = place.partition(".")
            path = PACKAGE / f"{module}.py"
            assert path.exists(), f"promise {number}: {place}"
            assert not name or name in names_in(path), f"promise {number}: {place}"


def test_every_test_is_there() -> None:
    """Each test of the table is in the tests, and each promise has one."""
    for number, _, _, tests in ROWS:
        found = re.findall(r"`(\w+)::(\w+)`", tests)
        assert found, f"promise {number} has no test"
        for file, name in found:
            assert name in names_in(TESTS / f"test_{file}.py"), f"promise {number}: {file}::{name}"
