"""A process that forks while answers are under way: theirs stay the parent's, each has its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from relay_servers import NEEDED, program_of, redis_server

from websopy_sync.sandbox import Sandbox, done, pause, say

HERE = Path(__file__).parent


def forking(place: str, children: int) -> str:
    """What the script prints."""
    script = [[say(f"{number} "), pause(0.005)] for number in range(60)]
    with Sandbox([*script, done()], pause=0) as sandbox:
        command = [sys.executable, HERE / "relay_forking.py", place, sandbox.url, str(children)]
        paths = os.pathsep.join(map(str, (HERE, *sys.path)))
        answer = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=55,
        )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.mark.slow
def test_forks_beside_answers_in_sqlite(tmp_path: Path) -> None:
    """No child is stuck, and no answer of the parent is."""
    said = forking(str(tmp_path / "answers.db"), 15)
    assert "children: 0 of 15 failed" in said and "answers: []" in said, said


@pytest.mark.slow
def test_forks_beside_answers_in_redis(needs: Callable[[object, str], None]) -> None:
    """The same over sockets."""
    needs(program_of("redis"), NEEDED["redis"])
    with redis_server("redis") as server:
        said = forking(server.url, 15)
    assert "children: 0 of 15 failed" in said and "answers: []" in said, said
