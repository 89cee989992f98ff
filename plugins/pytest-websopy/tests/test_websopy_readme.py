"""The README's tests, run by a pytest of their own as somebody would who copied them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from websopy_sync.sandbox import Sandbox, done, say

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_examples(tmp_path: Path) -> None:
    """All examples together are a test file that passes, its recording made as it says."""
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    tests = tmp_path / "test_readme.py"
    tests.write_text("\n".join(blocks), "utf-8")
    with Sandbox([say("Bonjour"), say(" !"), done(20, 3)]) as service:
        known = {"WEBSOPY_API_KEY": "key", "WEBSOPY_BASE_URL": service.url}
        recorded = pytest_in(tmp_path, "--websopy-record", "-k", "greeting", **known)
    assert "1 passed" in recorded
    finished = pytest_in(tmp_path)
    functions = len(re.findall(r"^def test_", "\n".join(blocks), re.M))
    assert functions == 7 and " failed" not in finished and " error" not in finished
    passed = re.search(r"(\d+) passed", finished)
    assert passed and int(passed[1]) > functions


def pytest_in(folder: Path, *arguments: str, **environment: str) -> str:
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("WEBSOPY", "PYTEST"))}
    clean |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_websopy.plugin"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    finished = subprocess.run(
        command, cwd=folder, env={**clean, **environment}, capture_output=True, encoding="utf-8"
    )
    assert finished.returncode == 0, finished.stdout
    return finished.stdout
