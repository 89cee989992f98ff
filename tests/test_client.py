"""The front door: what goes out, what is refused before, and whose everything is."""

from __future__ import annotations

import json
import logging
import math
import threading
import uuid
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest
import requests

from websopy_sync import (
    AuthenticationError,
    CancelToken,
    ConfigError,
    InternalServerError,
    Message,
    NotFoundError,
    RateLimitError,
    ServerSentEvent,
    StreamCancelledError,
    StreamError,
    StreamInterruptedError,
    Timeouts,
    ToolCall,
    Usage,
    WebsopyClient,
    WebsopyError,
)
from websopy_sync.sandbox import (
    Sandbox,
    comment,
    cut,
    done,
    event,
    headers,
    no_ids,
    ping,
    raw,
    say,
    silence,
    status,
    tool,
)

KEY = "sk-s3cret-0123456789"
PROMPT = "pr1vate question of nobody else"
GUIDE_QUESTION = "写一篇关于 AI 的文章"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(pause=0) as service:
        yield service


@pytest.fixture
def make(sandbox: Sandbox) -> Iterator[Callable[..., WebsopyClient]]:
    """Makes clients of the sandbox, without plugins, and closes them."""
    clients = []

    def make(**options: Any) -> WebsopyClient:
        options = {"api_key": KEY, "base_url": sandbox.url, "plugins": [], **options}
        clients.append(WebsopyClient(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make: Callable[..., WebsopyClient]) -> WebsopyClient:
    return make()


def safe_repr(value: object) -> str:
    """As reporters do it: a value that cannot be shown is not shown."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # of whatever kind
        return ""


def frames(trace: TracebackType | None) -> Iterator[str]:
    """What an error reporter would show of each frame of ours."""
    while trace is not None:
        if "websopy_sync" in trace.tb_frame.f_code.co_filename:
            yield from map(safe_repr, trace.tb_frame.f_locals.values())
        trace = trace.tb_next


def assert_discreet(error: BaseException | None) -> None:
    """Neither key nor prompt stands in an error, what it came from, or a local of our frames."""
    while error is not None:
        shown = [repr(error), str(error), repr(vars(error)), *frames(error.__traceback__)]
        assert not [text for text in shown if KEY in text or PROMPT in text]
        error = error.__cause__ or error.__context__


# --- what goes out -------------------------------------------------------------------------------


def test_a_question_as_it_is_sent(client: WebsopyClient, sandbox: Sandbox) -> None:
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


def test_each_question_has_a_key_of_its_own(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Two questions are never taken for one."""
    for _ in range(2):
        client.ai.chat("x")
    assert len({request.idempotency_key for request in sandbox.requests}) == 2


def test_repeats_carry_the_same_key_and_body(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 2: a server that has seen the question knows it again."""
    for _ in range(3):
        sandbox.play(status(503, retry_after=0))
    client.ai.chat("x")
    requests_ = sandbox.requests
    assert len(requests_) == 4
    assert len({request.idempotency_key for request in requests_}) == 1
    assert len({request.body for request in requests_}) == 1


def test_own_idempotency_key(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Sent as given, and known to the stream."""
    stream = client.ai.chat_stream("x", idempotency_key="order-7")
    assert stream.idempotency_key == sandbox.requests[0].idempotency_key == "order-7"
    stream.close()


def test_no_header_speaks_for_the_idempotency_key(
    make: Callable[..., WebsopyClient], sandbox: Sandbox
) -> None:
    """One for all questions would make them one; and the stream knows what was really sent."""
    header = {"idempotency-key": "mine"}
    try:
        client = make(default_headers=header)
        client.ai.chat("x"), client.ai.chat("y")
    except ConfigError:
        pass
    else:
        assert len({request.idempotency_key for request in sandbox.requests}) == 2
    try:
        stream = make().ai.chat_stream("x", extra_headers=header)
    except ConfigError:
        return
    stream.close()
    assert sandbox.requests[-1].idempotency_key == stream.idempotency_key


def test_headers_in_layers(make: Callable[..., WebsopyClient], sandbox: Sandbox) -> None:
    """The call's beat the client's, those ours; the case of a name does not matter."""
    client = make(default_headers={"X-App": "app", "user-agent": "mine", "X-Both": "client"})
    client.ai.chat("x", extra_headers={"x-both": "call", "ACCEPT": "text/plain"})
    sent = sandbox.requests[0].headers
    assert (sent["x-app"], sent["user-agent"], sent["x-both"]) == ("app", "mine", "call")
    assert sent["accept"] == "text/plain"


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


# --- chat ----------------------------------------------------------------------------------------


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


def test_calls_in_a_row_share_one_connection(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 28: a finished answer gives its connection back."""
    for _ in range(5):
        client.ai.chat(GUIDE_QUESTION)
    assert sandbox.connections == 1


def test_one_client_serves_many_threads(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 27: each thread gets its own answer."""
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = client.ai.chat(f"<{number}>").content

    threads = [threading.Thread(target=ask, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert all(f"<{number}>" in answer for number, answer in answers.items())


# --- refused before anything is sent -------------------------------------------------------------

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
    ({"extra_body": {"x": object()}}, "x"),
    ({"temperature": math.nan}, "temperature"),
    ({"model": object()}, "model"),
    ({"model": b"m"}, "model"),
    ({"time_out": 5}, "time_out.*timeout"),
    ({"maxretries": 5}, "maxretries.*max_retries"),
    ({"cancel": CancelToken()}, "cancel"),
]


@pytest.mark.parametrize(("options", "names"), BAD_CALLS, ids=range(len(BAD_CALLS)))
@pytest.mark.parametrize("how", ["chat_stream", "chat"])
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


@pytest.mark.parametrize(("options", "names"), BAD_CLIENTS, ids=range(len(BAD_CLIENTS)))
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


# --- answers that are none -----------------------------------------------------------------------


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


@pytest.mark.parametrize(("retries", "sent"), [(0, 1), (1, 2), (3, 4)])
def test_max_retries_of_client_and_call(
    make: Callable[..., WebsopyClient], sandbox: Sandbox, retries: int, sent: int
) -> None:
    """The call's beats the client's; an error says how often the question went out."""
    for client, options in ((make(max_retries=retries), {}), (make(), {"max_retries": retries})):
        before = len(sandbox.requests)
        for _ in range(sent):
            sandbox.play(status(500, retry_after=0))
        with pytest.raises(InternalServerError) as caught:
            client.ai.chat("x", **options)
        assert len(sandbox.requests) - before == caught.value.attempts == sent


def test_long_retry_after_is_for_the_caller(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 4: over 60 s the error comes at once, and says how long."""
    sandbox.play(status(429, retry_after=61))
    with pytest.raises(RateLimitError) as caught:
        client.ai.chat("x")
    assert caught.value.retry_after == 61 and caught.value.retryable
    assert len(sandbox.requests) == 1


def test_retry_after_beyond_the_deadline_is_not_waited_for(
    client: WebsopyClient, sandbox: Sandbox
) -> None:
    """No use in waiting for what cannot be used any more."""
    sandbox.play(status(429, retry_after=30))
    with pytest.raises(RateLimitError):
        client.ai.chat("x", timeout=10)
    assert len(sandbox.requests) == 1


# --- life ----------------------------------------------------------------------------------------


def test_repr_shows_no_key(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Nor does that of anything reachable by a name."""
    assert repr(client) == f"<WebsopyClient {sandbox.url}>"
    assert KEY not in repr(vars(client)) and KEY not in repr(vars(client.ai))


def test_closing_the_client_closes_its_streams(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Whoever opens, closes: `with client:` leaves no connection."""
    sandbox.play([say("a"), silence()])
    sandbox.play([say("b"), silence()])
    with client:
        read = client.ai.chat_stream("x")
        assert next(read).type == "content"
        unread = client.ai.chat_stream("x")
    assert (read.state, unread.state) == ("closed", "closed")
    assert sandbox.wait_disconnect(2)
    assert sandbox.wait_closed()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.ai.chat_stream("x"),
        lambda client: client.ai.chat("x"),
        lambda client: client.events("GET", "/ai/chat"),
        lambda client: client.ai.conversation().send("x"),
    ],
    ids=["chat_stream", "chat", "events", "send"],
)
def test_a_closed_client_asks_nothing(
    client: WebsopyClient, sandbox: Sandbox, call: Callable[[WebsopyClient], object]
) -> None:
    """And says why; closing it again is fine."""
    client.close()
    client.close()
    with pytest.raises(ConfigError, match="closed"):
        call(client)
    assert not sandbox.requests


def test_a_session_stays_the_callers(make: Callable[..., WebsopyClient]) -> None:
    """Its headers and cookies are not ours to send, and it is not ours to close."""
    closed = []

    class Session(requests.Session):
        def close(self) -> None:
            closed.append(self)
            super().close()

    with Session() as session:
        session.headers["X-Session"] = "1"
        client = make(session=session)
        assert client.ai.chat(GUIDE_QUESTION).content
        client.close()
        assert not closed


def test_unverified_tls_warns() -> None:
    """Only an explicit argument turns the check off, and not silently."""
    with pytest.warns(UserWarning, match="verify=False"):
        WebsopyClient(KEY, base_url="https://127.0.0.1:9/v1", verify=False, plugins=[]).close()


def test_log_holds_no_secret(
    client: WebsopyClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """PROMISE 21: at no level, in ours nor in a library's log."""
    with caplog.at_level(logging.DEBUG):
        sandbox.play(status(503, retry_after=0))
        client.ai.chat(PROMPT)
        list(client.events("GET", "/ai/chat", params={"message": PROMPT}))
    assert caplog.records
    for record in caplog.records:
        text = record.getMessage() + repr(record.args)
        assert KEY not in text
        assert PROMPT not in text and PROMPT.replace(" ", "+") not in text


# --- native events -------------------------------------------------------------------------------


def test_the_guides_native_form(client: WebsopyClient, sandbox: Sandbox) -> None:
    """GET /ai/chat?message=Hello, its events as they are."""
    stream = client.events("GET", "/ai/chat", params={"message": "Hello 世界"})
    events = list(stream)
    (request,) = sandbox.requests
    assert (request.method, request.path, request.query) == (
        "GET",
        "/v1/ai/chat",
        {"message": "Hello 世界"},
    )
    assert request.body == b"" and "content-type" not in request.headers
    assert request.headers["accept"] == "text/event-stream"
    assert json.loads(events[-1].data)["type"] == "done"
    assert stream.state == "done"
    assert stream.status_code == 200 and stream.request_id == "sandbox-1"


def test_a_query_in_the_path(client: WebsopyClient, sandbox: Sandbox) -> None:
    """It may stand there, with more behind it."""
    list(client.events("GET", "/ai/chat?message=a%20b&x=1", params={"y": "2"}))
    assert sandbox.requests[0].query == {"message": "a b", "x": "1", "y": "2"}


def test_native_events_are_not_read_as_chunks(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Pings, names, ids, data that is no JSON: all as it came; no event ends the stream."""
    sandbox.play(
        [ping(), comment("c"), event("no json", event="e", id="7"), say("x"), done(), say("after")]
    )
    events = list(client.events("GET", "/ai/chat?message=x"))
    assert events[0] == ServerSentEvent("ping", '{"type": "ping"}', "")
    assert events[1] == ServerSentEvent("e", "no json", "7")
    assert [json.loads(event_.data)["type"] for event_ in events[2:]] == [
        "content",
        "done",
        "content",
    ]


def test_native_post(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Any request of the service, with a JSON body."""
    asked = {"messages": [{"role": "user", "content": GUIDE_QUESTION}]}
    list(client.events("post", "/ai/chat", json=asked, extra_headers={"X-A": "1"}))
    (request,) = sandbox.requests
    assert (request.method, request.json, request.headers["x-a"]) == ("POST", asked, "1")
    assert request.headers["content-type"] == "application/json"


def test_native_post_is_repeated_only_with_a_key(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 2 holds for the native layer: a POST that may have been seen."""
    sandbox.play(status(503, retry_after=0))
    sandbox.play([say("x"), done()])
    asked = {"messages": [{"role": "user", "content": "x"}]}
    try:
        list(client.events("POST", "/ai/chat", json=asked))
    except InternalServerError:
        pass
    keys = {request.idempotency_key for request in sandbox.requests}
    assert len(sandbox.requests) == 1 or (len(keys) == 1 and "" not in keys)


def test_native_headers_replace_ours_in_any_case(client: WebsopyClient, sandbox: Sandbox) -> None:
    """One Accept on the wire, not two."""
    list(client.events("GET", "/ai/chat?message=x", extra_headers={"accept": "text/plain"}))
    assert sandbox.requests[0].headers["accept"] == "text/plain"


def test_native_cut_is_an_error(client: WebsopyClient, sandbox: Sandbox) -> None:
    """PROMISE 11: what ends too early does not look like an end."""
    sandbox.play([no_ids(), say("a"), cut()])
    stream = client.events("GET", "/ai/chat?message=x")
    assert json.loads(next(stream).data)["content"] == "a"
    with pytest.raises(StreamInterruptedError):
        next(stream)
    assert stream.state == "error"


def test_native_stream_is_read_once_and_left_at_once(
    client: WebsopyClient, sandbox: Sandbox
) -> None:
    """Break closes the connection though the stream is held."""
    sandbox.play([say("a"), silence()])
    stream = client.events("GET", "/ai/chat?message=x")
    for _ in stream:
        break
    assert stream.state == "closed"
    assert sandbox.wait_disconnect()
    with pytest.raises(StreamError, match="once"):
        iter(stream)


def test_native_cancel(client: WebsopyClient, sandbox: Sandbox) -> None:
    """By token, too."""
    sandbox.play([say("a"), silence()])
    token = CancelToken()
    stream = client.events("GET", "/ai/chat?message=x", cancel_token=token)
    next(stream)
    token.cancel()
    with pytest.raises(StreamCancelledError) as caught:
        next(stream)
    assert caught.value.reason == stream.state == "cancelled"


def test_native_empty_answer_is_an_end(client: WebsopyClient, sandbox: Sandbox) -> None:
    """No event is no error in a stream that has no end mark."""
    sandbox.play([raw(b"")])
    assert list(client.events("GET", "/ai/chat?message=x")) == []


def test_native_framing_of_the_end(client: WebsopyClient, sandbox: Sandbox) -> None:
    """Whatever tells the end of the body."""
    for framing in ("chunked", "content-length", "close", "gzip", "trickle"):
        sandbox.play([headers(framing=framing), say("a"), say("b")])
        assert len(list(client.events("GET", "/ai/chat?message=x"))) == 2


BAD_EVENTS: list[tuple[dict[str, Any], str]] = [
    ({"method": ""}, "method"),
    ({"method": 7}, "method"),
    ({"method": "GET /x"}, "method"),
    ({"method": "GET\r\n"}, "method"),
    ({"path": ""}, "path"),
    ({"path": "ai/chat"}, "path"),
    ({"path": f"http://elsewhere/{PROMPT}"}, "path"),
    ({"path": f"/{PROMPT}\r\nX: y"}, "path"),
    ({"path": 7}, "path"),
    ({"params": f"message={PROMPT}"}, "params"),
    ({"params": 7}, "params"),
    ({"json": PROMPT}, "body|json"),
    ({"json": {"x": object()}}, "x"),
    ({"json": {"x": math.nan}}, "x"),
    ({"timeout": -1}, "timeout"),
    ({"cancel_token": 7}, "cancel_token"),
    ({"extra_headers": {"X": KEY + "\n"}}, "X"),
    ({"extra_headers": {"Host": "x"}}, "(?i)host"),
]


@pytest.mark.parametrize(("options", "names"), BAD_EVENTS, ids=range(len(BAD_EVENTS)))
def test_bad_native_call(
    client: WebsopyClient, sandbox: Sandbox, options: dict[str, Any], names: str
) -> None:
    """The same rule: named, not quoted, nothing sent."""
    options = {"method": "GET", "path": "/ai/chat", **options}
    with pytest.raises((ConfigError, TypeError), match=names) as caught:
        client.events(**options)
    assert not sandbox.requests
    assert_discreet(caught.value)


def test_timeouts_of_client_and_call(make: Callable[..., WebsopyClient], sandbox: Sandbox) -> None:
    """A number is the total; the call's beats the client's whole."""
    sandbox.play([say("a"), silence()])
    stream = make(timeout=0.1).ai.chat_stream("x", timeout=Timeouts(idle=0.05))
    next(stream)
    with pytest.raises(TimeoutError, match="idle"):
        next(stream)
