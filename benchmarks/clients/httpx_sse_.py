"""httpx-sse as its README shows. `sse.json()` is its own shortcut for `json.loads`."""

from __future__ import annotations

import httpx
from httpx_sse import connect_sse

from . import Read, Seen


def reader(base: str) -> Read:
    # httpx stops at 100 connections unless told otherwise, and a case has 200 threads.
    client = httpx.Client(limits=httpx.Limits(max_connections=None))

    def read(seen: Seen) -> None:
        with connect_sse(
            client,
            "POST",
            base + "/v1/ai/chat",
            json={"messages": [{"role": "user", "content": "Hello"}]},
        ) as source:
            for sse in source.iter_sse():
                chunk = sse.json()
                if chunk["type"] == "content":
                    seen(chunk["content"])

    return read
