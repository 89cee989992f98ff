"""The recorder: it hands everything on at once, and keeps the answers."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from pytest_websopy import Recorder, save_recordings

from websopy_sync import (
    APIConnectionError,
    AuthenticationError,
    StreamInterruptedError,
    WebsopyClient,
)
from websopy_sync.sandbox import (
    Framing,
    Sandbox,
    before_headers,
    cut,
    done,
    no_ids,
    pause,
    raw,
    say,
    silence,
    status,
    wait,
)

KEY = "the-real-key-of-a-user"
QUESTION = "写一篇关于 AI 的文章"
FRAMINGS: tuple[Framing, ...] = ("chunked", "content-length", "close", "gzip", "trickle")


def client_of(recorder: Recorder) -> WebsopyClient:
    return WebsopyClient(api_key=KEY, base_url=recorder.url, plugins=(), max_retries=0)


@pytest.fixture
def service() -> Iterator[Sandbox]:
    """The real service, as far as these tests go."""
    with Sandbox(api_key=KEY) as sandbox:
        yield sandbox


@pytest.mark.parametrize("framing", FRAMINGS)
def test_bytes_are_those_of_the_service(framing: Framing) -> None:
    """However the service frames its answer, the recording is its body, and so is what came."""
    with Sandbox([say("AI"), pause(0.02), say(" 正在"), done(20, 150)], framing=framing) as service:
        with Recorder(service.url) as recorder, client_of(recorder) as client:
            assert client.ai.chat(QUESTION).content == "AI 正在"
        [recording] = recorder.recordings
    assert recording.complete
    with Sandbox() as sandbox:
        sandbox.play(recording.script())
        with WebsopyClient(api_key="k", base_url=sandbox.url, plugins=()) as client:
            assert client.ai.chat(QUESTION).content == "AI 正在"


def test_times(service: Sandbox) -> None:
    """Pieces are kept as they came, each with its time."""
    service.play([raw(b": one\n\n"), pause(0.1), raw(b": two\n\n"), pause(0.1), say("x"), done()])
    with Recorder(service.url) as recorder, client_of(recorder) as client:
        client.ai.chat(QUESTION)
    [recording] = recorder.recordings
    one, two, *rest = recording.pieces
    assert (one.data, two.data) == (b": one\n\n", b": two\n\n")
    assert two.seconds - one.seconds > 0.05 and rest[0].seconds - two.seconds > 0.05
    assert recording.seconds >= rest[-1].seconds


def test_it_is_handed_on_at_once(service: Sandbox) -> None:
    """The app has a chunk before the service writes the next."""
    word = threading.Event()
    service.play([say("first"), wait(word), say("second"), done()])
    with Recorder(service.url) as recorder, client_of(recorder) as client:
        stream = client.ai.chat_stream(QUESTION)
        assert next(stream).content == "first"  # type: ignore[union-attr]
        word.set()
        assert stream.get_final_text() == "firstsecond"


def test_the_question_is_passed_on_and_not_kept(service: Sandbox, tmp_path: Path) -> None:
    """The service gets body, key and headers; the file has neither key nor prompt."""
    service.play([say("x"), done()])
    with Recorder(service.url + "/") as recorder, client_of(recorder) as client:
        client.ai.chat(QUESTION, model="m", extra_headers={"X-Mine": "yes"})
    [request] = service.requests
    assert request.json == {"messages": [{"role": "user", "content": QUESTION}], "model": "m"}
    assert request.headers["x-mine"] == "yes" and request.idempotency_key
    save_recordings(tmp_path / "r", recorder.recordings)
    assert KEY not in (tmp_path / "r").read_text() and "文章" not in (tmp_path / "r").read_text()


def test_native_form(service: Sandbox) -> None:
    """GET goes through as well, with its query."""
    service.play([say("x"), done()])
    with Recorder(service.url) as recorder, client_of(recorder) as client:
        events = list(client.events("GET", "/ai/chat", params={"message": "Hello"}))
    assert len(events) == 2 and service.requests[0].query == {"message": "Hello"}


def test_refusal(service: Sandbox) -> None:
    """A status is an answer too."""
    service.play(status(401, {"error": "no"}))
    with Recorder(service.url) as recorder, client_of(recorder) as client:
        with pytest.raises(AuthenticationError):
            client.ai.chat(QUESTION)
    [recording] = recorder.recordings
    assert (recording.status, recording.body) == (401, b'{"error":"no"}')


def test_no_content(service: Sandbox) -> None:
    """A 204 is its head and nothing behind it, or the next answer would be misread."""
    service.play(status(204))
    with Recorder(service.url) as recorder:
        address = urlsplit(recorder.url)
        with socket.create_connection((address.hostname, address.port), timeout=5) as app:
            head = f"GET /v1/ai/chat?message=Hi HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n"
            app.sendall(f"{head}Host: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: app.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert answer.endswith(b"\r\n\r\n") and answer.count(b"\r\n\r\n") == 1
    assert [one.status for one in recorder.recordings] == [204]


def test_connections_are_kept(service: Sandbox) -> None:
    """Questions in a row go over one connection to the recorder."""
    with Recorder(service.url) as recorder:
        address = urlsplit(recorder.url)
        app = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
        with contextlib.closing(app):
            app.connect()
            port, authorized = app.sock.getsockname()[1], {"Authorization": f"Bearer {KEY}"}
            for _ in range(3):
                service.play([say("x"), done()])
                app.request("GET", "/v1/ai/chat?message=Hi", headers=authorized)
                assert b'"x"' in app.getresponse().read()
                assert app.sock.getsockname()[1] == port
    assert len(recorder.recordings) == 3


@pytest.mark.parametrize("framing", ["chunked", "content-length"])
def test_cut(framing: Framing) -> None:
    """An answer that the service loses is lost to the app, and recorded as that."""
    with Sandbox([no_ids(), say("AI"), cut()], framing=framing) as service:
        with Recorder(service.url) as recorder, client_of(recorder) as client:
            with pytest.raises(StreamInterruptedError):
                client.ai.chat(QUESTION)
        [recording] = recorder.recordings
    assert not recording.complete and b'"AI"' in recording.body


def test_app_that_leaves(service: Sandbox) -> None:
    """The service is left as well, and what had come is kept."""
    word = threading.Event()
    service.play([no_ids(), say("AI"), wait(word), *[say("x" * 100_000)] * 100, silence()])
    with Recorder(service.url) as recorder, client_of(recorder) as client:
        for _ in client.ai.chat_stream(QUESTION):
            break
        word.set()
        assert service.wait_disconnect()
    [recording] = recorder.recordings
    assert not recording.complete and recording.body.startswith(b"data: ")


@pytest.mark.parametrize("script", [before_headers(cut()), before_headers(silence())])
def test_no_answer_is_not_recorded(service: Sandbox, script: object) -> None:
    """Where nothing came, there is nothing to replay."""
    service.play([script])  # type: ignore[list-item]
    started = time.monotonic()
    with Recorder(service.url, timeout=0.2) as recorder, client_of(recorder) as client:
        with pytest.raises(APIConnectionError):
            client.ai.chat(QUESTION)
    assert recorder.recordings == []
    assert time.monotonic() - started < 10  # the service would be silent for 30


def test_close_hangs_up(service: Sandbox) -> None:
    """Nobody is left waiting, whatever the service still has to say."""
    service.play([no_ids(), say("AI"), silence()])
    raised: list[BaseException] = []

    def read() -> None:
        try:
            client.ai.chat(QUESTION)
        except StreamInterruptedError as error:
            raised.append(error)

    with Recorder(service.url) as recorder, client_of(recorder) as client:
        thread = threading.Thread(target=read)
        thread.start()
        assert service.wait_request()
        started = time.monotonic()
        recorder.close()
        thread.join(5)
    assert len(raised) == 1 and service.wait_closed()
    assert time.monotonic() - started < 10  # the service would be silent for 30


def test_over_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An https service is asked over TLS, and its certificate is checked."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Sandbox([say("AI"), done()], ssl_context=context) as service:
        with Recorder(service.url) as recorder, client_of(recorder) as client:
            with pytest.raises(APIConnectionError):
                client.ai.chat(QUESTION)
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            assert client.ai.chat(QUESTION).content == "AI"
    assert len(recorder.recordings) == 1


@pytest.mark.slow
def test_many_at_once(service: Sandbox) -> None:
    """Answers that come at the same time are each kept whole."""
    with Recorder(service.url) as recorder, client_of(recorder) as client:
        threads = [threading.Thread(target=lambda: client.ai.chat("Hello")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    bodies = {one.body for one in recorder.recordings}
    assert len(recorder.recordings) == 8 and len(bodies) == 1


@pytest.mark.parametrize("upstream", ["", "ftp://host/", "127.0.0.1:80", "https://"])
def test_what_is_no_service(upstream: str) -> None:
    """A mistake is found where it is made."""
    with pytest.raises(ValueError, match="expected an http or https URL"):
        Recorder(upstream)


def test_url_of_a_recorder_that_does_not_run() -> None:
    """There is none."""
    with pytest.raises(RuntimeError, match="with statement"):
        _ = Recorder("http://127.0.0.1:1/v1").url
