"""What the tests share: a sandbox, and loggers that are left as they were found."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from websopy_sync.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The service, played here."""
    with Sandbox(pause=0) as running:
        yield running


@pytest.fixture(autouse=True)
def _loggers_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No handler or level outlives a test; the environment says nothing."""
    for name in ("", "_LEVEL", "_FILE", "_CONTENT"):
        monkeypatch.delenv(f"WEBSOPY_LOGGING{name}", raising=False)
    logger = logging.getLogger("websopy_sync")
    handlers, level = list(logger.handlers), logger.level
    yield
    for handler in set(logger.handlers) - set(handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)
