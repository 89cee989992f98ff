"""Keeps tests apart from what is the developer's: installed plugins, their settings, the history.

An installed plugin works for every client of the machine: it would write the prompts of tests into
the developer's history, and count them against a budget. So clients made in tests load none but
those that a test, or the configuration of the tests, asks for.

It works by environment variables, because clients are also made at import and in other processes.
"""

from __future__ import annotations

import atexit
import functools
import importlib.metadata
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["NAME", "asked_by", "check", "isolate", "isolated"]

NAME = "websopy_plugins"
"""Of the option in the configuration file, and of the mark."""

GROUP = "websopy_sync"
"""The group of entry points that plugins are installed under."""

_folder = pytest.StashKey[Path]()
_installed = pytest.StashKey[frozenset[str]]()


def isolate(config: pytest.Config) -> None:
    """Give this run of pytest, up to its end, its own environment."""
    if _folder in config.stash:
        return
    # Not made here: the history makes it when it is used, which it hardly ever is.
    folder = Path(tempfile.gettempdir(), f"pytest-websopy-{secrets.token_hex(8)}")
    config.stash[_folder] = folder
    installed = frozenset(it.name for it in importlib.metadata.entry_points(group=GROUP))
    config.stash[_installed] = installed
    remove = functools.partial(shutil.rmtree, folder, ignore_errors=True)
    config.add_cleanup(remove)
    atexit.register(remove)  # a client that was not closed writes once more as the process ends
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    for name in _settings_of(installed):
        environment.delenv(name)
    _set(environment, config.getini(NAME), folder / "history.db")


@contextmanager
def isolated(item: pytest.Item) -> Iterator[None]:
    """The environment of one test: with the plugins, and a history of its own, that it asks for."""
    mark = item.get_closest_marker(NAME)
    if mark is None:
        yield
        return
    with pytest.MonkeyPatch.context() as environment:
        file = item.config.stash[_folder] / f"{secrets.token_hex(8)}.db"
        _set(environment, mark.args, file)
        yield


def asked_by(node: pytest.Item) -> Sequence[str]:
    """The installed plugins that a test asks for, by its mark or else in the configuration."""
    mark = node.get_closest_marker(NAME)
    names: Sequence[str] = node.config.getini(NAME) if mark is None else mark.args
    return names


def check(names: Sequence[str], config: pytest.Config) -> None:
    """Raise UsageError for the name of a plugin that is not installed."""
    installed = config.stash[_installed]
    for name in names:
        if name not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise pytest.UsageError(f"{NAME}: {name!r} is no installed plugin; there are: {known}")


def _set(environment: pytest.MonkeyPatch, names: Iterable[str], history: Path) -> None:
    environment.setenv("WEBSOPY_PLUGINS", ",".join(names))
    environment.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{history}")


def _settings_of(plugins: Iterable[str]) -> list[str]:
    """The variables that the developer has set for these: WEBSOPY_TOKENS_BUDGET and the like."""
    prefixes = [f"WEBSOPY_{name.upper().replace('-', '_')}" for name in plugins]
    return [
        name
        for name in os.environ
        if any(name == prefix or name.startswith(f"{prefix}_") for prefix in prefixes)
    ]
