"""Which service a client talks to, and with which key."""

from __future__ import annotations

from typing import Any

import pytest
from tables import each

from websopy_sync import WebsopyClient
from websopy_sync.endpoint import Endpoint
from websopy_sync.errors import ConfigError
from websopy_sync.sandbox import Sandbox
from websopy_sync.secret import Secret
from websopy_sync.wires.openai import OpenAI

VARIABLES = (
    *("WEBSOPY_API_KEY", "WEBSOPY_BASE_URL", "WEBSOPY_MODEL", "WEBSOPY_WIRE"),
    "OPENAI_API_KEY",
)
OPENAI = "https://api.openai.com/v1"


def endpoint(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], *given: Any
) -> tuple[str, str, object]:
    """Name of the wire, address and key, with these variables set and no others."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = Endpoint.of(*given)
    assert "k3y" not in repr(found)
    return found.wire.name, found.base_url, found.api_key.value


@each(
    ("env", "given", "found"),
    [
        # the Websopy service
        (
            {"WEBSOPY_API_KEY": "k3y"},
            (None, None, None),
            ("websopy", "https://api.websopy.com/v1", "k3y"),
        ),
        (
            {"WEBSOPY_BASE_URL": "http://h/v1/"},
            (None, None, Secret("k")),
            ("websopy", "http://h/v1", "k"),
        ),
        (
            {"WEBSOPY_BASE_URL": "http://h/v1"},
            ("websopy", "http://x", Secret("k")),
            ("websopy", "http://x", "k"),
        ),
        # another one, by argument or by variable
        (
            {"WEBSOPY_WIRE": "openai", "OPENAI_API_KEY": "k3y"},
            (None, None, None),
            ("openai", OPENAI, "k3y"),
        ),
        (
            {"WEBSOPY_WIRE": "openai"},
            ("vllm", None, None),
            ("vllm", "http://127.0.0.1:8000/v1", ""),
        ),
        ({}, (OpenAI(), "http://h/v1", None), ("openai", "http://h/v1", "")),
        # a provider's key goes to its own origin alone
        ({"OPENAI_API_KEY": "k3y"}, ("openai", "http://h/v1", None), ("openai", "http://h/v1", "")),
        (
            {"OPENAI_API_KEY": "k3y"},
            ("openai", "https://api.openai.com.evil/v1", None),
            ("openai", "https://api.openai.com.evil/v1", ""),
        ),
        (
            {"OPENAI_API_KEY": "k3y"},
            ("openai", "http://api.openai.com/v1", None),
            ("openai", "http://api.openai.com/v1", ""),
        ),
        (
            {"OPENAI_API_KEY": "k3y"},
            ("openai", "https://API.openai.com:443/v2", None),
            ("openai", "https://API.openai.com:443/v2", "k3y"),
        ),
        (
            {"OPENAI_API_KEY": "k3y", "WEBSOPY_API_KEY": "own"},
            ("openai", None, None),
            ("openai", OPENAI, "k3y"),
        ),
        (
            {"WEBSOPY_API_KEY": "k3y"},
            ("openai", "http://h/v1", None),
            ("openai", "http://h/v1", "k3y"),
        ),
        ({"OPENAI_API_KEY": "k3y"}, ("openai", None, Secret("given")), ("openai", OPENAI, "given")),
    ],
)
def test_endpoint(
    env: dict[str, str],
    given: tuple[Any, ...],
    found: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PROMISE 20: an argument beats a variable, and no key goes where it does not belong."""
    assert endpoint(monkeypatch, env, *given) == found


@each(
    ("env", "given", "says"),
    [
        ({}, (None, None, None), "api_key.*WEBSOPY_API_KEY"),
        ({}, ("websopy", "http://127.0.0.1:9", None), "api_key.*WEBSOPY_API_KEY"),
        ({}, ("openai", None, None), "api_key.*OPENAI_API_KEY or WEBSOPY_API_KEY"),
        ({"OPENAI_API_KEY": "k3y\n"}, ("openai", None, None), "OPENAI_API_KEY"),
        ({}, ("azure", None, Secret("k")), "base_url.*'azure'"),
        ({"WEBSOPY_WIRE": "opnai"}, (None, None, None), "openai"),
        ({}, ("openai", "ftp://h", None), "base_url"),
        ({}, ("openai", 7, None), "base_url"),
    ],
)
def test_what_is_missing(
    env: dict[str, str], given: tuple[Any, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to pass or to set, and quotes no key."""
    with pytest.raises(ConfigError, match=says) as caught:
        endpoint(monkeypatch, env, *given)
    assert "k3y" not in str(caught.value)


@each(("set_to", "given", "model"), [("a", None, "a"), ("a", "b", "b"), ("", None, None)])
def test_the_model(
    set_to: str, given: str | None, model: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable names the model where the program does not: most services need one."""
    monkeypatch.setenv("WEBSOPY_MODEL", set_to)
    with Sandbox(pause=0) as service:
        with WebsopyClient("k", base_url=service.url, model=given, plugins=[]) as client:
            monkeypatch.setenv("WEBSOPY_MODEL", "later")
            client.ai.chat("x")
            client.ai.chat("x", model="c")
        named = [request.json.get("model") for request in service.requests]
    assert named == [model, "c"]
