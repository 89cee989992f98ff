"""Finds the installed plugins by their entry points, and reads WEBSOPY_PLUGINS.

Imports no plugin.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import attrs

from ..errors import described
from ..interrupts import is_interrupt
from .specs import GROUP

_log = logging.getLogger("websopy_sync.plugins")


@attrs.frozen
class PluginInfo:
    """A plugin as `websopy-sync plugins` shows it.

    Attributes:
        name: The name of its entry point, or of its class.
        distribution: The distribution that installed it; "" for one that was passed.
        version: The version of its distribution.
        hooks: The hooks that it implements.
        state: "loaded", "off" (not chosen) or "failed".
        problem: Why it failed.
    """

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()
    state: Literal["loaded", "off", "failed"] = "loaded"
    problem: str = ""


@attrs.frozen
class InstalledPlugin:
    """An installed plugin that is not imported yet."""

    off: PluginInfo
    _entry_point: importlib.metadata.EntryPoint

    @property
    def name(self) -> str:
        """The name of its entry point."""
        return self.off.name

    def load(self) -> Any:
        """Import it; raises whatever its import raises."""
        return self._entry_point.load()


def chosen_by_environment() -> set[str] | None:
    """The names in WEBSOPY_PLUGINS; None when it is unset."""
    names = os.environ.get("WEBSOPY_PLUGINS")
    return None if names is None else {name.strip() for name in names.split(",") if name.strip()}


class _Scan:
    """The installed plugins, scanned once for each `sys.path`.

    A scan opens a file of every distribution: 10 ms for 62 of them. So a plugin that is installed
    while the program runs is not seen until `forget` is called.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # many threads may make their first client at once
        self._latest: tuple[list[str], tuple[InstalledPlugin, ...]] | None = None

    def found(self) -> tuple[InstalledPlugin, ...]:
        latest = self._latest
        if latest is None or latest[0] != sys.path:
            with self._lock:
                latest = self._latest
                if latest is None or latest[0] != sys.path:
                    path = list(sys.path)
                    latest = self._latest = path, _scan()
        return latest[1]

    def forget(self) -> None:
        """Scan again next time. A forked child needs this too: its copy of the lock may be held."""
        self._lock = threading.Lock()
        self._latest = None


def _scan() -> tuple[InstalledPlugin, ...]:
    """The plugin of each name that comes first on the path, as in an import."""
    found: dict[str, InstalledPlugin] = {}
    for entry_point in _entry_points():
        if entry_point.name not in found:
            name, version = (
                _metadata(entry_point.dist, "name"),
                _metadata(entry_point.dist, "version"),
            )
            off = PluginInfo(entry_point.name, name, version, state="off")
            found[entry_point.name] = InstalledPlugin(off, entry_point)
    return tuple(found.values())


def _entry_points() -> Iterable[importlib.metadata.EntryPoint]:
    try:
        return importlib.metadata.entry_points(group=GROUP)
    except Exception as error:  # a single broken distribution makes this raise
        if is_interrupt(error):
            raise
    return _readable_entry_points()


def _readable_entry_points() -> Iterator[importlib.metadata.EntryPoint]:
    """The same without distributions that cannot be read; slower, as it reads all names."""
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        place = str(getattr(distribution, "_path", ""))
        name = _metadata(distribution, "name") or place
        try:
            if name not in seen:  # an older version later on the path is hidden
                yield from distribution.entry_points.select(group=GROUP)
            seen.add(name)
        except Exception as error:
            if is_interrupt(error):
                raise
            _log.warning("the distribution %s cannot be read: %s", place, described(error))


def _metadata(distribution: importlib.metadata.Distribution | None, field: str) -> str:
    """A field of a distribution's metadata; "" when it is missing or cannot be decoded."""
    try:
        return getattr(distribution, field, None) or ""
    except Exception as error:
        if is_interrupt(error):
            raise
        return ""


_installed = _Scan()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_installed.forget)


def installed_plugins() -> tuple[InstalledPlugin, ...]:
    """The installed plugins, as of this process's first scan."""
    return _installed.found()


def scan_again() -> None:
    """Make the next `installed_plugins()` scan again."""
    _installed.forget()
