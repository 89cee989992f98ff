"""Options: each one once, as checked classes and as type checkers read them."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import attrs
import pytest

from websopy_sync import ConfigError, Timeouts, WebsopyClient
from websopy_sync.options import CallOptions, ChatOptions, ClientOptions, body_fields

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


@pytest.mark.parametrize("name", ["temperature", "model", "top_p", "max_tokens", "seed", "stop"])
def test_fields_of_the_body_are_no_typos(name: str) -> None:
    """The service judges what is not close to an option of ours."""
    assert body_fields({name: 1, "timeout": 5}) == {name: 1}
