"""A server that nobody here wrote and that plays five services: aimock, from npm.

`npm --prefix tests/node ci` installs it. It plays shapes; its counts and its words are its own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from web_apps.running import running

PROGRAM = Path(__file__).parent / "node/node_modules/@copilotkit/aimock/dist/cli.js"


def node() -> str | None:
    """The program that runs it."""
    return shutil.which("node")


@contextlib.contextmanager
def aimock(folder: Path, fixtures: list[dict[str, Any]]) -> Iterator[str]:
    """Run it, with what it answers.

    Args:
        folder: Where its file of answers is written.
        fixtures: What it matches, and what it answers.

    Yields:
        Its address, without a path.
    """
    answers = folder / "answers.json"
    answers.write_text(json.dumps({"fixtures": fixtures}), "utf-8")
    program = node()
    assert program
    options = ("-p", "{port}", "-h", "127.0.0.1", "-f", str(answers), "--log-level", "silent")
    command = (program, str(PROGRAM), *options)
    with running(command, folder / "log", ready="/health") as server:
        yield server.url
