"""The npm package `ai` and pages that use it: `npm --prefix tests/node ci` installs them."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aimock import node

FOLDER = Path(__file__).parent / "node"
VERSIONS = ("ai", "ai-6", "ai-5")
INSTALLED = bool(node()) and all((FOLDER / "node_modules" / name).is_dir() for name in VERSIONS)


def run(script: str, *arguments: str, stdin: str = "") -> str:
    """What a script of that folder prints."""
    program = node()
    assert program
    done = subprocess.run(
        [program, str(FOLDER / script), *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(bodies: Iterable[bytes], *, version: str = "ai", step: int = 65536) -> list[Any]:
    """What the AI SDK makes of each body: its parts, its message and its error.

    Args:
        bodies: UI message streams.
        version: The package.
        step: So many bytes come at a time.
    """
    streams = [{"body": base64.b64encode(body).decode(), "step": step} for body in bodies]
    return list(json.loads(run("read_streams.mjs", version, stdin=json.dumps(streams))))
