"""What the applications ask with: one client for each service, as an application has."""

from __future__ import annotations

import functools
import os
import threading
import urllib.parse
from collections.abc import Callable

from websopy_sync.cancel import CancelToken
from websopy_sync.client import WebsopyClient
from websopy_sync.stream import ChatStream

HEARTBEAT = float(os.environ.get("HEARTBEAT", "15"))


@functools.cache
def client_of(upstream: str) -> WebsopyClient:
    return WebsopyClient(api_key="test", base_url=upstream, plugins=[], max_retries=0)


def ask(query: str, cancel: CancelToken | None = None) -> ChatStream:
    """The answer to what a request's query asks for.

    Its text is not kept: the memory that is measured is that of passing it on. It is not resumed:
    a chunk that was held back in vain must not come late all the same.
    """
    asked = dict(urllib.parse.parse_qsl(query))
    client = client_of(asked["upstream"])
    return client.ai.chat_stream(asked["q"], keep_message=False, resume=False, cancel_token=cancel)


_tokens: dict[str, CancelToken] = {}


def opener(query: str) -> Callable[[CancelToken], ChatStream]:
    """A function that opens this answer, so that stop() finds it."""

    def open_answer(cancel: CancelToken) -> ChatStream:
        _tokens[dict(urllib.parse.parse_qsl(query))["q"]] = cancel
        return ask(query, cancel)

    return open_answer


def stop(query: str) -> str:
    """Stop the answer to this question, if this process passes it on."""
    token = _tokens.pop(dict(urllib.parse.parse_qsl(query))["q"], None)
    if token is not None:
        token.cancel()
    return str(token)


def relaying() -> str:
    """How many threads of this process pass an answer on."""
    return str(sum(thread.name.startswith("websopy-sse") for thread in threading.enumerate()))
