"""The clients that are compared, one small file each, used as its own documentation shows.

A client's file has `reader(base, **options)`: given a base URL it gives a function that asks once
and calls `seen(text)` for each piece of the answer. What a program makes once (a client, a
session) is made in `reader`, what it does for each question in the function. A client that says
how an answer is given up from another thread has `cancellable(base)` too: the same function and
one that ends it.

This file only lists them; it imports none, so that the command runs with those that are there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

__all__ = ["CLIENTS", "Client", "Read", "Seen"]

Seen = Callable[[str], object]
Read = Callable[[Seen], None]


@dataclass(frozen=True)
class Client:
    """One row of the comparison.

    role: ours, peer or floor; floors do less than any client may (no SSE rules, no errors).
    packages: the distributions it needs. imports: the statement a program would begin with.
    """

    name: str
    title: str
    role: str
    module: str
    packages: tuple[str, ...]
    imports: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether all its packages are here."""
        return all(version(package) for package in self.packages)

    def reader(self, base: str) -> Read:
        """A function that asks once and hands over each text."""
        read: Read = self._module().reader(base, **self.options)
        return read

    def cancellable(self, base: str) -> tuple[Read, Callable[[], None]] | None:
        """The same and a function that ends it from another thread; None if there is no such."""
        module = self._module()
        if not hasattr(module, "cancellable"):
            return None
        pair: tuple[Read, Callable[[], None]] = module.cancellable(base)
        return pair

    def _module(self) -> Any:
        return importlib.import_module(f"{__name__}.{self.module}")


def version(package: str) -> str:
    """A distribution's version, "" when it is not installed."""
    if package == "websopy-sync":
        return _own_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _own_version() -> str:
    """Ours is measured from the checkout, installed or not."""
    try:
        return str(getattr(importlib.import_module("websopy_sync"), "__version__", "checkout"))
    except ImportError:
        return ""


_OURS = ("websopy-sync", "requests", "attrs", "pluggy")
_IMPORT_OURS = "from websopy_sync import WebsopyClient"

CLIENTS = {
    client.name: client
    for client in (
        Client("socket", "raw socket", "floor", "raw_socket", (), "import socket, json"),
        Client(
            "read1", "requests `raw.read1`", "floor", "requests_read1",
            ("requests",), "import json, requests",
        ),
        Client("ours", "**websopy-sync**", "ours", "ours", _OURS, _IMPORT_OURS),
        Client(
            "ours-flat", "websopy-sync, `keep_message=False`", "variant", "ours",
            _OURS, _IMPORT_OURS, {"keep_message": False},
        ),
        Client(
            "ours-1", "websopy-sync, 1 plugin", "variant", "ours",
            _OURS, _IMPORT_OURS, {"plugins": 1},
        ),
        Client(
            "ours-3", "websopy-sync, 3 plugins", "variant", "ours",
            _OURS, _IMPORT_OURS, {"plugins": 3},
        ),
        Client(
            "ours-openai", "websopy-sync, `wire='openai'`, on openai's bytes", "variant",
            "ours", _OURS, _IMPORT_OURS, {"wire": "openai"},
        ),
        Client(
            "ours-history", "websopy-sync, websopy-persistence to an SQLite file", "variant",
            "ours_history", (*_OURS, "websopy-persistence"), _IMPORT_OURS,
        ),
        Client(
            "ours-web", "websopy-sync, `web.sse_body` and a reader of it", "variant", "ours_web",
            _OURS, _IMPORT_OURS,
        ),
        Client(
            "iter-lines", "requests `iter_lines`", "peer", "requests_iter_lines",
            ("requests",), "import json, requests",
        ),
        Client(
            "sseclient-py", "sseclient-py", "peer", "sseclient_py",
            ("sseclient-py", "requests"), "import json, requests, sseclient",
        ),
        Client(
            "requests-sse", "requests-sse", "peer", "requests_sse_",
            ("requests-sse",), "import json; from requests_sse import EventSource",
        ),
        Client(
            "ld-eventsource", "launchdarkly-eventsource", "peer", "ld_eventsource_",
            ("launchdarkly-eventsource",), "import json; from ld_eventsource import SSEClient",
        ),
        Client(
            "httpx-sse", "httpx-sse", "peer", "httpx_sse_",
            ("httpx-sse", "httpx"), "import httpx; from httpx_sse import connect_sse",
        ),
        Client(
            "anthropic", "anthropic", "peer", "anthropic_",
            ("anthropic",), "from anthropic import Anthropic",
        ),
        Client("openai", "openai", "peer", "openai_", ("openai",), "from openai import OpenAI"),
        Client(
            "imports", "its three packages", "floor", "requests_read1",
            ("requests", "attrs", "pluggy"), "import requests, attrs, pluggy",
        ),
    )
}  # fmt: skip
"""Every client by its name, in the order of the table's columns."""
