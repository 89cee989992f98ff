"""Plugins that note how many requests they saw and how each of them ended."""

from __future__ import annotations

from typing import Any

from websopy_sync import hookimpl

LEFT = ["StreamCancelledError closed"]
"""What is noted of one stream that its reader left."""


class Endings:
    """Counts requests, and notes each end: "done", or the error's class and its reason."""

    def __init__(self) -> None:
        self.asked = 0
        self.ends: list[str] = []

    @hookimpl
    def on_request(self) -> None:
        self.asked += 1

    @hookimpl
    def on_done(self) -> None:
        self.ends.append("done")

    @hookimpl
    def on_error(self, error: Any) -> None:
        self.ends.append(f"{type(error).__name__} {getattr(error, 'reason', '')}".strip())


class ChunksAndEndings(Endings):
    """Notes the type of each chunk as well."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: list[str] = []

    @hookimpl
    def on_chunk(self, chunk: Any) -> None:
        self.chunks.append(chunk.type)
