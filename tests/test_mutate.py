"""Which tests a mutant is run against, and in a copy of what."""

from __future__ import annotations

from pathlib import Path

import mutate
import pytest
from tables import each


@each(
    ("module", "file"),
    [
        ("sse", "test_sse.py"),
        ("web.ai_sdk", "test_web_ai_sdk.py"),
        ("cli.sandbox", "test_cli_sandbox.py"),
        ("transport.body_framing", "test_body_framing.py"),
        ("transport.pool", "test_transport.py"),
        ("wires.gemini.turns", "test_wires_gemini.py"),
    ],
)
def test_the_test_file_of_a_module(module: str, file: str) -> None:
    """Its full name, its folder's when that is in another one, its last name, its folder's."""
    assert mutate.tests_of(module) == f"tests/{file}"


def test_a_module_without_a_test_file() -> None:
    """Whoever runs it says which tests are meant."""
    with pytest.raises(SystemExit, match=r"web\.buffer has no test file"):
        mutate.tests_of("web.buffer")


def test_what_npm_installed_is_not_copied(tmp_path: Path) -> None:
    """It is a hundred megabytes for each worker, and no test of a module reads it."""
    source = tmp_path / "source"
    for name in ("websopy_sync", "tests/node/node_modules"):
        (source / name).mkdir(parents=True)
    for name in ("conftest.py", "pyproject.toml", "tests/node/package.json"):
        (source / name).touch()
    mutate.copy_tree(source, tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy/tests/node").iterdir()] == ["package.json"]
