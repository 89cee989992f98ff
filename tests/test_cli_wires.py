"""The command `wires`, and `sandbox --wire`."""

from __future__ import annotations

import json
import signal

from command_line import PATIENCE, Run, environment, read_until, run, started


def test_wires() -> None:
    """Each name with its address, and whether its key is there; no key is shown."""
    answer = run("wires", env=environment(OPENAI_API_KEY="s3cret", MISTRAL_API_KEY=""))
    lines = {line.split()[0]: " ".join(line.split()) for line in answer.stdout.splitlines()}
    assert answer.returncode == 0 and "s3cret" not in answer.stdout
    assert lines["openai"] == "openai https://api.openai.com/v1 OPENAI_API_KEY, set"
    assert lines["mistral"] == "mistral https://api.mistral.ai/v1 MISTRAL_API_KEY, not set"
    assert lines["ollama"] == "ollama http://127.0.0.1:11434 none needed"
    assert lines["azure"].startswith("azure none: pass --base-url WEBSOPY_API_KEY")
    assert lines["websopy"].startswith("websopy https://api.websopy.com/v1 WEBSOPY_API_KEY")


def test_wires_as_json() -> None:
    """One a line, for programs."""
    answer = run("wires", "--json", env=environment(OPENAI_API_KEY="s3cret"))
    rows = {row["name"]: row for row in map(json.loads, answer.stdout.splitlines())}
    assert rows["openai"] == {
        "name": "openai",
        "base_url": "https://api.openai.com/v1",
        "key_variable": "OPENAI_API_KEY",
        "has_key": True,
    }


def test_sandbox_of_another_service() -> None:
    """It prints what a client needs, and that is enough for one."""
    with started("sandbox", "--port", "0", "--wire", "openai") as process:
        said = read_until(process.stdout, "WEBSOPY_API_KEY=test\n")
        variables = dict(part.split("=", 1) for part in said.splitlines()[1].split()[1:])
        assert variables["WEBSOPY_WIRE"] == "openai"
        answer = run("chat", "hello", env=environment(**variables))
        assert "sandbox" in answer.stdout and answer.returncode == 0
        assert read_until(process.stdout, "\n") == "POST /v1/chat/completions 200\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)


def test_sandbox_of_no_service(here: Run) -> None:
    """The names that there are."""
    answer = here("sandbox", "--wire", "opnai")
    assert answer.returncode == 2 and "openai" in answer.stderr
