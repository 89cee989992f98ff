"""Tests of an app leave alone what is the developer's: plugins, their settings, the history."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

pytestmark = pytest.mark.slow

APP = """
import subprocess, sys
from websopy_sync import WebsopyClient

def ask():
    with WebsopyClient() as client:
        return client.ai.chat("a prompt of the test").content

def loaded(client):
    return [plugin.name for plugin in client.plugins if plugin.state == "loaded"]
"""

CONFTEST = """
from app import loaded
from websopy_sync import WebsopyClient
early = WebsopyClient("key", base_url="http://127.0.0.1:9/v1")
def pytest_sessionstart():
    assert loaded(early) == []
"""

TESTS = """
import os, pty, subprocess, sys
import pytest
from app import ask, loaded
from websopy_sync import WebsopyClient
from websopy_persistence import History, PersistencePlugin

client = WebsopyClient("key", base_url="http://127.0.0.1:9/v1")

@pytest.fixture(scope="session", autouse=True)
def of_the_session():
    with WebsopyClient("key", base_url="http://127.0.0.1:9/v1") as made:
        yield made

def test_in_process(websopy_sandbox, of_the_session):
    ask()
    assert loaded(client) == loaded(of_the_session) == loaded(WebsopyClient()) == []

def test_in_a_process_of_its_own(websopy_sandbox):
    subprocess.run([sys.executable, "-c", "import app; app.ask()"], check=True)

def test_with_a_plugin_of_its_own(websopy_sandbox):
    plugin = PersistencePlugin()
    with WebsopyClient(plugins=[plugin]) as client:
        client.ai.chat("another prompt")
    plugin.close()
    with History() as history:
        assert [stream.question for stream in history.list()] == ["another prompt"]

def test_a_conversation_on_a_terminal(websopy_sandbox):
    ours, theirs = pty.openpty()
    os.write(ours, b"a prompt that is typed\\n/quit\\n")
    command = [sys.executable, "-m", "websopy_sync", "chat"]
    subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, check=True, timeout=30)
    os.close(ours)
    os.close(theirs)
    assert len(websopy_sandbox.requests) == 1
"""


@attrs.frozen
class Developer:
    """Somebody's machine: a home, in which nothing may change, and the folder of an app."""

    home: Path
    app: Path
    temporary: Path

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.app / f"{name}.py").write_text(text)

    def pytest(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.python(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, **environment
        )

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Their `python`; other plugins of pytest would only cost time."""
        dropped = ("WEBSOPY", "PYTEST", "XDG")
        known = {name: it for name, it in os.environ.items() if not name.startswith(dropped)}
        known |= {
            "HOME": str(self.home),
            "PYTHONPATH": str(self.app),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "pytest_websopy.plugin",
            "TMPDIR": str(self.temporary),
            # What somebody has who uses all of it every day.
            "WEBSOPY_PERSISTENCE_URL": f"sqlite:///{self.home / 'real.db'}",
            "WEBSOPY_LOGGING": "text",
            "WEBSOPY_LOGGING_FILE": str(self.home / "real.log"),
            "WEBSOPY_TOKENS_BUDGET": "1",
        }
        command, variables = [sys.executable, *arguments], known | environment
        return subprocess.run(command, cwd=self.app, env=variables, capture_output=True, text=True)

    def left(self) -> list[Path]:
        """What is in the home, and in the folder for temporary files beside pytest's own."""
        temporary = [path for path in self.temporary.iterdir() if "pytest-of" not in path.name]
        return [*self.home.iterdir(), *temporary]


@pytest.fixture
def developer(tmp_path: Path) -> Developer:
    made = Developer(tmp_path / "home", tmp_path / "app", tmp_path / "tmp")
    for folder in (made.home, made.app, made.temporary):
        folder.mkdir()
    made.write(app=APP)
    return made


@pytest.mark.parametrize("shell", [None, "", "persistence", "persistence,tokens,logging"])
def test_no_installed_plugin_unless_asked(developer: Developer, shell: str | None) -> None:
    """Not in clients made by conftest.py, at import, in fixtures, in tests and their processes."""
    developer.write(conftest=CONFTEST, test_app=TESTS)
    said = {} if shell is None else {"WEBSOPY_PLUGINS": shell}
    finished = developer.pytest(**said)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "4 passed" in finished.stdout
    assert developer.left() == []


def test_loaded_by_a_conftest(developer: Developer) -> None:
    """Somebody who names the plugin in conftest.py has no later place for it."""
    developer.write(conftest='pytest_plugins = ["pytest_websopy.plugin"]', test_app=TESTS)
    finished = developer.pytest(PYTEST_PLUGINS="")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert developer.left() == []


@pytest.mark.slow
def test_in_workers_of_xdist(developer: Developer, needs: Callable[[object, str], None]) -> None:
    """Each worker is a process of its own."""
    needs(importlib.util.find_spec("xdist"), "pytest-xdist")
    developer.write(conftest=CONFTEST, test_app=TESTS)
    finished = developer.pytest("-p", "xdist", "-n", "2")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert developer.left() == []


ASKING = """
import pytest
from app import ask, loaded
from websopy_sync import WebsopyClient
from websopy_persistence import History

def questions():
    with History() as history:
        return [stream.question for stream in history.list()]

@pytest.mark.websopy_plugins("persistence")
@pytest.mark.parametrize("turn", [1, 2])
def test_asks(turn, websopy_sandbox, websopy_client):
    ask()
    assert questions() == ["a prompt of the test"]
    assert loaded(websopy_client) == ["persistence"]

@pytest.mark.websopy_plugins("persistence", "tokens")
def test_asks_for_two():
    assert sorted(loaded(WebsopyClient("key"))) == ["persistence", "tokens"]

@pytest.mark.websopy_plugins()
def test_asks_for_none():
    assert loaded(WebsopyClient("key")) == []

def test_asks_not(websopy_sandbox, websopy_client):
    ask()
    assert loaded(websopy_client) == loaded(WebsopyClient()) == BY_DEFAULT
"""


@pytest.mark.parametrize("configured", [[], ["persistence"]])
def test_a_plugin_that_is_asked_for(developer: Developer, configured: list[str]) -> None:
    """By a mark or in the configuration; its history and settings are still not the developer's."""
    developer.write(test_app=ASKING.replace("BY_DEFAULT", repr(configured)))
    (developer.app / "pytest.ini").write_text(
        f"[pytest]\nwebsopy_plugins = {' '.join(configured)}\n"
    )
    finished = developer.pytest("--strict-markers")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "5 passed" in finished.stdout
    assert developer.left() == []


def test_a_name_that_is_none(developer: Developer) -> None:
    """A misspelt name would test without the plugin, and say nothing of it."""
    developer.write(test_app="import pytest\n@pytest.mark.websopy_plugins('tolkens')\ndef test(): ")
    with open(developer.app / "test_app.py", "a") as file:
        file.write("pass\n")
    finished = developer.pytest()
    assert finished.returncode == 1
    assert "'tolkens' is no installed plugin" in finished.stdout
    (developer.app / "pytest.ini").write_text("[pytest]\nwebsopy_plugins = loging\n")
    finished = developer.pytest()
    assert finished.returncode == 4
    assert "'loging' is no installed plugin" in finished.stderr


TWICE = """
import os, pytest
before = dict(os.environ)
assert pytest.main(["-q", "-p", "no:cacheprovider"]) == pytest.ExitCode.OK
assert dict(os.environ) == before
"""


def test_the_environment_is_put_back(developer: Developer) -> None:
    """A program that runs tests goes on as it was."""
    developer.write(test_app=TESTS, runs=TWICE)
    finished = developer.python("runs.py", WEBSOPY_PLUGINS="persistence")
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_this_project_keeps_apart_too() -> None:
    """Its own tests start processes without any of these variables."""
    script = "from websopy_persistence import PersistencePlugin as P; print(P().database.path)"
    known = {name: it for name, it in os.environ.items() if not name.startswith("WEBSOPY")}
    found = subprocess.run(
        [sys.executable, "-c", script], env=known, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert not Path(found.stdout.strip()).is_relative_to(Path.home() / ".local")
    assert "pytest" in found.stdout
