"""Setting up: only when asked, never on the root logger, once however many clients there are."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from websopy_logging import LoggingPlugin, configure

from websopy_sync import ConfigError, WebsopyClient
from websopy_sync.sandbox import Sandbox, done, say

KEY = "secret-key-of-a-user"

SCRIPT = """
from websopy_sync import WebsopyClient
for _ in range(2):
    with WebsopyClient() as client:
        client.ai.chat("写一篇关于 AI 的文章")
import logging
assert logging.getLogger().handlers == [], "a handler on the root logger"
"""


def run(sandbox: Sandbox, **environment: str) -> str:
    """What a script that knows nothing of logging writes to stderr, the plugin installed."""
    for _ in range(2):
        sandbox.play([say("AI"), done(20, 150)])
    known = {"WEBSOPY_API_KEY": KEY, "WEBSOPY_BASE_URL": sandbox.url, "WEBSOPY_PLUGINS": "logging"}
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **known, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        encoding="utf-8",
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == ""
    return finished.stderr


def test_installed_and_nothing_said(sandbox: Sandbox) -> None:
    """Without WEBSOPY_LOGGING nothing is written where the program has no logging."""
    assert run(sandbox) == ""


def test_json_lines(sandbox: Sandbox) -> None:
    """WEBSOPY_LOGGING=json writes one JSON object a line, each once."""
    lines = [json.loads(line) for line in run(sandbox, WEBSOPY_LOGGING="json").splitlines()]
    assert [line.get("event") for line in lines] == ["start", "end"] * 2
    assert {line["total_tokens"] for line in lines[1::2]} == {170}


def test_text_lines(sandbox: Sandbox) -> None:
    """WEBSOPY_LOGGING=text writes lines for people."""
    written = run(sandbox, WEBSOPY_LOGGING="text")
    assert written.count(" INFO websopy_sync.chat: end question=") == 2
    assert "outcome=done" in written and "total_tokens=170" in written


def test_everything_and_still_no_key(sandbox: Sandbox) -> None:
    """At DEBUG the client's own records are there too; the key and the prompt are not."""
    written = run(sandbox, WEBSOPY_LOGGING="json", WEBSOPY_LOGGING_LEVEL="debug")
    lines = [json.loads(line) for line in written.splitlines()]
    assert "debug" in {line["level"] for line in lines}
    assert "websopy_sync.stream" in {line["logger"] for line in lines}
    assert KEY not in written and "文章" not in written


def test_level(sandbox: Sandbox) -> None:
    """WEBSOPY_LOGGING_LEVEL=WARNING is silent while all is well."""
    assert run(sandbox, WEBSOPY_LOGGING="text", WEBSOPY_LOGGING_LEVEL="WARNING") == ""


def test_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """WEBSOPY_LOGGING_FILE takes the lines; runs add to it."""
    log = tmp_path / "websopy.jsonl"
    for _ in range(2):
        assert run(sandbox, WEBSOPY_LOGGING="json", WEBSOPY_LOGGING_FILE=str(log)) == ""
    ends = [line for line in log.read_text("utf-8").splitlines() if '"event": "end"' in line]
    assert len(ends) == 4


@pytest.mark.parametrize(
    ("name", "value"), [("WEBSOPY_LOGGING", "xml"), ("WEBSOPY_LOGGING_LEVEL", "loud")]
)
def test_environment_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """It is an error where the client is made, not a log that is missing when it is needed."""
    monkeypatch.setenv("WEBSOPY_LOGGING", "text")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"got '{value}'"):
        LoggingPlugin()
    with pytest.raises(ConfigError, match=f"^plugin logging: .*got '{value}'"):
        WebsopyClient(api_key=KEY, plugins=["logging"])


def test_configure_again_replaces() -> None:
    """A second call changes the handler; it does not add one."""
    first, second = io.StringIO(), io.StringIO()
    mine = logging.NullHandler()
    logger = logging.getLogger("websopy_sync")
    logger.addHandler(mine)
    configure("text", stream=first)
    configure("json", stream=second, level=logging.WARNING)
    logger.warning("careful: token=abc")
    logger.info("never mind")
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "careful: token=***"
    assert mine in logger.handlers
    logger.removeHandler(mine)


def test_code_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program configured is not undone by the environment."""
    written = io.StringIO()
    configure("text", stream=written)
    monkeypatch.setenv("WEBSOPY_LOGGING", "json")
    LoggingPlugin()
    logging.getLogger("websopy_sync").warning("careful")
    assert written.getvalue().endswith("WARNING websopy_sync: careful\n")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """It is said at once, and what was there stays."""
    before = list(logging.getLogger("websopy_sync").handlers)
    with pytest.raises(OSError, match="missing"):
        configure("text", file=tmp_path / "missing" / "log")
    assert logging.getLogger("websopy_sync").handlers == before
