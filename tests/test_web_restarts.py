"""What a page is told when its server gets a signal, with the relay that applications have."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import quote

import pytest
from web_apps.kinds import ENVIRONMENT, KINDS, check_present
from web_apps.running import Server, running

from websopy_sync.sandbox import Sandbox, say, silence
from websopy_sync.sse import Decoder, ServerSentEvent

pytestmark = pytest.mark.slow

GOES_ON = {"gunicorn-gthread", "gunicorn-gevent", "django-uvicorn", "fastapi-uvicorn"}
"""Servers that wait for their requests: the page is told to come back."""

ENDS = {"werkzeug", "django-runserver", "waitress", "cheroot", "fastapi-hypercorn"}
"""Servers that may end so soon that the page is told of the answer's end: it is as good."""


def events_of(response: HTTPResponse) -> Iterator[ServerSentEvent]:
    """What comes until the connection ends, in whatever way."""
    decoder = Decoder()
    try:
        while data := response.read1(65536):
            yield from decoder.feed(data)
    except (OSError, HTTPException):
        return


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of its own for each test: the test ends it."""
    kind = KINDS[request.param]
    check_present(kind.needs)
    environment = {**ENVIRONMENT, "KEEPS": "1"}
    with running(kind.command, tmp_path / "log", environment=environment) as started:
        yield started


def told(server: Server, number: signal.Signals) -> tuple[str, float]:
    """The code of the last event after a signal, and the seconds until then."""
    with Sandbox([say("AI"), silence()]) as sandbox:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            connection.request("GET", f"/kept-chat?q=hello&upstream={quote(sandbox.url)}")
            with connection.getresponse() as response:
                events = events_of(response)
                next(event for event in events if "AI" in event.data)
                server.send_signal(number)
                began = time.monotonic()
                (last,) = (json.loads(event.data) for event in events)
                return last["error"]["code"], time.monotonic() - began
        finally:
            connection.close()


@pytest.mark.timing
@pytest.mark.parametrize("server", sorted(GOES_ON | ENDS), indirect=True)
def test_sigterm_tells_the_page(server: Server, request: pytest.FixtureRequest) -> None:
    """At once, while the model is silent; the connection ends then."""
    code, seconds = told(server, signal.SIGTERM)
    name = request.node.callspec.params["server"]
    assert code in ({"restarting"} if name in GOES_ON else {"restarting", "interrupted"})
    assert seconds < 2.0


@pytest.mark.timing
@pytest.mark.parametrize("server", ["gunicorn-gthread"], indirect=True)
def test_sighup_tells_the_page(server: Server) -> None:
    """The old workers end their responses, and new ones answer."""
    code, seconds = told(server, signal.SIGHUP)
    assert code == "restarting" and seconds < 2.0
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/ping")
        assert connection.getresponse().read() == b"pong"
    finally:
        connection.close()
