"""Has the examples of README.md run as tests, with the plugin as it is installed.

They talk to a sandbox that any client finds, and write to a history that is not the user's.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from websopy_sync.sandbox import Sandbox


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that `WebsopyClient()` finds by itself, and an empty history."""
    file = tmp_path_factory.mktemp("readme") / "history.db"
    with Sandbox(pause=0) as sandbox, pytest.MonkeyPatch.context() as environment:
        environment.setenv("WEBSOPY_API_KEY", "test")
        environment.setenv("WEBSOPY_BASE_URL", sandbox.url)
        environment.setenv("WEBSOPY_PLUGINS", "persistence")
        environment.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{file}")
        yield sandbox


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md"], fixtures=["service"]
).pytest()
