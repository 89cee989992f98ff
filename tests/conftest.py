"""What the core's tests share."""

from __future__ import annotations

from pathlib import Path

import environments
import pytest


@pytest.fixture(scope="session")
def wheel_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels in which pip finds what a user gets from a package index."""
    return environments.index(tmp_path_factory.mktemp("index"))
