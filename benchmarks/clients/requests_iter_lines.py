"""requests alone, with the loop that its "Streaming Requests" chapter shows."""

from __future__ import annotations

import json

import requests

from . import Read, Seen


def reader(base: str) -> Read:
    session = requests.Session()

    def read(seen: Seen) -> None:
        with session.post(
            base + "/v1/ai/chat",
            json={"messages": [{"role": "user", "content": "Hello"}]},
            stream=True,
        ) as response:
            for line in response.iter_lines():
                if line:
                    chunk = json.loads(line.decode("utf-8").removeprefix("data: "))
                    if chunk["type"] == "content":
                        seen(chunk["content"])

    return read
