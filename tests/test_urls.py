"""URLs: base URLs that can work, paths and queries."""

from __future__ import annotations

import pytest
from tables import each

from websopy_sync import WebsopyClient
from websopy_sync.sandbox import Sandbox
from websopy_sync.urls import base_url_problem, path_and_query


def test_a_query_in_the_path(client: WebsopyClient, sandbox: Sandbox) -> None:
    """A path may have one; `params` adds to it."""
    list(client.events("GET", "/ai/chat?message=a%20b&x=1", params={"y": "2"}))
    assert sandbox.requests[0].query == {"message": "a b", "x": "1", "y": "2"}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/v1",
        "https://api.websopy.com/v1/",
        "http://[::1]:8899",
        "HTTP://h",
        "http://h/a%20b",
    ],
)
def test_a_base_url(url: str) -> None:
    """Any http address without user, query and fragment."""
    assert base_url_problem(url) == ""


@each(
    ("url", "problem"),
    [
        (7, "expected str, got int"),
        ("http://h/\n", "expected printable ASCII without spaces"),
        ("http://例え", "expected printable ASCII without spaces"),
        ("http://h:port", "expected a URL, got one that cannot be read"),
        ("ftp://h", "expected http:// or https:// and a host"),
        ("http:///v1", "expected http:// or https:// and a host"),
        ("http://u:p@h", "expected no user or password in it; the key goes into api_key"),
        ("http://@h", "expected no user or password in it; the key goes into api_key"),
        ("http://h?", "expected neither query nor fragment"),
        ("http://h#x", "expected neither query nor fragment"),
    ],
)
def test_a_base_url_that_cannot_work(url: object, problem: str) -> None:
    """It is not quoted, as it may hold a password."""
    assert base_url_problem(url) == f"base_url: {problem}"


@pytest.mark.parametrize(
    ("path", "params", "expected"),
    [
        ("/a", None, ("/a", "")),
        ("/a?x=1", {"y": "2 3"}, ("/a", "x=1&y=2+3")),
        ("/a b/世", {}, ("/a%20b/%E4%B8%96", "")),
        ("/a%20b", {"x": ""}, ("/a%20b", "x=")),
        ("/a?b?c#d", None, ("/a", "b?c%23d")),
    ],
)
def test_a_path_and_its_query(
    path: str, params: dict[str, str] | None, expected: tuple[str, str]
) -> None:
    """Encoded as a URL needs it; what is encoded already stays."""
    assert path_and_query(path, params) == expected
