"""The command `sandbox` as a process."""

from __future__ import annotations

import signal

from command_line import GUIDE_QUESTION, PATIENCE, Run, read_until, run, started

from websopy_sync.sandbox import Sandbox


def test_sandbox_command() -> None:
    """It says what it is and where, serves, and stops at Ctrl-C."""
    with started("sandbox", "--port", "0") as process:
        said = read_until(process.stdout, "WEBSOPY_API_KEY=test\n")
        assert "no model" in said.splitlines()[0]
        url = said.partition("WEBSOPY_BASE_URL=")[2].split()[0]
        answer = run("chat", "--base-url", url, GUIDE_QUESTION)
        assert answer.stdout == "AI 正在改变世界...\n"
        assert read_until(process.stdout, "\n") == "POST /v1/ai/chat 200\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == 130


def test_sandbox_port_that_is_taken(here: Run) -> None:
    """One line says so."""
    with Sandbox() as sandbox:
        answer = here("sandbox", "--port", str(sandbox.port))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "in use" in answer.stderr
    assert answer.stderr.count("\n") == 1
