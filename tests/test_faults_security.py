"""Promises 20-24: who gets the key and the question, and where they never turn up."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import logging
import os
import pathlib
import pickle
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, quote_plus

import faults
import pytest
import requests
from faults import (
    KEY,
    PROMPT,
    Conn,
    Script,
    answer,
    answers,
    ask,
    authority,
    body,
    child,
    client,
    event,
    listen,
    output,
    play,
    raw_answer,
    stall,
    stall_after,
    status_answer,
    text,
)

import websopy_sync
from websopy_sync import (
    APIConnectionError,
    APIStatusError,
    CancelToken,
    ConfigError,
    Timeouts,
    WebsopyClient,
    WebsopyError,
    hookimpl,
)

PACKAGE = str(pathlib.Path(websopy_sync.__file__).parent)


pytestmark = pytest.mark.usefixtures("no_proxies")


# ---------------------------------------------------------------------------- what cannot be sent

BAD_VALUES = {
    "CR LF": "good\r\nX-Evil: 1",
    "LF": "good\nX-Evil: 1",
    "CR": "good\rX-Evil: 1",
    "trailing LF": "good-until-here\n",
    "trailing CR LF": "good-until-here\r\n",
    "leading LF": "\ngood-until-here",
    "NUL": "good\x00until-here",
    "Latin-1": "gööd-until-here",
    "Chinese": "密钥-until-here",
    "surrogate": "good\udcff-until-here",
    "U+2028": "good\u2028until-here",
    "escape": "good\x1b[2Juntil-here",
}


def refused_quietly(caught: pytest.ExceptionInfo[ConfigError], value: str) -> None:
    """The error names no part of the value, in any of its forms."""
    for part in (value, value.strip(), "until-here", "X-Evil", repr(value)):
        assert_hidden(caught.value, part)


def forms_of(secret: str) -> set[str]:
    """A secret as texts, JSON, URLs and reprs write it."""
    as_bytes = secret.encode("utf-8", "surrogateescape")
    return {
        secret, quote(as_bytes), quote(as_bytes, safe=""), quote_plus(as_bytes),
        json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1], ascii(secret)[1:-1], base64.b64encode(as_bytes).decode(),
    }  # fmt: skip


def hidden_in(shown: str | bytes, secret: str) -> bool:
    """Whether no usual form of a secret stands in this."""
    if isinstance(shown, bytes):
        shown = shown.decode("utf-8", "surrogateescape")
    return not any(form in shown for form in forms_of(secret))


def our_locals(error: BaseException) -> Iterator[tuple[str, str]]:
    """The locals of our own frames in an error's traceback, as a crash reporter shows them."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(PACKAGE):
            for name, value in frame.f_locals.items():
                where = f"{frame.f_code.co_qualname}: {name}"
                with contextlib.suppress(Exception):
                    yield where, repr(value)
                if isinstance(value, BaseException):
                    yield where, "".join(traceback.format_exception(value))
                elif hasattr(value, "__dict__") and isinstance(value, Exception):
                    yield where, repr(vars(value))


def assert_hidden(error: BaseException, secret: str) -> None:
    """The secret is nowhere in an error, its chain, its pickle, its traceback and our frames."""
    shown = {
        "str": str(error), "repr": repr(error), "args": repr(error.args),
        "fields": repr(vars(error)), "report": "".join(traceback.format_exception(error)),
    }  # fmt: skip
    for where, value in [*shown.items(), *our_locals(error)]:
        assert hidden_in(value, secret), f"{where}: {value[:2000]}"
    assert hidden_in(pickle.dumps(error), secret), "pickle"
    assert error.__cause__ is None or isinstance(error.__cause__, WebsopyError)
    for link in (error.__cause__, error.__context__):
        if link is not None:
            assert_hidden(link, secret)


@pytest.mark.parametrize("name", BAD_VALUES)
def test_key_that_cannot_be_sent(name: str) -> None:
    """A key that cannot stand in a header is refused, unquoted, before anything is sent."""
    value = BAD_VALUES[name]
    with play() as server:
        with pytest.raises(ConfigError) as caught:
            with client(server, api_key=value) as asker:
                asker.ai.chat("hi")
    assert "key" in str(caught.value)
    refused_quietly(caught, value)


@pytest.mark.parametrize("name", sorted(set(BAD_VALUES) - {"NUL"}))
def test_key_in_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same when it comes from WEBSOPY_API_KEY."""
    value = BAD_VALUES[name]
    monkeypatch.setenv("WEBSOPY_API_KEY", value)
    with play() as server, pytest.raises(ConfigError) as caught:
        with client(server, api_key=None) as asker:
            asker.ai.chat("hi")
    refused_quietly(caught, value)


@pytest.mark.parametrize("value", ["", " ", "\t", b"bytes", 5, ["k"]])
def test_key_that_is_none(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is empty or no str is refused."""
    monkeypatch.delenv("WEBSOPY_API_KEY", raising=False)
    with play() as server, pytest.raises((ConfigError, TypeError)):
        with client(server, api_key=value) as asker:
            asker.ai.chat("hi")


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any key nothing is sent, and the error says where one is looked for."""
    monkeypatch.delenv("WEBSOPY_API_KEY", raising=False)
    with play() as server, pytest.raises(ConfigError, match="WEBSOPY_API_KEY"):
        with client(server, api_key=None) as asker:
            asker.ai.chat("hi")


@pytest.mark.parametrize("name", BAD_VALUES)
@pytest.mark.parametrize("where", ["default_headers", "extra_headers", "idempotency_key", "hook"])
def test_header_that_cannot_be_sent(name: str, where: str) -> None:
    """Neither does a header's value, from wherever it comes."""
    value = BAD_VALUES[name]

    class Editor:
        @hookimpl
        def on_request(self, request: Any) -> None:
            request.headers["X-Mine"] = value

    settings: dict[str, Any] = {"plugins": [Editor()]} if where == "hook" else {}
    call: dict[str, Any] = {}
    if where == "default_headers":
        settings[where] = {"X-Mine": value}
    elif where == "extra_headers":
        call[where] = {"X-Mine": value}
    elif where == "idempotency_key":
        call[where] = value
    with play() as server, pytest.raises(ConfigError) as caught:
        with client(server, **settings) as asker:
            asker.ai.chat("hi", **call)
    refused_quietly(caught, value)


@pytest.mark.parametrize(
    "header", ["X-Evil: 1\r\nY", "X\n", "", "X Y", "X:", "Ä", "X\x00", "(X)", "X\u2028"]
)
@pytest.mark.parametrize("where", ["default_headers", "extra_headers"])
def test_header_name_that_cannot_be_sent(header: str, where: str) -> None:
    """Nor does a header's name."""
    with play() as server, pytest.raises(ConfigError):
        if where == "default_headers":
            with client(server, default_headers={header: "v"}) as asker:
                asker.ai.chat("hi")
        else:
            with client(server) as asker:
                asker.ai.chat("hi", extra_headers={header: "v"})


@pytest.mark.parametrize("value", [5, None, b"bytes", ["v"]])
def test_header_value_of_another_type(value: Any) -> None:
    """A header that is no str is refused by name, or sent as its text: never a foreign error."""
    with play(always=answers()) as server, client(server) as asker:
        try:
            asker.ai.chat("hi", extra_headers={"X-Mine": value})
        except (ConfigError, TypeError):
            assert server.requests == []


@pytest.mark.parametrize(
    "name", ["Content-Length", "Transfer-Encoding", "Host", "Connection", "Expect"]
)
@pytest.mark.parametrize("value", ["5", "chunked", "evil.example", "100-continue"])
def test_header_that_frames_the_request(name: str, value: str) -> None:
    """A header that would frame the request anew is refused, or the request stays one request."""
    with play(always=answers()) as server, client(server) as asker:
        with contextlib.suppress(ConfigError):
            asker.ai.chat("hi", extra_headers={name: value})
            sent = server.requests[0]
            assert sent.header("transfer-encoding") is None or sent.header("content-length") is None
            assert json.loads(sent.body)["messages"][0]["content"] == "hi"


@pytest.mark.parametrize(
    "tail",
    [
        "/v1\r\nX-Evil: 1",
        "/v1\n",
        "/v 1",
        "/v1\x00",
        "/v1?api_key=1",
        "/v1#x",
        "/中文",
        "/v1\t",
        "/%0d%0a",
    ],
)
def test_url_that_cannot_be_sent(tail: str) -> None:
    """A base_url with line ends, blanks or NUL is refused; whatever is sent is one request line."""
    with play(always=answers()) as server:
        with contextlib.suppress(ConfigError):
            with client(server, base_url=f"http://127.0.0.1:{server.port}{tail}") as asker:
                asker.ai.chat("hi")
        assert "\r" not in tail or server.requests == []
        assert "\n" not in tail or server.requests == []
        assert "\x00" not in tail or server.requests == []
        for request in server.requests:
            assert request.header("x-evil") is None


@pytest.mark.parametrize(
    "path",
    [
        "/ai/chat\r\nX-Evil: 1",
        "/ai\nX",
        "/ai chat",
        "/a\x00",
        "//evil.example/x",
        "http://evil.example/",
        "@evil.example/",
        ".evil.example/",
    ],
)
def test_path_that_leads_elsewhere(path: str) -> None:
    """The native layer's path stays on the configured server, and on its line."""
    with play(always=answers()) as server, client(server, max_retries=0) as asker:
        with contextlib.suppress(ConfigError):
            for _ in asker.events("GET", path):
                break
        for request in server.requests:
            assert request.header("host") == f"127.0.0.1:{server.port}".encode()
            assert request.header("x-evil") is None


@pytest.mark.parametrize("method", ["GET\r\nX-Evil: 1", "GE T", "", "get\x00", "中"])
def test_method_that_is_none(method: str) -> None:
    """Nor does a method end its line."""
    with play() as server, pytest.raises((ConfigError, ValueError, TypeError)):
        with client(server) as asker:
            list(asker.events(method, "/ai/chat"))


def test_url_with_credentials() -> None:
    """A user and a password in base_url are refused, and not quoted."""
    password = "-".join(["pass", "until", "here"])  # its source line must not show it
    with play() as server, pytest.raises(ConfigError) as caught:
        with client(server, base_url=f"http://me:{password}@127.0.0.1:{server.port}/v1") as asker:
            asker.ai.chat("hi")
    assert_hidden(caught.value, password)


def test_parameters_are_one_query() -> None:
    """Whatever a parameter holds is escaped."""
    odd = "a&b=c d\r\nX: 1#中文"
    with play(answers()) as server, client(server) as asker:
        for _ in asker.events("GET", "/ai/chat", params={"message": odd}):
            break
        target = server.requests[0].target
    assert target.startswith("/v1/ai/chat?message=")
    assert requests.compat.unquote_plus(target.partition("message=")[2]) == odd


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "\ud800",
        [{"role": "user"}],
        [{"content": "x"}],
        [5],
        None,
        [{"role": "user", "content": float("nan")}],
    ],
)
def test_question_that_cannot_be_sent(messages: Any) -> None:
    """A question that is none is refused before anything is sent."""
    with play() as server, pytest.raises((ConfigError, TypeError)):
        with client(server) as asker:
            asker.ai.chat(messages)


# ------------------------------------------------------------------------------------ the request


def test_request_as_it_goes_out() -> None:
    """What is sent, and nothing besides."""
    with play(answer()) as server:
        ask(server, temperature=0.5, extra_headers={"X-Mine": "1"})
        sent = server.requests[0]
        assert (sent.method, sent.target) == ("POST", "/v1/ai/chat")
        assert sent.header("authorization") == f"Bearer {KEY}".encode()
        assert sent.header("accept") == b"text/event-stream"
        assert sent.header("content-type") in (
            b"application/json",
            b"application/json; charset=utf-8",
        )
        assert sent.header("x-mine") == b"1"
        assert sent.header("cookie") is None and sent.header("last-event-id") is None
        assert sent.header("cache-control") in (b"no-cache", b"no-store")
        assert json.loads(sent.body) == {
            "messages": [{"role": "user", "content": PROMPT}], "temperature": 0.5,
        }  # fmt: skip


def test_chinese_question() -> None:
    """A question in Chinese arrives as it was."""
    with play(answer()) as server:
        ask(server, messages="写一篇关于 AI 的文章😀")
        sent = json.loads(server.requests[0].body)
    assert sent["messages"][0]["content"] == "写一篇关于 AI 的文章😀"


# ------------------------------------------------------------------------ the environment's say


@pytest.mark.parametrize("how", ["NETRC", "HOME"])
@pytest.mark.parametrize("layer", ["chat", "events"])
def test_netrc(
    how: str, layer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """A netrc entry for the host replaces nothing."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv(how, str(tmp_path / ".netrc" if how == "NETRC" else tmp_path))
    with play(answers()) as server, client(server) as asker:
        if layer == "chat":
            ask(server, through=asker)
        else:
            for _ in asker.events("GET", "/ai/chat"):
                break
        assert server.requests[0].header("authorization") == f"Bearer {KEY}".encode()


def test_cookies() -> None:
    """A cookie that a server sets does not come back to it."""

    def script(conn: Conn) -> None:
        for _ in range(3):
            conn.read_request()
            faults.reply(conn, headers={"Set-Cookie": "track=me; Path=/"})

    with play(script) as server, client(server) as asker:
        for _ in range(3):
            ask(server, through=asker)
        assert [request.header("cookie") for request in server.requests] == [None] * 3


def test_cookies_of_a_refusal() -> None:
    """Nor does one that came with a refusal, between two tries."""
    refusal = status_answer(503, {"Set-Cookie": "track=me; Path=/", "Retry-After": "0"})
    with play(refusal, answer()) as server:
        ask(server)
        assert server.requests[1].header("cookie") is None


def test_session_stays_as_it_was() -> None:
    """A session that is lent gets no cookie, no header and no key, and is not closed."""
    with play(answer(headers={"Set-Cookie": "a=b; Path=/"}), answer()) as server:
        with requests.Session() as session:
            before = dict(session.headers)
            with client(server, session=session) as asker:
                assert ask(server, through=asker).error is None
            assert (dict(session.headers), len(session.cookies)) == (before, 0)
            assert session.auth is None
            assert session.get(f"{server.url}/ai/chat", stream=True).status_code == 200


# ------------------------------------------------------------------------------------ proxies

PROXY_PASSWORD = "proxy-pass-5e21"


def proxy_url(server: faults.Server, *, password: bool = False) -> str:
    """How the environment names a proxy."""
    user = f"me:{PROXY_PASSWORD}@" if password else ""
    return f"http://{user}127.0.0.1:{server.port}"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_http_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is asked for the whole URL."""
    with play(answers("by proxy")) as proxy:
        monkeypatch.setenv(variable, proxy_url(proxy))
        with client(proxy, base_url="http://chat.example/v1") as asker:
            assert ask(proxy, through=asker).text == "by proxy"
        sent = proxy.requests[0]
    assert sent.target == "http://chat.example/v1/ai/chat"
    assert sent.header("host") == b"chat.example"


def test_http_proxy_of_native_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The query goes the same way."""
    with play(answers("by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy_url(proxy))
        with client(proxy, base_url="http://chat.example/v1") as asker:
            for _ in asker.events("GET", "/ai/chat", params={"message": "hi"}):
                break
        assert proxy.requests[0].target == "http://chat.example/v1/ai/chat?message=hi"


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "*", "localhost,127.0.0.1", "127.0.0.0/8"])
def test_no_proxy(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY is heard."""
    with play() as proxy, play(answer("direct")) as server:
        monkeypatch.setenv("http_proxy", proxy_url(proxy))
        monkeypatch.setenv("no_proxy", no_proxy)
        assert ask(server).text == "direct"
        assert proxy.conns == []


def tunnel(context: Any, inner: Script) -> Script:
    """A proxy that opens the tunnel and plays the server at its other end."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        conn.start_tls(context)
        inner(conn)

    return script


def tunnelled(proxy: faults.Server, **options: Any) -> faults.Outcome:
    """A question to a server that only the proxy can reach."""
    settings = {"base_url": "https://chat.example/v1", "verify": authority().path, **options}
    with client(proxy, **settings) as asker:
        return ask(proxy, through=asker)


def test_https_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a tunnel the proxy learns the host, and neither the key nor the question."""
    context = authority().server("chat.example")
    with play(tunnel(context, answer("by tunnel"))) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy))
        got = tunnelled(proxy)
        connect, inside = proxy.requests
    assert (got.text, got.error) == ("by tunnel", None)
    assert (connect.method, connect.target) == ("CONNECT", "chat.example:443")
    assert connect.header("authorization") is None
    assert KEY.encode() not in connect.raw and PROMPT.encode() not in connect.raw
    assert inside.header("authorization") == f"Bearer {KEY}".encode()
    assert inside.header("proxy-authorization") is None


def test_https_proxy_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's password goes to the proxy, and not into the tunnel."""
    context = authority().server("chat.example")
    with play(tunnel(context, answer("by tunnel"))) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy, password=True))
        assert tunnelled(proxy).text == "by tunnel"
        connect, inside = proxy.requests
    sent = connect.header("proxy-authorization")
    assert sent == b"Basic " + base64.b64encode(f"me:{PROXY_PASSWORD}".encode())
    assert inside.header("proxy-authorization") is None


def test_one_connection_by_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections through a proxy are used again as well, by plain requests and by tunnel."""
    with play(answers("by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy_url(proxy))
        with client(proxy, base_url="http://chat.example/v1") as asker:
            assert [ask(proxy, through=asker).text for _ in range(3)] == ["by proxy"] * 3
    with play(tunnel(authority().server("chat.example"), answers("by tunnel"))) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy))
        settings = {"base_url": "https://chat.example/v1", "verify": authority().path}
        with client(proxy, **settings) as asker:
            assert [ask(proxy, through=asker).text for _ in range(3)] == ["by tunnel"] * 3


@pytest.mark.timing
@pytest.mark.parametrize("phase", ["idle", "total"])
def test_limit_in_a_tunnel(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits hold through a tunnel."""
    limits = Timeouts(**{"connect": 5, "first_chunk": 5, "idle": 5, "total": 5, phase: 0.4})
    with play(tunnel(authority().server("chat.example"), stall_after(text("half")))) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy))
        got = tunnelled(proxy, timeout=limits)
    assert (got.error.phase, got.error.partial.content, got.seconds < 1.2) == (phase, "half", True)


def test_silence_in_a_tunnel_asked_for_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit for connecting, which held for the proxy's word, is gone behind it."""
    limits = Timeouts(connect=0.4, first_chunk=None, idle=None, total=None)

    def late(conn: Conn) -> None:
        conn.read_request()
        conn.pause(0.6)
        faults.reply(conn, "late", headers=faults.LAST)

    with play(tunnel(authority().server("chat.example"), late)) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy))
        with ThreadPoolExecutor(1) as pool:
            got = pool.submit(tunnelled, proxy, timeout=limits).result()
    assert (got.text, got.error) == ("late", None)


@pytest.mark.timing
def test_cancel_in_the_body_in_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does cancel()."""
    token = CancelToken()
    with play(tunnel(authority().server("chat.example"), stall_after(text("half")))) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy))
        settings = {"base_url": "https://chat.example/v1", "verify": authority().path}
        with client(proxy, **settings) as asker:
            stream = asker.ai.chat_stream("hi", cancel_token=token)
            threading.Timer(0.1, token.cancel).start()
            got = listen(lambda: stream)
    assert (type(got.error).__name__, got.seconds < 0.7) == ("StreamCancelledError", True)


def test_wrong_certificate_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that ends the TLS itself is found out; it learns nothing."""
    context = authority("stranger").server("chat.example")
    with play(tunnel(context, lambda conn: conn.wait_gone())) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy))
        got = tunnelled(proxy)
        assert len(proxy.requests) == 1
    assert (type(got.error), got.error.sent) == (APIConnectionError, False)


@pytest.mark.parametrize("code", [400, 403, 404, 407, 500, 502, 503, 301])
def test_proxy_that_refuses_the_tunnel(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused tunnel is a connection error, nothing sent; the proxy's password is not in it."""
    refusal = status_answer(
        code, {"Proxy-Authenticate": "Basic", "Location": "http://evil.example/"}, b"no"
    )
    with play(refusal) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy, password=True))
        got = tunnelled(proxy, max_retries=0)
        assert len(proxy.requests) == 1 and proxy.requests[0].header("authorization") is None
    assert isinstance(got.error, APIConnectionError)
    assert got.error.sent is False
    for secret in (
        PROXY_PASSWORD,
        KEY,
        PROMPT,
        base64.b64encode(f"me:{PROXY_PASSWORD}".encode()).decode(),
    ):
        assert_hidden(got.error, secret)


@pytest.mark.parametrize("code", [407, 502])
def test_http_proxy_that_refuses(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain proxy's refusal is a status like others, without its password."""
    with play(always=status_answer(code, {"Retry-After": "0"})) as proxy:
        monkeypatch.setenv("http_proxy", proxy_url(proxy, password=True))
        with client(proxy, base_url="http://chat.example/v1", max_retries=0) as asker:
            got = ask(proxy, through=asker)
    assert isinstance(got.error, APIStatusError)
    assert got.error.status_code == code
    assert_hidden(got.error, PROXY_PASSWORD)


def proxy_silent(conn: Conn) -> None:
    conn.read_request()
    conn.wait_gone()


def proxy_trickles(conn: Conn) -> None:
    conn.read_request()
    conn.trickle(b"HTTP/1.1 200 Connection established\r\nX: " + b"x" * 300)


def proxy_floods(conn: Conn) -> None:
    conn.read_request()
    conn.send(b"HTTP/1.1 200 Connection established\r\nX: ")
    conn.flood(b"x" * 8192, limit=32_000_000)
    assert conn.sent < 16_000_000


@pytest.mark.timing
@pytest.mark.parametrize("fault", [proxy_silent, proxy_trickles, proxy_floods])
def test_proxy_that_never_opens_the_tunnel(fault: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tunnel is part of connecting, under its limit."""
    with play(fault) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy, password=True))
        limits = Timeouts(connect=0.3, first_chunk=5, idle=5, total=5)
        got = tunnelled(proxy, timeout=limits, max_retries=0)
    assert isinstance(got.error, WebsopyError)
    assert getattr(got.error, "sent", False) is False
    assert got.seconds < 1.0
    assert_hidden(got.error, PROXY_PASSWORD)


@pytest.mark.parametrize(
    "fault", [faults.hang_up, faults.reset, raw_answer(b"SSH-2.0\r\n"), raw_answer(b"HTTP/1.1 2")]
)
def test_proxy_that_breaks(fault: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that breaks off is a connection error, nothing sent."""
    with play(fault) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy, password=True))
        got = tunnelled(proxy, max_retries=0)
    assert isinstance(got.error, WebsopyError)
    assert getattr(got.error, "sent", False) is False
    assert_hidden(got.error, PROXY_PASSWORD)


@pytest.mark.timing
def test_cancel_in_the_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """cancel() reaches the wait for a proxy."""
    token = CancelToken()
    with play(proxy_silent) as proxy:
        monkeypatch.setenv("https_proxy", proxy_url(proxy))
        threading.Timer(0.1, token.cancel).start()
        with client(proxy, base_url="https://chat.example/v1") as asker:
            got = ask(proxy, through=asker, cancel_token=token)
    assert got.seconds < 0.6
    assert type(got.error).__name__ == "StreamCancelledError"


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{PROXY_PASSWORD}@127.0.0.1:1", f"socks5h://me:{PROXY_PASSWORD}@127.0.0.1:1",
        f"http://me:{PROXY_PASSWORD}@[::1", f"ftp://me:{PROXY_PASSWORD}@127.0.0.1:1",
        f"http://me:{PROXY_PASSWORD}@127.0.0.1:99999", f"//me:{PROXY_PASSWORD}@",
        f"http://me:{PROXY_PASSWORD}@", f"me:{PROXY_PASSWORD}@127.0.0.1:1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_is_not_there(url: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be reached, or whose URL is none, is our own error, unquoted."""
    monkeypatch.setenv(f"{scheme}_proxy", url)
    with play() as server:
        with client(server, base_url=f"{scheme}://chat.example/v1", max_retries=0) as asker:
            got = ask(server, through=asker)
    assert isinstance(got.error, APIConnectionError | ConfigError)
    for secret in (PROXY_PASSWORD, KEY, PROMPT):
        assert_hidden(got.error, secret)


def test_proxy_changed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """trust_env=False in a lent session means no proxies."""
    with play() as proxy, play(answer("direct")) as server, requests.Session() as session:
        session.trust_env = False
        monkeypatch.setenv("http_proxy", proxy_url(proxy))
        with client(server, session=session) as asker:
            assert ask(server, through=asker).text == "direct"


# ------------------------------------------------------------------------------------ secrets

ECHO = json.dumps({"error": f"bad key {KEY}", "question": PROMPT}).encode()


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def fault_echo(code: int) -> Script:
    """A refusal that tells everything it was told."""
    headers = {
        "X-Echo": KEY,
        "X-Auth": f"Bearer {KEY}",
        "X-Prompt": PROMPT,
        "Location": f"/?m={PROMPT}",
    }
    return status_answer(code, headers, ECHO, reason=f"Bad {KEY}")


def echo_page(conn: Conn) -> None:
    conn.read_request()
    conn.head(headers={"Content-Type": f"text/html; x={KEY}", "X-Request-Id": KEY})
    conn.body(ECHO)
    conn.end()


SECRETIVE: dict[str, Script] = {
    "lost": faults.hang_up,
    "reset": faults.reset,
    "silent": stall,
    "stalled": stall_after(text("half")),
    "cut": body(text("half"), end=False),
    "400": fault_echo(400),
    "401": fault_echo(401),
    "429": fault_echo(429),
    "500": fault_echo(500),
    "307": fault_echo(307),
    "page": echo_page,
    "status line": raw_answer(f"HTTP/1.1 {KEY} {PROMPT}\r\n\r\n".encode()),
    "no http": raw_answer(f"{KEY} {PROMPT}\r\n\r\n".encode()),
    "header": raw_answer(
        f"HTTP/1.1 200 OK\r\n{KEY} {PROMPT}\r\nContent-Length: {KEY}\r\n\r\n".encode()
    ),
    "length": raw_answer(STREAM + f"Content-Length: {KEY}\r\n\r\n".encode()),
    "transfer": raw_answer(STREAM + f"Transfer-Encoding: {KEY}\r\n\r\n".encode()),
    "coding": raw_answer(STREAM + f"Content-Encoding: {PROMPT}\r\n\r\n".encode()),
    "chunk size": raw_answer(
        STREAM + b"Transfer-Encoding: chunked\r\n\r\n" + f"{KEY} {PROMPT}\r\n".encode()
    ),
    "no json": body(f"data: {KEY} {PROMPT}\n\n".encode()),
    "wrong content": body(event({"type": "content", "content": [KEY, PROMPT]})),
    "wrong type": body(event({"type": [KEY, PROMPT]})),
    "wrong tool": body(event({"type": "tool_call", "tool": {"name": {KEY: PROMPT}}})),
    "wrong usage": body(event({"type": "done", "usage": {"promptTokens": KEY}})),
    "error chunk": body(
        event({"type": "error", "error": {"message": f"bad {KEY}: {PROMPT}", "code": KEY}})
    ),
    "id": body(text("half", id="7"), b"id: \n\n", end=False),
}


def secret_error(server: faults.Server, form: str, question: str) -> WebsopyError:
    """The error that a call ends in."""
    limits = Timeouts(connect=1, first_chunk=0.15, idle=0.15, total=1)
    with client(server, timeout=limits, max_retries=1) as asker:
        if form == "events":
            got = listen(lambda: asker.events("GET", "/ai/chat", params={"message": question}))
        else:
            messages = [{"role": "user", "content": question}]
            options = {"extra_body": {"note": question}, "extra_headers": {"X-Secret": KEY}}
            got = listen(lambda: asker.ai.chat_stream(messages, **options))
    return got.error


@contextlib.contextmanager
def all_logs() -> Iterator[list[logging.LogRecord]]:
    """Every record of every logger at every level."""
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    root, keeper = logging.getLogger(), Keeper(0)
    names = ["", "urllib3", "urllib3.connectionpool", "requests", "websopy_sync"]
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(keeper)
    for name in names:
        logging.getLogger(name).setLevel(1)
    try:
        yield records
    finally:
        root.removeHandler(keeper)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def assert_not_logged(records: list[logging.LogRecord], *secrets: str) -> None:
    """No record has a secret, in its text, its arguments or its traceback."""
    formatter = logging.Formatter("%(name)s %(message)s")
    for record in records:
        shown = f"{formatter.format(record)} {record.args!r} {vars(record)!r}"
        for secret in secrets:
            assert hidden_in(shown, secret), shown[:2000]


@pytest.mark.parametrize("name", SECRETIVE)
@pytest.mark.parametrize("form", ["chat", "events"])
def test_error_tells_no_secret(name: str, form: str) -> None:
    """Neither key nor question is in an error, its chain, our frames or any log, even echoed."""
    with all_logs() as records, play(always=SECRETIVE[name]) as server:
        error = secret_error(server, form, PROMPT)
    if error is None:  # what a chat refuses may be a good event to the native layer
        assert form == "events"
    else:
        assert isinstance(error, WebsopyError)
        assert_hidden(error, KEY)
        assert_hidden(error, PROMPT)
    assert_not_logged(records, KEY, PROMPT)


@pytest.mark.parametrize("form", ["chat", "events"])
@pytest.mark.parametrize("written", range(5))
def test_echo_in_every_writing(form: str, written: int) -> None:
    """An echo is known in each way that JSON and URLs may write it."""
    question = 'say "hi" to\n中文/é and prompt-77c1'
    page, header = [
        (json.dumps([question]), "/?m=" + quote(question)),
        (json.dumps([question], ensure_ascii=False), "/?m=" + quote(question, safe="")),
        (question, "/?m=" + quote_plus(question)),
        (json.dumps(json.dumps([question])), json.dumps(question)),
        (quote_plus(question), question.replace("\n", " ").encode().decode("latin-1")),
    ][written]
    echo = status_answer(301, {"Location": header}, page.encode())
    with all_logs() as records, play(echo) as server:
        error = secret_error(server, form, question)
    assert_hidden(error, question)
    assert_hidden(error, KEY)
    assert_not_logged(records, KEY, question)


@pytest.mark.parametrize("before", [170, 180, 190, 196])
def test_echo_that_a_snippet_cuts(before: int) -> None:
    """A snippet's end in the middle of the key shows no half of it."""
    data = "x" * before + KEY
    pages = [
        body(f"data: {data}\n\n".encode()),
        body(event({"type": "content", "content": [data]})),
        raw_answer(f"{data}\r\n\r\n".encode()),
        status_answer(400, body=data.encode()),
        answer(data, headers={"Content-Type": "text/html"}),
    ]
    for page in pages:
        with play(page) as server:
            got = ask(server)
        assert KEY[:8] not in str(got.error)


def test_echo_that_the_limit_of_a_body_cuts() -> None:
    """Nor does the end of what is kept of an error body."""
    with play(status_answer(400, body=b"x" * 65526 + KEY.encode() * 3)) as server:
        got = ask(server)
    assert KEY[:8] not in got.error.body


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_echo_of_a_long_question(size: int) -> None:
    """Nor does an echo that is cut because the question is longer than what is kept."""
    question = "-".join(f"secret{number}" for number in range(size // 10))
    for page in (question.encode(), json.dumps({"error": f"bad question: {question}"}).encode()):
        with play(status_answer(400, body=page)) as server:
            got = ask(server, messages=question)
        assert "secret1-secret2" not in got.error.body
        assert "secret1-secret2" not in str(got.error)


def test_echo_of_a_long_talk_is_looked_for_quickly() -> None:
    """However long the talk and the refusal are, looking for echoes takes no noticeable time."""
    turns = [{"role": "user", "content": f"turn {turn} " * 2_000} for turn in range(50)]
    with play(status_answer(400, body=b"turn " * 13_000)) as server:
        begun = time.thread_time()
        got = ask(server, messages=turns)
        assert time.thread_time() - begun < 1.0
    assert got.error.status_code == 400


SENTENCE = "what will the merger <of A & B> cost, in 'euros'/€?"


class Adder:
    """A plugin that puts a text into the question."""

    @hookimpl
    def on_request(self, request: Any) -> None:
        request.body["messages"].insert(0, {"role": "system", "content": SENTENCE})


QUESTIONS: dict[str, dict[str, Any]] = {
    "list of parts": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": SENTENCE}]}],
    },
    "system": {"system": SENTENCE},
    "another parameter": {"user_note": SENTENCE},
    "nested parameter": {"user_data": {"notes": [SENTENCE]}},
    "extra_body": {"extra_body": {"deep": [{"er": SENTENCE}]}},
    "tool call": {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "",
             "tool_calls": [{"name": "f", "arguments": json.dumps([SENTENCE])}]},
        ]
    },
    "plugin": {"plugins": [Adder()]},
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("how", ["status", "error chunk", "no json", "header"])
def test_prompt_wherever_it_was_sent(name: str, how: str) -> None:
    """A prompt is known in whatever part of the request it was, and however it comes back."""
    go = json.dumps({"error": {"message": f"bad: {SENTENCE}"}}, ensure_ascii=False)
    go = go.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    scripts: dict[str, Script] = {
        "status": status_answer(400, body=go.encode()),
        "error chunk": body(event({"type": "error", "error": {"message": f"no: {SENTENCE}"}})),
        "no json": body(f"data: {SENTENCE}\n\n".encode()),
        "header": status_answer(400, {"X-Echo": SENTENCE.encode().decode("latin-1")}),
    }
    options = dict(QUESTIONS[name])
    messages = options.pop("messages", "hi there")
    plugins = options.pop("plugins", [])
    with all_logs() as records, play(scripts[how]) as server:
        with client(server, plugins=plugins) as asker:
            got = ask(server, through=asker, messages=messages, **options)
    assert isinstance(got.error, WebsopyError)
    for piece in (SENTENCE, SENTENCE[5:30], SENTENCE[-20:]):
        assert_hidden(got.error, piece)
    assert_not_logged(records, SENTENCE)


@pytest.mark.parametrize(
    "echo",
    ["BODY {!r}", "the key {} is wrong", "{:.14}...", "...{:>.12}", '{{"code": "bad-{}"}}'],
)
@pytest.mark.parametrize("secret", [KEY, KEY.removeprefix("sk-"), "hunter2-hunter2"])
def test_credentials_in_pieces(secret: str, echo: str) -> None:
    """Neither the key nor the user's own credentials come back, whole, cut or without a prefix."""
    headers = {"Authorization": "Bearer hunter2-hunter2", "X-Api-Key": "hunter2-hunter2"}
    page = status_answer(401, {"X-Echo": secret, f"X-{secret}": "1"}, echo.format(secret).encode())
    with play(page) as server, client(server, default_headers={"X-Api-Key": secret}) as asker:
        got = ask(server, through=asker, extra_headers=headers)
    shown = f"{got.error!r} {got.error} {vars(got.error)!r}"
    for at in range(len(secret) - 7):
        assert secret[at : at + 8] not in shown


@pytest.mark.parametrize("prompt", ["rate", "limit", "error", "code"])
def test_prompt_of_one_short_word_breaks_no_error(prompt: str) -> None:
    """Codes stay, and a body that is JSON stays JSON, for a prompt of one word too."""
    error = {"code": "rate_limit", "type": "rate_limit_error", "message": f"not {prompt}, please"}
    page = status_answer(429, {"X-Error-Code": "rate_limit"}, json.dumps({"error": error}).encode())
    with play(page) as server:
        got = ask(server, messages=prompt, max_retries=0)
    assert json.loads(got.error.body) == {"error": {**error, "message": "not ***, please"}}
    assert got.error.headers["x-error-code"] == "rate_limit"
    assert str(got.error).startswith("the server answered 429, an error: {")
    chunk = event({"type": "error", "error": {"message": f"no {prompt}", "code": "rate_limit"}})
    with play(body(chunk)) as server:
        got = ask(server, messages=prompt)
    assert (got.error.code, got.error.message) == ("rate_limit", "no ***")
    assert got.chunks[-1].message == f"no {prompt}"  # a chunk is what the service wrote


def test_refusal_of_many_large_headers_costs_little() -> None:
    """95 headers of 60 KB cost no CPU that a server could choose, and the status surfaces."""
    headers = {f"X-{number}": "%41 some question " * 3_300 for number in range(95)}
    with play(status_answer(400, headers, b"%41" * 30_000)) as server:
        begun = time.thread_time()
        got = ask(server, messages="some question of mine " * 100, timeout=Timeouts(total=5))
        assert time.thread_time() - begun < 1.5
    assert got.error.status_code == 400
    assert sum(map(len, got.error.headers.values())) <= 65536


def test_redaction_ends_with_the_total_limit() -> None:
    """When there is no time to search a text, it is withheld."""
    prompt = "some question of mine " * 500_000
    with play(status_answer(400, body=b"some question of mine")) as server, client(server) as asker:
        got = ask(server, through=asker, messages=prompt, timeout=Timeouts(total=0.6))
    assert "question" not in f"{got.error} {vars(got.error)}"


def test_request_id_that_is_an_echo() -> None:
    """Not even the id of a good answer shows the key."""
    with play(answer(headers={"X-Request-Id": f"req-{KEY}"})) as server:
        got = ask(server)
    assert got.stream.request_id == "req-***"


def test_success_logs_no_secret() -> None:
    """Nor is anything of a good answer, or its question, logged at any level."""
    with (
        all_logs() as records,
        play(answers("secret-answer-3d")) as server,
        client(server) as asker,
    ):
        ask(server, through=asker)
        for _ in asker.events("GET", "/ai/chat", params={"message": PROMPT}):
            break
    assert_not_logged(records, KEY, PROMPT, "secret-answer-3d")


def test_retry_and_resume_log_no_secret() -> None:
    """Nor on the way of repeating and resuming."""
    first = body(b"retry: 1\n\n", text("secret-answer-3d", id="1"), end=False)
    last = body(event({"type": "done"}, id="2"))
    with all_logs() as records, play(fault_echo(503), first, last) as server:
        got = ask(server)
    assert got.error is None
    assert_not_logged(records, KEY, PROMPT, "secret-answer-3d")


@pytest.mark.parametrize("level", ["debug", "info", "DEBUG", "nonsense", ""])
def test_log_of_the_environment(level: str) -> None:
    """WEBSOPY_LOG turns our log on, and it tells no secret; nonsense does not stop the import."""
    code = """
        import sys
        from websopy_sync import WebsopyClient, WebsopyError
        with WebsopyClient(sys.argv[2], base_url=sys.argv[1], plugins=[]) as client:
            client.ai.chat(sys.argv[3])
            try:
                client.ai.chat(sys.argv[3])
            except WebsopyError as error:
                print("error", type(error).__name__)
    """
    with play(answer("secret-answer-3d"), fault_echo(401)) as server:
        with child(code, server.url, KEY, PROMPT, env={"WEBSOPY_LOG": level}) as process:
            printed = "\n".join(output(process))
    assert "error AuthenticationError" in printed
    assert ("websopy_sync" in printed) == (level.lower() in ("debug", "info"))
    for secret in (KEY, PROMPT, "secret-answer-3d"):
        assert hidden_in(printed, secret)


def test_repr_of_everything() -> None:
    """No repr of what a user can hold shows the key or the question."""

    class Holder:
        @hookimpl
        def on_request(self, request: Any) -> None:
            held.append(request)
            assert not any(KEY in str(value) for value in request.headers.values())

    held: list[Any] = []
    with play(stall_after(text("half"))) as server, client(server, plugins=[Holder()]) as asker:
        stream = asker.ai.chat_stream(PROMPT)
        talk = asker.ai.conversation(system=PROMPT)
        held += [asker, asker.ai, stream, iter(stream), stream.text_stream.__class__, talk]
        for thing in held:
            for shown in (repr(thing), str(thing), f"{thing}"):
                assert KEY not in shown and PROMPT not in shown
        stream.close()


def test_crash_report_of_a_broken_loop() -> None:
    """An exception in the user's own loop shows nothing of ours."""
    with play(stall_after(text("half"))) as server, client(server) as asker:
        try:
            for _ in asker.ai.chat_stream(PROMPT):
                raise ZeroDivisionError
        except ZeroDivisionError as error:
            for where, shown in our_locals(error):
                assert KEY not in shown and PROMPT not in shown, where


@pytest.mark.parametrize(
    "call",
    [
        {"timeout": -1}, {"timeout": "soon"}, {"max_retries": -1}, {"max_retries": "many"},
        {"extra_headers": {"X": "a\nb"}}, {"idempotency_key": "a\nb"}, {"cancel_token": 5},
        {"extra_headers": 5}, {"extra_body": 5}, {"temperature": object()},
        {"temperature": float("nan")}, {"note": "\ud800"}, {"max_retrys": 5},
    ],
)  # fmt: skip
def test_refused_call_tells_no_secret(call: dict[str, Any]) -> None:
    """A call that is refused before it is sent shows nothing either."""
    with play() as server, client(server) as asker:
        with pytest.raises((ConfigError, TypeError)) as caught:
            asker.ai.chat_stream(PROMPT, **call)
    assert_hidden(caught.value, PROMPT)
    assert_hidden(caught.value, KEY)


def test_interrupt_tells_no_secret() -> None:
    """Not even in the frames of a KeyboardInterrupt."""

    class Interrupted:
        @hookimpl
        def on_chunk(self) -> None:
            raise KeyboardInterrupt

    with (
        play(stall_after(text("half"))) as server,
        client(server, plugins=[Interrupted()]) as asker,
    ):
        with pytest.raises(KeyboardInterrupt) as caught:
            list(asker.ai.chat_stream(PROMPT))
        for where, shown in our_locals(caught.value):
            assert hidden_in(shown, KEY) and hidden_in(shown, PROMPT), where


def test_http_debugging_is_not_ours() -> None:
    """http.client's own debugging, which prints requests, stays off on our connections."""
    shown = io.StringIO()
    before = http.client.HTTPConnection.debuglevel
    http.client.HTTPConnection.debuglevel = 1
    try:
        with contextlib.redirect_stdout(shown), play(answer("hi")) as server:
            assert ask(server).text == "hi"
    finally:
        http.client.HTTPConnection.debuglevel = before
    assert KEY not in shown.getvalue() and PROMPT not in shown.getvalue()


def test_client_is_not_pickled() -> None:
    """A client holds the key, sockets and threads: it does not pickle."""
    with play() as server, client(server) as asker:
        with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever pickle raises
            pickle.dumps(asker)
    assert KEY not in str(caught.value)


def test_environment_is_not_written() -> None:
    """Making a client and asking changes no environment variable."""
    before = dict(os.environ)
    with play(answer()) as server:
        ask(server)
    assert dict(os.environ) == before


def test_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key and the URL may come from the environment."""
    monkeypatch.setenv("WEBSOPY_API_KEY", KEY)
    with play(answer("hi")) as server:
        monkeypatch.setenv("WEBSOPY_BASE_URL", server.url)
        with WebsopyClient(plugins=[]) as asker:
            assert asker.ai.chat("hi").content == "hi"
        assert server.requests[0].header("authorization") == f"Bearer {KEY}".encode()
