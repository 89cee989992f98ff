"""The command `models`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command_line import Run, run
from faults import play, status_answer
from tables import each

from websopy_sync.sandbox import Sandbox


def test_the_names_one_a_line(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `chat --model` takes them, so that a pipe can."""
    with Sandbox(wire="openai", pause=0) as sandbox:
        options = ["--wire", "openai", "--base-url", sandbox.url]
        answer = run("models", *options)
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, "sandbox\n", "")
        assert here("chat", "Hello", "--model", "sandbox", *options).returncode == 0
        assert sandbox.requests[-1].json["model"] == "sandbox"
        monkeypatch.setenv("WEBSOPY_WIRE", "openai")
        monkeypatch.setenv("WEBSOPY_BASE_URL", sandbox.url)
        assert here("models").stdout == "sandbox\n"


@each("wire", ["anthropic", "gemini", "ollama", "responses"])
def test_the_sandbox_flag(here: Run, wire: str) -> None:
    """`--sandbox` says that it is no model."""
    answer = here("models", "--sandbox", "--wire", wire)
    assert (answer.returncode, answer.stdout) == (0, "sandbox\n")
    assert "no model" in answer.stderr


@each(
    ("arguments", "code", "problem"),
    [
        (["--sandbox"], 2, "the service of the wire 'websopy' lists no models"),
        (["--wire", "opnai"], 2, "expected one of"),
        (["--wire", "openai", "--timeout", "soon"], 2, "--timeout: expected seconds, got 'soon'"),
        (["--sandbox", "--base-url", "http://127.0.0.1:9"], 2, "not allowed with"),
    ],
)
def test_what_cannot_be_asked(
    here: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, problem: str
) -> None:
    """One line on stderr, and nothing on stdout."""
    answer = here("models", *arguments)
    assert answer.returncode == code and problem in answer.stderr
    assert answer.stdout == ""


@each(
    ("body", "code", "out"),
    [
        ([{"id": "b"}, {"id": "a"}], 0, "b\na\n"),
        ([{"id": "a\x1b[2J\nb"}], 0, "a␛[2J b\n"),  # a server moves no cursor and adds no line
        ([], 1, ""),
    ],
)
def test_what_the_service_lists(here: Run, body: Any, code: int, out: str) -> None:
    """In its order; an empty list is an error."""
    with play(status_answer(200, body=json.dumps({"data": body}).encode())) as server:
        answer = here("models", "--wire", "openai", "--base-url", server.url)
    assert (answer.returncode, answer.stdout) == (code, out)
    assert ("error: the service has no model" in answer.stderr) is (code == 1)


def test_plugins_are_not_loaded(here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not notified of a list, so one that is missing does no harm."""
    monkeypatch.setenv("WEBSOPY_PLUGINS", "nowhere")
    answer = here("models", "--sandbox", "--wire", "openai")
    assert (answer.returncode, answer.stdout) == (0, "sandbox\n")
    assert "nowhere" not in answer.stderr
