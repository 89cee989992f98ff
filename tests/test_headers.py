"""Request headers: layers, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable

from tables import each

from websopy_sync import WebsopyClient
from websopy_sync.headers import header_problem, headers_problem, merged, standard_headers
from websopy_sync.sandbox import Sandbox


def test_headers_in_layers(make: Callable[..., WebsopyClient], sandbox: Sandbox) -> None:
    """The call's beat the client's, those ours; the case of a name does not matter."""
    client = make(default_headers={"X-App": "app", "user-agent": "mine", "X-Both": "client"})
    client.ai.chat("x", extra_headers={"x-both": "call", "ACCEPT": "text/plain"})
    sent = sandbox.requests[0].headers
    assert (sent["x-app"], sent["user-agent"], sent["x-both"]) == ("app", "mine", "call")
    assert sent["accept"] == "text/plain"


def test_native_headers_replace_ours_in_any_case(client: WebsopyClient, sandbox: Sandbox) -> None:
    """One Accept on the wire, not two."""
    list(client.events("GET", "/ai/chat?message=x", extra_headers={"accept": "text/plain"}))
    assert sandbox.requests[0].headers["accept"] == "text/plain"


def test_a_later_layer_wins_in_any_case() -> None:
    """One header of a name is sent, spelt as the last layer spells it."""
    layers = {"Accept": "a", "X-A": "1"}, {"ACCEPT": "b"}, {"x-b": "2"}
    assert merged(*layers) == {"ACCEPT": "b", "X-A": "1", "x-b": "2"}


def test_a_content_type_only_with_a_body() -> None:
    """A GET has none."""
    assert "Content-Type" in standard_headers(has_body=True)
    assert "Content-Type" not in standard_headers(has_body=False)


@each(
    ("headers", "problem"),
    [
        ({}, ""),
        ({"X-A": "1", "x_b": "a b", "Authorization": "Bearer x"}, ""),
        ([("X-A", "1")], "headers: expected a dict, got list"),
        ({"X A": "1"}, "headers: expected a header name, got 'X A'"),
        ({"": "1"}, "headers: expected a header name, got ''"),
        ({7: "1"}, "headers: expected a header name, got 7"),
        ({"HOST": "x"}, "header HOST: it is set by the client alone"),
        ({"expect": "100-continue"}, "header expect: it is set by the client alone"),
        ({"Idempotency-Key": "k"}, "header Idempotency-Key: it is set by the client alone"),
        ({"X-A": 7}, "header X-A: expected str, got int"),
        ({"X-A": ""}, "header X-A: expected a value, got an empty one"),
    ],
)
def test_headers_that_cannot_be_sent(headers: object, problem: str) -> None:
    """The header is named."""
    assert headers_problem(headers) == problem


@each("value", ["a\n", "a\r\nX: y", "a\0", "é", " a", "a ", "a\tb", "a\x7f"])
def test_a_value_that_cannot_be_sent_is_not_quoted(value: str) -> None:
    """It may be the key."""
    problem = "key: expected printable ASCII without line ends or spaces around it"
    assert header_problem("key", value) == problem
