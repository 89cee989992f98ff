"""Which proxy leads to a URL: the environment, NO_PROXY, the session, and this machine itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import faults
import pytest
import requests
from faults import KEY, answer, answers, ask, client, play

from websopy_sync import ConfigError
from websopy_sync.sandbox import Sandbox
from websopy_sync.transport.proxies import Proxy, host_and_port, parse_proxy, proxy_for

PASSWORD = "proxy-pass-5e21"


pytestmark = pytest.mark.usefixtures("no_proxies")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[faults.Server]:
    """A proxy that the environment names, and that nobody may come to."""
    with play() as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
        yield server
        assert server.conns == []


def direct(url: str) -> bool:
    """Whether a URL is asked directly when the environment names a proxy for everything."""
    return proxy_for(url, session_proxies={}, trust_env=True) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LOCALHOST", "localhost.", "sandbox.localhost", "127.1.2.3",
        "127.1", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]",
        "2130706433",
    ],
)  # fmt: skip
def test_own_sandbox_is_asked_directly(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment never leads to a sandbox in this process, however it is written.

    Other services of this machine go by the proxy, and so does what comes after the sandbox.
    """
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    with Sandbox() as sandbox:
        url = f"http://{host}:{sandbox.port}/v1"
        assert direct(url) and direct(url.replace("http:", "https:"))
        assert not direct(f"http://{host}:{sandbox.port + 1}/v1")
    assert not direct(url)


@pytest.mark.parametrize(
    "host",
    ["chat.example", "10.0.0.1", "128.0.0.1", "[2001:db8::1]", "localhost.example", "mylocalhost",
     "[::ffff:10.0.0.1]"],
)  # fmt: skip
def test_other_hosts_go_by_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other host goes by the proxy, also on the sandbox's port."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    with Sandbox() as sandbox:
        assert not direct(f"http://{host}:{sandbox.port}/v1")


def test_proxy_of_the_environment_leads_to_loopback_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with requests and curl, only NO_PROXY takes this machine's other services out."""
    with play(answer("by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert ask(proxy, base_url="http://localhost:1/v1").text == "by proxy"


def test_proxy_of_a_session_leads_to_loopback_too() -> None:
    """A proxy that somebody gave on purpose counts for every host."""
    with play(answer("by proxy")) as proxy, requests.Session() as session:
        session.proxies = {"http": f"http://127.0.0.1:{proxy.port}"}
        with client(proxy, base_url="http://localhost:1/v1", session=session) as asker:
            assert ask(proxy, through=asker).text == "by proxy"


def test_sandbox_is_asked_directly(proxy: faults.Server) -> None:
    """Neither the question nor the key of a sandbox's client goes to the proxy."""
    with Sandbox(pause=0.001) as sandbox, client(proxy, base_url=sandbox.url) as asker:
        assert "sandbox" in asker.ai.chat("hi").content


@pytest.mark.slow
def test_chat_with_the_sandbox_is_asked_directly(proxy: faults.Server) -> None:
    """`websopy-sync chat --sandbox` works with a proxy in the environment."""
    command = [sys.executable, "-m", "websopy_sync", "chat", "--sandbox", "Hello"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, "sandbox" in done.stdout) == (0, True), done.stderr


def test_sandbox_of_another_process_says_how_to_ask_it_directly(proxy: faults.Server) -> None:
    """With a proxy in the environment, the line to copy takes the sandbox out of it."""
    command = [sys.executable, "-m", "websopy_sync", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.terminate()
    assert lines[1].endswith(' no_proxy="$no_proxy,127.0.0.1"\n')


NO_PROXY = [
    # NO_PROXY, a URL that is asked directly, one that is not
    ("chat.example", "http://chat.example/v1", "http://other.example/v1"),
    ("chat.example", "http://eu.chat.example/v1", "http://chat.example.org/v1"),
    (".chat.example", "http://eu.chat.example/v1", "http://chat.example.org/v1"),
    ("chat.example:8080", "http://chat.example:8080/v1", "http://chat.example/v1"),
    ("a.example, chat.example", "http://chat.example/v1", "http://b.example/v1"),
    ("10.0.0.5", "http://10.0.0.5/v1", "http://10.0.0.6/v1"),
    ("10.0.0.0/8", "http://10.9.8.7:99/v1", "http://11.0.0.1/v1"),
    ("*", "http://chat.example/v1", None),
]


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(("value", "without", "by_proxy"), NO_PROXY)
def test_no_proxy(
    variable: str, value: str, without: str, by_proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_PROXY names hosts, ends of hosts, ports and networks, as docs/how-to/proxies.md says."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv(variable, value)
    assert direct(without)
    assert by_proxy is None or not direct(by_proxy)


def test_which_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable for the URL's scheme beats the one for all; a session's proxy beats both."""
    monkeypatch.setenv("all_proxy", "socks5h://all.example")
    monkeypatch.setenv("https_proxy", "http://https.example")

    def chosen(url: str, **session_proxies: str) -> str:
        found = proxy_for(url, session_proxies=session_proxies, trust_env=True)
        assert found is not None
        return found.host

    assert chosen("https://chat.example") == "https.example"
    assert chosen("http://chat.example") == "all.example"
    assert chosen("http://chat.example", http="http://session.example") == "session.example"
    assert chosen("https://chat.example", all="http://session.example") == "session.example"
    hosts = {"all://chat.example": "http://one.example", "all": "http://all.example"}
    assert chosen("https://chat.example", **hosts) == "one.example"
    assert chosen("https://other.example", **hosts) == "all.example"
    assert proxy_for("http://chat.example", session_proxies={}, trust_env=False) is None
    for none in (None, ""):  # a session may also say that there is none
        given = {"https": none, "all": "http://session.example"}
        assert proxy_for("https://chat.example", session_proxies=given, trust_env=True) is None
    given = {"no_proxy": "chat.example"}
    assert proxy_for("https://chat.example", session_proxies=given, trust_env=True) is None


@pytest.mark.parametrize("proxies", ["http://proxy.example:3128", ["http://proxy.example"], 5])
def test_proxies_of_a_session_that_are_no_dict(proxies: object) -> None:
    """A session's proxies are a dict, and what else they are is a ConfigError."""
    with pytest.raises(ConfigError, match=r"^session\.proxies: expected a dict, got "):
        proxy_for("http://chat.example", session_proxies=proxies, trust_env=True)
    assert proxy_for("http://chat.example", session_proxies=None, trust_env=True) is None


def test_error_says_who_named_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be used is easier to find when one knows where it stands."""
    monkeypatch.setenv("all_proxy", f"socks://me:{PASSWORD}@127.0.0.1")
    with pytest.raises(ConfigError, match=r"^proxy: .* got socks \('all' of the environment\)$"):
        proxy_for("http://chat.example", session_proxies={}, trust_env=True)
    given = {"http": f"http://me:{PASSWORD}@"}
    with pytest.raises(ConfigError, match=r"^proxy: .* \('http' of session\.proxies\)$"):
        proxy_for("http://chat.example", session_proxies=given, trust_env=True)


@pytest.mark.parametrize(
    ("url", "place", "username"),
    [
        ("http://127.0.0.1:3128", "127.0.0.1:3128", ""),
        ("127.0.0.1:3128", "127.0.0.1:3128", ""),
        ("//proxy.example", "proxy.example:80", ""),
        ("https://proxy.example/", "proxy.example:443", ""),
        ("socks5h://[::1]", "[::1]:1080", ""),
        (f"socks5://m%40e:{PASSWORD}@proxy.example:9", "proxy.example:9", "m@e"),
    ],
)
def test_parsed(url: str, place: str, username: str) -> None:
    """A proxy may be written without a scheme; its port is the scheme's own unless it is named."""
    proxy = parse_proxy(url)
    assert host_and_port(proxy.url) == place
    assert proxy.username == username
    assert PASSWORD not in repr(proxy)


@pytest.mark.parametrize(
    "url",
    [
        5, "http://", f"http://me:{PASSWORD}@", f"http://me:{PASSWORD}@[::1", "http://[::1", "//",
        f"http://me:{PASSWORD}@127.0.0.1:99999", f"http://me:{PASSWORD}@127.0.0.1:0",
        f"http://me:{PASSWORD}@127.0.0.1:x", f"ftp://me:{PASSWORD}@127.0.0.1:1",
        f"http://me:{PASSWORD}/x@127.0.0.1:1", f"http://me:1/{PASSWORD}@127.0.0.1:1",
        f"http://me:1#{PASSWORD}@127.0.0.1:1", f"http://me:1?{PASSWORD}@127.0.0.1:1",
        f"http://me:{PASSWORD}密@127.0.0.1:1", f"http://me:{PASSWORD}@127.0.0.1:1\x00",
    ],
)  # fmt: skip
def test_proxy_that_cannot_be_used(url: object) -> None:
    """A proxy that cannot be used is a ConfigError, which quotes nothing of it."""
    with pytest.raises(ConfigError, match=r"^proxy: ") as caught:
        parse_proxy(url)
    assert PASSWORD not in str(caught.value)


def test_values_compare() -> None:
    """A proxy is a value."""
    assert parse_proxy("http://a:1") == Proxy("http", "a", 1, url="http://a:1")


def test_question_by_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service elsewhere is asked through it."""
    with play(answers("by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        with client(proxy, base_url="http://chat.example/v1") as asker:
            assert ask(proxy, through=asker).text == "by proxy"
        assert proxy.requests[0].header("authorization") == f"Bearer {KEY}".encode()
