"""sseclient-py over requests, as its README shows, and `json.loads`."""

from __future__ import annotations

import json

import requests
import sseclient

from . import Read, Seen


def reader(base: str) -> Read:
    session = requests.Session()

    def read(seen: Seen) -> None:
        with session.post(
            base + "/v1/ai/chat",
            json={"messages": [{"role": "user", "content": "Hello"}]},
            stream=True,
        ) as response:
            for event in sseclient.SSEClient(response).events():
                chunk = json.loads(event.data)
                if chunk["type"] == "content":
                    seen(chunk["content"])

    return read
