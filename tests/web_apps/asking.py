"""What both applications ask with: one client for each service, as an application has."""

from __future__ import annotations

import functools
import os
import threading
import urllib.parse

from websopy_sync.client import WebsopyClient
from websopy_sync.stream import ChatStream

HEARTBEAT = float(os.environ.get("HEARTBEAT", "15"))


@functools.cache
def client_of(upstream: str) -> WebsopyClient:
    return WebsopyClient(api_key="test", base_url=upstream, plugins=[], max_retries=0)


def ask(query: str) -> ChatStream:
    """The answer to what a request's query asks for.

    Its text is not kept: the memory that is measured is that of passing it on. It is not resumed:
    a chunk that was held back in vain must not come late all the same.
    """
    asked = dict(urllib.parse.parse_qsl(query))
    client = client_of(asked["upstream"])
    return client.ai.chat_stream(asked["q"], keep_message=False, resume=False)


def relaying() -> str:
    """How many threads of this process pass an answer on."""
    return str(sum(thread.name.startswith("websopy-sse") for thread in threading.enumerate()))
