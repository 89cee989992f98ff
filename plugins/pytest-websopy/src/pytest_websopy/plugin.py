"""The fixtures, options and hooks that pytest loads. The other files do the work."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest

from websopy_sync import WebsopyClient
from websopy_sync.sandbox import Sandbox

from . import isolation
from .endings import ENDINGS, Ending
from .recorder import Recorder
from .recordings import load_recordings, save_recordings

FOLDER = "recordings"
"""The folder of recordings, beside the test file."""

SERVICE = "https://api.websopy.com/v1"

_upstream = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --websopy-record, and websopy_plugins to the configuration file."""
    parser.addini(
        isolation.NAME,
        "installed plugins of websopy-sync that clients made in tests load (default: none)",
        type="args",
        default=[],
    )
    parser.getgroup("websopy").addoption(
        "--websopy-record",
        action="store_true",
        help="ask the real service (WEBSOPY_API_KEY, WEBSOPY_BASE_URL) where a test uses "
        "websopy_recorded, and write its recording anew",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Keep the developer's plugins out before a conftest.py makes a client."""
    isolation.isolate(early_config)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Isolate the tests when this plugin is loaded late; add the mark; note the service's URL."""
    isolation.isolate(config)
    isolation.check(config.getini(isolation.NAME), config)
    config.addinivalue_line(
        "markers",
        f"{isolation.NAME}(*names): clients made in this test load these installed plugins",
    )
    config.stash[_upstream] = os.environ.get("WEBSOPY_BASE_URL") or SERVICE


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Isolate a test and its fixtures."""
    with isolation.isolated(item):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that names a plugin that is not installed."""
    isolation.check(isolation.plugins_named_by(item), item.config)


@pytest.fixture(params=ENDINGS, ids=lambda ending: cast(Ending, ending).name)
def websopy_ending(request: pytest.FixtureRequest) -> Ending:
    """Runs the test once for every ending; the sandbox then ends each answer in that way."""
    return cast(Ending, request.param)


@pytest.fixture
def websopy_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """A sandbox for the test; every `WebsopyClient()` uses it while the test runs.

    It responds by itself, without pauses; `play(script)` queues a script for the next request.
    """
    script = None
    if "websopy_ending" in request.fixturenames:
        script = request.getfixturevalue("websopy_ending").script
    with Sandbox(script, pause=0) as sandbox:
        monkeypatch.setenv("WEBSOPY_API_KEY", "test")
        _point_clients_at(sandbox.url, monkeypatch)
        yield sandbox


@pytest.fixture
def websopy_client(
    request: pytest.FixtureRequest, websopy_sandbox: Sandbox
) -> Iterator[WebsopyClient]:
    """A client of `websopy_sandbox`, without retries, with only the plugins that the test names.

    So a refusal raises at once. `chat_stream(…, max_retries=3)` retries all the same.
    """
    timeouts = None
    if "websopy_ending" in request.fixturenames:
        timeouts = request.getfixturevalue("websopy_ending").timeouts
    with WebsopyClient(
        api_key="test",
        base_url=websopy_sandbox.url,
        plugins=isolation.plugins_named_by(request.node),
        max_retries=0,
        timeout=timeouts,
    ) as client:
        yield client


@pytest.fixture
def websopy_recorded(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., WebsopyClient]]:
    """`websopy_recorded(name, speed=None)`: a client that gets recorded responses.

    The recording is `recordings/NAME.jsonl` beside the test file; its responses come in order. A
    `speed` of 1.0 keeps the recorded pauses, None leaves them out. With --websopy-record the client
    uses the real service, and the file is written after the test.
    """
    plugins = isolation.plugins_named_by(request.node)
    with ExitStack() as until_the_end:

        def recorded(name: str, *, speed: float | None = None) -> WebsopyClient:
            path = request.path.parent / FOLDER / f"{name}.jsonl"
            if request.config.getoption("websopy_record"):
                url = until_the_end.enter_context(_recording(path, request.config.stash[_upstream]))
            else:
                url = _replaying(path, request.getfixturevalue("websopy_sandbox"), speed)
            _point_clients_at(url, monkeypatch)
            return until_the_end.enter_context(WebsopyClient(plugins=plugins))

        yield recorded


def _point_clients_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point clients, also of other processes, at a local service, without a proxy."""
    monkeypatch.setenv("WEBSOPY_BASE_URL", url)
    without = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if without != "*":  # * must stand alone
        monkeypatch.setenv("no_proxy", f"{without},{urlsplit(url).hostname}".lstrip(","))


def _replaying(path: Path, sandbox: Sandbox, speed: float | None) -> str:
    try:
        recordings = load_recordings(path)
    except FileNotFoundError:
        pytest.fail(f"there is no {path}: run this test once with --websopy-record", pytrace=False)
    for recording in recordings:
        sandbox.play(recording.script(speed=speed))
    return sandbox.url


@contextmanager
def _recording(path: Path, upstream: str) -> Iterator[str]:
    """A recorder's URL; the recording is written at the end."""
    with Recorder(upstream) as recorder:
        yield recorder.url
    if recorder.recordings:
        save_recordings(path, recorder.recordings)
