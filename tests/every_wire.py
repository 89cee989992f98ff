"""Each wire of the package, its service on this machine, and a client of it.

For the tests of what holds on every wire. wire_table.py makes the tables of the docs of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from endings import Endings

from websopy_sync import WebsopyClient
from websopy_sync.sandbox import Sandbox, Steps
from websopy_sync.sandbox.compiled_script import Script
from websopy_sync.sandbox.wires.registry import SERVICES, find_service

KEY = "k3y-of-this-test"

NOT_SAID = {"ollama": ("cached_tokens", "reasoning_tokens")}
"""What the format of a wire has no words for, of a whole answer."""

SIGNED: dict[str, Any] = {
    "anthropic": {"blocks": [{"type": "thinking", "thinking": "hm", "signature": "s1gnature"}]},
    "gemini": {
        "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s1gnature"}]
    },
    "openai": {"reasoning_content": "s1gnature"},
    "responses": {"items": [{"type": "reasoning", "encrypted_content": "s1gnature"}]},
}
"""A `DoneChunk.state` in the format of each service that must get something back."""


@pytest.fixture(params=SERVICES)
def wire(request: pytest.FixtureRequest) -> str:
    """Each wire by its name."""
    return str(request.param)


@pytest.fixture
def service(wire: str) -> Iterator[Sandbox]:
    """A sandbox that plays the service of this wire."""
    with Sandbox(wire=wire, api_key=KEY, pause=0) as sandbox:
        yield sandbox


@pytest.fixture
def ends() -> Endings:
    """Counts how streams end."""
    return Endings()


@pytest.fixture
def client(wire: str, service: Sandbox, ends: Endings) -> Iterator[WebsopyClient]:
    """A client of that service."""
    with WebsopyClient(
        KEY, base_url=service.url, wire=wire, model="m", plugins=[ends], max_retries=2
    ) as client:
        yield client


def play(service: Sandbox, *steps: Steps | object) -> None:
    """Queue the script of the next answer."""
    service.play(list(steps))  # type: ignore[arg-type]


def written(wire: str, *steps: object) -> bytes:
    """The body of an answer, as the service of this wire writes it."""
    return b"".join(Script.of(list(steps), find_service(wire)).data)  # type: ignore[arg-type]
