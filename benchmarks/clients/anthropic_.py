"""anthropic with `messages.create(stream=True)`, the cheaper of its two documented ways.

`messages.stream()` keeps a snapshot of the message as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anthropic import Anthropic

from . import Read, Seen


def reader(base: str) -> Read:
    client = Anthropic(api_key="test", base_url=base)
    return lambda seen: loop(ask(client), seen)


def cancellable(base: str) -> tuple[Read, Callable[[], None]]:
    stream = ask(Anthropic(api_key="test", base_url=base))
    return lambda seen: loop(stream, seen), stream.close


def ask(client: Anthropic) -> Any:
    return client.messages.create(
        model="claude-opus-4-6",
        max_tokens=1024,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
    )


def loop(stream: Any, seen: Seen) -> None:
    for event in stream:
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            seen(event.delta.text)
