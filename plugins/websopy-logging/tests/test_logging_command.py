"""The command line with the plugin installed: each problem has one line on stderr."""

from __future__ import annotations

import importlib.metadata

import pytest

from websopy_sync.cli import main
from websopy_sync.sandbox import Sandbox, done, say, status


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is loaded by its entry point."""
    if not importlib.metadata.entry_points(group="websopy_sync", name="logging"):
        pytest.skip("needs the plugin installed: pip install -e plugins/websopy-logging")
    monkeypatch.setenv("WEBSOPY_PLUGINS", "logging")
    monkeypatch.setenv("WEBSOPY_API_KEY", "test")


def stderr_of(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> str:
    main(["chat", "--base-url", sandbox.url, "Hello"])
    return capfd.readouterr().err


def test_an_error(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """The command says it; the plugin's line of the same is not shown as a warning."""
    sandbox.play(status(401))
    (line,) = stderr_of(sandbox, capfd).splitlines()
    assert "error: " in line


def test_a_cut_answer(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """No line of the plugin is shown."""
    sandbox.play([say("cut"), done(finish_reason="length")])
    assert "outcome=" not in stderr_of(sandbox, capfd)


def test_lines_that_the_user_wants(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With WEBSOPY_LOGGING each line is there once."""
    monkeypatch.setenv("WEBSOPY_LOGGING", "text")
    sandbox.play(status(401))
    text = stderr_of(sandbox, capfd)
    assert text.count("outcome=error") == 1
    assert text.count("start question=") == 1
