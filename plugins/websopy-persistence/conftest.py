"""Has the README's examples write to a database of their own, with the plugin as it is installed.

The examples themselves are run by the conftest.py of the whole project.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from websopy_sync.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The project's sandbox for examples, and a history that is not the user's."""
    file = tmp_path_factory.mktemp("readme") / "history.db"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{file}")
        environment.setenv("WEBSOPY_PLUGINS", "persistence")
        yield sandbox
