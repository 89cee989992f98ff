"""Draws two curves over time: seconds to the first chunk, and tokens per second.

The only file that imports matplotlib, which the extra `plot` installs. Knows nothing of databases.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from websopy_sync.errors import ConfigError

from .history import StoredStream

__all__ = ["draw"]

SUFFIXES = (".png", ".svg")


def draw(streams: Sequence[StoredStream], path: Path, *, zone: tzinfo = UTC) -> None:
    """Draw streams into a .png or .svg file.

    Args:
        streams: Those without a number have no point.
        path: The file.
        zone: The time zone of the axis.

    Raises:
        ConfigError: The file's name has another ending, the file cannot be written, or matplotlib
            is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"plot: expected a file ending in .png or .svg, got {path.name!r:.200}")
    matplotlib = _matplotlib()
    # Figure draws with Agg and needs no window system; pyplot would look for one.
    figure = matplotlib.figure.Figure(figsize=(9, 6), layout="constrained")
    first, speed = figure.subplots(2, 1, sharex=True)
    _curve(first, streams, lambda stream: stream.first_chunk_seconds, "seconds to first chunk")
    _curve(speed, streams, lambda stream: stream.tokens_per_second, "tokens a second")
    _date_axis(speed, zone)
    # Without date and random ids, an SVG of the same streams is the same file.
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    try:
        with matplotlib.rc_context({"svg.hashsalt": "websopy", "svg.fonttype": "none"}):
            figure.savefig(path, metadata=metadata, dpi=150)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    else:
        return
    raise ConfigError(f"plot: {path.name!r:.200} cannot be written: {problem}")


def _matplotlib() -> Any:
    try:
        # Imported only here: it is an extra, and takes half a second.
        for module in ("matplotlib.dates", "matplotlib.figure"):
            importlib.import_module(module)
        return importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        raise ConfigError(
            "plot: needs matplotlib: pip install 'websopy-persistence[plot]'"
        ) from None


def _curve(
    axes: Any,
    streams: Sequence[StoredStream],
    value: Callable[[StoredStream], float | None],
    label: str,
) -> None:
    points = sorted((stream.started, value(stream)) for stream in streams if value(stream))
    axes.plot(
        [when for when, _ in points], [y for _, y in points], "o-", markersize=3, linewidth=0.7
    )
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)


def _date_axis(axes: Any, zone: tzinfo) -> None:
    dates = _matplotlib().dates
    locator = dates.AutoDateLocator(tz=zone)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=zone))
