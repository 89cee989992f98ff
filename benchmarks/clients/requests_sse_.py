"""requests-sse as its README shows, and `json.loads`."""

from __future__ import annotations

import json

import requests
from requests_sse import EventSource

from . import Read, Seen


def reader(base: str) -> Read:
    session = requests.Session()

    def read(seen: Seen) -> None:
        with EventSource(
            base + "/v1/ai/chat",
            method="POST",
            session=session,
            json={"messages": [{"role": "user", "content": "Hello"}]},
        ) as source:
            for event in source:
                chunk = json.loads(event.data)
                if chunk["type"] == "done":
                    return
                seen(chunk["content"])

    return read
