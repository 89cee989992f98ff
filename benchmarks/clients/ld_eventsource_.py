"""launchdarkly-eventsource as its reference shows (it asks with GET only), and `json.loads`."""

from __future__ import annotations

import json
from collections.abc import Callable

import urllib3
from ld_eventsource import SSEClient
from ld_eventsource.config import ConnectStrategy

from . import Read, Seen


def reader(base: str) -> Read:
    pool = urllib3.PoolManager()

    def read(seen: Seen) -> None:
        loop(SSEClient(ConnectStrategy.http(base + "/v1/ai/chat?message=Hello", pool=pool)), seen)

    return read


def cancellable(base: str) -> tuple[Read, Callable[[], None]]:
    client = SSEClient(base + "/v1/ai/chat?message=Hello")
    return lambda seen: loop(client, seen), client.close


def loop(client: SSEClient, seen: Seen) -> None:
    try:
        for event in client.events:
            chunk = json.loads(event.data)
            if chunk["type"] == "done":
                return
            seen(chunk["content"])
    finally:
        client.close()
