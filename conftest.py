"""What holds for every test here: loopback only, nothing left behind, no silent skip in CI.

Also has the Python examples of README.md and docs/ run as tests. Knows no test by name, and nothing
of the package but the sandbox that the examples talk to.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from websopy_sync.sandbox import Sandbox

pytest_plugins = ["time_limit"]

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

# An example that takes long says that the machine is busy, not that the code is wrong.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

GRACE = 2.0
"""Seconds that what a test started may take to go away after it."""


# --- a known environment -------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def known_environment() -> Iterator[None]:
    """No settings, proxies or certificates of whoever runs the tests; no installed plugin.

    Nor their files: a process that is started without WEBSOPY_PLUGINS keeps its history elsewhere.
    A script that runs the tests in the background has SIGINT ignored, and every process started
    from here would ignore it too. Tests of Ctrl-C need it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    theirs = ("_proxy", "_ca_bundle")
    # Not tmp_path_factory: it asks for pytest's `request`, which Sybil would then hand to the
    # examples of docs/ in the place of Flask's.
    with (
        pytest.MonkeyPatch.context() as environment,
        tempfile.TemporaryDirectory("", "pytest-") as data,
    ):
        for name in list(os.environ):
            if name.startswith(("WEBSOPY_", "SSL_CERT_")) or name.lower().endswith(theirs):
                environment.delenv(name)
        environment.setenv("WEBSOPY_PLUGINS", "")
        environment.setenv("XDG_DATA_HOME", data)
        environment.setenv("XDG_STATE_HOME", data)
        yield


# --- examples ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox(known_environment: None) -> Iterator[Sandbox]:
    """A sandbox that `WebsopyClient()` finds by itself, and an empty folder; for each document."""
    with (
        Sandbox(pause=0.001) as service,
        tempfile.TemporaryDirectory("", "pytest-") as folder,
        pytest.MonkeyPatch.context() as environment,
    ):
        environment.chdir(folder)
        environment.setenv("WEBSOPY_API_KEY", "test")
        environment.setenv("WEBSOPY_BASE_URL", service.url)
        yield service


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    # Path.match() knows no `**` for several folders.
    patterns=["README.md", "docs/*.md", "docs/*/*.md", "docs/*/*/*.md"],
    excludes=["plugins/*/*", "plugins/*/*/*"],  # these speak to a sandbox of their own
    fixtures=["sandbox"],
).pytest()


# --- loopback only -------------------------------------------------------------------------------


class NetworkRefusedError(Exception):
    """A test reached for something beyond this machine. No OSError: nobody may retry it."""


def _is_loopback(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # else a Unix socket's path
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not _is_loopback(host):
        raise NetworkRefusedError(f"{event} to {host!r}: tests stay on loopback")


sys.addaudithook(_refuse_network)


# --- nothing left behind -------------------------------------------------------------------------


def _open_sockets() -> set[str]:
    """Names like `socket:[4711]` of this process's sockets; empty where there is no /proc."""
    names = set()
    try:
        for number in os.listdir("/proc/self/fd"):
            try:
                names.add(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:  # the one that listdir itself had open
                continue
    except OSError:
        pass
    return {name for name in names if name.startswith("socket:")}


def _remaining(threads: set[threading.Thread], sockets: set[str]) -> list[object]:
    new_threads = [thread for thread in threading.enumerate() if thread not in threads]
    return [*new_threads, *sorted(_open_sockets() - sockets)]


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test ends with the threads and sockets it began with.

    What wider fixtures of the test opened was there before. A test that leaves something on
    purpose says what: `@pytest.mark.leaves("the pool of the module's engine")`.
    """
    threads, sockets = set(threading.enumerate()), _open_sockets()
    yield
    if request.node.get_closest_marker("leaves") or not _remaining(threads, sockets):
        return
    gc.collect()  # a traceback that pytest keeps may hold what nothing else holds
    deadline = time.monotonic() + GRACE
    while (remaining := _remaining(threads, sockets)) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not remaining, f"left behind: {remaining}"


# --- no silent skip ------------------------------------------------------------------------------


@pytest.fixture
def needs() -> Callable[[object, str], None]:
    """`needs(shutil.which("nginx"), "nginx")` skips the test when it got nothing; in CI, fails."""

    def check(found: object, what: str) -> None:
        if not found:
            pytest.skip(f"needs {what}")

    return check


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but in CI everything runs: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: the machine lacks something that it should have."""
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that skips itself, as importorskip() does."""
    report = yield
    _forbid_skip(report)
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers, so that --strict-markers finds the misspelt ones."""
    config.addinivalue_line("markers", "slow: takes long or needs much; run by `pytest -m ''`")
    config.addinivalue_line(
        "markers", "timing: holds seconds to a clock; when it fails, noxfile.py repeats it"
    )
    config.addinivalue_line("markers", "leaves(what): may leave threads or sockets behind")
    # pytest-xdist would not give a new worker the rest of the crashed one's file, and never end.
    if getattr(config.option, "maxworkerrestart", "") is None:
        config.option.maxworkerrestart = "0"


# --- a worker of pytest-xdist that crashes -------------------------------------------------------

CRASHED = pytest.StashKey[bool]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Note the crash, after which xdist ends the run early."""
    if error:
        node.config.stash[CRASHED] = True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Exit as an interrupted run does: 1 would say that some tests failed and all others ran."""
    if CRASHED in session.config.stash:
        session.exitstatus = pytest.ExitCode.INTERRUPTED
