"""The plugins that are installed, and which of them the environment chooses. Loads none."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from typing import Literal

import attrs

from .specs import GROUP


@attrs.frozen
class PluginInfo:
    """A plugin as `websopy-sync plugins` shows it.

    state: "loaded", "off" (not chosen) or "failed"; `problem` says why it failed.
    """

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()
    state: Literal["loaded", "off", "failed"] = "loaded"
    problem: str = ""


def chosen_by_environment() -> set[str] | None:
    """The names in WEBSOPY_PLUGINS; None when it is unset."""
    names = os.environ.get("WEBSOPY_PLUGINS")
    return None if names is None else {name.strip() for name in names.split(",") if name.strip()}


def entry_points() -> Iterator[importlib.metadata.EntryPoint]:
    """The installed plugins, each name once: a later one on the path is hidden, as on import."""
    seen = set()
    for entry_point in importlib.metadata.entry_points(group=GROUP):
        if entry_point.name not in seen:
            seen.add(entry_point.name)
            yield entry_point
