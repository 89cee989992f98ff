"""The command `plugins`, and the commands that plugins add."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from command_line import GUIDE_QUESTION, ROOT, environment, run


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment with four plugins: one good, one with commands, one broken, one off."""
    (tmp_path / "plugs.py").write_text(
        textwrap.dedent("""
        import sys
        from websopy_sync import hookimpl

        print("plugin imported", file=sys.stderr)

        class Good:
            @hookimpl
            def on_chunk(self, chunk, stream): pass
            @hookimpl
            def on_done(self, message, stream): raise KeyError("of the plugin")

        class Commands:
            @hookimpl
            def register_commands(self, subparsers):
                parser = subparsers.add_parser("hello", help="say hello")
                parser.add_argument("name")
                parser.set_defaults(run=lambda args: print("hello", args.name) or 3)

        class Broken:
            def __init__(self):
                raise RuntimeError("no\\x1b[2J\\nluck")
        """)
    )
    metadata = tmp_path / "plugs-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugs\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(
        "[websopy_sync]\ngood = plugs:Good\ncommands = plugs:Commands\n"
        "broken = plugs:Broken\nspare = plugs:Good\n"
    )
    return environment(
        PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}", WEBSOPY_PLUGINS="good,commands,broken"
    )


def test_plugins(installed: dict[str, str]) -> None:
    """A table of what is installed: whence, its hooks, and whether it loads."""
    answer = run("plugins", env=installed)
    assert answer.returncode == 0
    head, *rows = [re.split("  +", line) for line in answer.stdout.splitlines()]
    assert head == ["NAME", "DISTRIBUTION", "VERSION", "HOOKS", "STATE"]
    # Beside them may stand the plugins of this environment, which WEBSOPY_PLUGINS leaves off.
    assert sorted(row for row in rows if row[1] == "plugs") == [
        ["broken", "plugs", "1.2", "-", "failed: RuntimeError: no␛[2J luck"],
        ["commands", "plugs", "1.2", "register_commands", "loaded"],
        ["good", "plugs", "1.2", "on_chunk on_done", "loaded"],
        ["spare", "plugs", "1.2", "-", "off"],
    ]
    assert {row[4] for row in rows if row[1] != "plugs"} <= {"off"}


def test_plugins_json(installed: dict[str, str]) -> None:
    """The same for programs, one plugin a line."""
    answer = run("plugins", "--json", env=installed)
    plugins = {entry["name"]: entry for entry in map(json.loads, answer.stdout.splitlines())}
    assert plugins["good"] == {
        "name": "good",
        "distribution": "plugs",
        "version": "1.2",
        "hooks": ["on_chunk", "on_done"],
        "state": "loaded",
        "problem": "",
    }
    assert plugins["broken"]["problem"] == "RuntimeError: no\x1b[2J\nluck"
    assert {
        name: entry["state"] for name, entry in plugins.items() if entry["distribution"] == "plugs"
    } == {
        "good": "loaded",
        "commands": "loaded",
        "broken": "failed",
        "spare": "off",
    }


def test_no_plugins() -> None:
    """An empty table says that it is empty."""
    # Whatever this environment has: the interpreter is told of no entry point.
    program = (
        "import importlib.metadata as metadata, sys; metadata.entry_points = lambda **_: ();"
        "from websopy_sync.cli import main; sys.exit(main(['plugins']))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(PYTHONPATH=ROOT),
        capture_output=True,
        text=True,
        check=True,
    )
    head, line = answer.stdout.splitlines()
    assert head.startswith("NAME")
    assert line == "(none)"


def test_plugins_in_trouble_are_named(installed: dict[str, str]) -> None:
    """A chat goes on without them, and says of each in one line what it was."""
    answer = run("chat", "--sandbox", GUIDE_QUESTION, env=installed)
    assert (answer.returncode, answer.stdout) == (0, "AI 正在改变世界...\n")
    left_out, failed = (line for line in answer.stderr.splitlines() if "warning" in line)
    assert left_out == (
        "websopy-sync: warning: plugin broken is left out: RuntimeError: no␛[2J luck"
    )
    assert failed.startswith("websopy-sync: warning: plugin good failed in on_done")
    assert failed.endswith(": KeyError: 'of the plugin'")


def test_commands_of_plugins(installed: dict[str, str]) -> None:
    """A plugin can add commands; what they return is the exit code."""
    answer = run("hello", "you", env=installed)
    assert (answer.returncode, answer.stdout) == (3, "hello you\n")
    assert "say hello" in run("--help", env=installed).stdout


def test_help_beside_a_plugin_that_refuses_its_settings(
    installed: dict[str, str], tmp_path: Path
) -> None:
    """It is told, and so are the commands; only a question is not sent."""
    plugs = tmp_path / "plugs.py"
    source = plugs.read_text().replace("RuntimeError(", "__import__('websopy_sync').ConfigError(")
    plugs.write_text(source)
    answer = run("--help", env=installed)
    assert answer.returncode == 0 and "say hello" in answer.stdout
    assert "plugin broken is left out" in answer.stderr
    assert run("hello", "you", env=installed).returncode == 3
    assert run("chat", "--sandbox", GUIDE_QUESTION, env=installed).returncode == 2


def test_own_commands_look_for_no_plugin(installed: dict[str, str]) -> None:
    """Only a command that is not known here makes the plugins load."""
    assert "plugin imported" not in run("chat", "--help", env=installed).stderr
    assert "plugin imported" in run("--help", env=installed).stderr
