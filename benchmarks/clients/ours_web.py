"""websopy-sync through `web.sse_body`, as a view hands an answer on to a browser.

What is handed over are the body's pieces, each as text with the content taken out of its event:
so what a chunk costs here has the events' writing, the second thread and a reader of them in it.
"""

from __future__ import annotations

import json

from websopy_sync.web import sse_body

from . import Read, Seen
from .ours import make


def reader(base: str) -> Read:
    client = make(base, 0, "websopy")

    def read(seen: Seen) -> None:
        for piece in sse_body(client.ai.chat_stream("Hello")):
            for event in piece.split(b"\n\n"):
                data = event.partition(b"data: ")[2]
                if data and (chunk := json.loads(data))["type"] == "content":
                    seen(chunk["content"])

    return read
