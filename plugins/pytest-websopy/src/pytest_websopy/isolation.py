"""Keeps tests apart from the developer's installed plugins, their settings and the history.

An installed plugin works for every client on the machine: it would write the prompts of tests into
the developer's history, and count them against a budget. So clients in tests load only the plugins
that a test, or the tests' configuration, names.

It sets environment variables, because apps make clients at import and in other processes too.
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

__all__ = ["NAME", "check", "isolate", "isolated", "plugins_named_by"]

NAME = "websopy_plugins"
"""The name of the option in the configuration file, and of the mark."""

GROUP = "websopy_sync"
"""The entry-point group of plugins."""

_folder = pytest.StashKey[Path]()
_installed = pytest.StashKey[frozenset[str]]()


def isolate(config: pytest.Config) -> None:
    """Set the environment of this run of pytest, until its end."""
    if _folder in config.stash:
        return
    # Not made here: the history makes its folder at the first use, which is rare.
    folder = Path(tempfile.gettempdir(), f"pytest-websopy-{secrets.token_hex(8)}")
    config.stash[_folder] = folder
    installed = frozenset(it.name for it in importlib.metadata.entry_points(group=GROUP))
    config.stash[_installed] = installed
    remove = functools.partial(shutil.rmtree, folder, ignore_errors=True)
    config.add_cleanup(remove)
    atexit.register(remove)  # a client that was not closed writes at exit
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    for name in _settings_of(installed):
        environment.delenv(name)
    _set(environment, config.getini(NAME), folder / "history.db")


@contextmanager
def isolated(item: pytest.Item) -> Iterator[None]:
    """Set the environment of one test: the plugins that it names, and its own history."""
    mark = item.get_closest_marker(NAME)
    if mark is None:
        yield
        return
    with pytest.MonkeyPatch.context() as environment:
        file = item.config.stash[_folder] / f"{secrets.token_hex(8)}.db"
        _set(environment, mark.args, file)
        yield


def plugins_named_by(node: pytest.Item) -> Sequence[str]:
    """The installed plugins that a test names, by its mark or else in the configuration."""
    mark = node.get_closest_marker(NAME)
    names: Sequence[str] = node.config.getini(NAME) if mark is None else mark.args
    return names


def check(names: Sequence[str], config: pytest.Config) -> None:
    """Check that the named plugins are installed.

    Raises:
        UsageError: One is not.
    """
    installed = config.stash[_installed]
    for name in names:
        if name not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise pytest.UsageError(f"{NAME}: {name!r} is no installed plugin; there are: {known}")


def _set(environment: pytest.MonkeyPatch, names: Iterable[str], history: Path) -> None:
    environment.setenv("WEBSOPY_PLUGINS", ",".join(names))
    environment.setenv("WEBSOPY_PERSISTENCE_URL", f"sqlite:///{history}")
    environment.setenv("WEBSOPY_CHAT_HISTORY", "0")  # of messages typed at a prompt


def _settings_of(plugins: Iterable[str]) -> list[str]:
    """The developer's settings of these plugins: WEBSOPY_TOKENS_BUDGET and the like."""
    prefixes = [f"WEBSOPY_{name.upper().replace('-', '_')}" for name in plugins]
    return [
        name
        for name in os.environ
        if any(name == prefix or name.startswith(f"{prefix}_") for prefix in prefixes)
    ]
