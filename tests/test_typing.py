"""What a type checker makes of the package, asked of mypy itself."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

USE = Path(__file__).parent / "typed_use.py"


@pytest.mark.slow
def test_mypy_reads_a_users_file_as_its_author_does(
    tmp_path: Path, needs: Callable[[object, str], None]
) -> None:
    """Chunks narrow by `type`, and each wrong use in typed_use.py is found."""
    needs(importlib.util.find_spec("mypy"), "mypy")
    # A "type: ignore" that hides nothing is an error in strict mode: so the file's wrong lines
    # are checked to be wrong by the same run that checks its right ones.
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path)]
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(USE)],
        cwd=USE.parent.parent,  # mypy finds the sources there; it does not see editable installs
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
