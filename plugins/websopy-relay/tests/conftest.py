"""What the relay's tests stand on: real servers of logs, a sandbox, and what a browser reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_servers import NEEDED, RedisServer, program_of, redis_server
from websopy_relay import Log, MemoryLog, RedisLog, Relay, SQLiteLog

from websopy_sync import CancelToken, ChatStream, WebsopyClient
from websopy_sync.sandbox import Sandbox

QUESTION = "the question nobody else may see"
KEY = "sk-secret-key"


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], RedisServer]]:
    """Servers that are shared by the tests that need no restart."""
    with contextlib.ExitStack() as stack:
        started: dict[str, RedisServer] = {}

        def start(kind: str) -> RedisServer:
            if kind not in started:
                started[kind] = stack.enter_context(redis_server(kind))
            return started[kind]

        yield start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick run has SQLite; a test over another log is slow."""
    for item in items:
        log = item.callspec.params.get("make_log") if hasattr(item, "callspec") else None
        if log not in (None, "sqlite"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(params=["memory", "sqlite", "redis", "valkey"])
def make_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Log]]:
    """`make_log()`: the log of one process; each call makes that of another process."""
    with log_maker(request.param, request, tmp_path) as make:
        yield make


@contextlib.contextmanager
def log_maker(
    kind: str, request: pytest.FixtureRequest, folder: Path
) -> Iterator[Callable[[], Log]]:
    made: list[Log] = []
    if kind in NEEDED:
        request.getfixturevalue("needs")(program_of(kind), NEEDED[kind])
        server = request.getfixturevalue("servers")(kind)
        server.do("FLUSHALL")
    shared = MemoryLog()

    def make() -> Log:
        if kind == "memory":
            return shared
        made.append(RedisLog(server.url) if kind in NEEDED else SQLiteLog(folder / "answers.db"))
        return made[-1]

    yield make
    for log in made:
        log.close()


# --- relays --------------------------------------------------------------------------------------


@pytest.fixture
def make_relay(make_log: Callable[[], Log]) -> Iterator[Callable[..., Relay]]:
    """`make_relay()`: the relay of one process; each call makes that of another process."""
    relays: list[Relay] = []

    def make(**options: Any) -> Relay:
        relays.append(Relay(make_log(), **{"lease": 0.6, "heartbeat": 0.3, **options}))
        return relays[-1]

    yield make
    for relay in relays:
        relay.close()


@pytest.fixture
def relay(make_relay: Callable[..., Relay]) -> Relay:
    return make_relay()


@pytest.fixture
def other(relay: Relay, make_relay: Callable[..., Relay]) -> Relay:
    """What another process of the site has."""
    return make_relay()


@pytest.fixture
def asking() -> Iterator[Callable[..., Callable[[CancelToken], ChatStream]]]:
    """`asking(*script)`: a source whose service answers by this script."""
    with contextlib.ExitStack() as stack:

        def ask(*script: Any) -> Callable[[CancelToken], ChatStream]:
            sandbox = stack.enter_context(Sandbox(list(script)))
            client = stack.enter_context(
                WebsopyClient(api_key=KEY, base_url=sandbox.url, max_retries=0, plugins=[])
            )
            return lambda cancel: client.ai.chat_stream(QUESTION, cancel_token=cancel, resume=False)

        yield ask
