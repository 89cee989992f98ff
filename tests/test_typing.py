"""What type checkers make of the package, asked of mypy and of pyright, which Pylance is."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from websopy_sync.chunks import UnknownChunk

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
USE = ROOT / "tests" / "typed_use.py"

Needs = Callable[[object, str], None]


def run(*command: str, cwd: Path = ROOT) -> tuple[int, str]:
    """The exit code of a checker and what it says."""
    # A checker finds the sources by PYTHONPATH; it does not see editable installs.
    paths = {"PYTHONPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    answer = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=50,
    )
    return answer.returncode, answer.stdout + answer.stderr


@pytest.fixture
def pyright(needs: Needs) -> Callable[..., tuple[int, str]]:
    needs(importlib.util.find_spec("pyright"), "pyright")
    return lambda *arguments, cwd=ROOT: run(
        "pyright", "--pythonpath", sys.executable, *arguments, cwd=cwd
    )


@pytest.mark.slow
def test_mypy_reads_a_users_file_as_its_author_does(tmp_path: Path, needs: Needs) -> None:
    """Chunks narrow by `type`, and each wrong use in typed_use.py is found."""
    needs(importlib.util.find_spec("mypy"), "mypy")
    # A "type: ignore" that hides nothing is an error in strict mode: so the file's wrong lines
    # are checked to be wrong by the same run that checks its right ones.
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path)]
    code, said = run("mypy", *options, str(USE))
    assert code == 0, said


@pytest.mark.slow
def test_pyright_reads_a_users_file_as_its_author_does(pyright: Callable[..., Any]) -> None:
    """The same file, in strict mode (pyproject.toml)."""
    code, said = pyright(str(USE))
    assert code == 0, said


@pytest.mark.slow
def test_pyright_finds_nothing_in_the_readmes_examples(
    tmp_path: Path, pyright: Callable[..., Any]
) -> None:
    """What is copied from it has no red line under it in an editor."""
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
    (tmp_path / "examples.py").write_text("\n\n".join(examples), "utf-8")
    settings = {"typeCheckingMode": "standard", "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    code, said = pyright("examples.py", cwd=tmp_path)
    assert code == 0, said


def test_an_unknown_chunk_has_the_services_own_type() -> None:
    """What a checker takes for a literal is any string at run time."""
    chunk = UnknownChunk("later", {"type": "later"})  # type: ignore[arg-type]  # see UnknownType
    assert chunk.type == "later" and type(chunk.type) is str
    assert chunk.to_dict()["type"] == "later"
