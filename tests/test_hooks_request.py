"""What `on_request` is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from websopy_sync import ChatStream, WebsopyClient, hookimpl
from websopy_sync.hooks import Request
from websopy_sync.sandbox import Sandbox


def a_request() -> Request:
    headers, body = {"X-Secret": "s3cret"}, {"p": "s3cret"}
    return Request("POST", "http://h/v1/ai/chat", headers, body, "k", {"user": "s3cret"})


def test_request_shows_only_where_it_goes() -> None:
    """A plugin that logs the request leaks nothing by its repr."""
    assert repr(a_request()) == "<Request POST http://h/v1/ai/chat>"


@pytest.mark.parametrize("name", ["method", "url", "idempotency_key", "metadata"])
def test_where_a_request_goes_is_fixed(name: str) -> None:
    """Plugins edit the headers and the body."""
    with pytest.raises(AttributeError):
        setattr(a_request(), name, "other")


@pytest.mark.parametrize("wire", ["websopy", "gemini"])
def test_the_model_of_a_request(make: Callable[..., WebsopyClient], wire: str) -> None:
    """It is known where the path has it, too; in the body a plugin may set another one."""
    seen: list[str | None] = []

    class Looks:
        @hookimpl
        def on_request(self, request: Request) -> None:
            seen.append(request.model)

    with Sandbox(pause=0, wire=wire) as service:
        client = make(Looks(), base_url=service.url, wire=wire, strict_plugins=True)
        client.ai.chat("x", model="m/1")
    assert seen == ["m/1"]
    request = a_request()
    assert request.model is None
    request.body = {"model": "other"}
    assert request.model == "other"


class Seen:
    """Keeps the metadata that each hook sees, and tries to change it."""

    def __init__(self) -> None:
        self.metadata: list[Any] = []

    @hookimpl
    def on_request(self, request: Request, stream: ChatStream) -> None:
        self.metadata += [request.metadata, stream.metadata]
        with pytest.raises(TypeError):
            request.metadata["user"] = "other"  # type: ignore[index]  # that is the test

    @hookimpl
    def on_done(self, stream: ChatStream) -> None:
        self.metadata.append(stream.metadata)


def test_metadata_is_for_plugins_and_never_sent(
    make: Callable[..., WebsopyClient], sandbox: Sandbox
) -> None:
    """Each hook sees a copy of what the caller passed; the service sees none of it."""
    seen, user = Seen(), object()
    given = {"user": user}
    client = make(seen, strict_plugins=True)
    stream = client.ai.chat_stream("x", metadata=given)
    given["later"] = 7
    stream.until_done()
    assert seen.metadata == [{"user": user}] * 3
    assert sandbox.requests[0].json == {"messages": [{"role": "user", "content": "x"}]}
    assert "user" not in repr(stream)


def test_every_verb_takes_metadata(make: Callable[..., WebsopyClient], sandbox: Sandbox) -> None:
    """`{}` stands for none, and for None."""
    seen = Seen()
    client = make(seen)
    client.ai.chat("x", metadata={"n": 1})
    client.ai.conversation().send("x", metadata={"n": 2}).until_done()
    client.ai.chat("x", metadata=None)
    client.ai.chat("x")
    assert seen.metadata[::3] == [{"n": 1}, {"n": 2}, {}, {}]


def test_a_field_of_the_body_may_be_called_metadata(
    client: WebsopyClient, sandbox: Sandbox
) -> None:
    """extra_body sends any name."""
    client.ai.chat("x", metadata={"n": 1}, extra_body={"metadata": {"n": 2}})
    assert sandbox.requests[0].json["metadata"] == {"n": 2}
