"""Answers through the proxies of docs/how-to/deploy.md, with the very files that it shows."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
import trustme
from browsers import chromium
from chat_visitors import Visitor, body_of, events_in, serving
from tables import each
from web_apps.kinds import ENVIRONMENT, KINDS, check_present
from web_apps.proxies import PROXIES, proxied
from web_apps.running import running

from websopy_sync.sandbox import Sandbox, before_headers, done, say, silence, wait

pytestmark = pytest.mark.slow

HEARTBEAT = 1.0

Needs = Callable[[object, str], None]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Path:
    """A key, its certificate and who issued it, in one file: for the server and for its client."""
    path = tmp_path_factory.mktemp("tls") / "chat.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    authority.cert_pem.write_to_path(str(path), append=True)
    return path


@pytest.fixture(scope="module", params=list(PROXIES))
def name(request: pytest.FixtureRequest) -> str:
    """Each of the proxies, one after the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def site(
    name: str, tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> Iterator[tuple[str, Sandbox]]:
    """Django under ASGI, which checks host, scheme and origin, behind a proxy."""
    folder, here = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp(name)
    with Sandbox(pause=0, framing="close") as sandbox:
        with serving("django-asgi", folder, sandbox, hosts="localhost", tls=True) as server:
            with proxied(name, server.port, here, certificate) as proxy:
                yield f"https://localhost:{proxy.port}", sandbox


@pytest.fixture(scope="module", params=["gunicorn-gthread", "fastapi-uvicorn"])
def url(
    request: pytest.FixtureRequest,
    name: str,
    tmp_path_factory: pytest.TempPathFactory,
    certificate: Path,
) -> Iterator[str]:
    """A server of each sort behind a proxy, without a relay."""
    kind, here = KINDS[request.param], tmp_path_factory.mktemp(name)
    check_present(kind.needs)
    environment = {**ENVIRONMENT, "HEARTBEAT": str(HEARTBEAT)}
    with running(kind.command, here / "server", environment=environment) as server:
        with proxied(name, server.port, here, certificate) as proxy:
            yield f"https://localhost:{proxy.port}"


def test_a_visitor_asks_follows_and_stops(site: tuple[str, Sandbox], certificate: Path) -> None:
    """Cookies are for HTTPS only, and the server knows that it is."""
    url, sandbox = site
    more = threading.Event()
    sandbox.play([say("a"), wait(more), say("b"), silence()])
    with Visitor.at(url, trusts=certificate) as visitor:
        assert all(cookie.secure for cookie in visitor.session.cookies)
        asking = visitor.ask()
        assert asking.status_code == 200
        events = events_in(visitor.follow(visitor.answers[0], "1"))
        assert json.loads(next(events).data)["content"] == "a"
        more.set()
        assert json.loads(next(events).data)["content"] == "b"
        left = len(sandbox.disconnects)
        assert visitor.stop(visitor.answers[0]) == 204
        assert sandbox.wait_disconnect(left + 1, timeout=2.0)
        assert json.loads(next(events).data)["error"]["code"] == "cancelled"


@each("version", ["1.1", "2"])
def test_only_our_host_is_served(
    site: tuple[str, Sandbox], certificate: Path, version: str
) -> None:
    """HTTP/2 has no such header: a proxy makes one, and the back end knows it."""
    for host, shown in (("localhost:" + site[0].rpartition(":")[2], True), ("evil.example", False)):
        options = ("--silent", "--write-out", "%{http_version}", "--cacert", str(certificate))
        asking = (f"--http{version}", "--header", f"Host: {host}", site[0])
        done = subprocess.run(("curl", *options, *asking), capture_output=True, check=True)
        assert done.stdout.endswith(version.encode())
        assert (b'<div id="app">' in done.stdout) is shown


def test_a_large_body_is_refused(site: tuple[str, Sandbox], certificate: Path) -> None:
    """By the proxy: Django under ASGI would write all of it to a file first.

    So is one that does not say its length, by those that do not count.
    """
    url, sandbox = site
    asked = len(sandbox.requests)
    with Visitor.at(url, trusts=certificate) as visitor:
        large = b" " * (1024 * 1024 + 500_000) + body_of("hello")  # Django would take it
        for chunked in (False, True):
            assert visitor.post_large(large, chunked=chunked) in (0, 400, 411, 413, 502)
    assert len(sandbox.requests) == asked


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_pieces_come_at_once(
    url: str, certificate: Path, version: str, tmp_path: Path, needs: Needs
) -> None:
    """Also to a browser that takes compressed responses, and over HTTP/2."""
    more = threading.Event()
    steps = [say("AI"), wait(more), say(" 正在"), done()]
    with Sandbox(steps) as sandbox, curl(url, sandbox, certificate, version) as process:
        assert process.stdout
        while b"AI" not in process.stdout.readline():
            assert process.poll() is None
        more.set()
        assert "正在" in process.stdout.read().decode()
        assert process.wait() == 0


def curl(url: str, sandbox: Sandbox, certificate: Path, version: str) -> subprocess.Popen[bytes]:
    """A browser's request, with the version of HTTP that was asked for or none."""
    address = f"{url}/opening-chat?q=hello&upstream={quote(sandbox.url)}"
    options = ("--no-progress-meter", "--no-buffer", "--cacert", str(certificate), version)
    command = ("curl", "--compressed", *options, address)
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.timing
def test_leaving_is_noticed(url: str, certificate: Path) -> None:
    """Within a heartbeat: before the service has answered, while it is silent, while it speaks."""
    models = {
        "before headers": [before_headers(silence())],
        "silent": [say("AI"), silence()],
        "talkative": [[say("x" * 50_000)] * 200, silence()],
    }
    for name, model in models.items():
        with Sandbox(model) as sandbox:
            with curl(url, sandbox, certificate, "--http1.1") as process:
                assert process.stdout and process.stdout.readline()
                assert sandbox.wait_request()
                process.kill()
            left = time.monotonic()
            assert sandbox.wait_disconnect(timeout=5.0), name
            assert time.monotonic() - left < HEARTBEAT + 0.5, name


@pytest.mark.timing
def test_a_request_that_is_aborted_over_http_2_is_noticed(url: str, certificate: Path) -> None:
    """Stop in one tab resets one stream; the connection stays, for the others."""
    from http_2 import http_2  # noqa: PLC0415  quick tests run without h2

    with ExitStack() as stack:
        connection = stack.enter_context(http_2(url, certificate))
        services, streams = [], []
        for model in ([before_headers(silence())], [say("AI"), silence()]):
            service = stack.enter_context(Sandbox(model))
            streams.append(connection.ask(f"/opening-chat?q=hello&upstream={quote(service.url)}"))
            connection.read_some(streams[-1])
            assert service.wait_request()
            services.append(service)
        for stream in streams:
            connection.abort(stream)
        left = time.monotonic()
        for service in services:
            assert service.wait_disconnect(timeout=left + HEARTBEAT + 0.5 - time.monotonic())
        assert connection.read_some(connection.ask("/ping")) == b"pong"


@pytest.mark.parametrize("name", ["nginx"], indirect=True, scope="module")
def test_an_address_has_twenty_requests(url: str, certificate: Path) -> None:
    """The next is refused with 429; once they have left, others are let in."""

    def get(path: str) -> requests.Response:
        return requests.get(f"{url}{path}", verify=str(certificate), stream=True, timeout=10)

    with Sandbox([say("AI"), silence()]) as sandbox, ExitStack() as stack:
        for number in range(20):
            path = f"/opening-chat?q={number}&upstream={quote(sandbox.url)}"
            assert stack.enter_context(get(path)).status_code == 200
        refused = stack.enter_context(get("/ping"))
        assert refused.status_code == 429
    deadline = time.monotonic() + 5
    while get("/ping").status_code != 200:
        assert time.monotonic() < deadline


OPEN = """
    const [path, number, finished] = arguments
    let opened = 0
    for (let n = 0; n < number; n++) {
        fetch(path + '&n=' + n).then((response) => response.body.getReader().read())
            .then(() => { opened++ })
    }
    setTimeout(() => finished(opened), 1000)
"""
PING = """
    const pong = fetch('/ping').then((response) => response.text())
    const never = new Promise((resolve) => setTimeout(resolve, 1000, 'nothing'))
    Promise.race([pong, never]).then(arguments[0])
"""


@pytest.mark.parametrize("name", ["nginx"], indirect=True, scope="module")
def test_six_answers_block_the_seventh_request_of_http_1(
    name: str, certificate: Path, tmp_path: Path
) -> None:
    """In Chromium, in another tab too. HTTP/2 has no such limit."""
    kind = KINDS["fastapi-uvicorn"]
    check_present(kind.needs)
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox([say("AI"), silence()]))
        server = stack.enter_context(
            running(kind.command, tmp_path / "server", environment=ENVIRONMENT)
        )
        proxy = stack.enter_context(proxied(name, server.port, tmp_path, certificate))
        browser = stack.enter_context(chromium(tmp_path / "profile", "--ignore-certificate-errors"))
        path = f"/opening-chat?q=hello&upstream={quote(sandbox.url)}"
        seen = {}
        for url in (server.url, f"https://localhost:{proxy.port}"):
            browser.get(f"{url}/ping")
            first = browser.current_window_handle
            browser.switch_to.new_window("tab")
            browser.get(f"{url}/ping")
            browser.switch_to.window(first)
            opened = browser.execute_async_script(OPEN, path, 10)
            browser.switch_to.window(browser.window_handles[-1])
            seen[url] = [opened, browser.execute_async_script(PING)]
            browser.close()
            browser.switch_to.window(first)
            browser.get("about:blank")
    assert list(seen.values()) == [[6, "nothing"], [10, "pong"]]
