"""What the core's tests share: a sandbox, clients of it, certificates, a clean environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import environments
import pytest
import trustme
from chat_page import back_end, driver, kept, page  # noqa: F401  fixtures of test_browser*
from command_line import chat, here  # noqa: F401  fixtures of test_cli_*

from websopy_sync import BackgroundPlugin, ChatStream, WebsopyClient
from websopy_sync.sandbox import Sandbox

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method")


@pytest.fixture(scope="session")
def wheel_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels in which pip finds what a user gets from a package index."""
    return environments.index(tmp_path_factory.mktemp("index"))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts unless told to."""
    return trustme.CA()


@pytest.fixture
def no_ca_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no certificate authority."""
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no proxy."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service on this machine that answers without pauses."""
    with Sandbox(pause=0) as service:
        yield service


@pytest.fixture
def make(sandbox: Sandbox) -> Iterator[Callable[..., WebsopyClient]]:
    """Makes clients of the sandbox with these plugins, and closes them."""
    clients = []

    def make(*plugins: object, **options: Any) -> WebsopyClient:
        options = {"api_key": "test", "base_url": sandbox.url, "plugins": plugins, **options}
        clients.append(WebsopyClient(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make: Callable[..., WebsopyClient]) -> WebsopyClient:
    """A client of the sandbox, without plugins."""
    return make()


@pytest.fixture
def ask(client: WebsopyClient, sandbox: Sandbox) -> Callable[..., ChatStream]:
    """Opens a stream that the sandbox answers with these steps."""

    def ask(*steps: Any, **options: Any) -> ChatStream:
        if steps:
            sandbox.play(steps)
        return client.ai.chat_stream("x", **options)

    return ask


@pytest.fixture
def background() -> Iterator[Callable[..., BackgroundPlugin]]:
    """Makes background plugins, and ends their threads."""
    made = []

    def background(plugin: object, **options: Any) -> BackgroundPlugin:
        made.append(BackgroundPlugin(plugin, **options))
        return made[-1]

    yield background
    for plugin in made:
        plugin.close()
