"""What the core's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import environments
import pytest

from websopy_sync import WebsopyClient
from websopy_sync.sandbox import Sandbox


@pytest.fixture(scope="session")
def wheel_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels in which pip finds what a user gets from a package index."""
    return environments.index(tmp_path_factory.mktemp("index"))


@pytest.fixture
def make(sandbox: Sandbox) -> Iterator[Callable[..., WebsopyClient]]:
    """Makes clients of the test file's sandbox with these plugins, and closes them."""
    clients = []

    def make(*plugins: object, **options: Any) -> WebsopyClient:
        clients.append(WebsopyClient("test", base_url=sandbox.url, plugins=plugins, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
