"""Has the examples of README.md run as tests, against a sandbox that any client finds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from websopy_sync.sandbox import Sandbox


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that `WebsopyClient()` finds by itself, and an empty folder."""
    here = Path.cwd()
    with Sandbox(pause=0) as sandbox, pytest.MonkeyPatch.context() as environment:
        environment.setenv("WEBSOPY_API_KEY", "test")
        environment.setenv("WEBSOPY_BASE_URL", sandbox.url)
        os.chdir(tmp_path_factory.mktemp("readme"))
        yield sandbox
    os.chdir(here)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md"], fixtures=["service"]
).pytest()
