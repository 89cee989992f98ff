"""Floor: requests, `raw.read1`, `split` and `json.loads`; no SSE rules, no objects, no hooks."""

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
            rest = b""
            while data := response.raw.read1(65536):
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    chunk = json.loads(event[6:])
                    if chunk["type"] == "content":
                        seen(chunk["content"])

    return read
