"""openai with `chat.completions.create(stream=True)`, as its README shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openai import OpenAI

from . import Read, Seen


def reader(base: str) -> Read:
    client = OpenAI(api_key="test", base_url=base + "/v1")
    return lambda seen: loop(ask(client), seen)


def cancellable(base: str) -> tuple[Read, Callable[[], None]]:
    stream = ask(OpenAI(api_key="test", base_url=base + "/v1"))
    return lambda seen: loop(stream, seen), stream.close


def ask(client: OpenAI) -> Any:
    return client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
    )


def loop(stream: Any, seen: Seen) -> None:
    for chunk in stream:
        if text := chunk.choices[0].delta.content:
            seen(text)
