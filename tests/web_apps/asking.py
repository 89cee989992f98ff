"""What both applications ask with: one client for each service, as an application has."""

from __future__ import annotations

import functools
import os
import urllib.parse

from websopy_sync.client import WebsopyClient
from websopy_sync.stream import ChatStream

HEARTBEAT = float(os.environ.get("HEARTBEAT", "15"))


@functools.cache
def client_of(upstream: str) -> WebsopyClient:
    return WebsopyClient(api_key="test", base_url=upstream, plugins=[], max_retries=0)


def ask(query: str) -> ChatStream:
    """The answer to what a request's query asks for.

    Its text is not kept: the memory that is measured is that of passing it on.
    """
    asked = dict(urllib.parse.parse_qsl(query))
    return client_of(asked["upstream"]).ai.chat_stream(asked["q"], keep_message=False)
