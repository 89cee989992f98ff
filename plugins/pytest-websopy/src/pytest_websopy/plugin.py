"""The fixtures, and the option that records. What they hand out is made in the other files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest

from websopy_sync import WebsopyClient
from websopy_sync.sandbox import Sandbox

from .endings import ENDINGS, Ending
from .recorder import Recorder
from .recordings import load_recordings, save_recordings

FOLDER = "recordings"
"""Where recordings lie, beside the test file."""

SERVICE = "https://api.websopy.com/v1"

_upstream = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option --websopy-record."""
    parser.getgroup("websopy").addoption(
        "--websopy-record",
        action="store_true",
        help="ask the real service (WEBSOPY_API_KEY, WEBSOPY_BASE_URL) where a test uses "
        "websopy_recorded, and write its recording anew",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Remember where the real service is, before a fixture says otherwise."""
    config.stash[_upstream] = os.environ.get("WEBSOPY_BASE_URL") or SERVICE


@pytest.fixture(params=ENDINGS, ids=lambda ending: cast(Ending, ending).name)
def websopy_ending(request: pytest.FixtureRequest) -> Ending:
    """Runs the test once for every way an answer can end; the sandbox then ends all so."""
    return cast(Ending, request.param)


@pytest.fixture
def websopy_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """The service, played on this machine; any `WebsopyClient()` finds it while the test runs.

    It answers by itself and without pauses. `play(script)` says what comes next.
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
    """A client of `websopy_sandbox`, without plugins, that repeats no question.

    A refusal is then an error at once. `chat_stream(…, max_retries=3)` repeats all the same.
    """
    timeouts = None
    if "websopy_ending" in request.fixturenames:
        timeouts = request.getfixturevalue("websopy_ending").timeouts
    with WebsopyClient(
        api_key="test", base_url=websopy_sandbox.url, plugins=(), max_retries=0, timeout=timeouts
    ) as client:
        yield client


@pytest.fixture
def websopy_recorded(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., WebsopyClient]]:
    """`websopy_recorded(name, speed=None)`: a client that gets the answers in a recording.

    The recording is `recordings/NAME.jsonl` beside the test file; its answers come in their
    order. `speed` is 1.0 for the pauses as they were, None for none. With --websopy-record the
    real service is asked instead, and the file is written when the test is over.
    """
    with ExitStack() as until_the_end:

        def recorded(name: str, *, speed: float | None = None) -> WebsopyClient:
            path = request.path.parent / FOLDER / f"{name}.jsonl"
            if request.config.getoption("websopy_record"):
                url = until_the_end.enter_context(_recording(path, request.config.stash[_upstream]))
            else:
                url = _replaying(path, request.getfixturevalue("websopy_sandbox"), speed)
            _point_clients_at(url, monkeypatch)
            return until_the_end.enter_context(WebsopyClient(plugins=()))

        yield recorded


def _point_clients_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients find a service of this machine, and ask it directly; in other processes too."""
    monkeypatch.setenv("WEBSOPY_BASE_URL", url)
    without = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if without != "*":  # which stands alone
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
    """A recorder's URL; what it recorded is written in the end."""
    with Recorder(upstream) as recorder:
        yield recorder.url
    if recorder.recordings:
        save_recordings(path, recorder.recordings)
