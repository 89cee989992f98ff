"""Has the examples of README.md run as tests, against a sandbox that any client finds."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from websopy_sync.sandbox import Sandbox


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    """A sandbox that `WebsopyClient()` finds by itself; the loggers are put back after it."""
    logger = logging.getLogger("websopy_sync")
    handlers, level = list(logger.handlers), logger.level
    with Sandbox(pause=0) as sandbox, pytest.MonkeyPatch.context() as environment:
        environment.setenv("WEBSOPY_API_KEY", "test")
        environment.setenv("WEBSOPY_BASE_URL", sandbox.url)
        environment.setenv("WEBSOPY_PLUGINS", "logging")
        yield sandbox
    for handler in set(logger.handlers) - set(handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md"], fixtures=["service"]
).pytest()
