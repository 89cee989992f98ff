"""client.ai: what its verbs send, give and refuse."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from discretion import GUIDE_QUESTION, KEY, PROMPT, assert_discreet
from tables import each

from websopy_sync import (
    AuthenticationError,
    CancelToken,
    ConfigError,
    Message,
    NotFoundError,
    StreamInterruptedError,
    ToolCall,
    Usage,
    WebsopyClient,
    WebsopyError,
)
from websopy_sync.sandbox import Sandbox, cut, done, no_ids, say, status, tool


@pytest.fixture
def client(make: Callable[..., WebsopyClient]) -> WebsopyClient:
    return make(api_key=KEY)


def test_a_request_as_it_is_sent(client: WebsopyClient, sandbox: Sandbox) -> None:
    """The guide's SDK form: POST, JSON, bearer key, event stream wanted."""
    client.ai.chat([{"role": "user", "content": GUIDE_QUESTION}])
    (request,) = sandbox.requests
    assert (request.method, request.target) == ("POST", "/v1/ai/chat")
    assert request.body.decode() == (
        '{"messages":[{"role":"user","content":"写一篇关于 AI 的文章"}]}'
    )
    sent = request.headers
    assert sent["authorization"] == f"Bearer {KEY}"
    assert sent["accept"] == "text/event-stream"
    assert sent["accept-encoding"] == "identity"
    assert sent["cache-control"] == "no-cache"
    assert sent["content-type"] == "application/json"
    assert sent["user-agent"].startswith("websopy-sync/")
    assert "last-event-id" not in sent
    assert str(uuid.UUID(sent["idempotency-key"])) == sent["idempotency-key"]


def test_a_text_is_one_user_message(client: WebsopyClient, sandbox: Sandbox) -> None:
    """`messages` may be a plain str."""
    client.ai.chat(GUIDE_QUESTION)
    assert sandbox.requests[0].json == {"messages": [{"role": "user", "content": GUIDE_QUESTION}]}


def test_parameters_go_into_the_body(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Names that are no option of ours are the service's; extra_body sends any name."""
    client.ai.chat(
        "x", model="m", temperature=0.5, stop=["a", None], extra_body={"timeout": 7, "model": "n"}
    )
    body = sandbox.requests[0].json
    del body["messages"]
    assert body == {"model": "n", "temperature": 0.5, "stop": ["a", None], "timeout": 7}


def test_chat_gives_the_whole_message(client: WebsopyClient) -> None:
    """The guide's own example."""
    assert client.ai.chat(GUIDE_QUESTION) == Message("AI 正在改变世界...", (), Usage(20, 150))


def test_chat_gives_tool_calls(client: WebsopyClient, sandbox: Sandbox) -> None:
    """In the order they came."""
    sandbox.play([tool("weather", {"city": "上海"}, "t1"), say("…"), done(1, 2)])
    message = client.ai.chat("x")
    assert message == Message("…", (ToolCall("weather", '{"city":"上海"}', "t1"),), Usage(1, 2))


def test_chat_takes_the_options_of_chat_stream(client: WebsopyClient, sandbox: Sandbox) -> None:
    """And refuses the same mistakes."""
    client.ai.chat("x", idempotency_key="k", extra_headers={"X-A": "1"}, max_retries=0, model="m")
    (request,) = sandbox.requests
    assert (request.idempotency_key, request.headers["x-a"], request.json["model"]) == (
        "k",
        "1",
        "m",
    )
    with pytest.raises(ConfigError, match="max_retries"):
        client.ai.chat("x", max_retries=-1)


def test_chat_raises_what_the_stream_raises(client: WebsopyClient, sandbox: Sandbox) -> None:
    """With the partial message."""
    sandbox.play([say("half"), no_ids(), cut()])
    with pytest.raises(StreamInterruptedError) as caught:
        client.ai.chat("x", resume=False)
    assert caught.value.partial == Message("half")


MESSAGE = {"role": "user", "content": PROMPT}


BAD_CALLS: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": 7}, "messages"),
    ({"messages": b"text"}, "messages"),
    ({"messages": MESSAGE}, "messages"),
    ({"messages": [MESSAGE, PROMPT]}, r"messages\[1\]"),
    ({"messages": [{"content": PROMPT}]}, "role"),
    ({"messages": [{"role": "user"}]}, "content"),
    ({"messages": [{"role": "user", "content": None}]}, "content"),
    ({"messages": [{"role": 1, "content": PROMPT}]}, "role"),
    ({"messages": PROMPT + chr(0xD83D)}, "messages"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": -1}, "timeout"),
    ({"timeout": math.nan}, "timeout"),
    ({"timeout": "5"}, "timeout"),
    ({"timeout": (5, 30)}, "timeout"),
    ({"timeout": True}, "timeout"),
    ({"max_retries": -1}, "max_retries"),
    ({"max_retries": 1.5}, "max_retries"),
    ({"max_retries": "3"}, "max_retries"),
    ({"max_retries": True}, "max_retries"),
    ({"resume": "no"}, "resume"),
    ({"resume": 1}, "resume"),
    ({"keep_message": None}, "keep_message"),
    ({"cancel_token": "token"}, "cancel_token"),
    ({"cancel_token": threading.Event()}, "cancel_token"),
    ({"idempotency_key": ""}, "idempotency_key"),
    ({"idempotency_key": 7}, "idempotency_key"),
    ({"idempotency_key": "0rder-7" + "\n"}, "idempotency_key"),
    ({"idempotency_key": "0rder-7" + "\r\nX: y"}, "idempotency_key"),
    ({"idempotency_key": "0rder-7" + "é"}, "idempotency_key"),
    ({"idempotency_key": "0rder-7" + "\0"}, "idempotency_key"),
    ({"extra_headers": [("X-A", "1")]}, "headers"),
    ({"extra_headers": {"X-A": KEY + "\n"}}, "X-A"),
    ({"extra_headers": {"X-A": KEY + "世"}}, "X-A"),
    ({"extra_headers": {"X-A": 7}}, "X-A"),
    ({"extra_headers": {"X-A": None}}, "X-A"),
    ({"extra_headers": {"X-A": b"x"}}, "X-A"),
    ({"extra_headers": {"X A": "x"}}, "header"),
    ({"extra_headers": {"X-A\r\nB": "x"}}, "header"),
    ({"extra_headers": {"": "x"}}, "header"),
    ({"extra_headers": {7: "x"}}, "header"),
    ({"extra_headers": {"Host": "elsewhere"}}, "(?i)host"),
    ({"extra_headers": {"content-length": "1"}}, "content-length"),
    ({"extra_headers": {"Transfer-Encoding": "chunked"}}, "(?i)transfer-encoding"),
    ({"extra_headers": {"Last-Event-ID": "7"}}, "(?i)last-event-id"),
    ({"extra_body": [1]}, "extra_body"),
    ({"metadata": [PROMPT]}, "metadata: expected a dict, got list"),
    ({"metadata": {7: PROMPT}}, "metadata: expected names of type str, got int"),
    ({"meta_data": {}}, "meta_data.*metadata"),
    ({"extra_body": {"x": object()}}, "x"),
    ({"temperature": math.nan}, "temperature"),
    ({"model": object()}, "model"),
    ({"model": b"m"}, "model"),
    ({"time_out": 5}, "time_out.*timeout"),
    ({"maxretries": 5}, "maxretries.*max_retries"),
    ({"cancel": CancelToken()}, "cancel"),
]


@each(("options", "names"), BAD_CALLS)
@each("how", ["chat_stream", "chat"])
def test_bad_call(
    client: WebsopyClient, sandbox: Sandbox, how: str, options: dict[str, Any], names: str
) -> None:
    """ConfigError or TypeError that names the option and quotes nothing; nothing is sent."""
    options = {"messages": [MESSAGE], **options}
    with pytest.raises((ConfigError, TypeError), match=names) as caught:
        getattr(client.ai, how)(**options)
    assert not sandbox.requests and not sandbox.connections
    assert "0rder-7" not in str(caught.value)
    assert_discreet(caught.value)


def test_unknown_keyword_without_messages(client: WebsopyClient) -> None:
    """A forgotten argument is Python's own error."""
    with pytest.raises(TypeError, match="messages"):
        client.ai.chat_stream()  # type: ignore[call-arg]  # that is the test


def test_a_refused_key_raises_at_the_call(make: Callable[..., WebsopyClient]) -> None:
    """A view can still choose its status code. Nothing of the key is in the error."""
    with Sandbox(api_key="another") as service:
        client = make(base_url=service.url)
        with pytest.raises(AuthenticationError) as caught:
            client.ai.chat_stream(PROMPT)
        assert len(service.requests) == 1
    error = caught.value
    assert (error.status_code, error.request_id, error.attempts) == (401, "sandbox-1", 1)
    assert json.loads(error.body)["error"]["code"] == "invalid_api_key"
    assert error.headers["content-type"] == "application/json"
    assert error.retryable is False and error.retry_after is None
    assert_discreet(error)


def test_a_server_that_echoes_key_and_prompt_is_not_quoted(
    client: WebsopyClient, sandbox: Sandbox
) -> None:
    """PROMISE 21: what comes back is not shown either."""
    sandbox.play(status(400, f"you sent {KEY} and {PROMPT}", headers={"X-Echo": KEY}))
    with pytest.raises(WebsopyError) as caught:
        client.ai.chat_stream(PROMPT)
    assert_discreet(caught.value)


def test_wrong_path_is_not_found(make: Callable[..., WebsopyClient], sandbox: Sandbox) -> None:
    """A base_url without /v1, say."""
    with pytest.raises(NotFoundError):
        make(base_url=sandbox.url.removesuffix("/v1")).ai.chat("x")
