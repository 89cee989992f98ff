"""What `on_request` is given."""

from __future__ import annotations

import pytest

from websopy_sync.hooks import Request


def make() -> Request:
    return Request("POST", "http://h/v1/ai/chat", {"X-Secret": "s3cret"}, {"p": "s3cret"}, "k")


def test_request_shows_neither_headers_nor_body() -> None:
    """A plugin that logs the request leaks nothing by its repr."""
    assert repr(make()) == "<Request POST http://h/v1/ai/chat>"


@pytest.mark.parametrize("name", ["method", "url", "idempotency_key"])
def test_where_a_request_goes_is_fixed(name: str) -> None:
    """Plugins edit the headers and the body."""
    with pytest.raises(AttributeError):
        setattr(make(), name, "other")
