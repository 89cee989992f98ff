"""The fixtures, in this process and in the test runs of somebody's app."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from websopy_sync import InternalServerError, WebsopyClient
from websopy_sync.sandbox import Sandbox, cut, done, no_ids, say, status

APP = """
from websopy_sync import WebsopyClient

def ask():
    with WebsopyClient() as client:
        return client.ai.chat("the app's own question").content

def test_app(websopy_recorded):
    client = websopy_recorded("greeting")
    assert ask() == "Hello from afar"
    assert client.ai.chat("another").content == "Again"
"""


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Pytest, as somebody runs it in the folder of an app; other plugins would only cost time."""
    only = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_websopy.plugin"}
    return run_with_all(folder, *arguments, **only, **environment)


def run_with_all(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Pytest with every plugin that is installed."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("WEBSOPY", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**clean, **environment}, capture_output=True, encoding="utf-8"
    )


def test_any_client_finds_the_sandbox(websopy_sandbox: Sandbox) -> None:
    """Code that makes its own client talks to the sandbox while the test runs."""
    websopy_sandbox.play([say("Hello"), done()])
    with WebsopyClient(plugins=()) as client:
        assert client.ai.chat("Hi").content == "Hello"


def test_client_repeats_nothing(websopy_client: WebsopyClient, websopy_sandbox: Sandbox) -> None:
    """A refusal is an error at once; who wants repeats asks for them."""
    websopy_sandbox.play(status(500))
    with pytest.raises(InternalServerError):
        websopy_client.ai.chat("Hi")
    websopy_sandbox.play(status(500))
    websopy_sandbox.play([say("Hello"), done()])
    assert websopy_client.ai.chat("Hi", max_retries=1).content == "Hello"


@pytest.fixture
def _installed_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that any client would load, found as pip would leave it."""
    metadata = tmp_path / "some_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[websopy_sync]\nsome = some_plugin:Plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("WEBSOPY_PLUGINS", raising=False)


@pytest.mark.usefixtures("_installed_plugin")
def test_client_has_no_plugins(websopy_client: WebsopyClient) -> None:
    """What else is installed on the machine does not change a test."""
    states = {plugin.name: plugin.state for plugin in websopy_client.plugins}
    assert states["some"] == "off" and set(states.values()) == {"off"}


@pytest.mark.slow
def test_recorded_then_replayed(tmp_path: Path) -> None:
    """With --websopy-record the service is asked; from then on the recording answers."""
    (tmp_path / "test_app.py").write_text(APP)
    with Sandbox(api_key="the-real-key") as service:
        service.play([say("Hello"), say(" from afar"), done(1, 2)])
        service.play([say("Again"), done()])
        first = run(
            tmp_path,
            "--websopy-record",
            WEBSOPY_API_KEY="the-real-key",
            WEBSOPY_BASE_URL=service.url,
        )
        assert first.returncode == 0, first.stdout
        assert len(service.requests) == 2
    written = (tmp_path / "recordings" / "greeting.jsonl").read_text("utf-8")
    assert " from afar" in written
    assert "the-real-key" not in written and "question" not in written
    again = run(tmp_path)
    assert again.returncode == 0, again.stdout


def test_missing_recording(tmp_path: Path) -> None:
    """It is said how to make one."""
    (tmp_path / "test_app.py").write_text(APP)
    finished = run(tmp_path)
    assert finished.returncode == 1
    assert "greeting.jsonl: run this test once with --websopy-record" in finished.stdout


@pytest.mark.slow
def test_a_failing_recording_replaces_nothing(tmp_path: Path) -> None:
    """When the service cannot be reached, the recording that is there stays."""
    (tmp_path / "test_app.py").write_text(APP)
    recording = tmp_path / "recordings" / "greeting.jsonl"
    recording.parent.mkdir()
    recording.write_text("as it was")
    with Sandbox() as service:
        url = service.url
    assert (
        run(tmp_path, "--websopy-record", WEBSOPY_API_KEY="key", WEBSOPY_BASE_URL=url).returncode
        == 1
    )
    assert recording.read_text() == "as it was"


@pytest.mark.slow
def test_fixtures_are_listed(tmp_path: Path) -> None:
    """Installed, the plugin is found, and `pytest --fixtures` shows what its fixtures are for."""
    finished = run_with_all(tmp_path, "--fixtures")
    for name in ("websopy_sandbox", "websopy_client", "websopy_ending", "websopy_recorded"):
        assert f"{name} -- " in finished.stdout


@pytest.mark.slow
def test_a_cut_is_replayed_as_one(tmp_path: Path) -> None:
    """An answer that was lost and resumed is so again: each part is an answer of its own."""
    (tmp_path / "test_app.py").write_text(
        "import pytest\n"
        "from websopy_sync import StreamInterruptedError\n"
        "def test_app(websopy_recorded):\n"
        "    client = websopy_recorded('cut')\n"
        "    assert client.ai.chat('one').content == 'resumed'\n"
        "    with pytest.raises(StreamInterruptedError) as caught:\n"
        "        client.ai.chat('two')\n"
        "    assert caught.value.partial.content == 'lost'\n"
    )
    with Sandbox() as service:
        service.play([say("res"), cut(), say("never played: the next script is")])
        service.play([say("umed", id="2"), done()])
        service.play([no_ids(), say("lost"), cut()])
        known = {"WEBSOPY_API_KEY": "key", "WEBSOPY_BASE_URL": service.url}
        first = run(tmp_path, "--websopy-record", **known)
        assert first.returncode == 0, first.stdout
    again = run(tmp_path)
    assert again.returncode == 0, again.stdout


def test_proxy_of_the_environment_sees_nothing(
    websopy_client: WebsopyClient, websopy_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test's question and key stay on this machine when the developer sits behind a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # where nobody listens
    websopy_sandbox.play([say("Hello"), done()])
    websopy_sandbox.play([say("Hello"), done()])
    assert websopy_client.ai.chat("Hi").content == "Hello"
    script = "import websopy_sync; print(websopy_sync.WebsopyClient().ai.chat('Hi').content)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "Hello\n"
