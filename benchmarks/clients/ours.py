"""websopy-sync as its README shows, without plugins or with some that do nothing.

What a plugin costs is then what the hook costs, not what its author does in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websopy_sync import WebsopyClient, hookimpl

from . import Read, Seen


class Plugin:
    """Looks at every chunk and does nothing."""

    @hookimpl
    def on_chunk(self, chunk: Any, stream: Any) -> None:
        """Nothing."""


def reader(
    base: str, *, plugins: int = 0, keep_message: bool = True, wire: str = "websopy"
) -> Read:
    client = make(base, plugins, wire)

    def read(seen: Seen) -> None:
        for chunk in client.ai.chat_stream("Hello", keep_message=keep_message):
            if chunk.type == "content":
                seen(chunk.content)

    return read


def cancellable(base: str) -> tuple[Read, Callable[[], None]]:
    stream = make(base, 0, "websopy").ai.chat_stream("Hello")

    def read(seen: Seen) -> None:
        for chunk in stream:
            if chunk.type == "content":
                seen(chunk.content)

    return read, stream.cancel


def make(base: str, plugins: int, wire: str) -> WebsopyClient:
    return WebsopyClient(
        api_key="test",
        base_url=base + "/v1",
        wire=wire,
        model=None if wire == "websopy" else "gpt-4o-mini",
        plugins=[Plugin() for _ in range(plugins)],
    )
