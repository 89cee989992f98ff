"""`websopy-sync chat` with the history: a conversation that goes on in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from websopy_sync.cli import main
from websopy_sync.sandbox import Sandbox, done, say


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service whose questions and answers are stored."""
    with Sandbox([say("answer"), done()]) as service:
        monkeypatch.setenv("WEBSOPY_API_KEY", "test")
        monkeypatch.setenv("WEBSOPY_BASE_URL", service.url)
        monkeypatch.setenv("WEBSOPY_PLUGINS", "persistence")
        monkeypatch.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{tmp_path}/history.db")
        yield service


def contents(sandbox: Sandbox) -> list[str]:
    """The turns of the last request."""
    return [turn["content"] for turn in sandbox.requests[-1].json["messages"]]


def chat(*arguments: str) -> None:
    """Ask in a process of its own."""
    command = [sys.executable, "-m", "websopy_sync", "chat", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "answer\n", "")


def test_continue(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The latest one, or one by its id; a system prompt takes the place of the earlier one."""
    assert main(["chat", "-s", "Be short.", "one"]) == main(["chat", "other"]) == 0
    chat("--continue", "and more")
    assert contents(sandbox) == ["other", "answer", "and more"]
    capsys.readouterr()
    assert main(["history", "--json"]) == 0
    stored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({each["conversation"] for each in stored}) == 2
    (first,) = [each["conversation"] for each in stored if each["question"] == "one"]
    assert main(["chat", "--conversation", first[:8], "two"]) == 0
    assert contents(sandbox) == ["Be short.", "one", "answer", "two"]
    assert main(["chat", "-c", "-s", "Be long.", "three"]) == 0
    assert contents(sandbox) == ["Be long.", "one", "answer", "two", "answer", "three"]


def test_continue_with_the_model(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the last question, unless the user names one."""
    for flags in (["-m", "large"], ["-c"], ["-c", "-m", "small"], ["-c"]):
        assert main(["chat", *flags, "Hi"]) == 0
    monkeypatch.setenv("WEBSOPY_MODEL", "mine")
    assert main(["chat", "-c", "Hi"]) == 0
    models = [request.json["model"] for request in sandbox.requests]
    assert models == ["large", "large", "small", "small", "mine"]


def test_nothing_to_continue(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line, and no request."""
    for flags, reason in (
        (["--continue"], "--continue: there is no conversation in the history yet"),
        (["--conversation", "x"], "--conversation: expected the id of a conversation in the hist"),
    ):
        assert main(["chat", *flags, "Hi"]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"websopy-sync: error: {reason}") and told.count("\n") == 1
    assert sandbox.requests == []
