"""The models that a service lists: how it is asked, and what its server may do wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import faults
import pytest
from discretion import KEY, assert_discreet
from faults import Conn, Script, http_chunk, play, status_answer
from tables import each

from websopy_sync import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    CancelToken,
    ConfigError,
    InternalServerError,
    StreamCancelledError,
    StreamInterruptedError,
    StreamProtocolError,
    Timeouts,
    WebsopyClient,
)
from websopy_sync.model_list import MAX_PAGES
from websopy_sync.sandbox import Sandbox, done, say
from websopy_sync.sandbox.wires.registry import SERVICES
from websopy_sync.wires import Wire, find_wire, wire_names
from websopy_sync.wires.openai import OpenAI

LISTED = b'{"data": [{"id": "b"}, {"id": "a"}]}'


def listing(body: bytes, **fields: Any) -> Script:
    """A script that sends this body as JSON."""
    return status_answer(200, body=body, **fields)


def client_of(server: faults.Server, wire: str | Wire = "openai", **options: Any) -> WebsopyClient:
    """A client of that server."""
    return faults.client(server, **{"api_key": KEY, "wire": wire, **options})


def failure(server: faults.Server, **options: Any) -> APIError:
    """What listing the models of that server raises; it shows no key."""
    with client_of(server, **options) as client, pytest.raises(APIError) as caught:
        client.models()
    assert_discreet(caught.value)
    return caught.value


# --- each service --------------------------------------------------------------------------------


LISTING = [wire for wire in SERVICES if find_wire(wire).models_path]
"""The wires whose services list models, of those that the sandbox plays."""


@contextlib.contextmanager
def sandbox_and_client(wire: str, key: str = KEY) -> Iterator[tuple[Sandbox, WebsopyClient]]:
    """A sandbox of this service, which takes one key, and a client with a key."""
    with Sandbox(wire=wire, api_key=KEY, pause=0) as sandbox:
        with WebsopyClient(key, base_url=sandbox.url, wire=wire, plugins=[]) as client:
            yield sandbox, client


@each("wire", LISTING)
def test_each_wire(wire: str) -> None:
    """One GET for JSON with the key in its header; a script waits for the chat after it."""
    with sandbox_and_client(wire) as (sandbox, client):
        sandbox.play([say("x"), done(finish_reason="stop")])
        assert client.models() == ["sandbox"]
        (request,) = sandbox.requests
        header, scheme = find_wire(wire).key_header
        assert (request.method, request.body) == ("GET", b"")
        assert request.headers[header.lower()] == scheme + KEY
        assert request.headers["accept"] == "application/json"
        assert "idempotency-key" not in request.headers
        assert client.ai.chat("x", model=client.models()[0]).content == "x"
        assert sandbox.connections == 1


@each("wire", LISTING)
def test_the_sandbox_refuses(wire: str) -> None:
    """A wrong key, and a wrong method, as the service does."""
    with sandbox_and_client(wire, key="wrong") as (_, client), pytest.raises(AuthenticationError):
        client.models()
    with sandbox_and_client(wire) as (_, client):
        with pytest.raises(APIStatusError, match="use GET") as caught:
            client.events("POST", find_wire(wire).models_path, json={})
        assert (caught.value.status_code, caught.value.headers["allow"]) == (405, "GET")


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_the_services_own_client_reads_the_sandbox(wire: str) -> None:
    """Its list has the fields that the SDK of the service needs."""
    sdk = pytest.importorskip(wire)
    with Sandbox(wire=wire, pause=0) as sandbox:
        url = sandbox.url if wire == "openai" else sandbox.url.removesuffix("/v1")
        make = sdk.OpenAI if wire == "openai" else sdk.Anthropic
        with make(api_key=KEY, base_url=url) as theirs:
            assert [model.id for model in theirs.models.list()] == ["sandbox"]


def test_a_sandbox_that_lists_none() -> None:
    """The Websopy guide shows no list: nothing is sent."""
    with sandbox_and_client("websopy") as (sandbox, client):
        with pytest.raises(ConfigError, match="'websopy' lists no models"):
            client.models()
        assert not sandbox.requests


def test_services_without_a_list() -> None:
    """Azure lists models, but its requests name deployments."""
    without = {name for name in wire_names() if not find_wire(name).models_path}
    assert without >= {"azure", "websopy"}
    assert not without & {"deepseek", "llamacpp", "mistral", "openrouter", "vllm"}
    with WebsopyClient("k", base_url="http://127.0.0.1:9", wire="azure", plugins=[]) as client:
        with pytest.raises(ConfigError, match="'azure' lists no models"):
            client.models()


CHATS = {"supportedGenerationMethods": ["generateContent", "countTokens"]}
EMBEDS = {"supportedGenerationMethods": ["embedContent"]}


@each(
    ("wire", "body", "names", "after"),
    [
        ("openai", {"object": "list", "data": [{"id": "b"}, {"id": "a"}]}, ["b", "a"], {}),
        ("openai", {"data": []}, [], {}),
        ("openai", {"data": None}, [], {}),  # Ollama's /v1 without a model
        ("openai", [{"id": "a", "object": "model"}], ["a"], {}),  # Together AI
        ("openai", {"models": [{"name": "x"}], "data": [{"id": "a"}]}, ["a"], {}),  # llama.cpp
        ("responses", {"data": [{"id": "a"}]}, ["a"], {}),
        ("openrouter", {"data": [{"id": "maker/a:free"}]}, ["maker/a:free"], {}),
        ("anthropic", {"data": [{"id": "a"}], "has_more": False, "last_id": "a"}, ["a"], {}),
        ("anthropic", {"data": [], "has_more": False, "last_id": None}, [], {}),
        ("anthropic", {"data": [{"id": "a"}]}, ["a"], {}),
        (
            "anthropic",
            {"data": [{"id": "a"}], "has_more": True, "last_id": "a"},
            ["a"],
            {"after_id": "a"},
        ),
        ("gemini", {"models": [{"name": "models/a", **CHATS}]}, ["a"], {}),
        ("gemini", {"models": [{"name": "models/a", **EMBEDS}]}, [], {}),
        ("gemini", {"models": [{"name": "a"}]}, ["a"], {}),
        ("gemini", {}, [], {}),
        ("gemini", {"models": [], "nextPageToken": "t"}, [], {"pageToken": "t"}),
        ("ollama", {"models": [{"name": "b:1b", "model": "b:1b"}]}, ["b:1b"], {}),
        ("ollama", {"models": None}, [], {}),
    ],
)
def test_forms(wire: str, body: Any, names: list[str], after: dict[str, str]) -> None:
    """What the services send, in their order."""
    found = find_wire(wire)
    assert list(found.models_in(body)) == names
    assert dict(found.models_after(body)) == after


@each(
    ("wire", "pages", "targets"),
    [
        (
            "anthropic",
            [
                {"data": [{"id": "b"}], "has_more": True, "last_id": "b &"},
                {"data": [{"id": "a"}], "has_more": False, "last_id": "a"},
            ],
            ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=b+%26"],
        ),
        (
            "gemini",
            [
                {"models": [{"name": "models/b"}], "nextPageToken": "t="},
                {"models": [{"name": "a"}]},
            ],
            ["/v1/models?pageSize=1000", "/v1/models?pageSize=1000&pageToken=t%3D"],
        ),
    ],
)
def test_pages(wire: str, pages: list[Any], targets: list[str]) -> None:
    """A list of several pages is one list."""
    with play(*(listing(json.dumps(page).encode()) for page in pages)) as server:
        with client_of(server, wire) as client:
            assert client.models() == ["b", "a"]
    assert [request.target for request in server.requests] == targets


# --- what is no list -----------------------------------------------------------------------------


@each(
    "body",
    [
        b"",
        b"no JSON",
        b"null",
        b"7",
        b'"text"',
        b"{}",
        b'{"error": {"message": "no"}}',
        b'{"data": 7}',
        b'{"data": {"id": "a"}}',
        b'{"data": [7]}',
        b'{"data": [{}]}',
        b'{"data": [{"id": 7}]}',
        b'{"data": [{"id": null}]}',
        b'{"data": [{"id": ""}]}',
        b'{"data": [{"id": "a"}]',
        b'{"data": [{"id": "a"}]} x',
        b"\xff\xfe[\x00]\x00",
        b"[" * 200_000,
        b'{"data": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"data": [{"id": ' + b"9" * 100_000 + b"}]}",
    ],
)
def test_what_is_no_list(body: bytes) -> None:
    """PROMISE 13: any other body is a typed error that says what came."""
    with play(listing(body)) as server:
        error = failure(server)
    assert type(error) is StreamProtocolError and not error.retryable
    assert error.message.startswith("models: expected a list of models (")
    assert ", got " in error.message and len(error.message) < 350


def test_texts_that_are_no_texts() -> None:
    """PROMISE 14: a name can always be encoded."""
    with play(listing(b'\xef\xbb\xbf[{"id": "a\\ud83d"}, {"id": "\xff"}]')) as server:
        with client_of(server) as client:
            assert client.models() == ["a\ufffd", "\ufffd"]


@each("status", [200, 401, 302])
def test_a_body_that_echoes_the_key(status: int) -> None:
    """PROMISE 21: the error shows what came without it."""
    body = f'{{"message": "no such key: {KEY}"}}'.encode()
    with play(
        status_answer(status, {"Location": f"http://127.0.0.1:9/?key={KEY}"}, body)
    ) as server:
        error = failure(server)
    assert "no such key: ***" in error.message and len(server.requests) == 1


def test_a_page_of_the_web() -> None:
    """PROMISE 12: a 200 of another content type says what came instead."""
    with play(listing(b"<h1>Hello</h1>", headers={"Content-Type": "text/html"})) as server:
        error = failure(server)
    assert "expected status 200 with application/json, got 200 with text/html: <h1>" in str(error)


# --- what a hostile server may do ----------------------------------------------------------------


def endless(conn: Conn) -> None:
    """A body that never ends."""
    conn.read_request()
    conn.head(headers={"Content-Type": "application/json"})
    conn.send(http_chunk(b"["))
    conn.flood(http_chunk(b'{"id": "a"},' * 100), limit=100_000_000)


def test_a_body_without_end() -> None:
    """PROMISE 16: a list has at most max_event_size bytes."""
    with play(endless) as server:
        error = failure(server, max_event_size=10_000)
        assert "body too large: expected at most 10000 bytes" in str(error)
    assert server.sent < 50_000_000


def answering(pages: Iterator[Any]) -> Script:
    """Sends a page for each request of the connection."""

    def script(conn: Conn) -> None:
        while True:
            conn.read_request()
            faults.reply_status(conn, 200, body=json.dumps(next(pages)).encode())

    return script


def pages_without_end(*, same: bool, size: int = 1) -> Iterator[Any]:
    """Pages that name one more each."""
    number = 0
    while True:
        yield {"models": [{"name": "a" * size}], "nextPageToken": f"t{number}"}
        number += not same


@each(
    ("pages", "options", "problem", "count"),
    [
        (pages_without_end(same=False), {}, f"at most {MAX_PAGES} pages", MAX_PAGES),
        (pages_without_end(same=True), {}, "expected another page", 2),
        (
            pages_without_end(same=False, size=1000),
            {"max_event_size": 5000},
            r"at most 5000 bytes \(max_event_size\) in all pages",
            5,
        ),
        (iter([{"nextPageToken": "t" * 10_000}]), {}, "a next page that cannot be asked for", 1),
        (iter([{"nextPageToken": ["t"]}]), {}, "a next page that cannot be asked for", 1),
    ],
)
def test_pages_without_end(
    pages: Iterator[Any], options: dict[str, Any], problem: str, count: int
) -> None:
    """PROMISE 16: the list ends all the same."""
    with play(answering(pages)) as server:
        with client_of(server, "gemini", **options) as client:
            with pytest.raises(StreamProtocolError, match=problem):
                client.models()
        assert len(server.requests) == count


def trickling(conn: Conn) -> None:
    """A body that comes byte by byte."""
    conn.read_request()
    conn.head(headers={"Content-Type": "application/json"})
    conn.trickle(http_chunk(b" ") * 500)


@each(
    ("limits", "phase"),
    [
        (Timeouts(first_chunk=0.15), "first_chunk"),
        (Timeouts(total=0.15), "total"),
    ],
)
def test_a_body_that_trickles(limits: Timeouts, phase: str) -> None:
    """PROMISE 6: the whole body counts as one chunk."""
    with play(trickling) as server:
        error = failure(server, timeout=limits)
    assert isinstance(error, APITimeoutError) and error.phase == phase


def test_total_limit_over_all_pages() -> None:
    """PROMISE 6: each page may be in time; the call is not."""

    def slow(conn: Conn) -> None:
        for page in pages_without_end(same=False):
            conn.read_request()
            conn.pause(0.05)
            faults.reply_status(conn, 200, body=json.dumps(page).encode())

    with play(slow) as server:
        error = failure(server, wire="gemini", timeout=0.2)
        assert isinstance(error, APITimeoutError) and error.phase == "total"
        assert len(server.requests) < 6


# --- repeats, cuts, ends -------------------------------------------------------------------------


@each("first", [status_answer(500, {"Retry-After": "0"}), faults.reset])
def test_a_request_that_failed_is_sent_again(first: Script) -> None:
    """PROMISE 2: a GET changes nothing, so no service needs to know an idempotency key."""
    with play(first, listing(LISTED)) as server, client_of(server) as client:
        assert client.models() == ["b", "a"]
        assert len(server.requests) == 2


def test_retries_are_bounded() -> None:
    """PROMISE 3: the last failure comes out, with the number of attempts."""
    with play(always=status_answer(500, {"Retry-After": "0"})) as server:
        error = failure(server, max_retries=2)
        assert isinstance(error, InternalServerError) and error.attempts == 3
        assert len(server.requests) == 3


def test_a_cut_body() -> None:
    """PROMISE 11: half a list is none; the error says that it may work later."""

    def cut(conn: Conn) -> None:
        conn.read_request()
        conn.head(headers={"Content-Type": "application/json"})
        conn.send(http_chunk(LISTED))

    with play(cut) as server:
        error = failure(server)
    assert type(error) is StreamInterruptedError and error.retryable
    assert error.partial is None and error.attempts == 1


def test_the_key_is_asked_for_each_request() -> None:
    """A function of the user's gives it, and another one after a 401."""
    keys = iter(["old", "new"])
    with play(status_answer(401), listing(LISTED)) as server:
        with client_of(server, api_key=lambda: next(keys)) as client:
            assert client.models() == ["b", "a"]
    sent = [request.header("authorization") for request in server.requests]
    assert sent == [b"Bearer old", b"Bearer new"]


def test_a_providers_key_goes_to_the_provider_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """PROMISE 20: not to another server that speaks its format."""
    monkeypatch.delenv("WEBSOPY_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with play(listing(LISTED)) as server, client_of(server, api_key=None) as client:
        assert client.models() == ["b", "a"]
        assert server.requests[0].header("authorization") is None


def test_own_headers() -> None:
    """Those of the call replace those of the client, and a key among them is sent as it is."""
    own = {"X-A": "2", "Authorization": "Basic x"}
    with play(listing(LISTED)) as server:
        with client_of(server, default_headers={"x-a": "1"}) as client:
            client.models(extra_headers=own)
        (request,) = server.requests
    assert (request.header("x-a"), request.header("authorization")) == (b"2", b"Basic x")


def test_a_service_that_is_not_there() -> None:
    """A plain error, and nothing sent."""
    with play() as server:
        url = server.url
    with WebsopyClient("k", base_url=url, wire="openai", plugins=[], max_retries=0) as client:
        with pytest.raises(APIConnectionError) as caught:
            client.models()
    assert not caught.value.sent


def stalling(conn: Conn) -> None:
    """A body that stops in the middle."""
    conn.read_request()
    conn.head(headers={"Content-Type": "application/json"})
    conn.send(http_chunk(b"["))
    conn.wait_gone()


@each("script", [faults.stall, stalling])
@each("end", ["cancelled", "closed"])
def test_cancel_and_close(script: Script, end: str) -> None:
    """PROMISE 7: from another thread, before the headers and in the body."""
    token = CancelToken()
    with play(script) as server, client_of(server) as client:

        def stop() -> None:
            server.asked.wait(faults.PATIENCE)
            token.cancel() if end == "cancelled" else client.close()

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises(StreamCancelledError) as caught:
            client.models(cancel_token=token)
        thread.join()
    assert caught.value.reason == end


def test_a_token_that_is_cancelled_already() -> None:
    """Nothing is sent."""
    token = CancelToken()
    token.cancel()
    with play() as server, client_of(server) as client:
        with pytest.raises(StreamCancelledError):
            client.models(cancel_token=token)


def test_a_closed_client() -> None:
    """It sends nothing, and says why."""
    with play() as server, client_of(server) as client:
        client.close()
        with pytest.raises(ConfigError, match="closed"):
            client.models()


def test_in_a_forked_child(make: Callable[..., WebsopyClient]) -> None:
    """PROMISE 27: the child opens a new connection; the parent's still works."""
    with Sandbox(wire="openai", pause=0) as service:
        client = make(base_url=service.url, wire="openai")
        assert client.models() == ["sandbox"]
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = 0 if client.models() == ["sandbox"] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert client.models() == ["sandbox"]
        assert service.connections == 2


# --- a wire of somebody else ---------------------------------------------------------------------


def raising(*_: object) -> Any:
    raise LookupError(KEY)


@each(
    ("method", "does", "problem"),
    [
        ("models_in", raising, "LookupError"),
        ("models_after", raising, "LookupError"),
        ("models_in", lambda *_: [b"a"], "a name that is no text"),
        ("models_in", lambda *_: None, "TypeError"),
        ("models_after", lambda *_: {"a": 7}, "a next page that cannot be asked for"),
        ("models_after", lambda *_: 7, "TypeError"),
    ],
)
def test_a_wire_that_does_not_work(method: str, does: Any, problem: str) -> None:
    """PROMISE 13: its faults are typed."""
    faulty = type("Faulty", (OpenAI,), {method: does})()
    with play(listing(LISTED)) as server:
        error = failure(server, wire=faulty)
    assert problem in error.message and error.__context__ is None


class TooLate(Exception):
    """A program's own time limit."""


def test_an_interrupt_comes_out() -> None:
    """PROMISE 43: what a signal handler raises while a page is read is no failure of the page."""

    class Interrupted(OpenAI):
        def models_in(self, body: Any) -> list[str]:
            signal.raise_signal(signal.SIGUSR1)
            return []

    def handle(number: int, frame: object) -> None:
        raise TooLate

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with play(listing(LISTED)) as server, client_of(server, Interrupted()) as client:
            with pytest.raises(TooLate):
                client.models()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_wire_with_another_address() -> None:
    """One line of options is enough for a server whose list is elsewhere."""
    with play(listing(LISTED)) as server:
        with client_of(server, OpenAI(models_path="/own/list?all=1")) as client:
            assert client.models() == ["b", "a"]
        assert server.requests[0].target == "/v1/own/list?all=1"
