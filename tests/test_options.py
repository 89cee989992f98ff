"""Options: each one once, as checked classes and as type checkers read them."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import attrs
import pytest
import requests
from discretion import KEY, assert_discreet
from tables import each

from websopy_sync import ConfigError, Timeouts, WebsopyClient
from websopy_sync.options import CallOptions, ChatOptions, ClientOptions, body_fields
from websopy_sync.sandbox import Sandbox

CLIENT = ClientOptions("key", timeout=7, max_retries=2, max_answer_size=99)


def test_checkers_read_the_options_that_are_checked() -> None:
    """`ChatOptions` has the names and types of `CallOptions`; the client's may be None."""
    checked = typing.get_type_hints(CallOptions.__init__)
    del checked["return"]
    inherited = {option.name for option in attrs.fields(ClientOptions)} & set(checked)
    typed = typing.get_type_hints(ChatOptions)
    own = {name: typed[name] for name in ChatOptions.__annotations__ if name in checked}
    assert own == {
        name: (kind | None if name in inherited else kind) for name, kind in checked.items()
    }


def test_a_client_shows_its_options() -> None:
    """help() and editors list each option, with its default."""
    options = inspect.signature(WebsopyClient).parameters
    assert list(options.values()) == list(inspect.signature(ClientOptions).parameters.values())
    assert options["api_key"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert options["max_retries"].default == 3
    assert {option.kind for name, option in options.items() if name != "api_key"} == {
        inspect.Parameter.KEYWORD_ONLY
    }


def test_an_unknown_argument_names_the_client() -> None:
    """The user has called no other class."""
    with pytest.raises(TypeError, match=r"^WebsopyClient.__init__\(\) got .* 'time_out'"):
        WebsopyClient("key", time_out=5)  # type: ignore[call-arg]  # that is the test


@pytest.mark.parametrize(
    "given", [{}, {"timeout": None, "max_retries": None}], ids=["none", "None"]
)
def test_a_call_inherits_the_clients_options(given: dict[str, Any]) -> None:
    """An option that is None or not given is the client's."""
    options = CallOptions.of(CLIENT, given)
    assert options.timeout == Timeouts(total=7)
    assert (options.max_retries, options.max_answer_size) == (2, 99)


def test_a_calls_options_beat_the_clients() -> None:
    """Also where the value is falsy."""
    options = CallOptions.of(CLIENT, {"timeout": 1, "max_retries": 0, "max_answer_size": 5})
    assert (options.timeout.total, options.max_retries, options.max_answer_size) == (1, 0, 5)


def test_options_are_copies() -> None:
    """What the user does with a dict later changes nothing."""
    headers = {"X-A": "1"}
    client = ClientOptions("key", default_headers=headers)
    call = CallOptions.of(CLIENT, {"extra_headers": headers})
    headers["X-A"] = "2"
    assert client.default_headers == call.extra_headers == {"X-A": "1"}


def test_each_call_has_its_own_idempotency_key() -> None:
    """Two calls are never taken for one."""
    keys = {CallOptions.of(CLIENT, {"idempotency_key": None}).idempotency_key for _ in range(2)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("name", "meant"),
    [("time_out", "timeout"), ("cancel_tokn", "cancel_token"), ("resum", "resume")],
)
def test_misspelt_option(name: str, meant: str) -> None:
    """A typo would silently go to the service as a field of the body."""
    with pytest.raises(ConfigError) as caught:
        body_fields({"temperature": 1, name: 2})
    assert repr(name) in str(caught.value) and repr(meant) in str(caught.value)


@each("name", ["temperature", "model", "top_p", "max_tokens", "seed", "stop"])
def test_fields_of_the_body_are_no_typos(name: str) -> None:
    """The service judges what is not close to an option of ours."""
    assert body_fields({name: 1, "timeout": 5}) == {name: 1}


def test_environment(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    """WEBSOPY_API_KEY and WEBSOPY_BASE_URL serve where no argument does."""
    monkeypatch.setenv("WEBSOPY_API_KEY", "from-env")
    monkeypatch.setenv("WEBSOPY_BASE_URL", sandbox.url + "/")
    with WebsopyClient(plugins=[]) as client:
        client.ai.chat("x")
    with WebsopyClient("argument", plugins=[]) as client:
        client.ai.chat("x")
    sent = [request.headers["authorization"] for request in sandbox.requests]
    assert sent == ["Bearer from-env", "Bearer argument"]
    assert {request.target for request in sandbox.requests} == {"/v1/ai/chat"}


def test_arguments_beat_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that was passed is the one that is used."""
    monkeypatch.setenv("WEBSOPY_BASE_URL", "http://127.0.0.1:9/env")
    with WebsopyClient("k", base_url="http://127.0.0.1:9/arg", plugins=[]) as client:
        assert "127.0.0.1:9/arg" in repr(client)


BAD_CLIENTS: list[tuple[dict[str, Any], str]] = [
    ({"api_key": None}, "api_key"),
    ({"api_key": ""}, "api_key"),
    ({"api_key": " "}, "api_key"),
    ({"api_key": KEY + "\n"}, "api_key"),
    ({"api_key": "\n" + KEY}, "api_key"),
    ({"api_key": KEY + "\r\nX-Evil: 1"}, "api_key"),
    ({"api_key": KEY + "\0"}, "api_key"),
    ({"api_key": KEY + " "}, "api_key"),
    ({"api_key": KEY + "é"}, "api_key"),
    ({"api_key": KEY.encode()}, "api_key"),
    ({"api_key": 7}, "api_key"),
    ({"base_url": ""}, "base_url"),
    ({"base_url": "localhost:8899"}, "base_url"),
    ({"base_url": "ftp://127.0.0.1/v1"}, "base_url"),
    ({"base_url": "http://"}, "base_url"),
    ({"base_url": "http:///v1"}, "base_url"),
    ({"base_url": f"http://user:{KEY}@127.0.0.1/v1"}, "base_url"),
    ({"base_url": f"http://127.0.0.1/v1?key={KEY}"}, "base_url"),
    ({"base_url": f"http://127.0.0.1/v1#{KEY}"}, "base_url"),
    ({"base_url": "http://127.0.0.1:port/v1"}, "base_url"),
    ({"base_url": "http://127.0.0.1:99999/v1"}, "base_url"),
    ({"base_url": "http://[::1/v1"}, "base_url"),
    ({"base_url": "http://127.0.0.1/v1\n"}, "base_url"),
    ({"base_url": "http://127.0.0.1/ v1"}, "base_url"),
    ({"base_url": "http://例え/v1"}, "base_url"),
    ({"base_url": b"http://127.0.0.1/v1"}, "base_url"),
    ({"base_url": 7}, "base_url"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": "5"}, "timeout"),
    ({"max_retries": -1}, "max_retries"),
    ({"max_retries": None}, "max_retries"),
    ({"max_retries": "3"}, "max_retries"),
    ({"max_event_size": 0}, "max_event_size"),
    ({"max_event_size": "1"}, "max_event_size"),
    ({"max_event_size": None}, "max_event_size"),
    ({"max_answer_size": 0}, "max_answer_size"),
    ({"max_answer_size": None}, "max_answer_size"),
    ({"default_headers": "X: y"}, "headers"),
    ({"default_headers": {"X-A": KEY + "\n"}}, "X-A"),
    ({"default_headers": {"Connection": "close"}}, "(?i)connection"),
    ({"verify": None}, "verify"),
    ({"verify": 1}, "verify"),
    ({"verify": "/nowhere/ca.pem"}, "verify"),
    ({"session": "session"}, "session"),
    ({"session": requests.Session}, "session"),
    ({"plugins": "websopy-logging"}, "plugins"),
    ({"plugins": 7}, "plugins"),
    ({"plugins": ["no-such-plugin"]}, "no-such-plugin"),
    ({"strict_plugins": "yes"}, "strict_plugins"),
    ({"time_out": 5}, "time_out"),
]


@each(("options", "names"), BAD_CLIENTS)
def test_bad_client(options: dict[str, Any], names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option is named, the value is not quoted, and nothing of the key stands in a frame."""
    monkeypatch.delenv("WEBSOPY_API_KEY", raising=False)
    options = {"api_key": KEY, "base_url": "http://127.0.0.1:9/v1", "plugins": [], **options}
    with pytest.raises((ConfigError, TypeError), match=names) as caught:
        WebsopyClient(**options)
    del options
    assert_discreet(caught.value)


@pytest.mark.parametrize("name", ["WEBSOPY_API_KEY", "WEBSOPY_BASE_URL"])
def test_bad_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newline at the end of a variable is the usual mistake; the value is not quoted."""
    monkeypatch.setenv("WEBSOPY_API_KEY", KEY)
    monkeypatch.setenv("WEBSOPY_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv(name, f"http://{KEY}\n")
    with pytest.raises(ConfigError, match=name.removeprefix("WEBSOPY_").lower()) as caught:
        WebsopyClient(plugins=[])
    assert_discreet(caught.value)


def test_empty_address_in_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`WEBSOPY_BASE_URL=` is as good as unset."""
    monkeypatch.setenv("WEBSOPY_BASE_URL", "")
    with WebsopyClient("k", plugins=[]) as client:
        assert repr(client) == "<WebsopyClient https://api.websopy.com/v1>"
