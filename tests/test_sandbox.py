"""The sandbox, seen from outside: http.client and bare sockets against its real port."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import trustme

from websopy_sync.errors import ConfigError
from websopy_sync.sandbox import (
    Framing,
    RecordedRequest,
    Sandbox,
    Steps,
    before_headers,
    chunk,
    comment,
    cut,
    done,
    error,
    event,
    headers,
    no_ids,
    pause,
    ping,
    raw,
    reset,
    retry,
    say,
    silence,
    status,
    think,
    tool,
    wait,
)
from websopy_sync.sandbox.compiled_script import Script
from websopy_sync.sandbox.dispatcher import Playback
from websopy_sync.sandbox.wires.websopy import WebsopyService
from websopy_sync.sse import Decoder, ServerSentEvent

GUIDE_QUESTION = "写一篇关于 AI 的文章"
FRAMINGS: tuple[Framing, ...] = ("chunked", "content-length", "close", "gzip", "trickle")
every_framing = pytest.mark.parametrize("framing", FRAMINGS)
LONG = 20.0
"""Seconds of a pause that no test waits out."""


def connect(sandbox: Sandbox) -> contextlib.closing[http.client.HTTPConnection]:
    """A connection that a test closes."""
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5))


def send(connection: http.client.HTTPConnection, question: str = "Hi", **fields: str) -> None:
    """A question, sent; `last_event_id="3"` is the header Last-Event-Id."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    body = json.dumps({"messages": [{"role": "user", "content": question}]})
    connection.request("POST", "/v1/ai/chat", body, {"Authorization": "Bearer test", **named})


def ask(
    connection: http.client.HTTPConnection, question: str = "Hi", **fields: str
) -> http.client.HTTPResponse:
    """The answer to a question, its headers read."""
    send(connection, question, **fields)
    return connection.getresponse()


def decoded(data: bytes) -> list[ServerSentEvent]:
    """The events in a whole body."""
    return list(Decoder().feed(data))


def told(response: http.client.HTTPResponse) -> list[str]:
    """The rest of an answer as `id type text`, or `id type` where there is no text."""
    lines = []
    for item in decoded(response.read()):
        fields = json.loads(item.data)
        words = [item.id, fields["type"], fields.get("content")]
        lines.append(" ".join(word for word in words if word))
    return lines


def answered(sandbox: Sandbox, question: str = "Hi", **fields: str) -> list[str]:
    """The whole answer to a question on a connection of its own."""
    with connect(sandbox) as connection:
        return told(ask(connection, question, **fields))


def bare(sandbox: Sandbox, *, target: str = "/v1/ai/chat?message=Hi") -> socket.socket:
    """A socket that has asked, for reading the very bytes."""
    client = socket.create_connection(("127.0.0.1", sandbox.port), timeout=5)
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n".encode())
    return client


def everything(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


# --- its own answers -----------------------------------------------------------------------------


def test_guide_question_has_the_guide_answer(sandbox: Sandbox) -> None:
    """The guide's own example comes out as the guide prints it."""
    with connect(sandbox) as connection:
        response = ask(connection, GUIDE_QUESTION)
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        events = decoded(response.read())
    assert [json.loads(item.data) for item in events] == [
        {"type": "content", "content": "AI"},
        {"type": "content", "content": " 正在"},
        {"type": "content", "content": "改变"},
        {"type": "content", "content": "世界..."},
        {"type": "done", "usage": {"promptTokens": 20, "completionTokens": 150}},
    ]
    assert [item.id for item in events] == ["1", "2", "3", "4", "5"]


def test_native_form(sandbox: Sandbox) -> None:
    """GET ?message= asks the same as POST."""
    with connect(sandbox) as connection:
        target = "/v1/ai/chat?message=" + quote(GUIDE_QUESTION)
        connection.request("GET", target, headers={"Authorization": "Bearer test"})
        assert told(connection.getresponse()) == answered(sandbox, GUIDE_QUESTION)
    assert sandbox.requests[0].query == {"message": GUIDE_QUESTION}


@pytest.mark.parametrize(
    ("question", "confession"),
    [("What is AI?", "It is **no model**"), ("什么是AI😀?", "**不是模型**")],
)
def test_other_questions(sandbox: Sandbox, question: str, confession: str) -> None:
    """In the question's language it says what it is, in many pieces, with usage by rule."""
    with connect(sandbox) as connection:
        chunks = [json.loads(item.data) for item in decoded(ask(connection, question).read())]
    pieces = [item["content"] for item in chunks[:-1]]
    assert confession in "".join(pieces)
    assert question in "".join(pieces)
    assert len(pieces) > 50
    assert max(map(len, pieces)) < 25  # 12, and the spaces that indent code
    assert chunks[-1] == {
        "type": "done",
        "usage": {"promptTokens": len(question), "completionTokens": len(pieces)},
        "finishReason": "stop",
    }


@pytest.mark.parametrize("question", ["{", "{0} {question}", "\x1b[2J\x00\r\n", "x" * 5000])
def test_odd_questions(sandbox: Sandbox, question: str) -> None:
    """A question is quoted as it is, a long one in part."""
    with connect(sandbox) as connection:
        chunks = [json.loads(item.data) for item in decoded(ask(connection, question).read())]
    answer = "".join(item.get("content", "") for item in chunks)
    assert question[:200] in answer
    assert len(answer) < 1200


def test_half_a_surrogate_pair(sandbox: Sandbox) -> None:
    """JSON can hold what UTF-8 cannot; it is answered all the same."""
    assert answered(sandbox, "\ud83d")[-1].endswith("done")


def test_answer_comes_piece_by_piece() -> None:
    """Between its own pieces it pauses: the first is there while the rest is not."""
    with Sandbox(pause=LONG) as sandbox, contextlib.closing(bare(sandbox)) as client:
        data = b""
        while b"\n\n" not in data:
            data += client.recv(65536)
        assert data.count(b"data:") == 1
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)


# --- who is let in -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic test", "test"])
def test_no_key(sandbox: Sandbox, value: str) -> None:
    """Without a Bearer key nobody is let in."""
    with connect(sandbox) as connection:
        response = ask(connection, Authorization=value)
        assert (response.status, response.headers["Content-Type"]) == (401, "application/json")
        assert json.load(response)["error"]["code"] == "invalid_api_key"


def test_one_key() -> None:
    """With a key given, it is the only one."""
    with Sandbox(api_key="right", pause=0) as sandbox, connect(sandbox) as connection:
        assert ask(connection, Authorization="Bearer wrong").status == 401
    with Sandbox(api_key="right", pause=0) as sandbox, connect(sandbox) as connection:
        assert ask(connection, Authorization="bearer right").status == 200


@pytest.mark.parametrize(
    ("method", "target", "body", "status_code", "code"),
    [
        ("GET", "/v1/ai/chat", "", 400, "bad_request"),
        ("GET", "/v1/ai/chat?message=", "", 400, "bad_request"),
        ("POST", "/v1/ai/chat", "", 400, "bad_request"),
        ("POST", "/v1/ai/chat", "{bad", 400, "bad_request"),
        ("POST", "/v1/ai/chat", "[" * 100_000, 400, "bad_request"),
        ("POST", "/v1/ai/chat", "[]", 400, "bad_request"),
        ("POST", "/v1/ai/chat", "{}", 400, "bad_request"),
        ("POST", "/v1/ai/chat", '{"messages": []}', 400, "bad_request"),
        ("POST", "/v1/ai/chat", '{"messages": ["Hi"]}', 400, "bad_request"),
        ("POST", "/v1/ai/chat", '{"messages": [{"role": "user"}]}', 400, "bad_request"),
        ("POST", "/v1/ai/chat", '{"messages": [{"role": 1, "content": ""}]}', 400, "bad_request"),
        ("POST", "/v1/ai", "{}", 404, "not_found"),
        ("GET", "/", "", 404, "not_found"),
        ("GET", "//[", "", 404, "not_found"),
        ("DELETE", "/v1/ai/chat", "", 405, "method_not_allowed"),
        ("PUT", "/v1/ai/chat", "{}", 405, "method_not_allowed"),
    ],
)
def test_turned_away(
    sandbox: Sandbox, method: str, target: str, body: str, status_code: int, code: str
) -> None:
    """A request that is none has a JSON error, and the connection lives on."""
    with connect(sandbox) as connection:
        connection.request(method, target, body, {"Authorization": "Bearer test"})
        response = connection.getresponse()
        assert response.status == status_code
        assert response.headers["X-Request-Id"] == "sandbox-1"
        assert (response.headers["Allow"] or "") == ("GET, POST" if status_code == 405 else "")
        problem = json.load(response)["error"]
        assert problem["code"] == code
        assert problem["message"]
        assert ask(connection).status == 200
    assert sandbox.connections == 1


@pytest.mark.parametrize(
    ("request_bytes", "status_line"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"BREW /v1/ai/chat HTTP/1.1\r\n\r\n", b"HTTP/1.1 501 "),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 411 "),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 411 "),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"HTTP/1.1 413 "),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"HTTP/1.1 431 "),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 414 "),
    ],
)
def test_no_request_at_all(sandbox: Sandbox, request_bytes: bytes, status_line: bytes) -> None:
    """What cannot be read is refused with its connection, and the sandbox goes on."""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=5) as client:
        client.sendall(request_bytes)
        with contextlib.suppress(ConnectionResetError):  # it does not read what it refuses
            assert everything(client).startswith(status_line)
    assert answered(sandbox)


def test_request_ids(sandbox: Sandbox) -> None:
    """Every answer carries the id that its request is remembered by."""
    with connect(sandbox) as connection:
        for number in (1, 2):
            response = ask(connection)
            assert response.headers["X-Request-Id"] == f"sandbox-{number}"
            response.read()
    assert [request.request_id for request in sandbox.requests] == ["sandbox-1", "sandbox-2"]


# --- the script language -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "data"),
    [
        (say("AI"), b'id: 1\ndata: {"type":"content","content":"AI"}\n\n'),
        (say("正", id="a7"), 'id: a7\ndata: {"type":"content","content":"正"}\n\n'.encode()),
        (say("x", id=""), b'data: {"type":"content","content":"x"}\n\n'),
        (
            tool("search", {"q": "x"}),
            b'id: 1\ndata: {"type":"tool_call","tool":'
            b'{"name":"search","arguments":"{\\"q\\":\\"x\\"}"}}\n\n',
        ),
        (
            tool("search", "{broken", "call-1"),
            b'id: 1\ndata: {"type":"tool_call","tool":'
            b'{"name":"search","arguments":"{broken","id":"call-1"}}\n\n',
        ),
        (think("hm"), b'id: 1\ndata: {"type":"reasoning","content":"hm"}\n\n'),
        (
            done(
                20,
                150,
                finish_reason="length",
                model="m-1",
                answer_id="a-1",
                cached=4,
                reasoning=9,
            ),
            b'id: 1\ndata: {"type":"done","usage":{"promptTokens":20,"completionTokens":150,'
            b'"cachedTokens":4,"reasoningTokens":9},"finishReason":"length","model":"m-1",'
            b'"id":"a-1"}\n\n',
        ),
        (done(finish_reason="stop"), b'id: 1\ndata: {"type":"done","finishReason":"stop"}\n\n'),
        (
            done(20, 150),
            b'id: 1\ndata: {"type":"done","usage":{"promptTokens":20,"completionTokens":150}}\n\n',
        ),
        (done(), b'id: 1\ndata: {"type":"done"}\n\n'),
        (
            error("full", "busy"),
            b'id: 1\ndata: {"type":"error","error":{"message":"full","code":"busy"}}\n\n',
        ),
        (error("full", shape="string"), b'id: 1\ndata: {"type":"error","error":"full"}\n\n'),
        (error("full", shape="message"), b'id: 1\ndata: {"type":"error","message":"full"}\n\n'),
        (error("full", shape="content"), b'id: 1\ndata: {"type":"error","content":"full"}\n\n'),
        (chunk("mood", {"is": "good"}), b'id: 1\ndata: {"type":"mood","is":"good"}\n\n'),
        (event("{bad", event="x", id="9"), b"event: x\nid: 9\ndata: {bad\n\n"),
        (event("two\nlines"), b"id: 1\ndata: two\ndata: lines\n\n"),
        (comment("alive"), b": alive\n\n"),
        (ping(), b'event: ping\ndata: {"type": "ping"}\n\n'),
        (retry(250), b"retry: 250\n\n"),
        (raw(b"\xff\r"), b"\xff\r"),
        (raw(b""), b""),
    ],
)
def test_step_on_the_wire(sandbox: Sandbox, step: Any, data: bytes) -> None:
    """Each step that says something, byte for byte."""
    sandbox.play([step])
    with connect(sandbox) as connection:
        assert ask(connection).read() == data


def test_counts_that_need_the_others() -> None:
    """Cached and reasoning tokens are part of the prompt's and the completion's."""
    for fields in ({"cached": 1}, {"reasoning": 1}):
        with pytest.raises(TypeError, match="done: cached and reasoning need the other counts"):
            done(**fields)


def test_numbering(sandbox: Sandbox) -> None:
    """Numbers count the events that name no id of their own, until no_ids()."""
    sandbox.play([say("a"), say("b", id="own"), ping(), say("c"), no_ids(), say("d"), done(id="z")])
    with connect(sandbox) as connection:
        data = ask(connection).read()
    ids = [line[4:] for line in data.decode().splitlines() if line.startswith("id: ")]
    assert ids == ["1", "own", "2", "z"]


def test_nested_scripts_are_laid_out_flat(sandbox: Sandbox) -> None:
    """Scripts are put together from scripts."""
    beginning = [say("a"), say("b")]
    sandbox.play([beginning, (say("c"), [done()])])
    assert answered(sandbox) == ["1 content a", "2 content b", "3 content c", "4 done"]


def test_scripts_are_queued(sandbox: Sandbox) -> None:
    """Each question takes the next script, one turned away none; then it answers by itself."""
    sandbox.play([say("one"), done()])
    sandbox.play([say("two"), done()])
    assert answered(sandbox)[0] == "1 content one"
    with connect(sandbox) as connection:
        assert ask(connection, Authorization="").status == 401
    assert answered(sandbox)[0] == "1 content two"
    assert answered(sandbox, GUIDE_QUESTION)[0] == "1 content AI"


def test_one_script_for_all() -> None:
    """Sandbox(script) plays it for every question."""
    with Sandbox([say("same"), done()]) as sandbox:
        assert answered(sandbox) == answered(sandbox, "other") == ["1 content same", "2 done"]


def test_script_made_for_each_request() -> None:
    """Sandbox(function) asks the function, which sees the request."""

    def echo(request: RecordedRequest) -> Steps:
        return [say(request.json["messages"][0]["content"]), done()]

    with Sandbox(echo) as sandbox:
        assert answered(sandbox, "mirror") == ["1 content mirror", "2 done"]


def test_script_function_that_raises() -> None:
    """A mistake in the function reaches the client, where the test is."""

    def broken(request: RecordedRequest) -> Steps:
        raise KeyError("mistake")

    with Sandbox(broken) as sandbox, connect(sandbox) as connection:
        response = ask(connection)
        assert response.status == 500
        assert json.load(response)["error"]["message"] == "the script raised KeyError: 'mistake'"


@pytest.mark.parametrize("script", [["AI"], "AI", [None], [say]])
def test_what_is_no_script(sandbox: Sandbox, script: Any) -> None:
    """It is refused where it is written, and names the step."""
    with pytest.raises(TypeError, match="expected steps such as say"):
        sandbox.play(script)


def test_event_that_cannot_be_written(sandbox: Sandbox) -> None:
    """A carriage return would end a line in SSE: refused where it is written; raw() can send it."""
    with pytest.raises(ConfigError):
        sandbox.play([event("a\rb")])


# --- how an answer begins ------------------------------------------------------------------------


def test_headers(sandbox: Sandbox) -> None:
    """headers() adds and replaces, whatever the case, and sets the status."""
    sandbox.play([say("x"), headers({"content-TYPE": "text/plain", "X-Extra": "1"}, status=299)])
    with connect(sandbox) as connection:
        response = ask(connection)
        assert response.status == 299
        assert response.headers.get_all("Content-Type") == ["text/plain"]
        assert response.headers["X-Extra"] == "1"


@pytest.mark.parametrize(
    ("script", "status_code", "retry_after", "body"),
    [
        (
            status(429, retry_after=7),
            429,
            "7",
            b'{"error":{"message":"Too Many Requests","code":"too_many_requests"}}',
        ),
        (
            status(503, retry_after="Fri, 29 Sep 2023 16:26:57 GMT"),
            503,
            "Fri, 29 Sep 2023 16:26:57 GMT",
            b'{"error":{"message":"Service Unavailable","code":"service_unavailable"}}',
        ),
        (status(599), 599, None, b'{"error":{"message":"Status 599","code":"status_599"}}'),
        (status(400, {"a": "é"}), 400, None, '{"a":"é"}'.encode()),
        (status(500, "oh"), 500, None, b"oh"),
        (status(500, b"\xff"), 500, None, b"\xff"),
        (status(204), 204, None, b""),
        (status(307, "", headers={"Location": "/x"}), 307, None, b""),
    ],
)
def test_status(
    sandbox: Sandbox, script: Steps, status_code: int, retry_after: str | None, body: bytes
) -> None:
    """A whole answer that is no stream; its connection serves the next question."""
    sandbox.play(script)
    with connect(sandbox) as connection:
        response = ask(connection)
        assert (response.status, response.headers["Retry-After"]) == (status_code, retry_after)
        assert response.read() == body
        assert (response.headers["Content-Length"] is None) == (status_code == 204)
        assert ask(connection).status == 200


def test_bare_bytes_before_the_headers(sandbox: Sandbox) -> None:
    """An interim answer, or anything at all."""
    sandbox.play([before_headers(raw(b"HTTP/1.1 103 Early Hints\r\n\r\n")), done()])
    with contextlib.closing(bare(sandbox)) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def test_cut_before_the_headers(sandbox: Sandbox) -> None:
    """The client is left without an answer."""
    sandbox.play([before_headers(cut()), say("never")])
    with contextlib.closing(bare(sandbox)) as client:
        assert everything(client) == b""


# --- framing -------------------------------------------------------------------------------------


@every_framing
def test_framing_carries_the_same_events(framing: Framing) -> None:
    """However the body is framed, the events are the same, and a good end is a good end."""
    with Sandbox([say("AI"), say(" 正在"), done(20, 150)], framing=framing) as sandbox:
        with connect(sandbox) as connection:
            response = ask(connection)
            data = response.read()
        if response.headers["Content-Encoding"] == "gzip":
            data = zlib.decompress(data, wbits=31)
    texts = [json.loads(item.data).get("content") for item in decoded(data)]
    assert texts == ["AI", " 正在", None]


@every_framing
def test_event_is_out_before_the_next(framing: Framing) -> None:
    """An event can be read while the sandbox holds back the next one."""
    word = threading.Event()
    with Sandbox([say("AI"), wait(word), done()], framing=framing) as sandbox:
        with connect(sandbox) as connection:
            response = ask(connection)
            unzip = zlib.decompressobj(wbits=31).decompress
            data = b""
            while b"\n\n" not in data:
                piece = response.read1(65536)
                assert piece
                data += unzip(piece) if framing == "gzip" else piece
            assert b"AI" in data
            assert b"done" not in data
            word.set()
            assert response.read()


@pytest.mark.parametrize(
    ("framing", "fields", "body"),
    [
        ("chunked", {"Transfer-Encoding": "chunked"}, b"3\r\n: a\r\n3\r\n: b\r\n0\r\n\r\n"),
        ("trickle", {"Transfer-Encoding": "chunked"}, b"6\r\n: a: b\r\n0\r\n\r\n"),
        ("content-length", {"Content-Length": "6"}, b": a: b"),
        ("close", {"Connection": "close"}, b": a: b"),
    ],
)
def test_framing_on_the_wire(
    sandbox: Sandbox, framing: Framing, fields: dict[str, str], body: bytes
) -> None:
    """The very bytes, with the header that announces them."""
    sandbox.play([raw(b": a"), raw(b": b"), headers(framing=framing)])
    with contextlib.closing(bare(sandbox)) as client:
        data = client.recv(65536)
        while not data.endswith(b"\r\n\r\n" + body):
            piece = client.recv(65536)
            assert piece, data
            data += piece
        if framing == "close":
            assert everything(client) == b""
    for name, value in fields.items():
        assert f"{name}: {value}\r\n".encode() in data


@every_framing
def test_old_client(framing: Framing) -> None:
    """HTTP/1.0 knows no chunks: it gets a size or the connection's end."""
    with Sandbox([raw(b": a")], framing=framing) as sandbox:
        with socket.create_connection(("127.0.0.1", sandbox.port), timeout=5) as client:
            client.sendall(b"GET /v1/ai/chat?message=x HTTP/1.0\r\nAuthorization: Bearer x\r\n\r\n")
            data = everything(client)
    assert data.endswith(b"\r\n\r\n: a")
    assert b"Transfer-Encoding" not in data


def test_one_connection_for_many_questions(sandbox: Sandbox) -> None:
    """A whole answer leaves the connection open for the next question."""
    with connect(sandbox) as connection:
        for _ in range(5):
            ask(connection).read()
        assert (sandbox.connections, sandbox.open_connections) == (1, 1)
    assert sandbox.wait_closed()
    assert sandbox.open_connections == 0
    assert [request.connection for request in sandbox.requests] == [1] * 5
    answered(sandbox)
    assert (sandbox.connections, sandbox.requests[-1].connection) == (2, 2)


# --- how an answer breaks off --------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["chunked", "content-length", "gzip", "trickle"])
def test_cut(framing: Framing) -> None:
    """Where the framing promises more, a cut shows."""
    with Sandbox([say("AI"), cut(), done()], framing=framing) as sandbox:
        with connect(sandbox) as connection:
            response = ask(connection)
            with pytest.raises(http.client.IncompleteRead):
                response.read()


@pytest.mark.parametrize("framing", ["content-length", "trickle"])
def test_cut_at_the_end(framing: Framing) -> None:
    """A cut shows too when nothing would have come after it."""
    with Sandbox([say("AI"), cut()], framing=framing) as sandbox, connect(sandbox) as connection:
        response = ask(connection)
        with pytest.raises(http.client.IncompleteRead):
            response.read()


def test_cut_that_does_not_show() -> None:
    """Up to the connection's end, a cut looks like the body's end."""
    with Sandbox([say("AI"), cut(), done()], framing="close") as sandbox:
        assert answered(sandbox) == ["1 content AI"]


def test_reset(sandbox: Sandbox) -> None:
    """The connection ends as an error."""
    sandbox.play([before_headers(reset())])
    with contextlib.closing(bare(sandbox)) as client, pytest.raises(ConnectionResetError):
        client.recv(1)


def test_word_that_does_not_come(sandbox: Sandbox) -> None:
    """A client that needs more than it was given is cut off, and does not pass late."""
    sandbox.play([say("AI"), wait(threading.Event(), timeout=0.05), done()])
    with connect(sandbox) as connection:
        response = ask(connection)
        with pytest.raises(http.client.IncompleteRead):
            response.read()
    assert sandbox.disconnects == []


def test_silence_is_bounded(sandbox: Sandbox) -> None:
    """No client is held for ever."""
    sandbox.play([before_headers(silence(timeout=0.05))])
    with contextlib.closing(bare(sandbox)) as client:
        assert everything(client) == b""


# --- resuming ------------------------------------------------------------------------------------


def broken_off(sandbox: Sandbox, **fields: str) -> None:
    """A question whose answer does not come to its end."""
    with connect(sandbox) as connection:
        response = ask(connection, **fields)
        with pytest.raises(http.client.IncompleteRead):
            response.read()


def test_resume(sandbox: Sandbox) -> None:
    """The same key with Last-Event-ID goes on behind that event; nothing is cut twice."""
    sandbox.play([say("A"), say("B"), cut(), say("C"), cut(), say("D"), done()])
    broken_off(sandbox, Idempotency_Key="k")
    broken_off(sandbox, Idempotency_Key="k", Last_Event_ID="1")
    rest = answered(sandbox, Idempotency_Key="k", Last_Event_ID="2")
    assert rest == ["3 content C", "4 content D", "5 done"]


def test_resume_repeats_no_wait(sandbox: Sandbox) -> None:
    """What happened once is over: only events are sent a second time."""
    word = threading.Event()
    hold = wait(word, timeout=LONG)
    sandbox.play([before_headers(hold), say("A"), hold, say("B"), cut(), done()])
    word.set()
    broken_off(sandbox, Idempotency_Key="k")
    word.clear()
    rest = answered(sandbox, Idempotency_Key="k", Last_Event_ID="1")
    assert rest == ["2 content B", "3 done"]


def test_resume_that_failed_at_once() -> None:
    """What happened before it stays over, even when it did not get to its first step."""
    first = Playback.of(Script.of([say("A"), cut(), done()], WebsopyService()))
    first.played = 2
    second = first.resumed("1")
    assert isinstance(second, Playback)
    again = second.resumed("1")
    assert isinstance(again, Playback) and again.places == second.places == [2]


def test_resume_of_its_own_answer(sandbox: Sandbox) -> None:
    """Answers without a script resume as well."""
    whole = answered(sandbox, Idempotency_Key="k")
    assert answered(sandbox, Idempotency_Key="k", Last_Event_ID="40") == whole[40:]


@pytest.mark.parametrize(
    ("fields", "status_code", "first"),
    [
        ({"Idempotency_Key": "k", "Last_Event_ID": "2"}, 204, ""),
        ({"Idempotency_Key": "k", "Last_Event_ID": "77"}, 400, ""),
        ({"Idempotency_Key": "k"}, 200, "1 content AI"),
        ({"Idempotency_Key": "other", "Last_Event_ID": "1"}, 200, "1 content AI"),
        ({"Last_Event_ID": "1"}, 200, "1 content AI"),
    ],
)
def test_nothing_to_resume(
    sandbox: Sandbox, fields: dict[str, str], status_code: int, first: str
) -> None:
    """All was said: 204. An unknown id: 400. Another question, or no id: from its beginning."""
    sandbox.play([say("A"), done()])
    answered(sandbox, Idempotency_Key="k")
    with connect(sandbox) as connection:
        response = ask(connection, GUIDE_QUESTION, **fields)
        assert response.status == status_code
        assert not first or told(response)[0] == first


# --- what is remembered --------------------------------------------------------------------------


def test_requests(sandbox: Sandbox) -> None:
    """Every request as it came, those that were turned away too."""
    with connect(sandbox) as connection:
        ask(connection, "Hi", X_Extra="1", Last_Event_ID="…".encode().decode("latin-1")).read()
        connection.request("GET", "/v1/nowhere?a=1&a=2&b", headers={"Accept": "x"})
        connection.getresponse().read()
    first, second = sandbox.requests
    assert (first.number, first.connection, first.method) == (1, 1, "POST")
    assert (first.path, first.query) == ("/v1/ai/chat", {})
    assert first.json == {"messages": [{"role": "user", "content": "Hi"}]}
    assert first.headers["x-extra"] == "1"
    assert first.last_event_id == "…"
    assert (second.path, second.query) == ("/v1/nowhere", {"a": "2", "b": ""})
    assert (second.body, second.headers["accept"]) == (b"", "x")
    with pytest.raises(ValueError, match="Expecting value"):
        _ = second.json


@pytest.mark.timing
def test_waiting_for_what_happens(sandbox: Sandbox) -> None:
    """A test can wait for a request, a client's leaving and a connection's end; none waits on."""
    waits = (sandbox.wait_request, sandbox.wait_disconnect)
    assert not any(happens(timeout=0.01) for happens in waits)
    sandbox.play([silence()])
    seen = []
    watchers = [
        threading.Thread(target=lambda happens=happens: seen.append(happens(timeout=LONG)))
        for happens in waits
    ]
    for watcher in watchers:
        watcher.start()
    began = time.monotonic()
    with contextlib.closing(bare(sandbox)):
        watchers[0].join()
        assert not sandbox.wait_closed(timeout=0.01)
        closed = threading.Thread(target=lambda: seen.append(sandbox.wait_closed(timeout=LONG)))
        closed.start()
    for watcher in (*watchers, closed):
        watcher.join()
    assert time.monotonic() - began < LONG / 10
    assert seen == [True, True, True]


def test_log() -> None:
    """One line for each answer, without the question; nothing unless it is asked for."""
    lines: list[str] = []
    with Sandbox(pause=0, log=lines.append) as sandbox:
        answered(sandbox)
        with connect(sandbox) as connection:
            connection.request("GET", "/v1/ai/chat?message=secret")
            connection.getresponse().read()
    assert lines == ["POST /v1/ai/chat 200", "GET /v1/ai/chat 401"]


def test_prints_nothing(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    """Not for an answer, not for a client that leaves or sends nonsense."""
    sandbox.play([say("x"), silence()])
    with contextlib.closing(bare(sandbox)):
        assert sandbox.wait_request()
    with socket.create_connection(("127.0.0.1", sandbox.port)) as client:
        client.sendall(b"nonsense\r\n\r\n")
    answered(sandbox)
    assert sandbox.wait_disconnect()
    assert capfd.readouterr() == ("", "")


# --- clients that leave --------------------------------------------------------------------------


def leave(client: socket.socket, *, rudely: bool) -> None:
    """Close a connection, with an RST if rudely."""
    if rudely:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.mark.timing
@pytest.mark.parametrize("rudely", [False, True])
@pytest.mark.parametrize(
    "script",
    [
        [say("x"), pause(LONG)],
        [say("x"), wait(threading.Event(), timeout=LONG)],
        [say("x"), silence(timeout=LONG)],
        [done(), silence(timeout=LONG)],
        [before_headers(pause(LONG))],
        [before_headers(silence(timeout=LONG))],
    ],
)
def test_gone_client_is_noticed(sandbox: Sandbox, script: Steps, rudely: bool) -> None:
    """In every kind of waiting the sandbox sees at once that the client left."""
    sandbox.play(script)
    client = bare(sandbox)
    assert sandbox.wait_request()
    began = time.monotonic()
    leave(client, rudely=rudely)
    assert sandbox.wait_disconnect()
    assert time.monotonic() - began < LONG / 10
    assert sandbox.disconnects == sandbox.requests
    assert sandbox.wait_closed()


@pytest.mark.parametrize("rudely", [False, True])
def test_client_leaves_while_the_sandbox_writes(sandbox: Sandbox, rudely: bool) -> None:
    """A write that nobody takes is noted, and is no crash."""
    sandbox.play([raw(b"x" * 1_000_000)] * 50)
    client = bare(sandbox)
    assert client.recv(1)
    leave(client, rudely=rudely)
    assert sandbox.wait_disconnect()


def test_leaving_after_the_last_event_is_no_disconnect(sandbox: Sandbox) -> None:
    """A client that has it all may go."""
    answered(sandbox)
    with contextlib.closing(bare(sandbox)) as client:
        while b"done" not in client.recv(65536):
            pass
    assert sandbox.wait_closed()
    assert sandbox.disconnects == []


def test_early_next_question(sandbox: Sandbox) -> None:
    """A client that sends its next question too early is still there, and gets both answers."""
    question = b"GET /v1/ai/chat?message=x HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n"
    sandbox.play([say("one"), pause(0.05), done()])
    sandbox.play([say("two"), pause(0.05), before_headers(comment()), done(), cut()])
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=5) as client:
        client.sendall(question + question)
        data = everything(client)
    assert data.count(b"HTTP/1.1 200 OK") == data.count(b'{"type":"done"}') == 2


@pytest.mark.timing
@pytest.mark.parametrize("step", [pause(LONG), wait(threading.Event(), timeout=LONG)])
def test_early_next_question_does_not_hold_up_close(step: Any) -> None:
    """Not even then does a pause outlive the sandbox."""
    with Sandbox([say("x"), step]) as sandbox:
        with contextlib.closing(bare(sandbox)) as client:
            assert sandbox.wait_request()
            client.sendall(b"GET / HTTP/1.1\r\n")
            began = time.monotonic()
            sandbox.close()
    assert time.monotonic() - began < LONG / 10


# --- its life ------------------------------------------------------------------------------------


@pytest.mark.timing
def test_close_ends_everything() -> None:
    """Answers under way end, threads and sockets go; nobody is said to have left."""
    before = set(threading.enumerate())
    with Sandbox([say("x"), pause(LONG)]) as sandbox:
        clients = [bare(sandbox) for _ in range(3)]
        assert sandbox.wait_request(3)
        assert all(thread.daemon for thread in set(threading.enumerate()) - before)
        began = time.monotonic()
    assert time.monotonic() - began < LONG / 10
    assert set(threading.enumerate()) == before
    assert (sandbox.open_connections, sandbox.disconnects) == (0, [])
    for client in clients:
        everything(client)
        client.close()
    with pytest.raises(ConnectionRefusedError):
        bare(sandbox)


def test_close_frees_a_blocked_write() -> None:
    """A client that does not read cannot hold the sandbox back."""
    with Sandbox([raw(b"x" * 20_000_000)]) as sandbox:
        client = bare(sandbox)
        assert client.recv(1)
    client.close()


def test_close_twice_and_never_started() -> None:
    """Both are fine."""
    sandbox = Sandbox()
    sandbox.close()
    sandbox.start()
    sandbox.close()
    sandbox.close()


def test_port_that_is_taken(sandbox: Sandbox) -> None:
    """It says so, and leaves nothing behind."""
    with pytest.raises(OSError, match="in use"):
        Sandbox(port=sandbox.port).start()


def test_url() -> None:
    """Ends in /v1, with the port it was given; IPv6 in brackets."""
    assert Sandbox(port=8899).url == "http://127.0.0.1:8899/v1"
    assert Sandbox(host="::1", port=80).url == "http://[::1]:80/v1"
    with Sandbox() as sandbox:
        assert sandbox.url == f"http://127.0.0.1:{sandbox.port}/v1"


def test_many_clients_at_once(sandbox: Sandbox) -> None:
    """Each connection is served by itself."""
    answers: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(answered(sandbox, GUIDE_QUESTION)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [answered(sandbox, GUIDE_QUESTION)] * 20
    assert len({request.number for request in sandbox.requests}) == 21


@pytest.mark.parametrize(
    ("package", "patch"),
    [
        ("gevent", "from gevent import monkey; monkey.patch_all()"),
        ("eventlet", "import eventlet; eventlet.monkey_patch()"),
    ],
)
def test_with_green_threads(package: str, patch: str, needs: Any) -> None:
    """A program under gevent or eventlet is tested with it too: it answers, waits and ends."""
    needs(importlib.util.find_spec(package), package)
    code = f"""
{patch}
import socket
from websopy_sync.sandbox import Sandbox, done, pause, say, silence

with Sandbox([say("a"), pause(0.05), say("b"), done()]) as sandbox:
    sandbox.play([silence()])
    for last in (b"", b"0\\r\\n\\r\\n"):
        with socket.create_connection(("127.0.0.1", sandbox.port), timeout=5) as client:
            client.sendall(b"GET /v1/ai/chat?message=Hi HTTP/1.1\\r\\n")
            client.sendall(b"Authorization: Bearer x\\r\\nConnection: close\\r\\n\\r\\n")
            while last and not client.recv(65536).endswith(last):
                pass
            assert sandbox.wait_request()
    print(sandbox.wait_disconnect(), len(sandbox.disconnects), sandbox.wait_closed())
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    # See test_green_threads.py.
    alone = {**os.environ, "EVENTLET_NO_GREENDNS": "yes"}
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20, env=alone)
    assert (answer.stdout, answer.stderr) == ("True 1 True\n", "")


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Sandbox]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Sandbox(pause=0, ssl_context=context) as service:
        yield service


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def connect_secure(
    sandbox: Sandbox, authority: trustme.CA
) -> contextlib.closing[http.client.HTTPConnection]:
    """A TLS connection that a test closes."""
    return contextlib.closing(
        http.client.HTTPSConnection(
            "127.0.0.1", sandbox.port, timeout=5, context=trusting(authority)
        )
    )


def test_tls(secure: Sandbox, authority: trustme.CA) -> None:
    """The same service over https."""
    assert secure.url == f"https://127.0.0.1:{secure.port}/v1"
    with connect_secure(secure, authority) as connection:
        assert told(ask(connection, GUIDE_QUESTION))[0] == "1 content AI"
        assert told(ask(connection, GUIDE_QUESTION))[0] == "1 content AI"
    assert secure.wait_closed()
    assert secure.connections == 1


def test_tls_client_that_leaves(secure: Sandbox, authority: trustme.CA) -> None:
    """Seen at once, as without TLS."""
    secure.play([say("x"), silence(timeout=LONG)])
    with connect_secure(secure, authority) as connection:
        response = ask(connection)
        assert b"x" in response.read1(65536)
        response.close()
    assert secure.wait_disconnect()


def test_tls_cut(secure: Sandbox, authority: trustme.CA) -> None:
    """The bytes end where they should not."""
    secure.play([say("x"), cut(), done()])
    with connect_secure(secure, authority) as connection:
        response = ask(connection)
        with pytest.raises((http.client.IncompleteRead, ssl.SSLError)):
            response.read()


def test_no_tls_where_it_is_spoken(secure: Sandbox) -> None:
    """A client without TLS is dropped, and one that says nothing does not hold up close()."""
    with contextlib.closing(bare(secure)) as client:
        with contextlib.suppress(ConnectionResetError):
            everything(client)
    silent = socket.create_connection(("127.0.0.1", secure.port))
    while secure.connections < 2:
        time.sleep(0.001)
    secure.close()
    silent.close()
